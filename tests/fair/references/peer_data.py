"""Small synthetic data whose groups have other base rates, in NumPy only."""

import numpy as np

SETS = {"two": (2, 0), "three": (3, 1)}  # name -> groups and seed
NEW_SCORES = np.concatenate([np.arange(101) / 100, np.arange(101) / 100 + 0.003])


def data(n: int, dim: int, groups: int, seed: int):
    """Features [n, dim] float64, labels [n] and groups [n]; features and labels depend on the group."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, n)
    x = rng.normal(size=(n, dim)) + 0.8 * group[:, None] * np.array([1.0, 0.5, 0, 0])[None, :dim]
    score = x @ np.array([1.0, -0.7, 0.5, 0.2])[:dim] + 0.6 * group - 0.3
    y = (rng.random(n) < 1 / (1 + np.exp(-1.5 * score))).astype(int)
    return np.round(x, 3), y, group


def named(name: str):
    """The data of a name in `SETS`: features, labels, groups, and the number of groups."""
    groups, seed = SETS[name]
    return *data(1500, 4, groups, seed), groups


def scored(name: str):
    """Scores in hundredths, with ties, of the data of a name; labels, groups, and the number of groups."""
    x, y, group, groups = named(name)
    return np.round(1 / (1 + np.exp(-(x @ np.array([1.2, -0.9, 0.6, 0.3])))), 2), y, group, groups
