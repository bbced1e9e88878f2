"""Many tests at once: Holm's step-down and Hochberg's step-up adjustment."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lrn.stats import _input


def holm(p: ArrayLike) -> np.ndarray:
    """Holm-adjusted p-values [k], in the order given (Holm, 1979).

    Rejecting where the adjusted value is at most alpha keeps the chance of any false rejection at or below
    alpha, whatever the dependence between the tests. The procedure is uniformly more powerful than
    Bonferroni's.

    Raises:
        ValueError: no p-values, wrong rank, or a value outside [0, 1].
    """
    p = _checked(p)
    order = np.argsort(p, kind="stable")
    stepped = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted


def hochberg(p: ArrayLike) -> np.ndarray:
    """Hochberg-adjusted p-values [k], in the order given (Hochberg, 1988).

    Rejecting where the adjusted value is at most alpha keeps the chance of any false rejection at or below
    alpha for tests that are independent or depend positively on each other (Sarkar, 1998), as tests on
    one set of seeds do. Where all raw values are at most alpha, all hypotheses are rejected.

    Raises:
        ValueError: as `holm`.
    """
    p = _checked(p)
    order = np.argsort(p, kind="stable")
    stepped = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(stepped[::-1])[::-1], 1.0)
    return adjusted


def _checked(p: ArrayLike) -> np.ndarray:
    values = _input.sample("p", p)
    outside = values[(values < 0) | (values > 1)]
    if len(outside):
        raise ValueError(
            f"p-values must lie between 0 and 1, got {float(outside[0]):g}; pass the raw p-values of the "
            "tests."
        )
    return values
