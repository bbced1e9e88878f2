"""Codes and factors that the peers' values were recorded on; numpy's RandomState never changes its stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SIZES = (3, 6, 40, 32, 32)  # of dSprites
SMALL = (2, 3, 5)


class Data(NamedTuple):
    """Codes float32 [n, dim] and factors int64 [n, factors], and the same of test rows."""

    codes: np.ndarray
    factors: np.ndarray
    test_codes: np.ndarray
    test_factors: np.ndarray


def draw_factors(rng: np.random.RandomState, n: int, sizes: tuple[int, ...] = SIZES) -> np.ndarray:
    """Independent and uniform factors [n, factors]."""
    return np.stack([rng.randint(size, size=n) for size in sizes], axis=1)


def scaled(factors: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Factors scaled to [-1, 1]."""
    return 2 * factors / (np.array(sizes) - 1) - 1


def aligned(rng: np.random.RandomState, factors: np.ndarray) -> np.ndarray:
    """A code for each factor, and five of noise."""
    return np.concatenate([scaled(factors, SIZES), rng.randn(len(factors), 5)], axis=1)


def rotated(rng: np.random.RandomState, factors: np.ndarray) -> np.ndarray:
    """Ten random mixtures of the factors."""
    del rng
    return scaled(factors, SIZES) @ np.random.RandomState(123).randn(5, 10)


def mixed(rng: np.random.RandomState, factors: np.ndarray) -> np.ndarray:
    """Noisy nonlinear mixtures of different scales, one code that is constant, and one that is nearly so."""
    z = scaled(factors, SMALL)
    columns = [
        np.tanh(z[:, 0]) + 0.1 * rng.randn(len(z)),
        5 * z[:, 1] + 2 * z[:, 0] + 0.5 * rng.randn(len(z)),
        0.3 * z[:, 2] ** 2 + 0.05 * rng.randn(len(z)),
        z[:, 2] + 0.2 * rng.randn(len(z)) + 3,
        np.full(len(z), 0.7),
        0.01 * rng.randn(len(z)),
    ]
    return np.stack(columns, axis=1)


CASES: dict[str, tuple[Callable, tuple[int, ...], int, int]] = {
    "aligned": (aligned, SIZES, 10_000, 5_000),
    "rotated": (rotated, SIZES, 10_000, 5_000),
    "mixed": (mixed, SMALL, 2_000, 1_000),
}


def data(case: str, rows: int | None = None) -> Data:
    """The rows of a case; at most ``rows`` of them to train on."""
    make, sizes, n, n_test = CASES[case]
    rng = np.random.RandomState(7)
    parts = []
    for count in (min(n, rows or n), n_test):
        factors = draw_factors(rng, count, sizes)
        parts += [make(rng, factors).astype(np.float32), factors]
    return Data(*parts)
