"""Linear methods without sampling: fixed points and expected updates on a known MDP.

Let D be the diagonal matrix of the weights of the states, P and r the Markov chain and the rewards of the
target policy, and X the features. The expected TD update is ``b - A w`` with ``A = X' D (I - discount P) X``
and ``b = X' D r``. With small steps the iteration is stable exactly if every eigenvalue of A, except zeros of
linearly dependent features, has a positive real part (Sutton et al. 2016).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from lrn.rl.mdp.evaluation import visits
from lrn.rl.mdp.model import MDP, under
from lrn.types import Array


class Moments(NamedTuple):
    """The matrices and the vector of the expected updates.

    a: ``X' D (I - discount P) X``, [feature, feature].
    b: ``X' D r``, [feature].
    c: ``X' D X``, [feature, feature].
    """

    a: Array
    b: Array
    c: Array


def moments(mdp: MDP, features: Array, target: Array, weighting: Array) -> Moments:
    """The matrices and the vector of the expected updates.

    Args:
        mdp: the MDP, with its discount.
        features: features of the states, [state, feature].
        target: the policy whose values are learned, probabilities [state, action].
        weighting: weights of the states, [state]: the share of the behavior's steps in each state
            (`lrn.rl.mdp.stationary`), or `emphasis`.
    """
    chain, rewards = under(mdp, target)
    x = jnp.where(mdp.terminal[:, None], 0, features)
    d = weighting[:, None] * x
    return Moments(d.T @ (x - mdp.discount * (chain @ x)), d.T @ rewards, d.T @ x)


def emphasis(mdp: MDP, target: Array, visited: Array) -> Array:
    """The expected emphasis [state]: ``m = d + discount P' m``, with an interest of 1 (Sutton et al. 2016).

    Args:
        mdp: the MDP, with its discount.
        target: the policy whose values are learned, probabilities [state, action].
        visited: the share d of the behavior's steps in each state, [state].
    """
    chain, _ = under(mdp, target)
    return visits(mdp, chain, visited)


def expected_td(m: Moments, weights: Array, step_size: Any) -> Array:
    """The weights [feature] after an expected update of semi-gradient TD, ``w + step_size * (b - A w)``.

    Moments that are weighted by `emphasis` make it an expected update of emphatic TD. Equal weights of all
    states make it the semi-gradient form of dynamic programming.
    """
    return weights + step_size * (m.b - m.a @ weights)


def expected_tdc(
    m: Moments, weights: Array, second: Array, step_size: Any, correction: Any
) -> tuple[Array, Array]:
    """The weights and second weights [feature] after an expected TDC update (Sutton et al. 2009).

    Args:
        m: the moments.
        weights: the weights, [feature].
        second: the second weights, [feature].
        step_size: step size of the weights.
        correction: step size of the second weights.
    """
    error = m.b - m.a @ weights  # E[(TD error) x]
    # The correction is E[discount x_next x'] second, and E[discount x_next x'] = (C - A)'.
    correct = (m.c - m.a).T @ second
    return weights + step_size * (error - correct), second + correction * (error - m.c @ second)


def td_fixed_point(m: Moments) -> Array:
    """The fixed point of TD [feature], whether or not TD converges to it; A must be regular."""
    return jnp.linalg.solve(m.a, m.b)


def growth(m: Moments, step_size: Any) -> Array:
    """The spectral radius of an expected TD update, a scalar; above 1 the iteration diverges."""
    step = jnp.eye(m.b.shape[0], dtype=m.a.dtype) - step_size * m.a
    return jnp.abs(jnp.linalg.eigvals(step)).max()
