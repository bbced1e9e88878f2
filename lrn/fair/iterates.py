"""What to take from a constrained training: the best iterate, or the best mixture of iterates.

The last iterate of a game between a model and multipliers need not keep its bounds. Among stored iterates one
is best. A mixture of a few of them is better: a linear program finds it, with at most one iterate more than
there are constraints (Cotter, Jiang & Sridharan 2019, section 4, "shrinking").
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.fair import arguments, comparable, constraints, training
from lrn.fair.lagrangian import LagrangianConfig, LagrangianState, lagrangian, parity
from lrn.fair.mixture_game import best_mixture
from lrn.fair.model import decide, mixed_decision
from lrn.types import Array, Key, Net, PyTree

_PRICE = 100.0  # of a violation in units of error: where no iterate keeps the bound, the least violation wins


class Iterates(NamedTuple):
    """Stored iterates of a training, and what is known of them on the training data.

    models: the ``predict`` of each iterate, a pytree whose leaves have a leading axis [iterates].
    errors, violations: the error and the largest violation of each iterate's decisions, [iterates].
    best: the index of the best iterate. q: [iterates], the best mixture.
    error, violation: the expected error of the mixture and its largest violation, in [0, 1].
    """

    models: PyTree
    errors: Array
    violations: Array
    best: Array
    q: Array
    error: Array
    violation: Array


def fit_lagrangian(
    key: Key,
    net: Net,
    x: Any,
    y: Any,
    group: Any,
    groups: int,
    config: LagrangianConfig,
    weights: Any = None,
    *,
    steps: int = 2000,
    iterates: int = 50,
    batch_size: int | None = None,
) -> Iterates:
    """Train by `lrn.fair.lagrangian` and store iterates; jit and vmap safe.

    Args:
        key: the key of the start and of the batches.
        net, config: as for `lrn.fair.lagrangian.lagrangian`.
        x: features [n, dim], best standardized. y: labels, 0 or 1 [n].
        group: integers in 0..groups-1, [n]. groups: the number of groups.
        weights: [n], 0 or more; None: all 1.
        steps: the number of steps, a multiple of ``iterates``.
        iterates: how many iterates are stored, at equal distances.
        batch_size: the number of rows a step, drawn with repeats; None: all.

    Raises:
        InputError: an argument is wrong, or fewer than two groups have rows. (Under jit, where values cannot
            be read, the errors are NaN.)
    """
    check.integer("iterates", iterates, 1)
    check.integer("steps", steps, 1)
    if batch_size is not None:
        check.integer("batch_size", batch_size, 1)
    if steps % iterates:
        raise check.InputError(
            f"steps must be a multiple of iterates, got {steps} and {iterates}; choose other steps."
        )
    batch = training.whole(x, y, group, groups, weights)
    given = parity(config.constraint, training.read(batch, groups), groups)
    comparable.compared(constraints.present(given)[0], batch["group"], batch["weight"])
    learner = lagrangian(net, groups, config)
    start_key, loop_key = jax.random.split(key)

    def advance(state: LagrangianState, step: Array) -> tuple[LagrangianState, None]:
        draw_key, step_key = jax.random.split(jax.random.fold_in(loop_key, step))
        return learner.step(step_key, state, training.drawn(draw_key, batch, batch_size))[0], None

    def stored(state: LagrangianState, numbers: Array) -> tuple[LagrangianState, tuple[PyTree, Array]]:
        state, _ = jax.lax.scan(advance, state, numbers)
        predict = training.predictor(net, state.model)
        decision = decide(predict(batch["x"]))
        rates = constraints.cell_rates(decision, batch["y"], batch["group"], batch["weight"], groups)
        return state, (predict, rates)

    numbers = jnp.arange(steps).reshape(iterates, -1)
    _, (models, rates) = jax.lax.scan(stored, learner.init(start_key, batch), numbers)
    errors = jax.vmap(lambda one: constraints.error(given, one))(rates)
    violations = jax.vmap(lambda one: constraints.violations(given, one))(rates)
    return chosen(models, errors, violations, config.bound)


def expected_decision(iterates: Iterates, x: Any) -> Array:
    """The chance with which the mixture decides 1, [n], for features [n, dim]."""
    return mixed_decision(iterates.models, iterates.q, arguments.features("x", x))


def best_model(iterates: Iterates) -> Any:
    """The ``predict`` of the best iterate."""
    return jax.tree.map(lambda leaf: leaf[iterates.best], iterates.models)


def chosen(models: PyTree, errors: Array, violations: Array, bound: ArrayLike) -> Iterates:
    """The best iterate and the best mixture of given models.

    Where nothing keeps the bound, the least violation wins.

    Args:
        models: a ``predict`` whose leaves have a leading axis [iterates].
        errors: [iterates]. violations: [iterates, 2, events, groups], such as
            `lrn.fair.constraints.violations` gives. bound: the largest allowed violation, a scalar.
    """
    largest = jnp.max(violations, axis=(1, 2, 3))
    best = jnp.argmin(errors + _PRICE * jnp.maximum(largest - bound, 0))
    flat = violations.reshape(errors.shape[0], -1) - bound
    q = best_mixture(errors, flat, jnp.ones(errors.shape, bool), jnp.asarray(_PRICE, errors.dtype)).q
    q = jnp.where(jnp.all(jnp.isfinite(errors)), q, jnp.nan)
    mixed = jnp.max(jnp.sum(q[:, None, None, None] * violations, axis=0))
    largest = jnp.where(jnp.isnan(errors), jnp.nan, largest)
    return Iterates(models, errors, largest, best, q, jnp.sum(q * errors), mixed)
