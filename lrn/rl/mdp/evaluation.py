"""Exact policy evaluation: Bellman's equation solved as a linear system (Puterman 1994, section 6.1)."""

from __future__ import annotations

import jax.numpy as jnp

from lrn.rl.mdp.model import MDP, under
from lrn.types import Array


def action_values(mdp: MDP, values: Array) -> Array:
    """Q [state, action] of acting once and then collecting ``values`` [state]: one Bellman backup."""
    return mdp.rewards + mdp.discount * (mdp.transitions @ jnp.where(mdp.terminal, 0, values))


def backup(mdp: MDP, policy: Array, values: Array) -> Array:
    """Bellman's operator of a policy [state, action], applied to ``values`` [state]."""
    return (policy * action_values(mdp, values)).sum(-1)


def optimal_backup(mdp: MDP, values: Array) -> Array:
    """Bellman's optimality operator, applied to ``values`` [state]: one sweep of value iteration."""
    return action_values(mdp, values).max(-1)


def policy_values(mdp: MDP, policy: Array) -> Array:
    """The values [state] of a policy [state, action], exactly.

    With discount 1 the policy must reach a terminal state from everywhere; otherwise the result is not
    finite.
    """
    chain, rewards = under(mdp, policy)
    return jnp.linalg.solve(_system(mdp, chain), rewards)


def policy_action_values(mdp: MDP, policy: Array) -> Array:
    """Q [state, action] of a policy [state, action], exactly."""
    return action_values(mdp, policy_values(mdp, policy))


def objective(mdp: MDP, policy: Array) -> Array:
    """The expected discounted return of a policy [state, action] from the initial distribution; a scalar."""
    return mdp.initial @ policy_values(mdp, policy)


def _system(mdp: MDP, chain: Array) -> Array:
    """``I - discount * chain`` [state, state] with terminal states cut off: nothing follows them."""
    alive = (~mdp.terminal).astype(chain.dtype)
    return jnp.eye(mdp.states, dtype=chain.dtype) - mdp.discount * chain * alive[:, None] * alive[None, :]
