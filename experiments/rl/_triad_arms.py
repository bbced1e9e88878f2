"""The arms of the deadly triad: their names, their candidate rates, and their trainings on a task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from experiments.rl._triad_learner import LINEAR, NET, TABLE, Factors, evaluation, learner
from experiments.rl._triad_tasks import CAR, ROOMS, task_of
from lrn import train
from lrn.rl.env import require_discrete
from lrn.study.context import Context
from lrn.study.select import select
from lrn.types import Sampler

PLACES = ((ROOMS, NET), (CAR, NET), (CAR, LINEAR))
KINDS = {ROOMS: (TABLE, NET), CAR: (TABLE, LINEAR, NET)}
RATES = {TABLE: (0.1, 0.3, 1.0), LINEAR: (0.3, 1.0, 3.0), NET: (3e-4, 1e-3, 3e-3)}
TRIAD, REGRESSION = "all three", "neither"
LESS = ("no bootstrapping", "on-policy", "no approximation")
ARMS = {TRIAD: (1.0, 1.0), LESS[0]: (0.0, 1.0), LESS[1]: (1.0, 0.0), REGRESSION: (0.0, 0.0)}
GREEDY = {"Q-learning": 1.0, "Q-learning, target network": 0.005}
UNSTABLE, ANY, ERROR, PEAK, SHARE = "unstable", "any that lacks one", "error", "peak", "share that diverges"
EXCESS, RISE, CAP, EVALUATIONS = 1.25, 0.1, 10.0, 20


def arm(task: str, kind: str, what: str) -> str:
    """The name of an arm, or of what concerns a regime."""
    return f"{task}, {kind}: {what}"


def menu(kind: str) -> dict[str, list[Factors]]:
    """The three candidates of each arm of an approximator; of a table only what a regime needs."""
    named = {LESS[2]: ARMS[TRIAD]} if kind == TABLE else ARMS
    arms = {what: [Factors(*factors, rate) for rate in RATES[kind]] for what, factors in named.items()}
    if kind == NET:
        greedy = {k: [Factors(1.0, 1.0, rate, 1.0, f) for rate in RATES[NET]] for k, f in GREEDY.items()}
        arms |= greedy
    return arms


def extremes(task: str, kind: str) -> dict[str, Factors]:
    """Regression on returns at a rate that is far too low or far too high, by the name of the arm."""
    scale = {NET: 1e-3, LINEAR: 1e3}.get(kind)
    return (
        {arm(task, kind, f"rate times {scale:g}"): Factors(0.0, 0.0, scale * RATES[kind][1])} if scale else {}
    )


def at(name: str, i: int) -> str:
    """The name of an arm's candidate."""
    return f"{name}, candidate {i}"


def collected(made: Any, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    return jax.device_get(jax.jit(jax.vmap(made))(np.asarray(seeds, np.uint32)))


def draw(size: int, key: Any, data: Any) -> Any:
    """Rows of both data sets, leaves [2, size, ...]."""
    rows = jax.random.randint(key, (size,), 0, data["return"].shape[-1])
    return {k: v[:, rows] for k, v in data.items() if not k.startswith("judged")}


def trained(
    config: Any, context: Context, task: str, kind: str, others: Sequence[int], data: Any
) -> dict[str, np.ndarray]:
    """Choose rates on other seeds, and train all candidates.

    Returns:
        From each arm, at the rate chosen for it, and from each candidate to whether its runs are unstable,
        [seeds].
    """
    actions = require_discrete(task_of(task).env, "the deadly triad")
    size = config.size[(TABLE, LINEAR, NET).index(kind)]
    make = partial(learner, kind, actions, size, config.batch)
    arms = {at(arm(task, kind, w), i): c for w, tried in menu(kind).items() for i, c in enumerate(tried)}
    options: dict[str, Any] = {
        "steps": config.updates, "sampler": Sampler(partial(draw, config.batch)), "log_every": config.updates,
        "evaluate": evaluation(kind, actions, size), "eval_every": config.updates // EVALUATIONS,
    }  # fmt: skip
    count = len(context.seeds)

    def tried() -> dict[str, np.ndarray]:
        own = {k: v[count:] for k, v in data.items()}
        table = train.fit(make, arms, others, per_seed=own, progress=False, **options).table
        return {name: capped(table.final(name, "off")) for name in arms}

    scores = context.once(f"{task}, {kind}: choices", tried)
    names = [arm(task, kind, what) for what in menu(kind)]
    chosen = select({n: np.stack([scores[at(n, i)] for i in range(3)]) for n in names}, "lower")
    all_arms = arms | extremes(task, kind)
    own = {k: v[:count] for k, v in data.items()}
    table = context.fit(make, all_arms, name=f"{task}, {kind}", per_seed=own, **options).table
    sources = {name: name for name in all_arms} | {n: at(n, chosen[n].only) for n in names}
    order, found = np.argsort(np.argsort(context.seeds)), {}  # curves are sorted by seed
    for name, source in sources.items():
        errors, peaks = (table.curve(source, metric)[1][order] for metric in ("off", "peak"))
        for k in (4, 2, 1):
            last = EVALUATIONS // k
            found[name] = unstable(errors[:, : last + 1], peaks[:, : last + 1])
            context.record(name, UNSTABLE, found[name], config.updates // k)
        context.record(name, ERROR, capped(errors[:, -1]), config.updates)
        context.record(name, PEAK, np.minimum(peaks[:, -1], 1e3), config.updates)
    for name in names:
        context.chosen(name, chosen[name], 3)
    return found


def capped(errors: np.ndarray) -> np.ndarray:
    """Errors, ten where they are larger or not finite."""
    return np.minimum(np.nan_to_num(errors, nan=CAP, posinf=CAP), CAP)


def unstable(errors: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Whether runs diverge softly or get worse, 1.0 or 0.0 [seeds], by curves [seeds, evaluations]."""
    kept = capped(errors)
    diverged = ~(peaks[:, -1] <= EXCESS)
    return (diverged | (kept[:, -1] - kept.min(1) > RISE)).astype(float)
