"""The test of a mean on which verdicts rest: sign flips, guarded against skew."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lrn import check
from lrn.stats import _input
from lrn.stats.permutation import RESAMPLES, TIES, smallest_tail, tail


def mean_test(
    x: ArrayLike,
    y: ArrayLike | None = None,
    margin: float = 0.0,
    alternative: str = "two-sided",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """P-value of the mean of x [n], or of the paired differences x - y, against ``margin``.

    Flips of sign about the margin are exact for symmetric differences. Where the differences are skewed
    to the left, few seeds miss the rare low values, and the flips reject too often: with ten seeds, a
    nominal .05 and a mean on the margin they reject in .13 (exponential) to .21 (log-normal) of studies.
    p is therefore a power of the flips' p,

        p = p_flips^(k s),   s = clip(max(M / (.46 + 1.3 / n), u / 5), 1 - n^(-1/4), 1).

    M is the mean of max(z, 0)^4 over the standardized values z: 1.5 for normal values, .9 for uniform values,
    and less where the right tail is short (.17 for values exponential to the left). u is the distance of the
    mean above the margin in standard deviations. A sample that may hide a left tail thus counts for s n
    seeds. The factor k = 1 + .6 / max(n, 10) makes up for symmetric samples that look skewed by chance.
    "less" mirrors the values, and "two-sided" doubles the smaller p.

    The level at a nominal .05 (`python -m experiments.bench stats` compares other tests): at most .06 for
    *any* symmetric distribution, and about .05 for normal data. For exponential, log-normal and
    chi-square data skewed to the left it is less than half of the flips' level from 8 to 40 seeds: .06,
    .10 and .05 with ten, .05, .08 and .05 with twenty. It gains less where both tails are long and the
    left tail is longer (.09 with ten seeds, in place of .12). The power for normal data is .95 of that of
    the flips with ten seeds, .91 with eight, and equal from 15 on. Effects on data skewed to the left
    take more seeds than under the flips.

    p falls as the margin moves away from the mean. p is never below `smallest_sign_flip_p`, which samples
    without spread beyond the margin attain. Values on the margin give 1.

    Raises:
        ValueError: no values, lengths that differ, non-finite or masked values, wrong rank, a margin that is
            no finite number, an unknown alternative, fewer than one resample, or a negative seed.
    """
    d, noise = _input.differences(x, y, margin)
    _input.alternative(alternative)
    check.integer("resamples", resamples, 1)
    check.integer("seed", seed)
    noise = noise + TIES * np.abs(d)
    if alternative == "two-sided":
        return min(1.0, 2 * min(_above(d, noise, resamples, seed), _above(-d, noise, resamples, seed)))
    return _above(-d if alternative == "less" else d, noise, resamples, seed)


def _above(d: np.ndarray, noise: np.ndarray, resamples: int, seed: int) -> float:
    """P-value for a mean of d [n] above 0."""
    n = len(d)
    p = tail(d, noise, resamples, seed)
    if np.ptp(d) > 2 * noise.max():
        p = p ** guard(_input.unit(d)[1][0])
    return max(float(p), smallest_tail(n, resamples))


def guard(d: np.ndarray) -> np.ndarray:
    """The power k s of `mean_test` for samples d [..., n] that are not constant: [...]."""
    n = d.shape[-1]
    mean = d.mean(axis=-1, keepdims=True)
    spread = np.sqrt(((d - mean) ** 2).mean(axis=-1, keepdims=True))
    right_tail = (np.maximum((d - mean) / spread, 0) ** 4).mean(axis=-1)
    distance = (mean / spread)[..., 0]
    # The constants were chosen by simulation; `experiments/bench/stats.py` measures the resulting levels.
    counted = np.maximum(right_tail / (0.46 + 1.3 / n), distance / 5)
    return (1 + 0.6 / max(n, 10)) * np.clip(counted, 1 - n**-0.25, 1)


def skewness(x: ArrayLike) -> float:
    """Sample skewness of x [n], adjusted for n (Fisher and Pearson's G1); 0 where all values are equal.

    Raises:
        ValueError: fewer than three values, non-finite or masked values, or wrong rank.
    """
    x = _input.sample("x", x, least=3)
    if _input.constant(x):
        return 0.0
    n, (scaled,) = len(x), _input.unit(x)[1]
    centered = scaled - scaled.mean()
    g = (centered**3).mean() / (centered**2).mean() ** 1.5
    return float(g * np.sqrt(n * (n - 1)) / (n - 2))
