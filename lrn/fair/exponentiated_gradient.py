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

from lrn import check
from lrn.config import config
from lrn.fair import arguments, constraints
from lrn.fair.constraints import Parity
from lrn.fair.mixture_game import best_mixture
from lrn.fair.model import Fit, decide
from lrn.types import Array, PyTree

_MULTIPLES = (1.0, 2.0, 5.0, 10.0)
_FITS = 1 + 2 * len(_MULTIPLES)  # in a round
_FIRST_END = 5  # the game ends after this round at the earliest
_SAME = 1e-8  # gaps, and values of responses, count as equal up to this


@config
class ReductionConfig:
    """Settings of the reduction; the defaults are fairlearn's.

    constraint: a name in `lrn.fair.constraints.CONSTRAINTS`.
    bound: the largest violation of each constraint, in [0, 1].
    eps: the multipliers sum to at most ``1 / eps``; above 0. A large eps lets violations exceed the bound.
    eta0: the rate of the multipliers is ``eta0 * eps`` at first.
    nu: the gap at which the game ends; 0 stands for half the standard error of the first model's error.
    rounds: the largest number of rounds, each with nine fits.
    every_response: whether all responses of a round stay in the game. False is fairlearn's rule: those after
        the first that shows a gap above nu are dropped. True finds better mixtures where the model is not the
        exact best response, as for logistic regression, and a gap that counts all models.
    """

    constraint: str = "demographic_parity"
    bound: float = 0.01
    eps: float = 0.01
    eta0: float = 2.0
    nu: float = 0.0
    rounds: int = 50
    every_response: bool = False

    def __post_init__(self):
        check.choice("constraint", self.constraint, constraints.CONSTRAINTS)
        check.between("bound", self.bound, 0, 1)
        check.positive("eps", self.eps)
        check.positive("eta0", self.eta0)
        check.non_negative("nu", self.nu)
        check.counts(self, "rounds")
        check.boolean("every_response", self.every_response)


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


class _Game(NamedTuple):
    rates: Array  # [models, 2, groups], the selection rates of each model
    error: Array  # [models]
    violation: Array  # [models, 2, events, groups]
    models: Array  # how many models there are
    theta: Array  # [2, events, groups]
    summed: Array  # [2, events, groups], the multipliers of all rounds
    played: Array  # [models], how often each model was the response
    q: Array  # [models], the best mixture so far
    gap: Array  # its gap
    average_gap: Array  # the smallest gap of the average
    checked: Array  # the round when the rate was last checked, and the gap then
    checked_gap: Array
    eta: Array
    nu: Array
    round: Array


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

    def respond(signed: Array) -> tuple[PyTree, Array]:
        found = jax.vmap(lambda s: fit(data.x, *_relabeled(data, s)))(signed)
        decisions = jax.vmap(lambda predict: decide(predict(data.x)))(found)
        return found, _rates(data, decisions, groups)

    size = _FITS * config.rounds
    shapes = jax.eval_shape(respond, jnp.zeros((1, 2, groups), given.mass.dtype))[0]
    store = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape[1:]), leaf.dtype), shapes)

    def place(store: PyTree, found: PyTree, slots: Array) -> PyTree:
        for i in range(slots.shape[0]):  # in turn, for a slot may be written twice
            store = jax.tree.map(lambda a, b, i=i: a.at[slots[i]].set(b[i]), store, found)
        return store

    def going(carry: tuple[_Game, PyTree]) -> Array:
        return _going(carry[0], config)

    def advance(carry: tuple[_Game, PyTree]) -> tuple[_Game, PyTree]:
        return _round(*carry, given, config, respond, place, jnp.sum(data.weights))

    begin = _start(given, config, size)
    game, store = jax.lax.while_loop(going, advance, (begin, store))
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

    def respond(signed: Array) -> tuple[list, Array]:
        found = [fit(data.x, *_relabeled(data, s)) for s in signed]
        return found, _rates(data, jnp.stack([decide(predict(data.x)) for predict in found]), groups)

    def place(store: dict, found: list, slots: Array) -> dict:
        return store | dict(zip(slots.tolist(), found))

    game, store = _start(given, config, _FITS * config.rounds), {}
    while bool(_going(game, config)):
        game, store = _round(game, store, given, config, respond, place, jnp.sum(data.weights))
    used = [i for i in range(int(game.models)) if float(game.q[i]) > 0]
    return _result(game, given, [store[i] for i in used], game.q[jnp.asarray(used)])


