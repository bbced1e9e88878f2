"""Minimax group fairness: the lowest error of the group that fares worst (Diana et al. 2021, algorithm 1).

A game: one player weighs the groups, and multiplicative weights raise the groups with large errors; the other
player fits a model to the weighted rows. The average of the models is the paper's solution. The best
mixture of the same models, by a linear program, is at least as good on the training data.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.fair import arguments, training
from lrn.fair.mixture_game import best_mixture
from lrn.fair.model import Fit, Predict, decide, mixed_decision
from lrn.types import Array, PyTree

MEASURES = ("log_loss", "zero_one")


@config
class MinimaxConfig:
    """Settings of the game.

    rounds: the number of rounds, each with one fit.
    rate: the rate of the group weights is ``rate / sqrt(round)``, rounds counted from 1; above 0.
    measure: a group's error: "zero_one", the share of wrong decisions; or "log_loss", in nats.
    best: whether the mixture is the best of the models; False gives the plain average of the paper.
    """

    rounds: int = 50
    rate: float = 1.0
    measure: str = "zero_one"
    best: bool = False

    def __post_init__(self) -> None:
        check.counts(self, "rounds")
        check.positive("rate", self.rate)
        check.choice("measure", self.measure, MEASURES)
        check.boolean("best", self.best)


class Minimax(NamedTuple):
    """A mixture of models, and what is known of it on the training data.

    models: the ``predict`` of each round; a pytree whose leaves have a leading axis [rounds], or a list of
        functions where the models run on the host.
    q: [rounds], the chance with which the mixture uses each model.
    errors: [groups], the expected error of each group; NaN for a group without weight. worst: the largest.
    gap: the worst error minus the best lower bound on it of any mixture: the largest weighted error, over
        rounds, of a model fitted to these weights. 0 or more if each fit is the best; a fit of a surrogate
        loss, such as logistic regression, is not, and the gap may then be below 0.
    group_weights: [rounds, groups], the weights of the groups at each round; each row sums to 1.
    model_errors: [rounds, groups], the errors of each model.
    """

    models: PyTree
    q: Array
    errors: Array
    worst: Array
    gap: Array
    group_weights: Array
    model_errors: Array


def minimax(
    fit: Fit, x: Any, y: Any, group: Any, groups: int, config: MinimaxConfig, weights: Any = None
) -> Minimax:
    """The minimax mixture of a pure model's fits; jit and vmap safe over data, weights and floats.

    Args:
        fit: a pure model, such as ``logistic(LogisticConfig())`` or ``mlp_fit(MLPConfig())``.
        x: features [n, dim]. y: labels, 0 or 1 [n]. group: integers in 0..groups-1, [n].
        groups: the number of groups. config: the settings.
        weights: [n], 0 or more; None: all 1. The weights of each fit have the sum of these.

    Raises:
        InputError: an argument is wrong. (Under jit, where values cannot be read, the errors are NaN.)
    """
    batch = training.whole(x, y, group, groups, weights)

    def play(log_weights: Array, count: Array) -> tuple[Array, tuple]:
        group_weights = jax.nn.softmax(log_weights)
        predict = fit(batch["x"], batch["y"], _row_weights(batch, group_weights))
        errors = group_errors(predict, batch, groups, config.measure)
        return _raised(log_weights, errors, config, count), (predict, group_weights, errors)

    counts = jnp.arange(1, config.rounds + 1)
    _, (models, group_weights, errors) = jax.lax.scan(play, _first(batch, groups), counts)
    return _mixed(models, group_weights, errors, config)


def minimax_on_host(
    fit: Fit, x: Any, y: Any, group: Any, groups: int, config: MinimaxConfig, weights: Any = None
) -> Minimax:
    """`minimax` for models that run on the host, outside of jit, such as those of `from_sklearn`.

    Arguments and errors are the same; ``models`` is a list of functions.
    """
    batch = training.whole(x, y, group, groups, weights)
    log_weights, models, played, errors = _first(batch, groups), [], [], []
    for count in range(1, config.rounds + 1):
        group_weights = jax.nn.softmax(log_weights)
        models.append(fit(batch["x"], batch["y"], _row_weights(batch, group_weights)))
        played.append(group_weights)
        errors.append(group_errors(models[-1], batch, groups, config.measure))
        log_weights = _raised(log_weights, errors[-1], config, jnp.asarray(count))
    return _mixed(models, jnp.stack(played), jnp.stack(errors), config)


def expected_decision(found: Minimax, x: Any) -> Array:
    """The chance with which the mixture decides 1, [n], for features [n, dim]."""
    return mixed_decision(found.models, found.q, arguments.features("x", x))


def group_errors(predict: Predict, batch: dict[str, Array], groups: int, measure: str) -> Array:
    """The weighted mean error of a model in each group, [groups]; NaN for a group without weight.

    Args:
        predict: the model. batch: rows, such as `lrn.fair.training.whole` gives. groups: their number.
        measure: "zero_one" or "log_loss".

    Raises:
        InputError: the measure is not known.
    """
    check.choice("measure", measure, MEASURES)
    chance, y = predict(batch["x"]).astype(batch["x"].dtype), batch["y"]
    if measure == "zero_one":
        error = jnp.abs(decide(chance) - y)
    else:
        right = jnp.where(y == 1, chance, 1 - chance)
        error = -jnp.log(jnp.maximum(right, jnp.finfo(right.dtype).tiny))
    mass = _by_group(batch["weight"], batch, groups)
    total = _by_group(batch["weight"] * error, batch, groups)
    return jnp.where(mass == 0, jnp.nan, total / jnp.where(mass == 0, 1, mass))


def _first(batch: dict[str, Array], groups: int) -> Array:
    """The logarithms of equal weights of the groups that have rows, [groups]."""
    return jnp.where(_by_group(batch["weight"], batch, groups) == 0, -jnp.inf, 0).astype(batch["x"].dtype)


def _raised(log_weights: Array, errors: Array, config: MinimaxConfig, count: Array) -> Array:
    rate = config.rate / jnp.sqrt(count.astype(errors.dtype))
    return jnp.where(log_weights == -jnp.inf, log_weights, log_weights + rate * errors)


def _row_weights(batch: dict[str, Array], group_weights: Array) -> Array:
    """The weights of a fit [n]: rows share their group's weight; the sum is that of the rows' weights."""
    mass = _by_group(batch["weight"], batch, group_weights.shape[0])
    each = group_weights / jnp.where(mass == 0, 1, mass)
    return batch["weight"] * each[batch["group"]] * jnp.sum(batch["weight"])


def _by_group(value: Array, batch: dict[str, Array], groups: int) -> Array:
    return jax.ops.segment_sum(value, batch["group"], groups)


def _mixed(models: PyTree, group_weights: Array, errors: Array, config: MinimaxConfig) -> Minimax:
    known = jnp.where(group_weights[:1] == 0, 0, errors)  # [rounds, groups]; a group without rows counts 0
    rounds = errors.shape[0]
    q = jnp.full(rounds, 1 / rounds, errors.dtype)
    if config.best:
        nothing, one = jnp.zeros(rounds, errors.dtype), jnp.ones((), errors.dtype)
        q = best_mixture(nothing, known, jnp.ones(rounds, bool), one).q
    q = jnp.where(jnp.all(jnp.isfinite(known)), q, jnp.nan)
    worst = jnp.max(jnp.sum(q[:, None] * known, axis=0))
    bound = jnp.max(jnp.sum(group_weights * known, axis=1))
    mixed = jnp.sum(q[:, None] * errors, axis=0)
    return Minimax(models, q, mixed, worst, worst - bound, group_weights, errors)
