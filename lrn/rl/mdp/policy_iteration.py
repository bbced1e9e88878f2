"""Policy iteration: evaluate a policy exactly, make it greedy, repeat until it is optimal (Howard 1960)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.mdp.evaluation import Precise, evaluate, gain
from lrn.rl.mdp.model import MDP, deterministic, uniform_policy
from lrn.rl.mdp.solution import Solution, solution
from lrn.types import Array


def improve(q: Array, policy: Array, tolerance: ArrayLike = 0.0) -> Array:
    """The greedy policy [state, action], except in states where ``policy`` is within ``tolerance`` of greedy.

    Policy iteration stops at ties because it keeps an action that is as good as the best one.

    Args:
        q: action values, [state, action].
        policy: the policy so far, [state, action].
        tolerance: largest loss of value, a scalar or [state], with which the policy is kept.
    """
    greedy = jax.nn.one_hot(jnp.argmax(q, -1), q.shape[-1], dtype=q.dtype)
    short = q.max(-1) - (policy * q).sum(-1)
    return jnp.where((short > tolerance)[:, None], greedy, policy)


def policy_iteration(mdp: MDP, policy: Array | None = None, max_iterations: int = 1000) -> Solution:
    """Improve a policy until it is optimal.

    The method needs finitely many improvements, in practice a handful. Each improvement solves a linear
    system, of cubic cost in the number of states. Rounding decides between two actions if their values
    differ by less than about 1e-6 (in single precision; 1e-14 in double precision) of the rewards, or of
    the differences between the values of their next states.

    Args:
        mdp: the MDP.
        policy: the first policy, [state, action]; uniform by default. With discount 1 it must reach a
            terminal state from every state; otherwise the result is NaN.
        max_iterations: the largest number of improvements.
    """
    check.integer("max_iterations", max_iterations, low=1)
    policy = uniform_policy(mdp) if policy is None else jnp.asarray(policy, mdp.rewards.dtype)
    return _policy_iteration(mdp, policy, max_iterations)


@jax.jit
def _policy_iteration(mdp: MDP, policy: Array, most: ArrayLike) -> Solution:
    zeros = jnp.zeros_like(mdp.initial)
    values, iterations = improvements(mdp, policy, Precise(zeros, zeros), jnp.array(True), most)
    return solution(mdp, values, iterations)


def improvements(
    mdp: MDP, policy: Array, values: Precise, needed: Array, most: ArrayLike
) -> tuple[Precise, Array]:
    """Improve ``policy`` until it is optimal, at most ``most`` times; not at all unless ``needed``.

    Returns:
        The values of the last policy (``values`` if no improvement was needed), and the number of
        improvements, including the last one, which changed nothing.
    """
    precision = 16 * jnp.finfo(policy.dtype).eps

    def unfinished(carry: tuple[Array, Precise, Array, Array]) -> Array:
        _, _, changed, evaluations = carry
        return changed & (evaluations <= most)

    def step(carry: tuple[Array, Precise, Array, Array]) -> tuple[Array, Precise, Array, Array]:
        policy, _, _, evaluations = carry
        values = evaluate(mdp, policy)
        gains, size = gain(mdp, values)
        better = improve(gains, policy, precision * size.max(-1))
        # Ties may have kept a first policy that mixes equally good actions; the result takes one action.
        settled = (better == policy).all()
        pure = jnp.where(mdp.terminal[:, None], policy, deterministic(mdp, jnp.argmax(policy, -1)))
        after = jnp.where(settled, pure, better)
        return after, values, (after != policy).any(), evaluations + 1

    start = (policy, values, needed, jnp.int32(0))
    _, values, _, evaluations = jax.lax.while_loop(unfinished, step, start)
    return values, jnp.minimum(evaluations, most)


def solve(mdp: MDP) -> Solution:
    """The exact solution of an MDP, by `policy_iteration` from the uniform policy."""
    return policy_iteration(mdp)
