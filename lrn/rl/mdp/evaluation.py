"""Exact policy evaluation: Bellman's equation solved as a linear system (Puterman 1994, section 6.1).

Values are 1 / (1 - discount) times as large as rewards, and what tells a right value from a wrong one is as
large as a reward. So near a discount of 1 a backup in single precision hides errors that are far beyond
rounding: at .9999 values that are off by 6 of 10,000 look solved. What is compared here is therefore the
`gain` of a backup, from differences of values; and values are pairs of numbers, of which the second holds
what the first rounds away.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn.rl.mdp.model import MDP, leaving, under
from lrn.types import Array

_EXACT = jax.lax.Precision.HIGHEST


class Precise(NamedTuple):
    """Values [state] that are ``high + low``, where low is below the rounding of high."""

    high: Array
    low: Array

    def add(self, change: Array) -> Precise:
        """The values plus a change [state] (Dekker 1971)."""
        change = change + self.low
        high = self.high + change
        taken = high - self.high
        return Precise(high, (self.high - (high - taken)) + (change - taken))


def action_values(mdp: MDP, values: Array) -> Array:
    """Q [state, action] of acting once and then collecting ``values`` [state]: one Bellman backup."""
    return mdp.rewards + mdp.discount * (mdp.transitions @ jnp.where(mdp.terminal, 0, values))


def backup(mdp: MDP, policy: Array, values: Array) -> Array:
    """Bellman's operator of a policy [state, action], applied to ``values`` [state]."""
    return (policy * action_values(mdp, values)).sum(-1)


def optimal_backup(mdp: MDP, values: Array) -> Array:
    """Bellman's optimality operator, applied to ``values`` [state]: one sweep of value iteration."""
    return action_values(mdp, values).max(-1)


def gain(mdp: MDP, values: Precise) -> tuple[Array, Array]:
    """What a backup of each action adds to its state's value, ``Q(s, a) - V(s)`` [state, action].

    Also the size of the terms that it is a sum of, [state, action]: its rounding errors are some machine
    epsilons of that.
    """
    across = _differences(mdp, values)
    moved = mdp.discount * jnp.einsum("sat,st->sa", mdp.transitions, across, precision=_EXACT)
    far = mdp.discount * jnp.einsum("sat,st->sa", mdp.transitions, jnp.abs(across), precision=_EXACT)
    left = leaving(mdp) * _alive(mdp, values.high)[:, None]
    return mdp.rewards + moved - left, jnp.abs(mdp.rewards) + far + jnp.abs(left)


@jax.jit
def evaluate(mdp: MDP, policy: Array) -> Precise:
    """The values of a policy [state, action] to twice the precision that they are stored in.

    By iterative refinement: the errors of a first solution are found from its gains, and solved for in turn.
    NaN where that leads nowhere: where the policy does not end and the discount is 1 or too close to it.
    Derivatives flow through ``high``.
    """
    chain, rewards = under(mdp, policy)
    inverse = jnp.linalg.inv(jax.lax.stop_gradient(_system(mdp, chain)))

    def left(x: Array) -> Array:
        """``x - discount chain x``."""
        gains, _ = _chain_gain(mdp, chain, 0 * rewards, Precise(x, 0 * x))
        return jnp.where(mdp.terminal, x, -gains)

    def missing(b: Array, x: Precise) -> tuple[Array, Array]:
        """What ``b - left(x)`` is, and the size of what it is a sum of."""
        gains, size = _chain_gain(mdp, chain, b, x)
        return jnp.where(mdp.terminal, b - x.high, gains), size

    def solve(_: object, b: Array) -> Array:
        def refine(_: int, x: Array) -> Array:
            return x + times(inverse, missing(b, Precise(x, 0 * x))[0])

        return jax.lax.fori_loop(0, 5, refine, 0 * b)

    high = jax.lax.custom_linear_solve(left, rewards, solve, lambda _, b: times(inverse.T, b))
    known = Precise(high, 0 * high)
    low = times(inverse, missing(rewards, known)[0])
    error, size = missing(rewards, Precise(high, low))
    solved = jnp.abs(error).max() <= 100 * jnp.finfo(high.dtype).eps * size.max()
    return Precise(high * jnp.where(solved, 1, jnp.nan), jax.lax.stop_gradient(low))


def policy_values(mdp: MDP, policy: Array) -> Array:
    """The values [state] of a policy [state, action], exactly: to the last digit or two of their dtype.

    With discount 1 the policy must reach a terminal state from everywhere; otherwise the result is not
    finite. NaN where rounding leaves no value: in single precision at a discount above some .999999.
    """
    return evaluate(mdp, policy).high


def policy_action_values(mdp: MDP, policy: Array) -> Array:
    """Q [state, action] of a policy [state, action], exactly."""
    values = evaluate(mdp, policy)
    return plus(values, gain(mdp, values)[0])


def objective(mdp: MDP, policy: Array) -> Array:
    """The expected discounted return of a policy [state, action] from the initial distribution; a scalar."""
    return times(mdp.initial, policy_values(mdp, policy))


@jax.jit
def visits(mdp: MDP, chain: Array, start: Array) -> Array:
    """Discounted visits [state] of a chain [state, state] that begins as ``start`` [state] says."""
    found = jnp.linalg.solve(_system(mdp, chain).T, start)
    # All that starts leaves, by an end or by discounting: that says how much the visits sum up to.
    ends = leaving(mdp) + mdp.discount * (chain * mdp.terminal[None, :]).sum(-1)
    found = jnp.where(mdp.terminal, 0, found)
    return found * (jnp.where(mdp.terminal, 0, start).sum() / (found * ends).sum())


def times(a: Array, b: Array) -> Array:
    """The product of a matrix and a vector, in the precision of their dtype on every device."""
    return jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)


def plus(values: Precise, gains: Array) -> Array:
    """Q [state, action] from values and what actions gain over them."""
    return values.high[:, None] + (values.low[:, None] + gains)


def _alive(mdp: MDP, values: Array) -> Array:
    return jnp.where(mdp.terminal, 0, values)


def _differences(mdp: MDP, values: Precise) -> Array:
    """The value of a state less that of another, [from, to]."""
    high, low = (_alive(mdp, x) for x in values)
    return (high[None, :] - high[:, None]) + (low[None, :] - low[:, None])


def _chain_gain(mdp: MDP, chain: Array, rewards: Array, values: Precise) -> tuple[Array, Array]:
    """`gain` for a chain [state, state] that pays rewards [state]."""
    across = _differences(mdp, values)
    moved, far = (mdp.discount * (chain * x).sum(-1) for x in (across, jnp.abs(across)))
    left = leaving(mdp) * _alive(mdp, values.high)
    return rewards + moved - left, jnp.abs(rewards) + far + jnp.abs(left)


def _system(mdp: MDP, chain: Array) -> Array:
    """``I - discount * chain`` [state, state] with terminal states cut off: nothing follows them.

    What is left of the diagonal is summed up from what leaves a state, since ``1 - discount chain`` would be
    all rounding where that is little.
    """
    alive, one = ~mdp.terminal, jnp.eye(mdp.states, dtype=chain.dtype)
    moves = mdp.discount * chain * (1 - one)
    stays = jnp.where(alive, leaving(mdp) + moves.sum(-1), 1)
    return stays[:, None] * one - moves * alive[:, None] * alive[None, :]
