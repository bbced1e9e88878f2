"""Group fairness of decisions: how far a rate differs between groups, for any number of groups.

All functions take confusion counts [..., groups] (`lrn.fair.confusion`) and return [...]. A difference is the
largest minus the smallest rate, so 0 is fair; a ratio is the smallest over the largest, so 1 is fair.

An empty cell is NaN, and so is the gap over it: nothing is known about that group. (fairlearn takes a rate
without trials as 0.) ``empty="skip"`` compares the groups that have the rate, and still gives NaN with fewer
than two. The largest gap over small groups is biased upwards: see `lrn.fair.gap_bias`.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from lrn import check
from lrn.fair.confusion import Confusion, overall
from lrn.fair.rates import balanced_accuracy, divide, error_ratio, rate
from lrn.types import Array

AGAINST = ("groups", "overall")
EMPTY = ("nan", "skip")


def spread(values: Array, empty: str = "nan") -> Array:
    """The largest minus the smallest of the values [..., groups], [...].

    Args:
        values: one value a group. empty: "nan" or "skip": what a group without a value does.

    Raises:
        InputError: ``empty`` is neither.
    """
    low, high = _extremes(values, empty)
    return high - low


def quotient(values: Array, empty: str = "nan") -> Array:
    """The smallest over the largest of the values [..., groups], [...]; NaN where all values are 0.

    Raises:
        InputError: ``empty`` is neither "nan" nor "skip".
    """
    return divide(*_extremes(values, empty))


def difference(counts: Confusion, name: str, against: str = "groups", empty: str = "nan") -> Array:
    """The difference of a rate between groups, [...].

    Args:
        counts: confusion counts [..., groups].
        name: a rate of `lrn.fair.rates.RATES`.
        against: "groups": largest minus smallest rate; "overall": the largest distance of a group's rate from
            the rate of all rows together.
        empty: "nan" or "skip".

    Raises:
        InputError: a name is unknown.
    """
    check.choice("against", against, AGAINST)
    values = rate(counts, name)
    if against == "groups":
        return spread(values, empty)
    return _extremes(jnp.abs(values - rate(overall(counts), name)), empty)[1]


def ratio(counts: Confusion, name: str, against: str = "groups", empty: str = "nan") -> Array:
    """The ratio of a rate between groups, [...], in [0, 1].

    Arguments and errors are those of `difference`; "overall" takes the smallest of r / R and R / r over the
    groups' rates r, with R the rate of all rows together.
    """
    check.choice("against", against, AGAINST)
    values = rate(counts, name)
    if against == "groups":
        return quotient(values, empty)
    total = rate(overall(counts), name)
    least = jnp.minimum(values, total) / jnp.maximum(values, total)
    return _extremes(least, empty)[0]


def demographic_parity_difference(counts: Confusion, empty: str = "nan") -> Array:
    """The difference of selection rates, [...] (statistical parity; Dwork et al. 2012)."""
    return difference(counts, "selection_rate", empty=empty)


def demographic_parity_ratio(counts: Confusion, empty: str = "nan") -> Array:
    """The ratio of selection rates, [...] (disparate impact; the four-fifths rule asks for .8)."""
    return ratio(counts, "selection_rate", empty=empty)


def equal_opportunity_difference(counts: Confusion, empty: str = "nan") -> Array:
    """The difference of true-positive rates, [...] (Hardt et al. 2016)."""
    return difference(counts, "true_positive_rate", empty=empty)


def equal_opportunity_ratio(counts: Confusion, empty: str = "nan") -> Array:
    """The ratio of true-positive rates, [...]."""
    return ratio(counts, "true_positive_rate", empty=empty)


def equalized_odds_max(counts: Confusion, empty: str = "nan") -> Array:
    """The larger of the differences of true- and of false-positive rates, [...] (fairlearn's default)."""
    return jnp.maximum(*_odds(counts, empty))


def equalized_odds_mean(counts: Confusion, empty: str = "nan") -> Array:
    """The mean of the differences of true- and of false-positive rates, [...].

    For two groups it is AIF360's average absolute odds difference; FFB reports twice this value.
    """
    a, b = _odds(counts, empty)
    return (a + b) / 2


def equalized_odds_ratio(counts: Confusion, empty: str = "nan") -> Array:
    """The smaller of the ratios of true- and of false-positive rates, [...]."""
    names = ("true_positive_rate", "false_positive_rate")
    return jnp.minimum(*(ratio(counts, name, empty=empty) for name in names))


def predictive_parity_difference(counts: Confusion, empty: str = "nan") -> Array:
    """The difference of positive predictive values, [...] (Chouldechova 2017)."""
    return difference(counts, "positive_predictive_value", empty=empty)


def accuracy_difference(counts: Confusion, empty: str = "nan") -> Array:
    """The difference of accuracies, [...] (overall accuracy equality; Berk et al. 2018)."""
    return difference(counts, "accuracy", empty=empty)


def balanced_accuracy_difference(counts: Confusion, empty: str = "nan") -> Array:
    """The difference of balanced accuracies, [...]."""
    return spread(balanced_accuracy(counts), empty)


def treatment_equality_difference(counts: Confusion, empty: str = "nan") -> Array:
    """The difference of the ratios of false negatives to false positives, [...] (Berk et al. 2018)."""
    return spread(error_ratio(counts), empty)


def _odds(counts: Confusion, empty: str) -> tuple[Array, Array]:
    names = ("true_positive_rate", "false_positive_rate")
    a, b = (difference(counts, name, empty=empty) for name in names)
    return a, b


def _extremes(values: Array, empty: str) -> tuple[Array, Array]:
    """The smallest and the largest value, each [...]."""
    check.choice("empty", empty, EMPTY)
    return _known_extremes(values, empty == "skip")


@functools.partial(jax.jit, static_argnames="skip")  # so that they are one program outside of jit
def _known_extremes(values: Array, skip: bool) -> tuple[Array, Array]:
    known = ~jnp.isnan(values)
    enough = known.sum(axis=-1) >= 2 if skip else known.all(axis=-1)
    low = jnp.min(jnp.where(known, values, jnp.inf), axis=-1)
    high = jnp.max(jnp.where(known, values, -jnp.inf), axis=-1)
    return jnp.where(enough, low, jnp.nan), jnp.where(enough, high, jnp.nan)
