"""Multiaccuracy boosting: mend the scores of subgroups that an auditor finds (Hebert-Johnson et al. 2018).

A score is multiaccurate if its residuals, label minus score, have no correlation with any function of a
class. Each round an auditor, any model of `lrn.fair.model`, seeks a function h in [-1, 1] that correlates
with the residuals. If the correlation on held-out rows exceeds a tolerance, the scores move along h; else the
boosting ends. A round lowers the held-out squared error by ``step * (2 - step) * correlation^2`` or more, so
that few rounds are needed (Kim et al. 2019 do the same with multiplicative updates).

The held-out rows choose the number of rounds and their sizes. Measure the result on other rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.fair import arguments
from lrn.fair.arguments import Scored
from lrn.fair.model import Fit
from lrn.types import Array, PyTree


@config
class BoostConfig:
    """Settings of the boosting.

    tolerance: the boosting ends when the correlation ``E[h * (y - score)]`` is at most this; above 0.
    step: a move is ``step * correlation / E[h^2]`` times h; in (0, 1], and 1 minimizes the squared error.
    rounds: the largest number of rounds, each with one fit.
    """

    tolerance: float = 0.005
    step: float = 1.0
    rounds: int = 30

    def __post_init__(self) -> None:
        check.positive("tolerance", self.tolerance)
        check.positive("step", self.step)
        check.between("step", self.step, 0, 1)
        check.counts(self, "rounds")


class Boosted(NamedTuple):
    """The moves of the scores.

    models: the ``predict`` of each round, a pytree whose leaves have a leading axis [rounds].
    size: [rounds], the move along each h; 0 once the boosting has ended.
    correlation: [rounds], the correlation of each h with the residuals on the held-out rows. If the last one
        exceeds the tolerance, more rounds are needed.
    score: [n], the mended scores of the rows of the boosting.
    """

    models: PyTree
    size: Array
    correlation: Array
    score: Array


def multiaccuracy_boost(
    fit: Fit,
    x: Any,
    y: Any,
    score: Any,
    held_out: Any,
    config: BoostConfig = BoostConfig(),  # noqa: B008
    *,
    weights: Any = None,
) -> Boosted:
    """Mend scores until an auditor finds no correlation; jit and vmap safe over data and the config's floats.

    Args:
        fit: a pure model, such as ``logistic(LogisticConfig())``; h is ``2 * predict(x) - 1``.
        x: features [n, dim]. y: labels, 0 or 1 [n]. score: chances of label 1 [n], in [0, 1].
        held_out: bools [n], the rows that measure correlations; the others fit the auditor.
        config: the settings. weights: weights [n], 0 or more; None: all 1.

    Raises:
        InputError: an argument is wrong. (Under jit wrong values give NaN.)
    """
    x = arguments.features("x", x)
    n = x.shape[0]
    held_out = arguments.split("held_out", held_out, n)
    score = arguments.floats("score", score, n, 0, 1).astype(x.dtype)
    rows = arguments.scored(score, y, held_out.astype(jnp.int32), 2, weights, 0, 1)
    train, held = _shares(rows, 0), _shares(rows, 1)

    def advance(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple]:
        score, going = carry
        residual = rows.y - score
        predict = fit(x, (residual > 0).astype(x.dtype), n * train * jnp.abs(residual))
        h = 2 * predict(x) - 1
        correlation = jnp.sum(held * h * residual)
        going = going & (correlation > config.tolerance)
        square = jnp.sum(held * h * h)
        size = config.step * correlation / jnp.where(square > 0, square, 1)
        size = jnp.where(jnp.isnan(correlation), jnp.nan, jnp.where(going, size, 0))
        return (_moved(score, size, h), going), (predict, size, correlation)

    begin = (rows.score, jnp.asarray(True))
    (score, _), (models, size, correlation) = jax.lax.scan(advance, begin, None, config.rounds)
    return Boosted(models, size, correlation, score)


def boosted_score(boosted: Boosted, x: Any, score: Any) -> Array:
    """The mended scores [n] of new rows, for features [n, dim] and scores [n] in [0, 1].

    Raises:
        InputError: an argument is wrong.
    """
    x = arguments.features("x", x)
    score = arguments.floats("score", score, x.shape[0], 0, 1).astype(boosted.score.dtype)

    def move(score: Array, one: tuple) -> tuple[Array, None]:
        predict, size = one
        return _moved(score, size, 2 * predict(x) - 1), None

    return jax.lax.scan(move, score, (boosted.models, boosted.size))[0]


def _moved(score: Array, size: Array, h: Array) -> Array:
    return jnp.clip(score + jnp.where(size == 0, 0, size * h), 0, 1)


def _shares(rows: Scored, part: int) -> Array:
    """The shares of the weight of a part's rows, [n]; 0 for the others."""
    own = jnp.where(rows.group == part, rows.weights, 0)
    return own / jnp.sum(own)
