"""People for `fair.base_rates`: two groups, and three reasons why a rule could treat them differently.

- Base rates: the groups differ in their share of label 1.
- Noise: the features of group 0 are measured with a Gaussian error, so they tell less.
- Label bias: some of group 0 with label 1 get label 0 where a model sees them; the test rows keep the truth.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from lrn.data.decisions import decisions

MEAN_RATE, APART = 0.2, 2.0  # the share of label 1 among Gaussian people; the distance of the classes


class Sample(NamedTuple):
    """Rows of a seed and an arm: features [n, dim], labels as a model sees them, true labels, groups [n]."""

    x: np.ndarray
    seen: np.ndarray
    y: np.ndarray
    group: np.ndarray


def gaussian(rng: np.random.Generator, count: int, gap: float) -> Sample:
    """``count`` rows a group; the first feature tells the classes apart, four others tell nothing."""
    y = np.concatenate([_labels(count, MEAN_RATE - gap / 2), _labels(count, MEAN_RATE + gap / 2)])
    x = rng.normal(size=(len(y), 5)).astype(np.float32)
    x[:, 0] += APART * y
    return Sample(x, y, y, np.repeat(np.arange(2), count).astype(np.int32))


def real(name: str, mean: float, rng: np.random.Generator, count: int, gap: float) -> Sample:
    """``count`` members of each group of a set, whose base rates have this mean and differ by ``gap``."""
    people = decisions(name)
    rows = []
    for g, rate in enumerate((mean - gap / 2, mean + gap / 2)):
        high = round(count * rate)
        for label, size in ((1, high), (0, count - high)):
            pool = np.flatnonzero((people.group == g) & (people.y == label))
            rows.append(rng.choice(pool, size, replace=False))
    rows = np.concatenate(rows)
    return Sample(people.x[rows], people.y[rows], people.y[rows], people.group[rows])


# The mean rates are near those of the sets.
POPULATIONS = {
    "Gaussian": gaussian,
    "Adult": functools.partial(real, "adult", MEAN_RATE),
    "Dutch census": functools.partial(real, "dutch_census", 0.45),
}


def drawn(name: str, seed: int, count: int, gap: float, noise: float, bias: float) -> Sample:
    """Rows of a population under interventions, in random order.

    Args:
        name: a key of `POPULATIONS`. seed: arms of a seed share its draws as far as they can.
        count: rows of each group. gap: the difference of base rates, group 1 minus group 0.
        noise: the standard deviation of the error in group 0's features, which have deviations of 1.
        bias: the share of label 1 in group 0 that a model sees as label 0.
    """
    rng = np.random.default_rng(seed)
    sample = POPULATIONS[name](rng, count, gap)
    one = np.flatnonzero(sample.group == 0)
    x = sample.x.copy()
    x[one] += noise * rng.normal(size=x[one].shape)
    hidden = (sample.group == 0) & (rng.random(len(x)) < bias)
    seen = np.where(hidden, 0, sample.y)
    order = rng.permutation(len(x))
    return Sample(x[order], seen[order].astype(np.int32), sample.y[order], sample.group[order])


def _labels(count: int, rate: float) -> np.ndarray:
    return (np.arange(count) < round(count * rate)).astype(np.int32)
