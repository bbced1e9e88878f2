"""Unsupervised disentanglement ranking: models that agree are disentangled (Duan et al. 2020)."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, array, nan_where
from lrn.representation import factors as given
from lrn.representation.lasso import lasso
from lrn.representation.mcc import correlations, ranks
from lrn.types import Array

KINDS = ("lasso", "spearman")


class UDR(NamedTuple):
    """How well models agree.

    score: [models], the median over other models of the pair's score.
    pairs: [models, models], the score of each pair; 0 on the diagonal.
    """

    score: Array
    pairs: Array


def udr(
    codes: Any, active: Any = None, kind: str = "lasso", penalty: ArrayLike = 0.1, sweeps: int = 100
) -> UDR:
    """The score of each of several models, trained with one setting and other seeds, without any factor.

    A pair scores high where each code of one model relates to one code of the other. The relation is the
    absolute coefficient of a Lasso, from all codes of one model to each code of the other, or Spearman's
    correlation. The definitions are those of disentanglement_lib.

    Args:
        codes: floats [models, n, dim] of the same n rows, two models or more.
        active: bools [models, dim], which codes are used; the paper takes those with a mean divergence from
            the prior above .01 nats. None takes all.
        kind: "lasso" or "spearman".
        penalty: the Lasso's penalty, above 0; may be traced.
        sweeps: passes of the Lasso's coordinate descent.

    Raises:
        InputError: codes, active codes or settings are wrong.
    """
    check.choice("kind", kind, KINDS)
    check.positive("penalty", penalty)
    check.integer("sweeps", sweeps, 1)
    codes = array(codes, "codes")
    shape, dtype = codes.shape, codes.dtype
    if len(shape) != 3 or shape[0] < 2 or shape[1] < 2 or not jnp.issubdtype(dtype, jnp.floating):
        raise check.InputError(
            f"codes must be floats [models, n, dim] with 2 or more models and rows, got shape {shape} and "
            f"dtype {dtype}; stack the codes of models on the same rows."
        )
    x = given.floats(codes, "codes")
    used = jnp.ones((shape[0], shape[2]), bool) if active is None else jnp.asarray(active)
    if used.shape != (shape[0], shape[2]) or used.dtype != bool:
        raise check.InputError(
            f"active codes must be bools [{shape[0]}, {shape[2]}], got shape {used.shape} and {used.dtype}."
        )
    return _udr(x, used, kind, above_zero(penalty), sweeps)


@functools.partial(jax.jit, static_argnames=("kind", "sweeps"))
def _udr(x: Array, used: Array, kind: str, penalty: ArrayLike, sweeps: int) -> UDR:
    bad = ~jnp.all(jnp.abs(x) <= given.LARGEST, axis=(1, 2)) | jnp.isnan(penalty)
    if kind == "spearman":
        x = jax.lax.map(ranks, x)
    count = x.shape[0]
    models = jnp.arange(count)
    grams = jax.lax.map(lambda z: correlations(z, z), x)

    def pair(i: Array, j: Array) -> Array:
        keep_i, keep_j = used[i], used[j]
        both = keep_i[:, None] & keep_j[None]
        cross = jnp.where(both, correlations(x[i], x[j]), 0.0)
        if kind == "lasso":
            gram = jnp.where(keep_i[:, None] & keep_i[None], grams[i], 0.0)
            cross = lasso(gram, cross, penalty, sweeps)
        return strength(jnp.abs(cross), keep_i, keep_j)

    table = jax.lax.map(lambda i: jax.vmap(lambda j: pair(i, j))(models), models)
    table = nan_where(bad[:, None] | bad[None], jnp.where(jnp.eye(count, dtype=bool), 0.0, table))
    # As in disentanglement_lib, a model's scores are those of regressions onto its codes.
    rest = jnp.where(jnp.eye(count, dtype=bool), jnp.nan, table)
    score = jnp.nanmedian(rest, axis=0)
    return UDR(nan_where(jnp.any(jnp.isnan(table), axis=0), score), table)


def strength(relation: Array, keep: Array, keep_other: Array) -> Array:
    """The mean over codes of ``max^2 / sum`` of their relations, averaged over both models, scalar.

    Args:
        relation: [dim, other dim], not negative, 0 where a code is not active.
        keep, keep_other: bools [dim] and [other dim], which codes count.
    """

    def along(axis: int, counted: Array) -> Array:
        top, total = jnp.max(relation, axis=axis), jnp.sum(relation, axis=axis)
        share = jnp.where(total > 0, jnp.square(top) / jnp.where(total > 0, total, 1), 0.0)
        return jnp.sum(jnp.where(counted, share, 0.0)) / jnp.maximum(jnp.sum(counted), 1)

    return (along(0, keep_other) + along(1, keep)) / 2
