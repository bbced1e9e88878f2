"""Exponentiated gradient: fair classification reduced to weighted classification (Agarwal et al. 2018).

A game: one player raises the multipliers of violated constraints, the other fits a model to the labels and
weights that the multipliers give (`lrn.fair.constraints.signed_weights`). After each round a linear program
finds the best mixture of all models so far (`lrn.fair.mixture_game`). The duality gap of a mixture bounds how
far its error and its violation are from the best; the game ends when a gap is below nu.

The result is a mixture of models. Report the expected decision, `expected_decision`, not one draw. A
constraint compares a group with all groups together, so two groups may differ by up to twice the bound.

Details are those of fairlearn 0.15: multipliers ``B e^theta / (1 + sum e^theta)`` with ``B = 1 / eps``, a
rate of ``eta0 / B`` that shrinks by .8 when the gap stalls, responses to the multipliers times 1, 2, 5 and
10, and nu of half the standard error of the first model's error.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn.fair import arguments, comparable, constraints
from lrn.fair.constraints import Parity
from lrn.fair.model import Fit, Predict, decide, mixed_decision, takes_start
from lrn.fair.reduction_game import FITS, Game, ReductionConfig, going, play_round, start
from lrn.types import Array, PyTree


class Reduced(NamedTuple):
    """A mixture of models, and what is known of it on the training data.

    models: the ``predict`` of each model; a pytree whose leaves have a leading axis [models], or a list of
        functions where the models run on the host.
    q: [models], the chance with which the mixture uses each model.
    error: the expected error, in [0, 1]. violation: the largest violation, in [0, 1].
    gap: the duality gap. nu: the gap at which the game ended or would have ended.
    rounds: the number of rounds played.
    """

    models: PyTree
    q: Array
    error: Array
    violation: Array
    gap: Array
    nu: Array
    rounds: Array


class _Data(NamedTuple):
    x: Array
    y: Array
    group: Array
    weights: Array


def exponentiated_gradient(
    fit: Fit, x: Any, y: Any, group: Any, groups: int, config: ReductionConfig, weights: Any = None
) -> Reduced:
    """The fair mixture of a pure model's fits; jit and vmap safe over data, weights and the config's floats.

    Args:
        fit: a pure model, such as ``logistic(LogisticConfig())``.
        x: features [n, dim]. y: labels, 0 or 1 [n]. group: integers in 0..groups-1, [n].
        groups: the number of groups. config: the settings. weights: [n], 0 or more; a row of weight 2 counts
            as two rows, also for nu. None: all 1.

    Returns:
        The mixture; ``models`` has as many entries as the config has rounds, or a few more.

    Raises:
        InputError: an argument is wrong, or fewer than two groups have rows.
    """
    data, given = _prepared(x, y, group, groups, config, weights)

    def answer(signed: Array, **start: PyTree) -> tuple[PyTree, Array]:
        predict = fit(data.x, *_relabeled(data, signed), **start)
        return predict, _rates(data, decide(predict(data.x)), groups)

    def respond(signed: Array, store: PyTree, best: Array) -> tuple[PyTree, Array]:
        if not takes_start(fit):
            return answer(signed)
        return answer(signed, start=jax.tree.map(lambda leaf: leaf[best], store))

    size = FITS * config.rounds
    shapes = jax.eval_shape(answer, jnp.zeros((2, groups), given.mass.dtype))[0]
    store = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), shapes)

    def place(store: PyTree, found: PyTree, slot: Array) -> PyTree:
        return jax.tree.map(lambda kept, new: kept.at[slot].set(new), store, found)

    def more(carry: tuple[Game, PyTree]) -> Array:
        return going(carry[0], config)

    def advance(carry: tuple[Game, PyTree]) -> tuple[Game, PyTree]:
        return play_round(*carry, given, config, respond, place, jnp.sum(data.weights))

    begin = start(given, config, size)
    game, store = jax.lax.while_loop(more, advance, (begin, store))
    width = min(size, max(config.rounds, game.violation[0].size + 1))
    q, kept = jax.lax.top_k(game.q, width)
    return _result(game, given, jax.tree.map(lambda leaf: leaf[kept], store), q)


def exponentiated_gradient_on_host(
    fit: Fit, x: Any, y: Any, group: Any, groups: int, config: ReductionConfig, weights: Any = None
) -> Reduced:
    """`exponentiated_gradient` for models that run on the host, outside of jit.

    Such models come from `lrn.fair.model.from_sklearn`. Arguments and errors are the same; ``models`` is a
    list of functions, and ``q`` has an entry for each.
    """
    data, given = _prepared(x, y, group, groups, config, weights)

    def respond(signed: Array, store: dict, best: Array) -> tuple[Predict, Array]:
        predict = fit(data.x, *_relabeled(data, signed))
        return predict, _rates(data, decide(predict(data.x)), groups)

    def place(store: dict, found: Predict, slot: Array) -> dict:
        return store | {int(slot): found}

    def loop(more: Callable[[Any], Array], body: Callable[[Any], Any], carry: Any) -> Any:
        while bool(more(carry)):
            carry = body(carry)
        return carry

    game, store = start(given, config, FITS * config.rounds), {}
    n = jnp.sum(data.weights)
    while bool(going(game, config)):
        game, store = play_round(game, store, given, config, respond, place, n, loop)
    used = [i for i in range(int(game.models)) if float(game.q[i]) > 0]
    return _result(game, given, [store[i] for i in used], game.q[jnp.asarray(used)])


def said(reduced: Reduced, config: ReductionConfig) -> list[str]:
    """What is wrong with one mixture, a sentence each; an empty list where nothing is.

    If some mixture of the class of models keeps a bound, a mixture of this gap exceeds it by at most
    ``eps * (1 + 2 * gap)`` (Agarwal et al. 2018). Values are read, so call the function outside of jit.

    Args:
        reduced: a mixture. config: the settings that gave it.
    """
    violation, gap, nu = (float(value) for value in (reduced.violation, reduced.gap, reduced.nu))
    if np.isnan(violation):
        return ["The mixture is NaN: labels, groups or weights were wrong where they could not be read."]
    found = []
    if violation > config.bound + config.eps * (1 + 2 * gap):
        found.append(
            f"The constraint is violated by {violation:.3g} and the bound is {config.bound:.3g}: these "
            "models cannot keep it; raise the bound, or take a model that can."
        )
    if gap > nu:
        found.append(
            f"The game ended after {int(reduced.rounds)} rounds with a gap of {gap:.3g}, above nu, {nu:.3g}; "
            "give more rounds."
        )
    return found


def expected_decision(reduced: Reduced, x: Any) -> Array:
    """The chance with which the mixture decides 1, [n], for features [n, dim]."""
    return mixed_decision(reduced.models, reduced.q, arguments.features("x", x))


def _prepared(
    x: Any, y: Any, group: Any, groups: int, config: ReductionConfig, weights: Any
) -> tuple[_Data, Parity]:
    x = arguments.features("x", x)
    n = x.shape[0]
    data = _Data(
        x,
        arguments.labels("y", y, n).astype(x.dtype),
        arguments.groups(group, n, groups),
        arguments.weights(weights, n).astype(x.dtype),
    )
    data = data._replace(weights=arguments.nan_unless_valid(data.weights, data.y, data.group, groups))
    mass = constraints.cell_mass(data.y, data.group, data.weights, groups)
    given = constraints.parity(config.constraint, mass)
    comparable.compared(constraints.present(given)[0], data.group, data.weights)
    return data, given


def _relabeled(data: _Data, signed: Array) -> tuple[Array, Array]:
    """The labels and weights of a fit; the weights keep their sum."""
    value = signed[data.y.astype(jnp.int32), data.group]
    return constraints.relabeled(value, data.y, data.weights)


@functools.partial(jax.jit, static_argnames="groups")
def _rates(data: _Data, decision: Array, groups: int) -> Array:
    return constraints.cell_rates(decision.astype(data.x.dtype), data.y, data.group, data.weights, groups)


def _result(game: Game, given: Parity, models: PyTree, q: Array) -> Reduced:
    rates = jnp.sum(game.q[:, None, None] * game.rates, axis=0)
    violation = jnp.max(constraints.violations(given, rates))
    error = constraints.error(given, rates)
    q, gap, nu = (jnp.where(jnp.isnan(error), jnp.nan, value) for value in (q, game.gap, game.nu))
    return Reduced(models, q, error, violation, gap, nu, game.round)
