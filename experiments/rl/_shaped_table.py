"""What the table of scores, rewards by algorithms, comes to: shares of its variance, good and bad shaping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.rl._shaped_learners import BUDGETS
from experiments.rl._shaped_rewards import PLAIN, groups, population
from lrn import stats
from lrn.study.context import Context

FACTORS = ("reward", "algorithm", "rest")
GOOD, BAD, HALF = "score with good shaping", "score with bad shaping", "half of it"
LEAST, MOST = "least difference", "most difference"
COPES, WEAKEST, BEST = "copes best", "weakest", "best"
NEAR = 0.05
KEPT = 0.5  # bad shaping that leaves less than this share of a score degenerates


def arm(task: str, *names: str) -> str:
    """The name of a cell of a task's table, or of an algorithm."""
    return f"{task}: {', '.join(names)}"


def share(factor: str, budget: str = "") -> str:
    """The metric of a factor's share of the variance, of scores or of the progress at one budget."""
    return f"share of {factor}" + (f" at {budget}" if budget else "")


def lacking(level: str) -> str:
    """The metric of the reward's share less the algorithm's in the table without a level."""
    return f"difference without {level}"


def divide(context: Context, task: str, algorithms: Sequence[str], table: np.ndarray) -> None:
    """Record the shares of the variance, with all levels and without each.

    Args:
        context: of the run.
        task: its name.
        algorithms: their names; levels are left out where there are three or more.
        table: progress [rewards, algorithms, seeds, budgets].
    """
    for name, x in {"": table.mean(-1), **{b: table[..., i] for i, b in enumerate(BUDGETS)}}.items():
        parts = np.array([stats.variance_shares(one) for one in np.moveaxis(x, 2, 0)]).T
        context.record(task, {share(f, name): part for f, part in zip(FACTORS, parts)})
    if len(algorithms) > 2:
        differences = without(task, algorithms, table.mean(-1))
        context.record(task, {lacking(level): x for level, x in differences.items()})
        every = np.stack([*differences.values()])
        context.record(task, {LEAST: every.min(0), MOST: every.max(0)})


def without(task: str, algorithms: Sequence[str], table: np.ndarray) -> dict[str, np.ndarray]:
    """By level, the reward's share less the algorithm's [seeds] in a table that lacks the level.

    Left out are each reward, each form, weight and quantity (all rewards that have it), and each algorithm.

    Args:
        task: its name.
        algorithms: their names, three or more.
        table: scores [rewards, algorithms, seeds].
    """
    names = [*population(task)]
    dropped = {k: (0, [names.index(n) for n in some]) for k, some in groups(task).items()}
    dropped |= {n: (0, [i]) for i, n in enumerate(names)}
    dropped |= {a: (1, [i]) for i, a in enumerate(algorithms)}
    found = {}
    for level, (axis, places) in dropped.items():
        shares = [stats.variance_shares(x) for x in np.moveaxis(np.delete(table, places, axis), 2, 0)]
        found[level] = np.array([x.rows - x.columns for x in shares])
    return found


def compare(context: Context, task: str, algorithms: Sequence[str], table: np.ndarray) -> None:
    """Record scores with good, with bad and with no shaping, by algorithm and for those that stand out.

    For each seed the other seeds choose: the quarters of the shaped rewards with the lowest and the highest
    mean over algorithms; the best and the weakest algorithm with the good; and the algorithm that copes best
    with the bad, of those within `NEAR` of it the one that has most to lose.

    Args:
        context: of the run.
        task: its name.
        algorithms: their names.
        table: scores [rewards, algorithms, seeds] of two or more seeds.
    """
    names = np.array([*population(task)])
    (plain,), shaped = np.flatnonzero(names == PLAIN), np.flatnonzero(names != PLAIN)
    each: dict[str, list[Any]] = {name: [] for name in (COPES, WEAKEST, BEST, *algorithms)}
    for s in range(table.shape[2]):
        others = np.delete(table, s, 2).mean(2)
        order = shaped[np.argsort(others[shaped].mean(1), kind="stable")]
        bad, good = order[: len(order) // 4], order[-(len(order) // 4) :]
        places = {a: i for i, a in enumerate(algorithms)}
        under_bad, under_good = others[bad].mean(0), others[good].mean(0)
        places[COPES] = int(np.where(under_bad >= under_bad.max() - NEAR, under_good, -np.inf).argmax())
        places[BEST], places[WEAKEST] = (int(f(under_good)) for f in (np.argmax, np.argmin))
        for name, i in places.items():
            each[name].append((table[good, i, s].mean(), table[bad, i, s].mean(), table[plain, i, s]))
    for name, found in each.items():
        with_good, with_bad, with_none = np.array(found).T
        found_by = {GOOD: with_good, HALF: KEPT * with_good, BAD: with_bad, PLAIN: with_none}
        context.record(arm(task, name), found_by)
