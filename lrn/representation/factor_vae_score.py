"""The FactorVAE score: which code varies least while a factor is fixed? (Kim and Mnih 2018, section 4)."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import nan_where
from lrn.representation import factors as given
from lrn.representation.alike import alike, draw
from lrn.types import Array, Key

BATCH, VOTES, JUDGED = 64, 10_000, 5_000
_CHUNK = 250


def factor_vae_score(
    key: Key,
    codes: Any,
    factors: Any,
    *,
    votes: int = VOTES,
    judged: int = JUDGED,
    batch: int = BATCH,
    least_std: ArrayLike = 0.05,
    sizes: Any = None,
) -> Array:
    """The accuracy of a majority vote from the least varying code to the factor that was fixed, scalar.

    For each vote a factor and one of its values are drawn, then ``batch`` rows with this value, and the code
    with the least variance among them, in units of its variance among all rows, votes. Codes with a standard
    deviation below ``least_std`` do not take part; where all are below, the score is 0. The definition is
    that of disentanglement_lib, which draws new observations where this function draws from the given rows,
    with replacement: a value should have several dozen rows.

    Args:
        key: the key of the draws; models that are compared should share it.
        codes: floats [n, dim], raw: their scale decides which ones are used.
        factors: whole numbers [n, factors], two factors or more.
        votes, judged: the number of votes that train the classifier, and of those that judge it.
        batch: the number of rows of a vote.
        least_std: 0 or more; may be traced.
        sizes: the number of values of each factor, needed where the factors are traced.

    Raises:
        InputError: codes, factors or settings are wrong.
    """
    for name, value, least in (("votes", votes, 1), ("judged", judged, 1), ("batch", batch, 2)):
        check.integer(name, value, least)
    check.non_negative("least_std", least_std)
    rows, sizes = given.rows(codes, factors, sizes)
    given.several("the FactorVAE score", len(sizes), "factors")
    return accuracy(key, rows, sizes, votes, judged, batch, least_std)


@functools.partial(jax.jit, static_argnames=("sizes", "votes", "judged", "batch"))
def accuracy(
    key: Key, rows: given.Rows, sizes: given.Sizes, votes: int, judged: int, batch: int, least_std: ArrayLike
) -> Array:
    """`factor_vae_score` of checked rows."""
    n, dim = rows.codes.shape
    groups = alike(rows.factors, sizes)
    variance = jnp.var(rows.codes, axis=0, ddof=1)
    active = jnp.sqrt(variance) >= least_std
    scale = jnp.where(active, variance, 1.0)
    centered = rows.codes - jnp.mean(rows.codes, axis=0)[None]

    def vote(key: Key) -> tuple[Array, Array]:
        of_factor, of_row, of_batch = jax.random.split(key, 3)
        factor = jax.random.randint(of_factor, (_CHUNK,), 0, len(sizes))
        row = jax.random.randint(of_row, (_CHUNK,), 0, n)
        shape = (_CHUNK, batch)
        drawn = draw(of_batch, groups, *(jnp.broadcast_to(v[:, None], shape) for v in (factor, row)))
        local = jnp.var(centered[drawn], axis=1, ddof=1) / scale[None]
        return factor, jnp.argmin(jnp.where(active[None], local, jnp.inf), axis=1)

    chunks = -(-(votes + judged) // _CHUNK)
    factor, code = (x.reshape(-1) for x in jax.lax.map(vote, jax.random.split(key, chunks)))

    def table(part: slice) -> Array:
        fixed = (factor[part, None] == jnp.arange(len(sizes))[None]).astype(jnp.float32)
        return jnp.matmul(fixed.T, (code[part, None] == jnp.arange(dim)[None]).astype(jnp.float32))

    train, test = table(slice(0, votes)), table(slice(votes, votes + judged))
    guess = jnp.argmax(train, axis=0)
    right = jnp.sum(jnp.take_along_axis(test, guess[None], axis=0))
    bad = rows.bad | ~(jnp.asarray(least_std) >= 0)
    return nan_where(bad, jnp.where(jnp.any(active), right / judged, 0.0))
