"""The arms of the study of memory, their trainings, and what is measured of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from experiments.meta._memorized import (
    CHARGES,
    INNER,
    SEEN,
    STEPS,
    Arm,
    Place,
    learner,
    sampler,
    successes,
)
from lrn.study.context import Context

NAMED, UNNAMED, CURED = "named", "not named", "named, MR-MAML"
OWN, ONCE, NEW = "success on its tasks", "success on its tasks at once", "success on new tasks"
NEW_ONCE, MISLED, FRESH = f"{NEW} at once", f"{NEW} by a wrong support set", f"{NEW}, untrained"
PART, LOST, AWAY = "part known at once", "part lost on new tasks", "part that does not carry over"
POINTS, LEAST = 4, 0.1  # measurements along a training; the least success that divides


def arm(family: str, pool: int, kind: str) -> str:
    """The name of an arm."""
    return f"{family}, {pool}: {kind}"


def arms(pools: tuple[int, ...]) -> list[tuple[int, str]]:
    """The pools and kinds of a family; MR-MAML is trained on the smallest pool."""
    return [(pool, kind) for pool in pools for kind in (NAMED, UNNAMED)] + [(pools[0], CURED)]


def candidates(family: str, pools: tuple[int, ...], pool: int, kind: str) -> dict[str, Arm]:
    """The trainings of an arm."""
    which = arms(pools).index((pool, NAMED if kind == CURED else kind))
    settings = (float(pool), float(kind == UNNAMED), float(which))
    tuned = CHARGES[family] if kind == CURED else INNER[family]
    return {f"{arm(family, pool, kind)}, candidate {i}": Arm(*settings, x) for i, x in enumerate(tuned)}


Scores = dict[tuple[int, str], dict[str, np.ndarray]]


def trained(
    context: Context, place: Place, pools: tuple[int, ...], cured: bool, steps: int, tasks: int, measured: int
) -> Scores:
    """By arm and kind of tasks, success [candidates, steps of adaptation, seeds, lengths of training]."""
    family, every = place.family, arms(pools)
    own = {a: candidates(family, pools, *a) for a in every if (a[1] == CURED) == cured}
    fit = context.fit(
        partial(learner, place, cured),
        {name: c for each in own.values() for name, c in each.items()},
        name=f"{family}, {'MR-MAML' if cured else 'MAML'}",
        steps=steps,
        data=place.shared,
        per_seed=place.own,
        sampler=sampler(place, tasks, [(float(p), float(k == UNNAMED)) for p, k in every if k != CURED]),
        evaluate=partial(successes, place, measured),
        eval_every=steps // POINTS,
    )

    def scores(kind: str, names: Mapping[str, Any]) -> np.ndarray:
        curves = [[fit.table.curve(n, f"{kind} @{k}")[1] for k in range(STEPS + 1)] for n in names]
        return np.array(curves)

    return {a: {kind: scores(kind, names) for kind in SEEN} for a, names in own.items()}


def measures(scores: Mapping[str, np.ndarray], place: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What is recorded of an arm, each [seeds].

    Args:
        scores: by kind of tasks, success [candidates, steps of adaptation, seeds].
        place: the chosen candidate, and its number of steps less one.
    """
    i, k = place[0], place[1] + 1
    own, new = scores["own"][i], scores["new"][i]
    some = np.maximum(own[k], LEAST)
    return {
        OWN: own[k],
        ONCE: own[0],
        NEW: new[k],
        NEW_ONCE: new[0],
        MISLED: scores["misled"][i, k],
        PART: own[0] / some,
        AWAY: 1 - new[k] / some,
    }
