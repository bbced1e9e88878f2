"""Policy iteration: evaluate exactly, act greedily, repeat until nothing improves (Howard 1960)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.mdp.evaluation import policy_action_values, policy_values
from lrn.rl.mdp.model import MDP, deterministic, uniform_policy
from lrn.rl.mdp.value_iteration import Solution, solution
from lrn.types import Array


def improve(q: Array, policy: Array, tolerance: ArrayLike = 0.0) -> Array:
    """The greedy policy [state, action] in ``q``, except where ``policy`` is within ``tolerance`` of greedy.

    Keeping an action that is as good as the best is what makes policy iteration stop when there are ties.
    """
    greedy = jax.nn.one_hot(jnp.argmax(q, -1), q.shape[-1], dtype=q.dtype)
    gain = q.max(-1) - (policy * q).sum(-1)
    return jnp.where((gain > tolerance)[:, None], greedy, policy)


def policy_iteration(mdp: MDP, policy: Array | None = None, max_iterations: int = 1000) -> Solution:
    """Improve ``policy`` [state, action] (uniform by default) until it is optimal.

    Stops after finitely many improvements, in practice a handful. Each is a linear solve, of cubic cost in
    the states. Rounding decides between actions that differ by less than some 1e-5 of the largest |Q| (in
    single precision; 1e-12 in double).

    With discount 1 the first policy must reach a terminal state from everywhere.
    """
    check.integer("max_iterations", max_iterations, low=1)
    policy = uniform_policy(mdp) if policy is None else jnp.asarray(policy, mdp.rewards.dtype)
    precision = 100 * jnp.finfo(policy.dtype).eps

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        _, changed, iterations = carry
        return changed & (iterations < max_iterations)

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        policy, _, iterations = carry
        q = policy_action_values(mdp, policy)
        better = improve(q, policy, precision * jnp.maximum(1.0, jnp.abs(q).max()))
        return better, (better != policy).any(), iterations + 1

    start = (policy, jnp.array(True), jnp.int32(0))
    policy, _, iterations = jax.lax.while_loop(unfinished, step, start)
    # Ties may have kept a first policy that mixes equally good actions; the result takes one of them.
    policy = jnp.where(mdp.terminal[:, None], policy, deterministic(mdp, jnp.argmax(policy, -1)))
    return solution(mdp, policy_values(mdp, policy), iterations)


def solve(mdp: MDP) -> Solution:
    """The exact solution; the oracle that learners are compared to."""
    return policy_iteration(mdp)
