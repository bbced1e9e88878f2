"""The networks, learners and trainings of the methods that meet a shift."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.meta._deployed_arms import (
    ARM,
    ENSEMBLE,
    GROUPS,
    MAML,
    MEMBERS,
    POOLED,
    QUERY,
    RATES,
    STATISTICS,
    SUPPORT,
    Training,
    trainings,
)
from experiments.meta._shifted_digits import CLASSES, seen
from lrn import nets
from lrn.meta import arm as contexts
from lrn.meta.adapt import InnerConfig
from lrn.meta.arm import ARMConfig
from lrn.meta.episode import Episode
from lrn.meta.irm import IRMConfig, irm
from lrn.meta.learner import MetaLearner
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.pooled import PooledConfig, pooled
from lrn.meta.problem import Problem, classification
from lrn.study.context import Context
from lrn.types import Net, Sampler

WIDTHS = (64, 64)


def sampler(count: int) -> Sampler:
    """So many environments of a seed's pool, as they are and with the shift undone."""

    def some(key: Any, pool: Any) -> dict[str, Episode]:
        which, begin = jax.random.split(key)
        which = jax.random.randint(which, (count, 1), 0, pool["x"].shape[1])
        rows = pool["x"].shape[2]
        row = (jax.random.randint(begin, (), 0, rows) + jnp.arange(SUPPORT + QUERY))[None] % rows

        def episodes(told: str) -> Episode:
            x, y = (pool[f"{told}{name}"][pool["place"], which, row] for name in ("x", "y"))
            x = seen(x)
            return Episode(
                {"x": x[:, :SUPPORT], "y": y[:, :SUPPORT]}, {"x": x[:, SUPPORT:], "y": y[:, SUPPORT:]}
            )

        return {"plain": episodes(""), "told": episodes("told ")}

    return Sampler(some)


def network() -> Problem:
    """The network of all methods."""
    return classification(nets.mlp(None, WIDTHS), CLASSES)


def unscaled() -> list[dict[str, Any]]:
    """Statistics of batch normalization that change nothing, for each layer."""
    return [{"mean": jnp.zeros(w), "var": jnp.ones(w)} for w in WIDTHS]


def normed() -> Problem:
    """The network with batch normalization, which keeps no averages: the statistics are those of a batch."""

    def init(key: Any, x: Any) -> Any:
        sizes = zip(jax.random.split(key, len(WIDTHS)), (x.shape[1], *WIDTHS), WIDTHS)
        kernels = [jnp.sqrt(2 / i) * jax.random.normal(k, (i, o)) for k, i, o in sizes]
        layers = [
            {"kernel": w, "scale": jnp.ones(w.shape[1]), "bias": jnp.zeros(w.shape[1])} for w in kernels
        ]
        return layers, unscaled()

    def apply(params: Any, state: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        del key
        after = []
        for layer, kept in zip(params, state):
            x = x @ layer["kernel"]
            now = {"mean": x.mean(0), "var": x.var(0)} if train else kept
            x = (x - now["mean"][None]) * jax.lax.rsqrt(now["var"] + 1e-5)[None]
            x = jax.nn.relu(x * layer["scale"][None] + layer["bias"][None])
            after.append(now)
        return x, after

    return classification(Net(init, apply), CLASSES, "support")


def clipped(rate: Any) -> optax.GradientTransformation:
    """Adam with gradients of a norm of at most 10, for all methods."""
    return optax.chain(optax.clip_by_global_norm(10.0), optax.adam(rate))


def core(group: str, steps: int, training: Training) -> MetaLearner:
    """The learner of a group; with a penalty of 0 IRM is pooled training. IRM's begins after a quarter."""
    rate = training.rate
    if group == ARM:
        return contexts.arm(network(), nets.mlp(8, (32,)), ARMConfig(rate, clipped))
    if group == MAML:
        return maml(network(), MAMLConfig(InnerConfig(1, training.own), rate, clipped))
    if group == STATISTICS:
        return pooled(normed(), PooledConfig(meta_rate=rate, optimizer=clipped))
    return irm(network(), IRMConfig(training.own, steps // 4, meta_rate=rate, optimizer=clipped))


def learner(group: str, steps: int, training: Training) -> MetaLearner:
    """The learner of a group on the batches of `sampler`."""
    made = core(group, steps, training)

    def given(batch: Mapping[str, Episode]) -> Episode:
        told = jnp.asarray(training.told) > 0
        both = jax.tree.map(lambda a, b: jnp.where(told, a, b), batch["told"], batch["plain"])
        if group != STATISTICS:
            return both
        return jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), both)  # normalized as one batch

    def init(key: Any, batch: Any) -> Any:
        start = jnp.asarray(training.start, jnp.float32).astype(jnp.uint32)
        return made.init(jax.random.fold_in(key, start), given(batch))

    def step(key: Any, state: Any, batch: Any) -> Any:
        return made.step(key, state, given(batch))

    return MetaLearner(init, step, made.curve)


def trained(
    context: Context, pool: Mapping[str, np.ndarray], steps: int, environments: int, group: str
) -> dict[str, Any]:
    """By method, trained parameters, leaves [seeds, candidates, ...], with members behind in the ensemble.

    Args:
        context: records what each method was given.
        pool: see `pool_of`.
        steps: of every training.
        environments: of a step of a pooled training; other methods have fewer, for equal gradients.
        group: the trainings, which share a program.
    """
    methods, cost = GROUPS[group]
    count = environments * POOLED // cost
    fit = context.fit(
        partial(learner, group, steps),
        {name: t for m in methods for name, t in trainings(m).items()},
        name=f"training of {group}",
        steps=steps,
        data=dict(pool),
        per_seed={"place": np.arange(len(context.seeds))},
        sampler=sampler(count),
    )
    params = {}
    for m in methods:
        every = jax.tree.map(lambda *x: np.stack(x, 1), *(fit.arm(name).meta for name in trainings(m)))
        context.given(m, {"gradients": steps * count * cost})
        params[m] = every
        if m == ENSEMBLE:
            params[m] = jax.tree.map(lambda x: x.reshape(len(x), len(RATES), MEMBERS, *x.shape[2:]), every)
    return params
