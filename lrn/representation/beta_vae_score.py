"""The BetaVAE score: which factor do two halves of pairs share? (Higgins et al. 2017, section 3)."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import nan_where
from lrn.representation import factors as given
from lrn.representation import logistic
from lrn.representation.alike import Alike, alike, draw
from lrn.types import Array, Key

BATCH, POINTS, JUDGED = 64, 10_000, 5_000
_CHUNK = 250


def beta_vae_score(
    key: Key,
    codes: Any,
    factors: Any,
    *,
    points: int = POINTS,
    judged: int = JUDGED,
    batch: int = BATCH,
    sizes: Any = None,
) -> Array:
    """The accuracy of a linear classifier that names the factor which pairs of rows share, scalar.

    A point is the mean over ``batch`` pairs of the absolute difference of their codes, where both rows of
    each pair have one value of the point's factor. The classifier is scikit-learn's logistic regression with
    C = 1, as in disentanglement_lib, which draws new observations where this function draws from the rows,
    with replacement: a value should have several dozen rows. Rotated codes reach 1 too.

    Args:
        key: the key of the draws; models that are compared should share it.
        codes: floats [n, dim], raw.
        factors: whole numbers [n, factors], two factors or more.
        points, judged: the number of points that train the classifier, and of those that judge it.
        batch: the number of pairs of a point.
        sizes: the number of values of each factor, needed where the factors are traced.

    Raises:
        InputError: codes, factors or settings are wrong.
    """
    for name, value in (("points", points), ("judged", judged), ("batch", batch)):
        check.integer(name, value, 1)
    rows, sizes = given.rows(codes, factors, sizes)
    given.several("the BetaVAE score", len(sizes), "factors")
    return accuracy(key, rows, sizes, points, judged, batch)


@functools.partial(jax.jit, static_argnames=("sizes", "points", "judged", "batch"))
def accuracy(key: Key, rows: given.Rows, sizes: given.Sizes, points: int, judged: int, batch: int) -> Array:
    """`beta_vae_score` of checked rows."""
    groups = alike(rows.factors, sizes)
    chunks = -(-(points + judged) // _CHUNK)
    keys = jax.random.split(key, chunks)
    x, y = jax.lax.map(lambda each: _points(each, rows.codes, groups, batch), keys)
    x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1)
    # Centered points have the same classifier with another bias, which is not penalized.
    x = x - jnp.mean(x[:points], axis=0)[None]
    fitted = logistic.fit(x[:points], y[:points], len(sizes), 1.0)
    last = slice(points, points + judged)
    guess = jnp.argmax(logistic.logits(fitted, x[last]), axis=1)
    return nan_where(rows.bad, jnp.mean(guess == y[last]))


def _points(key: Key, codes: Array, groups: Alike, batch: int) -> tuple[Array, Array]:
    """Points [chunk, dim] and their factors [chunk]."""
    of_factor, of_row, of_partner = jax.random.split(key, 3)
    factor = jax.random.randint(of_factor, (_CHUNK,), 0, groups.order.shape[0])
    first = jax.random.randint(of_row, (_CHUNK, batch), 0, codes.shape[0])
    second = draw(of_partner, groups, jnp.broadcast_to(factor[:, None], first.shape), first)
    return jnp.mean(jnp.abs(codes[first] - codes[second]), axis=1), factor
