"""How steps grow with a size: lines through censored medians, held-out sizes, and planted growths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import log_ndtr

POWER, EXPONENTIAL = "power law", "exponential"
EXPONENT, RATE, LEAD = "exponent", "doublings a unit", "lead of the exponential"
MISSES = {law: f"miss of the {law}" for law in (POWER, EXPONENTIAL)}
SPREAD = "spread of log2 episodes"
SOLVED, TRAINING = 0.9, 3  # the share of solved runs at an observed size; the least sizes of a fit
BACK, NARROW = 2 / 3, 0.05  # sizes above this share of the largest observed one are held out; least deviation


def log_medians(steps: np.ndarray) -> np.ndarray:
    """log2 of the medians over runs, [seeds, sizes], of steps [seeds, sizes, runs]; infinite if unsolved."""
    return np.log2(np.median(steps, -1))


def observed(steps: np.ndarray) -> int:
    """The number of sizes, from the smallest on, at which nine of ten runs of all seeds were solved."""
    enough = np.isfinite(steps).mean((0, 2)) >= SOLVED
    return len(enough) if enough.all() else int(np.argmin(enough))


def line(x: np.ndarray, y: np.ndarray, limit: float) -> np.ndarray:
    """The line of the largest likelihood, (intercept, slope), with normal errors and censored values.

    Tobit regression by expectation and maximization (Aitkin 1981). Without censored values it is the line of
    least squares. NaN where fewer than two sizes have a value.

    Args:
        x: [n]. y: [n], infinite where the value is only known to exceed ``limit``.
    """
    cut = ~np.isfinite(y)
    if len(np.unique(x[~cut])) < 2:
        return np.full(2, np.nan)
    design = np.stack([np.ones_like(x), x], 1)
    fit = np.linalg.lstsq(design[~cut], y[~cut], rcond=None)[0]
    deviation, filled = max(np.std(y[~cut] - design[~cut] @ fit), NARROW), np.where(cut, limit, y)
    for _ in range(200 if cut.any() else 0):
        mean = design @ fit
        z = (limit - mean) / deviation
        hazard = np.exp(-(z**2) / 2 - np.log(2 * np.pi) / 2 - log_ndtr(-z))
        filled = np.where(cut, mean + deviation * hazard, filled)
        left = np.where(cut, deviation**2 * np.maximum(1 + z * hazard - hazard**2, 0.0), 0.0)
        fit = np.linalg.lstsq(design, filled, rcond=None)[0]
        deviation = max(np.sqrt(np.mean((filled - design @ fit) ** 2 + left)), NARROW)
    return fit


def measured(sizes: Sequence[float], steps: np.ndarray, limit: float) -> dict[str, np.ndarray]:
    """Of one series the slopes of both laws and their errors at held-out sizes, each [seeds].

    The slopes are those of log2 steps over log2 of the size (power law) and over the size (exponential), by
    all sizes. For the errors both laws are fitted on the smaller of the observed sizes and predict the sizes
    above two thirds of the largest observed one. A miss is the observed value minus the predicted one, in
    doublings; a run that was given up misses by what is known of it, so not at all if the prediction exceeds
    the limit. The lead of the exponential is the distance of the observed value from the middle of the two
    predictions, on the side of the exponential. It is linear in what is observed, so that its mean over seeds
    tells laws apart that differ by less than the noise of a seed. NaN where too few sizes are observed.

    Args:
        sizes: increasing. steps: [seeds, sizes, runs], infinite for runs given up at ``limit`` steps.
    """
    n, y, top, seeds = np.asarray(sizes, float), log_medians(steps), np.log2(limit), len(steps)
    known, axes = observed(steps), {POWER: np.log2(n), EXPONENTIAL: n}
    fits = {law: np.array([line(x, own, top) for own in y]) for law, x in axes.items()}
    held = (np.arange(len(n)) < known) & (n > BACK * n[max(known - 1, 0)])
    train = (np.arange(len(n)) < known) & ~held
    found = {EXPONENT: fits[POWER][:, 1], RATE: fits[EXPONENTIAL][:, 1]}
    missing = np.full(seeds, np.nan)
    if known < TRAINING:
        found = dict.fromkeys(found, missing)
    if train.sum() < TRAINING:
        return {**found, **dict.fromkeys((LEAD, *MISSES.values()), missing)}
    guess, miss = {}, {}
    cut = ~np.isfinite(y[:, held])
    for law, x in axes.items():
        ahead = np.stack([x[held] ** 0, x[held]])
        guess[law] = np.array([line(x[train], own[train], top) @ ahead for own in y])
        missed = np.where(cut, top, y[:, held]) - guess[law]
        miss[law] = np.where(cut, np.maximum(missed, 0.0), missed)
    side = np.sign(guess[EXPONENTIAL] - guess[POWER])
    lead = (side * (miss[POWER] + miss[EXPONENTIAL]) / 2).mean(1)
    return {**found, LEAD: lead, **{MISSES[law]: x.mean(1) for law, x in miss.items()}}


def planted(
    law: str, sizes: Sequence[float], limit: float, seeds: Sequence[int], runs: int, spread: float
) -> np.ndarray:
    """Steps [seeds, sizes, runs] that follow a law, given up at the limit.

    The median is 16 at the smallest size and an eighth of the limit at three fifths of the sizes, so that two
    laws agree at both, and of an exponential few runs or none are solved beyond.

    Args:
        spread: the standard deviation of log2 steps over runs.
    """
    n, reach = np.asarray(sizes, float), 3 * len(sizes) // 5
    x = np.log2(n) if law == POWER else n
    medians = 4 + (x - x[0]) / (x[reach] - x[0]) * (np.log2(limit) - 7)
    draws = np.array([np.random.default_rng([7, seed]).normal(size=(len(n), runs)) for seed in seeds])
    steps = medians[None, :, None] + spread * draws
    return np.where(steps > np.log2(limit), np.inf, 2 ** np.minimum(steps, np.log2(limit)))


def spread_of(steps: np.ndarray, limit: float) -> np.ndarray:
    """The standard deviation of log2 steps [seeds, sizes, runs] over runs, [seeds], at observed sizes."""
    logs = np.log2(np.minimum(steps, limit))[:, : max(observed(steps), 1)]
    return logs.std(-1, ddof=1).mean(1)
