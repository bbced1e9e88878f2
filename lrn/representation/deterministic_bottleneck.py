"""The deterministic information bottleneck (Strouse and Schwab, Neural Computation 2017): hard clusters.

The bottleneck maximizes ``I(T; Y) - beta H(T)`` over functions t = f(x): a code pays for the bits that store
it, not for those that tell about x. ``beta`` is the inverse of the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import nan_where
from lrn.data.discrete_joints import checked, entropy
from lrn.representation.blahut_arimoto import checked_betas, informations
from lrn.types import Array


class Clusters(NamedTuple):
    """Hard clusters, one set for each beta, in the order of the betas.

    assignment: int32 [betas, inputs], the code of each x. entropy: [betas], H(T), which is I(X; T) too.
    information_y: [betas], I(T; Y). All in nats.
    """

    assignment: Array
    entropy: Array
    information_y: Array

    def objective(self, betas: ArrayLike) -> Array:
        """I(T; Y) - beta H(T), [betas], in nats."""
        return self.information_y - jnp.asarray(betas) * self.entropy


def deterministic_bottleneck(
    joint: Array, betas: ArrayLike | Sequence[float], *, most: int = 1000
) -> Clusters:
    """The clusters of a joint for many betas.

    The search starts at the least beta with a code for every x, and at each further beta with the clusters
    before. It repeats the paper's update (algorithm 2), which never lowers the objective; where the update
    changes nothing, it merges the two codes whose merger gains most, until none gains. The merges are not in
    the paper, whose search from random clusters ends in worse optima. The end is a local optimum.

    Args:
        joint: [inputs, outputs], probabilities that sum to 1.
        betas: [betas], above 0, in any order; nats of I(T; Y) for a nat of H(T).
        most: the largest number of updates and mergers for each beta.

    Returns:
        The clusters; where values that cannot be read are no joint or no betas above 0, entropies and
        informations of NaN.

    Raises:
        InputError: as `lrn.representation.blahut_arimoto.information_curve`.
    """
    check.integer("most", most, 1)
    joint = checked(joint)
    betas = checked_betas(betas, joint.dtype)
    order = jnp.argsort(betas)
    inputs = joint.shape[0]

    def at(code: Array, beta: Array) -> tuple[Array, Array]:
        def unfinished(carry: tuple[Array, Array, Array]) -> Array:
            _, done, count = carry
            return ~done & (count < most)

        def search(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            code, _, count = carry
            moved = update(joint, code, beta)
            merged, gain = merge(joint, code, beta)
            changed = jnp.any(moved != code)
            gains = gain > 10 * jnp.finfo(joint.dtype).eps
            after = jnp.where(changed, moved, jnp.where(gains, merged, code))
            return after, ~changed & ~gains, count + 1

        start = code, jnp.zeros((), bool), jnp.zeros((), jnp.int32)
        code, _, _ = jax.lax.while_loop(unfinished, search, start)
        return code, code

    _, found = jax.lax.scan(at, jnp.arange(inputs, dtype=jnp.int32), betas[order])
    back = jnp.argsort(order)
    code = found[back]
    of_x, of_y = jax.vmap(lambda c: informations(joint, jax.nn.one_hot(c, inputs, dtype=joint.dtype)))(code)
    wrong = jnp.isnan(betas)
    return Clusters(code, nan_where(wrong, of_x), nan_where(wrong, of_y))


def update(joint: Array, code: Array, beta: ArrayLike) -> Array:
    """One update of codes int [inputs]: f(x) = argmax_t log p(t) - KL(p(y | x) || p(y | t)) / beta."""
    q = _by_code(joint, code)
    p_t, p_x = jnp.sum(q, axis=1), jnp.sum(joint, axis=1)
    y_of_t = q / jnp.where(p_t > 0, p_t, 1)[:, None]
    y_of_x = joint / jnp.where(p_x > 0, p_x, 1)[:, None]
    # The entropy of p(y | x) is the same for every code.
    terms = jnp.where(y_of_x[:, None, :] > 0, y_of_x[:, None, :] * jnp.log(y_of_t)[None, :, :], 0)
    score = jnp.where(p_t > 0, jnp.log(p_t), -jnp.inf)[None, :] + jnp.sum(terms, axis=2) / beta
    best = jnp.argmax(score, axis=1).astype(jnp.int32)
    own = jnp.take_along_axis(score, code[:, None], axis=1)[:, 0]
    return jnp.where(jnp.max(score, axis=1) > own, best, code)  # a tie changes nothing


def merge(joint: Array, code: Array, beta: ArrayLike) -> tuple[Array, Array]:
    """The codes after the merger of two that gains most, int [inputs], and its gain in nats."""
    q = _by_code(joint, code)
    p = jnp.sum(q, axis=1)
    both = xlogy(p[:, None] + p[None, :], p[:, None] + p[None, :]) - xlogy(p, p)[:, None] - xlogy(p, p)[None]
    q_both = q[:, None, :] + q[None, :, :]
    own = jnp.sum(xlogy(q, q), axis=1)
    lost = own[:, None] + own[None, :] - jnp.sum(xlogy(q_both, q_both), axis=2) + both  # of I(T; Y)
    n = p.shape[0]
    allowed = (p[:, None] > 0) & (p[None, :] > 0) & (jnp.arange(n)[:, None] < jnp.arange(n)[None, :])
    gain = jnp.where(allowed, beta * both - lost, -jnp.inf)
    first, second = jnp.unravel_index(jnp.argmax(gain), gain.shape)
    return jnp.where(code == second, first.astype(jnp.int32), code), jnp.max(gain)


def lagrangian(joint: Array, code: Array, beta: ArrayLike) -> Array:
    """I(T; Y) - beta H(T) of codes int [inputs], a scalar in nats."""
    q = _by_code(joint, code)
    p = jnp.sum(q, axis=1)
    about_y = entropy(p) + entropy(jnp.sum(q, axis=0)) - entropy(q.reshape(-1))
    return about_y - beta * entropy(p)


def _by_code(joint: Array, code: Array) -> Array:
    """p(t, y) [inputs, outputs]: as many codes as inputs, unused ones with probability 0."""
    return jax.ops.segment_sum(joint, code, num_segments=joint.shape[0])
