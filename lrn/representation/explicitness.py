"""Explicitness: can a linear classifier read each factor? (Ridgeway and Mozer 2018, section 3)."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from lrn.arrays import nan_where
from lrn.representation import factors as given
from lrn.representation import logistic
from lrn.representation.sorted_codes import mean_ranks
from lrn.representation.standard import standardized
from lrn.types import Array


def explicitness(codes: Any, factors: Any, test_codes: Any, test_factors: Any, sizes: Any = None) -> Array:
    """The mean over factors of the area under the curve of a logistic regression from all codes, scalar.

    It is 1 where each value of each factor is linearly separated from the others, and .5 at chance. The area
    is that of one value against the others, averaged over values; it is NaN where a factor has one value in
    all test rows. As in disentanglement_lib the regression is scikit-learn's with C = 1, on standardized
    codes.

    Args:
        codes, test_codes: floats [n, dim] and [n_test, dim].
        factors, test_factors: whole numbers [n, factors] and [n_test, factors].
        sizes: the number of values of each factor, needed where the factors are traced.

    Raises:
        InputError: codes or factors are wrong.
    """
    train, test, sizes = given.train_and_test(codes, factors, test_codes, test_factors, sizes)
    return nan_where(train.bad, areas(train, test, max(sizes)))


@functools.partial(jax.jit, static_argnames="most")
def areas(train: given.Rows, test: given.Rows, most: int) -> Array:
    """`explicitness` of checked rows, of factors with at most ``most`` values."""
    x, z = standardized(train.codes, test.codes)

    def of(factor: tuple[Array, Array]) -> Array:
        y, y_test = factor
        scores = logistic.logits(logistic.fit(x, y, most, 1.0), z)
        return area(jax.nn.softmax(scores), y_test)

    return jnp.mean(jax.lax.map(of, (train.factors.T, test.factors.T)))


def area(score: Array, y: Array) -> Array:
    """The area under the curve of each value against all others, averaged over values; ties count half.

    Args:
        score: floats [n, values].
        y: int [n], the value of each row. Values that no row has, or all rows, are left out.
    """
    n, size = score.shape
    own = y[None] == jnp.arange(size)[:, None]
    values, own = jax.lax.sort((score.T, own.astype(score.dtype)), dimension=1, num_keys=1)
    count = given.counts(y, size)
    mean = jnp.sum(own * mean_ranks(values), axis=1) / jnp.maximum(count, 1)
    found = (mean - (count + 1) / 2) / jnp.maximum(n - count, 1)
    valid = (count > 0) & (count < n)
    return jnp.sum(jnp.where(valid, found, 0.0)) / jnp.sum(valid)
