"""The duality gap of a mixture in the game of the reduction, and the responses that show it.

The multipliers' player could raise the value of a mixture to ``high``; the models' player could lower that of
the multipliers to ``low``, the least value that a known model reaches. The gap is the larger distance of the
two from the value (Agarwal et al. 2018, algorithm 1). Each function is a program where the game runs outside
of jit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from lrn.fair import constraints
from lrn.fair.constraints import Parity
from lrn.types import Array

if TYPE_CHECKING:
    from lrn.fair.reduction_game import Game, ReductionConfig

SAME = 1e-8  # gaps, and values of responses, count as equal up to this


class Claim(NamedTuple):
    """A mixture and multipliers: the Lagrangian's value there, and its most over all multipliers."""

    multipliers: Array
    value: Array
    high: Array


@jax.jit
def claimed(game: Game, given: Parity, config: ReductionConfig, q: Array, multipliers: Array) -> Claim:
    """The claim of a mixture [models] and multipliers [2, events, groups]."""
    error = jnp.sum(q * game.error)
    excess = jnp.sum(q[:, None, None, None] * game.violation, axis=0) - config.bound
    here = constraints.present(given)
    multipliers = constraints.projected(given, multipliers)
    value = error + jnp.sum(multipliers * jnp.where(here, excess, 0))
    high = error + jnp.maximum(jnp.max(jnp.where(here, excess, -jnp.inf)), 0) / config.eps
    return Claim(multipliers, value, high)


@jax.jit
def challenged(
    game: Game, given: Parity, config: ReductionConfig, claim: Claim, tried: Array, rates: Array, low: Array
) -> tuple[Game, Array, Array, Array, Array]:
    """The game with a response, its slot, which known model responds best, the new ``low``, and the gap."""
    game, slot, best = add(game, given, tried, rates)
    values = _values(game, claim.multipliers) - config.bound * jnp.sum(claim.multipliers)
    if config.every_response:
        low = jnp.min(jnp.where(jnp.arange(values.size) < game.models, values, jnp.inf))
    else:
        low = jnp.minimum(low, values[best])
    return game, slot, best, low, jnp.maximum(claim.value - low, claim.high - claim.value)


@jax.jit
def add(game: Game, given: Parity, multipliers: Array, rates: Array) -> tuple[Game, Array, Array]:
    """Keep a response [2, groups] if it is better than all known models.

    Returns:
        The game, the response's slot (the next response takes it if this one is dropped), and which known
        model responds best to the multipliers.
    """
    slot, index = game.models, jnp.arange(game.error.size)
    error, violation = constraints.error(given, rates), constraints.violations(given, rates)
    values = jnp.where(index < slot, _values(game, multipliers), jnp.inf)
    better = error + jnp.sum(multipliers * violation) < jnp.min(values) - SAME
    game = game._replace(
        rates=game.rates.at[slot].set(rates),
        error=game.error.at[slot].set(error),
        violation=game.violation.at[slot].set(violation),
        models=slot + better.astype(slot.dtype),
    )
    return game, slot, jnp.where(better, slot, jnp.argmin(values))


@jax.jit
def best_known(game: Game, multipliers: Array) -> Array:
    """Which known model responds best; 0 where no model is known."""
    known = jnp.arange(game.error.size) < game.models
    return jnp.argmin(jnp.where(known, _values(game, multipliers), jnp.inf))


def _values(game: Game, multipliers: Array) -> Array:
    return game.error + jnp.sum(multipliers[None] * game.violation, axis=(1, 2, 3))