def expected_decision(reduced: Reduced, x: Any) -> Array:
    """The chance with which the mixture decides 1, [n], for features [n, dim]."""
    if isinstance(reduced.models, list):
        return sum(q * decide(predict(x)) for q, predict in zip(reduced.q, reduced.models))  # pyright: ignore
    x = arguments.features("x", x)

    def add(total: Array, item: tuple) -> tuple[Array, None]:
        q, predict = item
        return total + q * decide(predict(x)), None

    return jax.lax.scan(add, jnp.zeros(x.shape[0], reduced.q.dtype), (reduced.q, reduced.models))[0]


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
    arguments.two_groups(constraints.present(given)[0])
    return data, given


def _relabeled(data: _Data, signed: Array) -> tuple[Array, Array]:
    """The labels and weights of a fit; the weights keep their sum."""
    value = signed[data.y.astype(jnp.int32), data.group]
    size = data.weights * jnp.abs(value)
    return (value > 0).astype(data.x.dtype), size * (jnp.sum(data.weights) / jnp.sum(size))


@functools.partial(jax.jit, static_argnames="groups")
def _rates(data: _Data, decisions: Array, groups: int) -> Array:
    one = lambda d: constraints.cell_rates(d, data.y, data.group, data.weights, groups)  # noqa: E731
    return jax.vmap(one)(decisions.astype(data.x.dtype))


def _start(given: Parity, config: ReductionConfig, size: int) -> _Game:
    zero = jnp.zeros((), given.mass.dtype)
    shape = constraints.present(given).shape
    return _Game(
        rates=jnp.zeros((size, *given.mass.shape), zero.dtype),
        error=jnp.zeros(size, zero.dtype),
        violation=jnp.zeros((size, *shape), zero.dtype),
        models=jnp.zeros((), jnp.int32),
        theta=jnp.zeros(shape, zero.dtype),
        summed=jnp.zeros(shape, zero.dtype),
        played=jnp.zeros(size, zero.dtype),
        q=jnp.zeros(size, zero.dtype),
        gap=zero + jnp.inf,
        average_gap=zero + jnp.inf,
        checked=zero + _FIRST_END,
        checked_gap=zero + jnp.inf,
        eta=zero + config.eta0 * config.eps,
        nu=zero + config.nu,
        round=jnp.zeros((), jnp.int32),
    )


def _going(game: _Game, config: ReductionConfig) -> Array:
    ended = (game.gap < game.nu) & (game.round > _FIRST_END)
    return (game.round < config.rounds) & ~ended


def _round(
    game: _Game,
    store: Any,
    given: Parity,
    config: ReductionConfig,
    respond: Callable[[Array], tuple[Any, Array]],
    place: Callable[[Any, Any, Array], Any],
    n: Array,
) -> tuple[_Game, Any]:
    limit = 1 / config.eps
    here = constraints.present(given)
    power = jnp.where(here, jnp.exp(game.theta), 0)
    multipliers = limit * power / (1 + jnp.sum(power))
    game = game._replace(summed=game.summed + multipliers)
    average = game.summed / (game.round + 1)

    tried = jnp.stack([multipliers, *(m * average for m in _MULTIPLES)])
    found, rates = respond(_signed(given, tried))
    game, slot, response = _add(game, given, tried[0], rates[0], jnp.asarray(True))
    game = game._replace(played=game.played.at[response].add(1), nu=_nu(game, config, n))
    played = game.played / jnp.sum(game.played)
    game, slots, average_gap = _judge(game, given, config, played, average, tried[1:], rates[1:], True)
    store = place(store, found, jnp.stack([slot, *slots]))

    known = jnp.arange(game.error.size) < game.models
    flat = game.violation.reshape(game.error.size, -1) - config.bound
    mixture = best_mixture(game.error, flat, known, limit * jnp.ones((), flat.dtype))
    best = mixture.multipliers.reshape(here.shape)
    tried = jnp.stack([m * best for m in _MULTIPLES])
    found, rates = respond(_signed(given, tried))
    later = config.every_response | (game.round > 0)
    game, slots, mixture_gap = _judge(game, given, config, mixture.q, best, tried, rates, later)
    store = place(store, found, jnp.stack(slots))

    average_wins = average_gap < mixture_gap
    gap = jnp.minimum(average_gap, mixture_gap)
    better = gap <= game.gap + _SAME
    game = game._replace(
        q=jnp.where(better, jnp.where(average_wins, played, mixture.q), game.q),
        gap=jnp.where(better, gap, game.gap),
        average_gap=jnp.minimum(game.average_gap, average_gap),
    )
    game = _slower(game)
    step = game.eta * (game.violation[response] - config.bound)
    return game._replace(theta=game.theta + step, round=game.round + 1), store


