"""Linear methods without sampling: fixed points and expected updates on a known MDP.

With D the weights of the states on a diagonal, P and r the target policy's chain and rewards and X the
features, the expected TD update is ``b - A w`` with ``A = X' D (I - discount P) X`` and ``b = X' D r``. The
iteration is stable, for small steps, exactly if every eigenvalue of A that matters has a positive real part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from lrn.rl.mdp.evaluation import visits
from lrn.rl.mdp.model import MDP, under
from lrn.types import Array


class Moments(NamedTuple):
    """a: [feature, feature]. b: [feature]. c: [feature, feature], ``X' D X``."""

    a: Array
    b: Array
    c: Array


def moments(mdp: MDP, features: Array, target: Array, weighting: Array) -> Moments:
    """What the expected updates are made of.

    Args:
        mdp: the MDP, with its discount.
        features: [state, feature].
        target: [state, action], the policy whose values are learnt.
        weighting: [state], how much a state counts: how often the behavior visits it
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
        target: [state, action].
        visited: [state], how often the behavior is where.
    """
    chain, _ = under(mdp, target)
    return visits(mdp, chain, visited)


def expected_td(m: Moments, weights: Array, step_size: Any) -> Array:
    """The weights [feature] after an expected semi-gradient TD update; emphatic TD with those moments.

    With every state weighted alike this is the semi-gradient form of dynamic programming.
    """
    return weights + step_size * (m.b - m.a @ weights)


def expected_tdc(
    m: Moments, weights: Array, second: Array, step_size: Any, correction: Any
) -> tuple[Array, Array]:
    """The weights and second weights [feature] after an expected TDC update."""
    error = m.b - m.a @ weights  # the expectation of (TD error) x
    # E[discount x_next x'] = C - A', the transpose taken since the correction multiplies by x' second.
    correct = (m.c - m.a).T @ second
    return weights + step_size * (error - correct), second + correction * (error - m.c @ second)


def td_fixed_point(m: Moments) -> Array:
    """The weights [feature] at which TD stands still, whether or not it gets there; A must be regular."""
    return jnp.linalg.solve(m.a, m.b)


def growth(m: Moments, step_size: Any) -> Array:
    """The spectral radius of an expected TD update: above 1 it diverges."""
    step = jnp.eye(m.b.shape[0], dtype=m.a.dtype) - step_size * m.a
    return jnp.abs(jnp.linalg.eigvals(step)).max()
