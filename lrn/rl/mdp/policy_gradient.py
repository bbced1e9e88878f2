"""The exact policy gradient of a softmax policy (Sutton et al. 2000)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn.rl.mdp.evaluation import evaluate, gain, objective
from lrn.rl.mdp.model import MDP
from lrn.rl.mdp.occupancy import state_visits
from lrn.types import Array


def softmax_objective(mdp: MDP, logits: Array) -> Array:
    """The expected discounted return, a scalar, of the policy softmax(``logits`` [state, action])."""
    return objective(mdp, jax.nn.softmax(logits))


def advantages(mdp: MDP, policy: Array) -> Array:
    """The exact advantages ``Q - V`` [state, action] of a policy [state, action]."""
    gains, _ = gain(mdp, evaluate(mdp, policy))
    return gains - (policy * gains).sum(-1, keepdims=True)


def softmax_policy_gradient(mdp: MDP, logits: Array) -> Array:
    """The gradient [state, action] of `softmax_objective` by the policy gradient theorem.

    The gradient is the discounted visits of s times ``pi(a|s) A(s, a)``. Most implementations of policy
    gradients leave the discount out of the visits and estimate something else (Nota and Thomas 2020).
    """
    policy = jax.nn.softmax(logits)
    return (
        state_visits(mdp, policy)[:, None]
        * policy
        * jnp.where(mdp.terminal[:, None], 0, advantages(mdp, policy))
    )
