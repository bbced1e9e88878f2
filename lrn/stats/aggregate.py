"""The interquartile mean over runs and tasks, with a stratified bootstrap interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lrn import check
from lrn.stats import _input
from lrn.stats.intervals import Interval


def iqm(x: ArrayLike) -> float:
    """Interquartile mean of all values of x, of any shape: the mean of the middle half.

    The mean leaves out floor(n / 4) values at each end, as scipy's ``trim_mean(x, 0.25)``. It is robust to
    outlying runs, and less variable than the median (Agarwal et al., 2021). Fewer than four values give the
    plain mean.

    Raises:
        ValueError: no values, or non-finite values.
    """
    exponent, (x,) = _input.unit(_input.sample("x", np.ravel(_input.numbers("x", x))))
    return float(np.ldexp(_middle_mean(x), exponent))


def iqm_interval(scores: ArrayLike, level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """IQM of scores [runs, tasks] with its stratified bootstrap interval (Agarwal et al., 2021).

    Runs are resampled within each task separately, so the interval holds for new runs on the same tasks.
    Scores of different tasks must share a scale: normalize them first. Scores [runs] are those of one task.
    The interval is a percentile interval: a nominal 95% covers about 89% with 5 runs, 93% with 10 and 94%
    with 20 (normal runs, three tasks). Where all runs of each task are equal, the interval is a point.

    Raises:
        ValueError: fewer than two runs, no task, non-finite values, wrong rank, a level outside (0, 1), fewer
            than one resample, or a negative seed.
    """
    array = _input.numbers("scores", scores)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    array = _input.table("scores", array, ("runs", "tasks"), least=(2, 1))
    _input.level(level)
    check.integer("resamples", resamples, 1)
    check.integer("seed", seed)
    from scipy.stats import bootstrap

    exponent, (array,) = _input.unit(array)
    result = bootstrap(
        tuple(array.T),  # one sample for each task: scipy resamples each sample separately
        lambda *tasks, axis: _middle_mean(np.concatenate(tasks, axis=axis), axis),
        n_resamples=resamples,
        batch=max(1, 1_000_000 // array.size),
        vectorized=True,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    limits = (iqm(array), *result.confidence_interval)
    return Interval(*(float(v) for v in np.ldexp(limits, exponent)))


def _middle_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of the middle half of ``values`` along ``axis``."""
    n = values.shape[axis]
    cut = n // 4
    kept = np.take(np.sort(values, axis=axis), np.arange(cut, n - cut), axis=axis)
    return kept.mean(axis=axis)
