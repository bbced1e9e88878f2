"""The exact policy gradient of a softmax policy (Sutton et al. 2000)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn.rl.mdp.evaluation import evaluate, gain, objective
from lrn.rl.mdp.model import MDP
from lrn.rl.mdp.occupancy import state_visits
from lrn.types import Array


def softmax_objective(mdp: MDP, logits: Array) -> Array:
    """The expected discounted return of the softmax of ``logits`` [state, action]; differentiable."""
    return objective(mdp, jax.nn.softmax(logits))


def advantages(mdp: MDP, policy: Array) -> Array:
    """Q minus V [state, action] of a policy [state, action]."""
    gains, _ = gain(mdp, evaluate(mdp, policy))
    return gains - (policy * gains).sum(-1, keepdims=True)


def softmax_policy_gradient(mdp: MDP, logits: Array) -> Array:
    """The gradient [state, action] of `softmax_objective` by the policy gradient theorem.

    ``discount^t``-weighted visits times ``pi(a|s) A(s, a)``: the true gradient, where most implementations
    leave out the weighting by ``discount^t`` and estimate something else (Nota and Thomas 2020).
    """
    policy = jax.nn.softmax(logits)
    return (
        state_visits(mdp, policy)[:, None]
        * policy
        * jnp.where(mdp.terminal[:, None], 0, advantages(mdp, policy))
    )
