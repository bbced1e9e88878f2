"""How often a policy visits each state: discounted visits, and the stationary distribution."""

from __future__ import annotations

import jax.numpy as jnp

from lrn.rl.mdp.evaluation import visits
from lrn.rl.mdp.model import MDP, under
from lrn.types import Array


def state_visits(mdp: MDP, policy: Array) -> Array:
    """Expected discounted visits [state] of an episode, ``sum over t of discount^t P(S_t = s)``.

    Terminal states count as not visited. If nothing terminates, the visits sum to ``1 / (1 - discount)``, and
    ``(1 - discount)`` times the visits is the discounted state distribution.

    Args:
        mdp: the MDP; with discount 1 the policy must reach a terminal state.
        policy: the policy, probabilities [state, action].
    """
    chain, _ = under(mdp, policy)
    return visits(mdp, chain, mdp.initial)


def occupancy(mdp: MDP, policy: Array) -> Array:
    """Expected discounted visits [state, action] of a policy [state, action].

    They are the dual variables of the MDP as a linear program (Puterman 1994, section 6.9). Their inner
    product with the rewards is `evaluation.objective`.
    """
    return state_visits(mdp, policy)[:, None] * policy


def policy_of(visits: Array) -> Array:
    """The policy [state, action] with the given visits [state, action]; uniform in states without visits."""
    total = visits.sum(-1, keepdims=True)
    return jnp.where(total > 0, visits / jnp.where(total > 0, total, 1), 1 / visits.shape[-1])


def stationary(mdp: MDP, policy: Array) -> Array:
    """The long-run share of steps that a policy takes from each state, [state], episode after episode.

    After a terminal state the next episode starts at once from the initial distribution, so the share of a
    terminal state is 0. The chain must have one recurrent class.

    Args:
        mdp: the MDP; its discount is not used.
        policy: the policy, probabilities [state, action].
    """
    chain, _ = under(mdp, policy)
    ends = (chain * mdp.terminal[None, :]).sum(-1)
    chain = jnp.where(mdp.terminal[None, :], 0, chain) + ends[:, None] * mdp.initial[None, :]
    chain = jnp.where(mdp.terminal[:, None], mdp.initial[None, :], chain)
    # The equations d (I - P) = 0 and d 1 = 1 as one regular system: d (I - P + 1 1') = 1'.
    system = jnp.eye(mdp.states, dtype=chain.dtype) - chain + 1
    share = jnp.linalg.solve(system.T, jnp.ones(mdp.states, chain.dtype))
    return jnp.where(mdp.terminal, 0, share)