def _slower(game: _Game) -> _Game:
    """The rate shrinks where the average's gap fell by less than a fifth since the last check."""
    due = game.round >= game.checked * 1.6
    stalled = due & (game.average_gap > game.checked_gap * 0.8)
    return game._replace(
        eta=jnp.where(stalled, 0.8 * game.eta, game.eta),
        checked=jnp.where(due, game.round.astype(game.checked.dtype), game.checked),
        checked_gap=jnp.where(due, game.average_gap, game.checked_gap),
    )


@jax.jit
def _signed(given: Parity, tried: Array) -> Array:
    return jax.vmap(lambda one: constraints.signed_weights(given, one))(tried)


@jax.jit  # so that a round outside of jit compiles few programs
def _add(
    game: _Game, given: Parity, multipliers: Array, rates: Array, wanted: Array
) -> tuple[_Game, Array, Array]:
    """Keep a response [2, groups] if it is wanted and better than all known models.

    Returns:
        The game, the response's slot (the next response takes it if this one is dropped), and which known
        model responds best to the multipliers.
    """
    slot, index = game.models, jnp.arange(game.error.size)
    error, violation = constraints.error(given, rates), constraints.violations(given, rates)
    values = jnp.where(index < slot, _values(game, multipliers), jnp.inf)
    better = wanted & (error + jnp.sum(multipliers * violation) < jnp.min(values) - _SAME)
    game = game._replace(
        rates=game.rates.at[slot].set(rates),
        error=game.error.at[slot].set(error),
        violation=game.violation.at[slot].set(violation),
        models=slot + better.astype(slot.dtype),
    )
    return game, slot, jnp.where(better, slot, jnp.argmin(values))


def _values(game: _Game, multipliers: Array) -> Array:
    return game.error + jnp.sum(multipliers[None] * game.violation, axis=(1, 2, 3))


@jax.jit
def _judge(
    game: _Game,
    given: Parity,
    config: ReductionConfig,
    q: Array,
    multipliers: Array,
    tried: Array,
    rates: Array,
    wanted: Any,
) -> tuple[_Game, list[Array], Array]:
    """The duality gap of a mixture and multipliers, given the rates of the responses to their multiples.

    Returns:
        The game with the responses, their slots, and the gap; infinite where it is not wanted.
    """
    error = jnp.sum(q * game.error)
    excess = jnp.sum(q[:, None, None, None] * game.violation, axis=0) - config.bound
    here = constraints.present(given)
    multipliers = constraints.projected(given, multipliers)
    value = error + jnp.sum(multipliers * jnp.where(here, excess, 0))
    high = error + jnp.maximum(jnp.max(jnp.where(here, excess, -jnp.inf)), 0) / config.eps
    slack = config.bound * jnp.sum(multipliers)
    low, slots, going, gap = value, [], jnp.asarray(wanted), value
    for i in range(tried.shape[0]):
        game, slot, best = _add(game, given, tried[i], rates[i], going)
        slots.append(slot)
        values = _values(game, multipliers) - slack
        if config.every_response:
            low = jnp.min(jnp.where(jnp.arange(values.size) < game.models, values, jnp.inf))
        else:
            low = jnp.where(going, jnp.minimum(low, values[best]), low)
        gap = jnp.maximum(value - low, high - value)
        if not config.every_response:
            going = going & ~(gap > game.nu + _SAME)
    return game, slots, jnp.where(jnp.asarray(wanted), gap, jnp.inf)


def _nu(game: _Game, config: ReductionConfig, n: Array) -> Array:
    first = game.error[0]
    half_error = 0.5 * jnp.sqrt(first * (1 - first) / (n - 1))
    return jnp.where(jnp.asarray(config.nu) > 0, config.nu, half_error).astype(game.nu.dtype)


def _result(game: _Game, given: Parity, models: PyTree, q: Array) -> Reduced:
    rates = jnp.sum(game.q[:, None, None] * game.rates, axis=0)
    violation = jnp.max(constraints.violations(given, rates))
    error = constraints.error(given, rates)
    return Reduced(
        models, jnp.where(jnp.isnan(error), jnp.nan, q), error, violation, game.gap, game.nu, game.round
    )
