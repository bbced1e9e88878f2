"""What theory says of tabular learning: the exact solution, and the error that step sizes leave.

A method estimates one number for each of its entries: states (TD) or pairs of a state and an action (SARSA
and Q-learning). Near the solution the estimates follow a linear stochastic approximation, whose covariance
solves a Lyapunov equation (Polyak and Juditsky 1992; Kushner and Yin 2003, chapter 10).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn.rl import mdp
from lrn.types import Array

TD, TRACES, SARSA, Q = "TD(0)", "TD(lambda)", "SARSA", "Q-learning"
EXPLORING, LIMIT = 0.3, 10  # SARSA's chance of a random action; the steps after which an episode is cut


class Entries(NamedTuple):
    """The entries of a method, as arrays over the n entries.

    exact: [n], the values that the method estimates. residual: scalar, their largest Bellman error.
    ahead: [n, n], the chance of each entry to be bootstrapped from. walk: [n, n], to be visited next.
    start: [n], to be visited first. noise: [n], the variance of a target at the exact values.
    """

    exact: Any
    residual: Any
    ahead: Any
    walk: Any
    start: Any
    noise: Any


def entries(method: str, world: mdp.MDP) -> Entries:
    """The entries of a method that plays a world without terminal states."""
    gamma = world.discount
    if method in (TD, TRACES):
        policy = mdp.uniform_policy(world)
        exact = mdp.policy_values(world, policy)
        chain, rewards = mdp.under(world, policy)
        # The target is reward plus discounted next value, for an action and a next state that are drawn.
        targets = world.rewards[:, :, None] + gamma * exact[None, None, :]
        second = jnp.einsum("sa,sat,sat->s", policy, world.transitions, targets**2)
        residual = jnp.abs(rewards + gamma * chain @ exact - exact).max()
        return Entries(exact, residual, chain, chain, world.initial, second - exact**2)
    if method == Q:
        acting = mdp.uniform_policy(world)
        exact = mdp.solve(world).action_values
        target = mdp.deterministic(world, jnp.argmax(exact, -1))
        following = exact.max(-1)
        noise = gamma**2 * _variance(world.transitions, following)
    else:
        exact, acting = exploring(world)
        target = acting
        mean, second = (acting * exact).sum(-1), (acting * exact**2).sum(-1)
        following = mean
        noise = gamma**2 * (_variance(world.transitions, mean) + world.transitions @ (second - mean**2))
    residual = jnp.abs(world.rewards + gamma * world.transitions @ following - exact).max()
    n, start = exact.size, (world.initial[:, None] * acting).ravel()
    ahead, walk = (jnp.einsum("sat,tb->satb", world.transitions, p).reshape(n, n) for p in (target, acting))
    return Entries(exact.ravel(), residual, ahead, walk, start, noise.ravel())


def exploring(world: mdp.MDP) -> tuple[Array, Array]:
    """The values [state, action] of the policy that is epsilon-greedy in its own values, and the policy.

    It is the best of all policies with so much exploration, so that policy iteration among them finds it.
    """
    policy = mdp.uniform_policy(world)
    for _ in range(12):
        policy = mdp.epsilon_greedy(mdp.policy_action_values(world, policy), EXPLORING)
    values = mdp.policy_action_values(world, policy)
    return values, mdp.epsilon_greedy(values, EXPLORING)


def visits(found: Entries, limit: int = LIMIT) -> Array:
    """The share of each entry among the visits, [n], where episodes are cut after ``limit`` steps."""
    places = jax.lax.scan(lambda p, _: (p @ found.walk, p), found.start, length=limit)[1]
    return places.mean(0)


def left_error(
    found: Entries,
    power: float,
    rate: float,
    discount: float,
    lambda_: float,
    steps: float,
    limit: int = LIMIT,
) -> float:
    """The root mean squared error over entries that theory gives, to leading order, after so many steps.

    The step size at visit n is ``(rate n)^-power``. At a step of the environment the errors e move by
    ``-diag(a) (B e + noise)``: a are the step sizes, B is the mean of ``trace (e_now - discount e_ahead)'``,
    and the noise has the covariance W, the mean of ``variance trace trace'``. Traces restart with each
    episode. The covariance S of the errors solves ``A S + S A' = N``, where A is
    ``diag(a) B - power / (2 steps)`` and N is ``diag(a) W diag(a)``.

    Args:
        found: the entries, as float64 arrays.
        power, rate: of the step size.
        discount, lambda_: of the method; 0 for a method without traces.
        steps: of the environment.
        limit: the steps after which an episode is cut.
    """
    n, fade = len(found.start), discount * lambda_
    one = np.eye(n)
    place, trace = found.start, np.diag(found.start)  # trace[i, s]: mean trace of i where the walk is at s
    square = np.einsum("s,si,sj->sij", place, one, one)  # the mean of trace trace' there
    share, b, w = np.zeros(n), np.zeros((n, n)), np.zeros((n, n))
    for _ in range(limit):
        share += place / limit
        b += trace @ (one - discount * found.ahead) / limit
        w += np.einsum("s,sij->ij", found.noise, square) / limit
        place, moved = place @ found.walk, trace @ found.walk
        cross = fade * np.einsum("is,sj->sij", moved, one)
        square = fade**2 * np.einsum("st,sij->tij", found.walk, square) + cross + cross.transpose(0, 2, 1)
        square += np.einsum("s,si,sj->sij", place, one, one)
        trace = fade * moved + np.diag(place)
    sizes = (rate * share * steps) ** -power
    a = sizes[:, None] * b - power / (2 * steps) * one
    noise = sizes[:, None] * w * sizes[None, :]
    lyapunov = np.kron(a, one) + np.kron(one, a)
    covariance = np.linalg.solve(lyapunov, noise.ravel()).reshape(n, n)
    return float(np.sqrt(np.trace(covariance) / n))


def _variance(transitions: Array, values: Array) -> Array:
    """The variance [state, action] of the value of the next state."""
    mean = transitions @ values
    return transitions @ values**2 - mean**2
