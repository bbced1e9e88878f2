"""Many tests at once: Holm's step-down adjustment."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lrn.stats import _input


def holm(p: ArrayLike) -> np.ndarray:
    """Holm-adjusted p-values [k], in the order given (Holm, 1979).

    Rejecting where the adjusted value is at most alpha keeps the chance of any false rejection at or below
    alpha, whatever the dependence between the tests; uniformly stronger than Bonferroni.

    Raises:
        ValueError: no p-values, wrong rank, or a value outside [0, 1].
    """
    p = _input.sample("p", p)
    if ((p < 0) | (p > 1)).any():
        bad = float(p[(p < 0) | (p > 1)][0])
        raise ValueError(
            f"p-values must lie between 0 and 1, got {bad:g}; pass the raw p-values of the tests."
        )
    order = np.argsort(p, kind="stable")
    stepped = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted
