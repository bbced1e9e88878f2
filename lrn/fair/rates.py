"""Rates of a confusion matrix: each is a share of hits among trials; a rate without trials is NaN, never 0.

With labels ``y`` and decisions ``d``:

| name | definition |
|---|---|
| selection_rate | P(d = 1) |
| base_rate | P(y = 1) |
| true_positive_rate | P(d = 1 given y = 1) |
| false_positive_rate | P(d = 1 given y = 0) |
| true_negative_rate | P(d = 0 given y = 0) |
| false_negative_rate | P(d = 0 given y = 1) |
| positive_predictive_value | P(y = 1 given d = 1) |
| negative_predictive_value | P(y = 0 given d = 0) |
| accuracy | P(d = y) |
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from lrn import check
from lrn.fair.confusion import Confusion, overall
from lrn.types import Array

# name -> (hits, trials)
RATES: dict[str, Callable[[Confusion], tuple[Array, Array]]] = {
    "selection_rate": lambda c: (c.tp + c.fp, c.tp + c.fp + c.fn + c.tn),
    "base_rate": lambda c: (c.tp + c.fn, c.tp + c.fp + c.fn + c.tn),
    "true_positive_rate": lambda c: (c.tp, c.tp + c.fn),
    "false_positive_rate": lambda c: (c.fp, c.fp + c.tn),
    "true_negative_rate": lambda c: (c.tn, c.fp + c.tn),
    "false_negative_rate": lambda c: (c.fn, c.tp + c.fn),
    "positive_predictive_value": lambda c: (c.tp, c.tp + c.fp),
    "negative_predictive_value": lambda c: (c.tn, c.tn + c.fn),
    "accuracy": lambda c: (c.tp + c.tn, c.tp + c.fp + c.fn + c.tn),
}


def hits_and_trials(counts: Confusion, name: str) -> tuple[Array, Array]:
    """Numerator and denominator of a rate, each [..., groups].

    Raises:
        InputError: the rate is unknown.
    """
    check.choice("rate", name, RATES)
    return RATES[name](counts)


def rate(counts: Confusion, name: str) -> Array:
    """A rate of each group, [..., groups]; NaN where it has no trials.

    Args:
        counts: confusion counts [..., groups]. name: a key of `RATES`.

    Raises:
        InputError: the rate is unknown.
    """
    return divide(*hits_and_trials(counts, name))


def balanced_accuracy(counts: Confusion) -> Array:
    """The mean of true-positive and true-negative rate of each group, [..., groups]; NaN with one class."""
    return (rate(counts, "true_positive_rate") + rate(counts, "true_negative_rate")) / 2


def overall_balanced_accuracy(counts: Confusion) -> Array:
    """The balanced accuracy of all groups together, [...], for counts [..., groups]; NaN with one class."""
    return balanced_accuracy(overall(counts))[..., 0]


def error_ratio(counts: Confusion) -> Array:
    """False negatives over false positives of each group, [..., groups]; NaN without false positives.

    Equal ratios are the treatment equality of Berk et al. (2018).
    """
    return divide(counts.fn, counts.fp)


def divide(a: Array, b: Array) -> Array:
    """``a / b``, and NaN where b is 0; gradients stay finite elsewhere."""
    return jnp.where(b == 0, jnp.nan, a / jnp.where(b == 0, 1, b))
