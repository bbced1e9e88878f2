"""Policy iteration: evaluate exactly, act greedily, repeat until nothing improves (Howard 1960)."""

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
    """The greedy policy [state, action] in ``q``, except where ``policy`` is within ``tolerance`` of greedy.

    Keeping an action that is as good as the best is what makes policy iteration stop when there are ties.
    """
    greedy = jax.nn.one_hot(jnp.argmax(q, -1), q.shape[-1], dtype=q.dtype)
    short = q.max(-1) - (policy * q).sum(-1)
    return jnp.where((short > tolerance)[:, None], greedy, policy)


def policy_iteration(mdp: MDP, policy: Array | None = None, max_iterations: int = 1000) -> Solution:
    """Improve ``policy`` [state, action] (uniform by default) until it is optimal.

    Stops after finitely many improvements, in practice a handful. Each is a linear solve, of cubic cost in
    the states. Rounding decides between actions whose values differ by less than some 1e-6 (in single
    precision; 1e-14 in double) of a reward, or of a difference between values that an action leads to.

    With discount 1 the first policy must reach a terminal state from everywhere; otherwise the result is NaN.
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
    """Improve ``policy`` until nothing improves it, ``most`` times at most; not at all unless ``needed``.

    Returns:
        The values of the last policy (``values`` where none was needed), and how many improvements it took,
        the one that found nothing to improve included.
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
        # Ties may have kept a first policy that mixes equally good actions; the result takes one of them.
        settled = (better == policy).all()
        pure = jnp.where(mdp.terminal[:, None], policy, deterministic(mdp, jnp.argmax(policy, -1)))
        after = jnp.where(settled, pure, better)
        return after, values, (after != policy).any(), evaluations + 1

    start = (policy, values, needed, jnp.int32(0))
    _, values, _, evaluations = jax.lax.while_loop(unfinished, step, start)
    return values, jnp.minimum(evaluations, most)


def solve(mdp: MDP) -> Solution:
    """The exact solution; the oracle that learners are compared to."""
    return policy_iteration(mdp)
