"""The game of the reduction: its settings, its state, and one round of it (Agarwal et al. 2018, algorithm 1).

`lrn.fair.exponentiated_gradient` plays it, with models that run inside of jit or on the host; the details are
said there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.fair import constraints, duality_gap
from lrn.fair.constraints import Parity
from lrn.fair.mixture_game import best_mixture
from lrn.fair.multipliers import exponential_prices
from lrn.types import Array

_MULTIPLES = (1.0, 2.0, 5.0, 10.0)
FITS = 1 + 2 * len(_MULTIPLES)  # in a round, at most
_FIRST_END = 5  # the game ends after this round at the earliest


@config
class ReductionConfig:
    """Settings of the reduction; the defaults are fairlearn's.

    constraint: a name in `lrn.fair.constraints.CONSTRAINTS`.
    bound: the largest violation of each constraint, in [0, 1].
    eps: the multipliers sum to at most ``1 / eps``; above 0. A large eps lets violations exceed the bound.
    eta0: the rate of the multipliers is ``eta0 * eps`` at first.
    nu: the gap at which the game ends; 0 stands for half the standard error of the first model's error. Rows
        whose weights sum to less than 2 count as two rows there.
    rounds: the largest number of rounds, each with three to nine fits.
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

    def __post_init__(self) -> None:
        check.choice("constraint", self.constraint, constraints.CONSTRAINTS)
        check.between("bound", self.bound, 0, 1)
        check.positive("eps", self.eps)
        check.positive("eta0", self.eta0)
        check.non_negative("nu", self.nu)
        check.counts(self, "rounds")
        check.boolean("every_response", self.every_response)


class Game(NamedTuple):
    """The state of the game; models that are not found yet have zeros."""

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


