"""The best rules of two Gaussian groups, with and without parity, by the known distribution."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from experiments.fair._people import APART, MEAN_RATE

_GRID = np.linspace(-12, 12 + APART, 40_001)
_RATES = np.linspace(1e-4, 1 - 1e-4, 5001)


def price_of_parity(gap: float, noise: float = 0.0, bias: float = 0.0, bound: float = 0.0) -> float:
    """What a bound on selection rates costs in balanced accuracy, without any error of estimation.

    Both rules have the best balanced accuracy on the labels that a model sees, one among all thresholds by
    group, the other among those whose selection rates differ by ``bound`` at most. The price is in balanced
    accuracy on the true labels. The groups have equal size.

    Args:
        gap, noise, bias: see `experiments.fair._people.drawn`. bound: the largest difference of rates.
    """
    seen, true = _worths(gap, noise, bias)
    best = [int(np.argmax(worth)) for worth in seen]
    free = sum(worth[i] for worth, i in zip(true, best))
    # A group's worth is concave in its rate: within a window the best rate is the one next to its peak.
    peaks = [_RATES[i] for i in best]
    within = [np.clip(peak, _RATES, _RATES + bound) for peak in peaks]
    worth = [sum(np.interp(a, _RATES, v) for a, v in zip(within, values)) for values in (seen, true)]
    return float(free - worth[1][np.argmax(worth[0])])  # pyright: ignore[reportIndexIssue]


def _worths(gap: float, noise: float, bias: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Each group's part of the balanced accuracy, over its selection rate: as seen, and in truth."""
    rates = [MEAN_RATE - gap / 2, MEAN_RATE + gap / 2]
    hidden = [bias, 0.0]
    all_seen, all_true = np.mean([r * (1 - h) for r, h in zip(rates, hidden)]), np.mean(rates)
    seen, true = [], []
    for rate, flipped, spread in zip(rates, hidden, (np.hypot(1, noise), 1.0)):
        negative, positive = (
            share * norm.sf((_GRID - APART * label) / spread) for share, label in ((1 - rate, 0), (rate, 1))
        )  # P(selected and label), by threshold
        as_seen = (1 - flipped) * positive / all_seen - (negative + flipped * positive) / (1 - all_seen)
        in_truth = positive / all_true - negative / (1 - all_true)
        for found, worth in ((seen, as_seen), (true, in_truth)):
            found.append(np.interp(_RATES, (negative + positive)[::-1], worth[::-1]) / 4)
    return seen, true
