"""Exact policy evaluation: Bellman's equation solved as a linear system (Puterman 1994, section 6.1).

Values are 1 / (1 - discount) times as large as rewards, but an error of a value shows in a backup only as a
number of the size of a reward. So near a discount of 1 a backup in single precision hides errors far beyond
rounding: at .9999, values of 10,000 that are off by 6 look solved. Two remedies are used here. The `gain`
of a backup is computed from differences of values, and a value is a pair of numbers (`Precise`), of which
the second holds the rounding error of the first.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn.rl.mdp.model import MDP, leaving, under
from lrn.types import Array

_EXACT = jax.lax.Precision.HIGHEST


class Precise(NamedTuple):
    """Values in twice the precision of their dtype: the sum ``high + low``.

    high: the rounded values, [state].
    low: their rounding errors, [state].
    """

    high: Array
    low: Array

    def add(self, change: Array) -> Precise:
        """The values plus a change [state], in twice the precision (Dekker 1971)."""
        change = change + self.low
        high = self.high + change
        taken = high - self.high
        return Precise(high, (self.high - (high - taken)) + (change - taken))


def action_values(mdp: MDP, values: Array) -> Array:
    """Action values [state, action] after one Bellman backup: act once, then receive ``values`` [state]."""
    return mdp.rewards + mdp.discount * (mdp.transitions @ jnp.where(mdp.terminal, 0, values))


def backup(mdp: MDP, policy: Array, values: Array) -> Array:
    """Bellman's operator of a policy [state, action], applied to ``values`` [state]; returns [state]."""
    return (policy * action_values(mdp, values)).sum(-1)


def optimal_backup(mdp: MDP, values: Array) -> Array:
    """Bellman's optimality operator, applied to ``values`` [state]: a sweep of value iteration, [state]."""
    return action_values(mdp, values).max(-1)


def gain(mdp: MDP, values: Precise) -> tuple[Array, Array]:
    """The gain of each action over its state's value, ``Q(s, a) - V(s)``, with the size of its terms.

    Returns:
        ``(gain, size)``, [state, action] each. ``size`` is the sum of the absolute terms of the gain, whose
        rounding error is a few machine epsilons times ``size``.
    """
    across = _differences(mdp, values)
    moved = mdp.discount * jnp.einsum("sat,st->sa", mdp.transitions, across, precision=_EXACT)
    far = mdp.discount * jnp.einsum("sat,st->sa", mdp.transitions, jnp.abs(across), precision=_EXACT)
    left = leaving(mdp) * _alive(mdp, values.high)[:, None]
    return mdp.rewards + moved - left, jnp.abs(mdp.rewards) + far + jnp.abs(left)


@jax.jit
def evaluate(mdp: MDP, policy: Array) -> Precise:
    """The values of a policy [state, action] in twice the precision of their dtype.

    The method is iterative refinement: the errors of a first solution are computed from its gains, and the
    same system is solved for them. Values are NaN if the refinement does not converge, as when the policy
    does not terminate and the discount is 1 or too close to 1. Derivatives flow through ``high``.
    """
    chain, rewards = under(mdp, policy)
    inverse = jnp.linalg.inv(jax.lax.stop_gradient(_system(mdp, chain)))

    def left(x: Array) -> Array:
        """``x - discount chain x``."""
        gains, _ = _chain_gain(mdp, chain, 0 * rewards, Precise(x, 0 * x))
        return jnp.where(mdp.terminal, x, -gains)

    def missing(b: Array, x: Precise) -> tuple[Array, Array]:
        """The residual ``b - left(x)``, and the size of its terms."""
        gains, size = _chain_gain(mdp, chain, b, x)
        return jnp.where(mdp.terminal, b - x.high, gains), size

    def solve(_: object, b: Array) -> Array:
        def refine(_: int, x: Array) -> Array:
            return x + times(inverse, missing(b, Precise(x, 0 * x))[0])

        return jax.lax.fori_loop(0, 5, refine, 0 * b)

    high = jax.lax.custom_linear_solve(left, rewards, solve, lambda _, b: times(inverse.T, b))
    first = Precise(high, 0 * high)
    low = times(inverse, missing(rewards, first)[0])
    error, size = missing(rewards, Precise(high, low))
    solved = jnp.abs(error).max() <= 100 * jnp.finfo(high.dtype).eps * size.max()
    return Precise(high * jnp.where(solved, 1, jnp.nan), jax.lax.stop_gradient(low))


def policy_values(mdp: MDP, policy: Array) -> Array:
    """The exact values [state] of a policy [state, action], right to the last digit or two of their dtype.

    With discount 1 the policy must reach a terminal state from every state; otherwise the result is not
    finite. Values are NaN where rounding leaves no correct digit: in single precision at discounts above
    about .999999.
    """
    return evaluate(mdp, policy).high


def policy_action_values(mdp: MDP, policy: Array) -> Array:
    """The exact action values [state, action] of a policy [state, action]."""
    values = evaluate(mdp, policy)
    return plus(values, gain(mdp, values)[0])


def objective(mdp: MDP, policy: Array) -> Array:
    """The expected discounted return, a scalar, of a policy [state, action] from the initial distribution."""
    return times(mdp.initial, policy_values(mdp, policy))


@jax.jit
def visits(mdp: MDP, chain: Array, start: Array) -> Array:
    """Discounted visits [state] of a Markov chain [state, state] with starting weights ``start`` [state]."""
    visited = jnp.linalg.solve(_system(mdp, chain).T, start)
    # All weight that starts must leave, by termination or by discounting, which fixes the scale of the
    # visits.
    ends = leaving(mdp) + mdp.discount * (chain * mdp.terminal[None, :]).sum(-1)
    visited = jnp.where(mdp.terminal, 0, visited)
    return visited * (jnp.where(mdp.terminal, 0, start).sum() / (visited * ends).sum())


def times(a: Array, b: Array) -> Array:
    """The product of a matrix and a vector, in full precision of their dtype on every device."""
    return jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)


def plus(values: Precise, gains: Array) -> Array:
    """Action values [state, action] from values and the gains [state, action] of actions over them."""
    return values.high[:, None] + (values.low[:, None] + gains)


def _alive(mdp: MDP, values: Array) -> Array:
    return jnp.where(mdp.terminal, 0, values)


def _differences(mdp: MDP, values: Precise) -> Array:
    """The value of a next state less the value of a state, [state, next state]."""
    high, low = (_alive(mdp, x) for x in values)
    return (high[None, :] - high[:, None]) + (low[None, :] - low[:, None])


def _chain_gain(mdp: MDP, chain: Array, rewards: Array, values: Precise) -> tuple[Array, Array]:
    """The `gain` of a Markov chain [state, state] that pays rewards [state], and the size of its terms."""
    across = _differences(mdp, values)
    moved, far = (mdp.discount * (chain * x).sum(-1) for x in (across, jnp.abs(across)))
    left = leaving(mdp) * _alive(mdp, values.high)
    return rewards + moved - left, jnp.abs(rewards) + far + jnp.abs(left)


def _system(mdp: MDP, chain: Array) -> Array:
    """``I - discount * chain`` [state, state], without transitions into or out of terminal states.

    The diagonal is summed from the probabilities of leaving a state. The difference ``1 - discount * chain``
    would be mostly rounding error where that probability is small.
    """
    alive, identity = ~mdp.terminal, jnp.eye(mdp.states, dtype=chain.dtype)
    moves = mdp.discount * chain * (1 - identity)
    stays = jnp.where(alive, leaving(mdp) + moves.sum(-1), 1)
    return stays[:, None] * identity - moves * alive[:, None] * alive[None, :]
