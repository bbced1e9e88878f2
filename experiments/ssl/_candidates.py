"""Trainings among few and many candidates: critics of Gaussian pairs, and SimCLR; choices on validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from scipy.stats import kendalltau

from experiments.ssl import _bounds as bounds
from lrn.data import gaussians
from lrn.data.sampler import minibatch
from lrn.study.context import Context
from lrn.study.select import select

NATS, DIM, JUDGED = (2.0, 6.0), 8, (2, 16, 128, 1024)  # information; dimensions; candidates of the judgment
RATES, TEMPERATURES, RATE = (2.5e-4, 1e-3, 4e-3, 1.6e-2), (0.05, 0.15, 0.5), 3e-3
TINY = 1e-12  # a learning rate that changes no weight
PROBE, EARLY, MOST = "probe", "probe at half of the steps", "bound among the batch"
BEST, RANK = "best bound among the batch", "rank correlation"
BOUNDS = {"bound": MOST, "best": BEST}


def critic(nats: float, k: int) -> str:
    """The arm of a critic."""
    return f"{nats:g} nats, K={k}"


def arm(place: str, k: int) -> str:
    """The arm of SimCLR; with K = 0 the encoder before training."""
    return f"{place}, K={k}" if k else f"{place}, not trained"


def among(what: str, k: int) -> str:
    """The metric of a value among k candidates."""
    return f"{what}, {k} candidates"


def critics(context: Context, candidates: Sequence[int], batch: int, steps: int, pairs: int) -> None:
    """Train critics, choose their rates on validation pairs, and record their bounds.

    Args:
        context: of the run. candidates: K of each critic. batch: pairs of a step. steps: of the training.
        pairs: fresh pairs that choose the rate, and as many that judge.
    """
    rho = {nats: float(gaussians.correlation(nats, DIM)) for nats in NATS}
    groups = [(nats, k) for nats in NATS for k in candidates]
    lanes = {
        f"{critic(n, k)}, rate {rate:g}": bounds.lane(rate, k, rho=rho[n])
        for n, k in groups
        for rate in RATES
    }
    fit = context.fit(
        bounds.pairs_learner, lanes, name="critics", steps=steps, sampler=bounds.fresh(batch, DIM)
    )
    own = _own(context, fit, lanes, "rho")
    found = context.per_seed("judged critics", bounds.tightness(DIM, pairs, JUDGED), own)
    found = {
        k: x.reshape(len(context.seeds), len(groups), len(RATES), *x.shape[2:]) for k, x in found.items()
    }
    for i, (nats, k) in enumerate(groups):
        name, these = critic(nats, k), {what: x[:, i] for what, x in found.items()}
        choice = select({name: these.pop("validation").T}, "higher")[name]
        context.chosen(name, choice, len(RATES))
        context.given(name, {"samples": len(RATES) * steps * batch})
        for what, x in these.items():
            for j, judged in enumerate(JUDGED):
                context.record(name, among(what, judged), x[:, choice.only, j])


def contrasted(
    context: Context,
    place: str,
    groups: Sequence[int],
    batch: int,
    steps: int,
    sizes: Sequence[int],
    early: bool,
) -> None:
    """Train SimCLR for each K, choose its temperature on validation rows, and record probes and bounds.

    Args:
        context: of the run. place: a scene of `experiments.ssl._bounds`. groups: K. batch: examples a step.
        steps: of the training. sizes: training, validation and test rows. early: whether half of the steps
            are trained too.
    """
    of = bounds.scene(place, context.seeds, sizes)
    context.judged_on_rows(arm(place, 0), of.task.rows["test"], of.task.rows["train"])
    shape = (len(context.seeds), len(groups), len(TEMPERATURES))
    for budget, metric in [(steps // 2, EARLY)] * early + [(steps, PROBE)]:
        lanes = {f"{arm(place, 0)}, {budget} steps": bounds.lane(TINY, groups[0])}
        lanes |= {
            f"{arm(place, k)}, T={t:g}, {budget} steps": bounds.lane(RATE, k, t)
            for k in groups
            for t in TEMPERATURES
        }
        fit = context.fit(
            partial(bounds.learner, of),
            lanes,
            name=f"{place}, {budget} steps",
            steps=budget,
            data=of.task.data,
            per_seed=of.task.rows,
            sampler=minibatch(batch, rows="train", columns=(of.task.column,)),
        )
        own = _own(context, fit, lanes, "temperature") | {"rows": of.task.rows}
        judge = bounds.judged(of, batch, sizes[2])
        found = context.per_seed(f"judged {place}, {budget} steps", judge, own, of.task.data)
        each = {what: x[:, 1:].reshape(shape) for what, x in found.items()}
        for i, k in enumerate(groups):
            choice = select({place: each["validation"][:, i].T}, "higher")[place]
            context.record(arm(place, k), metric, each["test"][:, i, choice.only])
            context.given(arm(place, k), {"samples": len(TEMPERATURES) * budget * batch})
            if budget == steps:
                context.chosen(arm(place, k), choice, len(TEMPERATURES))
                for what in {"bound", "best"} & set(each):
                    context.record(arm(place, k), BOUNDS[what], each[what][:, i, choice.only])
            else:
                continue
            if k == groups[-1]:
                context.record(arm(place, 0), PROBE, found["test"][:, 0])
                pairs = zip(found["test"][:, 1:], found["bound"][:, 1:])
                context.record(place, RANK, [kendalltau(*pair)[0] for pair in pairs])
                if of.best:
                    context.record(arm(place, 0), BEST, found["best"][:, 0])


def _own(context: Context, fit: Any, lanes: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """The networks, one setting of the lanes and the seed, leaves [seeds, lanes, ...]."""
    parts = {"params": fit.state.training.params, "states": fit.state.training.net_state}
    own = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), parts)
    values = np.array([getattr(each, setting) for each in lanes.values()], np.float32)
    own |= {setting: np.tile(values, (len(context.seeds), 1))}
    return own | {"seed": np.asarray(context.seeds, np.uint32)}
