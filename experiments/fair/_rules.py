"""The rules of a seed in `fair.washing`, and what both audits find of each."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from experiments.fair import _audited as audited
from experiments.fair._causal_worlds import Rows
from experiments.fair._washers import WASHERS, Parts, Policy, black_box, imitations, network, split, washed

LIMIT, LIMITS = 0.25, (0.5, 0.25, 0.1)  # the share of the gap that a washing may leave on validation rows
UNFAIR, FAIR, PLANTED, LOTTERY, MOST = "unfair", "fair rule", "planted", "lottery", "largest gap of three"
HALF_FLIPS = "half of the flips"


def judged(seed: int, rows: Rows, known: bool, hidden: int, steps: int) -> dict[str, dict[str, float]]:
    """The measures of each rule of a seed.

    Args:
        seed: draws what is random. rows: the people. known: whether counterfactuals are known.
        hidden, steps: the width of the networks, and the steps of their training.
    """
    parts = split(rows)
    box = black_box(parts, hidden, steps)
    measure: Any = functools.partial(audited.measures, seed, rows=parts.test, known=known, crossed=known)
    found = {UNFAIR: measure(network(box, 0))}
    found |= {what: measure(policy) for what, policy in references(seed, parts, known).items()}
    trees = imitations(box, parts)
    for limit in LIMITS if known else (LIMIT,):
        for way, policy in washed(box, parts, trees, limit).items():
            name = way if limit == LIMIT else f"{way}, limit {limit:g}"
            found[name] = measure(policy) if limit == LIMIT else audited.first(policy, parts.test)
    if known:
        found[UNFAIR][HALF_FLIPS] = found[UNFAIR][audited.FLIPS] / 2
    found[MOST] = {audited.GAP: max(found[way][audited.GAP] for way in WASHERS)}
    return found


def references(seed: int, parts: Parts, known: bool) -> dict[str, Policy]:
    """A rule that is fair, and the same kind of rule that never chooses the largest subgroup."""
    test, rng = parts.test, np.random.default_rng(seed)
    by_chance = (rng.random(len(test.y)) < 0.5).astype(np.float32)
    barred = test.cell != np.bincount(test.cell).argmax()
    found = {PLANTED: lambda x, group: by_chance * barred}
    if not known:
        return found | {LOTTERY: lambda x, group: by_chance}
    deserved = (test.merit > np.median(parts.train.merit[:, 0])).astype(np.float32)
    return found | {FAIR: lambda x, group: deserved[:, 0 if x is test.x else 1]}
