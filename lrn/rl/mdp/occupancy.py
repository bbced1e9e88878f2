"""How often a policy is where: discounted visits, and the stationary distribution."""

from __future__ import annotations

import jax.numpy as jnp

from lrn.rl.mdp.evaluation import visits
from lrn.rl.mdp.model import MDP, under
from lrn.types import Array


def state_visits(mdp: MDP, policy: Array) -> Array:
    """Expected discounted visits [state] of an episode, ``sum over t of discount^t P(S_t = s)``.

    Terminal states are not visited: what happens there is over. Where nothing terminates the visits sum to
    ``1 / (1 - discount)``; ``(1 - discount)`` times them is the discounted state distribution.

    Args:
        mdp: the MDP; with discount 1 the policy must reach a terminal state.
        policy: [state, action].
    """
    chain, _ = under(mdp, policy)
    return visits(mdp, chain, mdp.initial)


def occupancy(mdp: MDP, policy: Array) -> Array:
    """Expected discounted visits [state, action]: the dual variables of the MDP as a linear program.

    Their inner product with the rewards is `evaluation.objective`.
    """
    return state_visits(mdp, policy)[:, None] * policy


def policy_of(visits: Array) -> Array:
    """The policy [state, action] that has these visits [state, action]; uniform where there are none."""
    total = visits.sum(-1, keepdims=True)
    return jnp.where(total > 0, visits / jnp.where(total > 0, total, 1), 1 / visits.shape[-1])


def stationary(mdp: MDP, policy: Array) -> Array:
    """The long-run share of steps [state] that are taken from each state, an episode following another.

    A terminal state is left at once for a draw of the initial distribution, which takes no step, so its
    share is 0. The chain must have one recurrent class.
    """
    chain, _ = under(mdp, policy)
    ends = (chain * mdp.terminal[None, :]).sum(-1)
    chain = jnp.where(mdp.terminal[None, :], 0, chain) + ends[:, None] * mdp.initial[None, :]
    chain = jnp.where(mdp.terminal[:, None], mdp.initial[None, :], chain)
    # d (I - P) = 0 and d 1 = 1 in one regular system: d (I - P + 1 1') = 1'.
    system = jnp.eye(mdp.states, dtype=chain.dtype) - chain + 1
    share = jnp.linalg.solve(system.T, jnp.ones(mdp.states, chain.dtype))
    return jnp.where(mdp.terminal, 0, share)