def start(given: Parity, config: ReductionConfig, size: int) -> Game:
    """The game before its first round, with room for ``size`` models."""
    zero = jnp.zeros((), given.mass.dtype)
    shape = constraints.present(given).shape
    return Game(
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


def going(game: Game, config: ReductionConfig) -> Array:
    """Whether another round is played."""
    ended = (game.gap < game.nu) & (game.round > _FIRST_END)
    return (game.round < config.rounds) & ~ended


def play_round(
    game: Game,
    store: Any,
    given: Parity,
    config: ReductionConfig,
    respond: Callable[[Array, Any, Array], tuple[Any, Array]],
    place: Callable[[Any, Any, Array], Any],
    n: Array,
    loop: Callable[..., Any] = jax.lax.while_loop,
) -> tuple[Game, Any]:
    """One round: the response to the multipliers, the two mixtures and their gaps, and new multipliers.

    Args:
        game, store: the state, and the models found so far.
        given: the constraint on these data.
        config: the settings.
        respond: from signed weights [2, groups], the store, and the slot of the known model that responds
            best, to the best model and its rates [2, groups].
        place: ``place(store, found, slot)``, the store with the model at this slot.
        n: the sum of the weights of the rows.
        loop: ``loop(going, body, carry)``, as `jax.lax.while_loop`; a loop of Python where models run on the
            host.
    """
    multipliers, average, game = _multipliers(game, given, config)

    def part(carry: tuple) -> tuple:
        """The response alone (part 0), then the mixture of all responses (1), then the best mixture (2).

        The responses to multiples of a mixture's multipliers join the game and show its duality gap. One that
        shows a gap above nu is the last, unless every response is wanted.
        """
        game, store, response, _, gaps, k = carry
        q, asked, count = _asked(game, given, config, k, multipliers, average)
        claim = duality_gap.claimed(game, given, config, q, asked)

        def going(carry: tuple) -> Array:
            _, _, _, gap, _, tries = carry
            shown = (gap > game.nu + duality_gap.SAME) & ~jnp.asarray(config.every_response)
            return (tries < count) & ~shown

        def respond_again(carry: tuple) -> tuple:
            game, store, low, _, first, tries = carry
            tried = jnp.asarray(_MULTIPLES, asked.dtype)[tries] * asked
            found, rates = respond(_signed(given, tried), store, duality_gap.best_known(game, tried))
            game, slot, best, low, gap = duality_gap.challenged(game, given, config, claim, tried, rates, low)
            first = jnp.where(tries == 0, best, first)
            return game, place(store, found, slot), low, gap, first, tries + 1

        tries = jnp.zeros((), jnp.int32)
        begin = game, store, claim.value, jnp.full_like(claim.value, -jnp.inf), response, tries
        game, store, _, gap, first, _ = loop(going, respond_again, begin)
        gaps = gaps.at[k].set(jnp.where(count > 0, gap, jnp.inf))
        response = jnp.where(k == 0, first, response)
        return _counted(game, config, k, response, n), store, response, q, gaps, k + 1

    begin = game, store, jnp.zeros((), jnp.int32), jnp.zeros_like(game.q), jnp.zeros(3, game.q.dtype)
    game, store, response, mixture, gaps, _ = loop(
        lambda carry: carry[-1] < 3, part, (*begin, jnp.zeros((), jnp.int32))
    )
    return _ended(game, config, response, mixture, gaps), store


def slower(game: Game) -> Game:
    """The rate shrinks where the average's gap fell by less than a fifth since the last check."""
    due = game.round >= game.checked * 1.6
    stalled = due & (game.average_gap > game.checked_gap * 0.8)
    return game._replace(
        eta=jnp.where(stalled, 0.8 * game.eta, game.eta),
        checked=jnp.where(due, game.round.astype(game.checked.dtype), game.checked),
        checked_gap=jnp.where(due, game.average_gap, game.checked_gap),
    )


# The parts below are programs of their own where the game runs outside of jit.


@jax.jit
def _multipliers(game: Game, given: Parity, config: ReductionConfig) -> tuple[Array, Array, Game]:
    """This round's multipliers, the average over rounds, and the game with their sum."""
    multipliers = exponential_prices(game.theta, constraints.present(given)) / config.eps
    game = game._replace(summed=game.summed + multipliers)
    return multipliers, game.summed / (game.round + 1), game


@jax.jit
def _signed(given: Parity, tried: Array) -> Array:
    return constraints.signed_weights(given, tried)


@jax.jit
def _asked(
    game: Game, given: Parity, config: ReductionConfig, k: Array, multipliers: Array, average: Array
) -> tuple[Array, Array, Array]:
    """The mixture and multipliers of a part of the round, and how many responses it may take."""
    most = len(_MULTIPLES)
    alone = lambda: (jnp.zeros_like(game.q), multipliers, jnp.array(1))  # noqa: E731
    played = lambda: (_shares(game), average, jnp.array(most))  # noqa: E731
    later = jnp.asarray(config.every_response) | (game.round > 0)
    mixed = lambda: (*_mixed(game, given, config), jnp.where(later, most, 0))  # noqa: E731
    return jax.lax.switch(k, [alone, played, mixed])


def _shares(game: Game) -> Array:
    """How often each model was the response, as a share."""
    return game.played / jnp.sum(game.played)


def _mixed(game: Game, given: Parity, config: ReductionConfig) -> tuple[Array, Array]:
    """The best mixture of the known models, and its multipliers."""
    known = jnp.arange(game.error.size) < game.models
    flat = game.violation.reshape(game.error.size, -1) - config.bound
    found = best_mixture(game.error, flat, known, jnp.asarray(1 / config.eps, flat.dtype))
    return found.q, found.multipliers.reshape(constraints.present(given).shape)


@jax.jit
def _ended(game: Game, config: ReductionConfig, response: Array, mixture: Array, gaps: Array) -> Game:
    """The game after its round: the better mixture, and new multipliers."""
    _, average_gap, mixture_gap = gaps
    average_wins = average_gap < mixture_gap
    gap = jnp.minimum(average_gap, mixture_gap)
    better = gap <= game.gap + duality_gap.SAME
    game = game._replace(
        q=jnp.where(better, jnp.where(average_wins, _shares(game), mixture), game.q),
        gap=jnp.where(better, gap, game.gap),
        average_gap=jnp.minimum(game.average_gap, average_gap),
    )
    game = slower(game)
    step = game.eta * (game.violation[response] - config.bound)
    return game._replace(theta=game.theta + step, round=game.round + 1)


@jax.jit
def _counted(game: Game, config: ReductionConfig, k: Array, response: Array, n: Array) -> Game:
    """The game after part k: part 0 counts the response; the first one of all sets nu."""
    half_error = constraints.half_standard_error(game.error[0], n)
    nu = jnp.where(jnp.asarray(config.nu) > 0, config.nu, half_error).astype(game.nu.dtype)
    return game._replace(played=game.played.at[response].add(jnp.where(k == 0, 1.0, 0.0)), nu=nu)
