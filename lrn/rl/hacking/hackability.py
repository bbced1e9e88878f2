"""Hackability: whether two rewards ever order two policies oppositely, decided exactly (Skalse et al. 2022).

Rewards R1 and R2 are hackable over a set of policies if the set has two policies such that the first is
better by R1 and worse by R2. `compare` decides this for a finite set by comparing all pairs. `hackable`
decides it for all stochastic policies by linear algebra. A return is the inner product of a reward with the
discounted visits of a policy, and the visits of all policies fill a polytope. Two linear functions order
some pair of its points oppositely unless they have the same direction or one of them is constant. So only
rewards that are equivalent or trivial are unhackable (theorem 1).

Everything is computed in float64 on the host, since the answer depends on exact ties.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lrn import check
from lrn.rl.mdp import MDP

MOST_POLICIES = 1_000_000


class Comparison(NamedTuple):
    """The comparison of two returns over a finite set of policies.

    hackable: whether the returns order some pair of policies oppositely.
    witness: indices ``(i, j)`` of such a pair, with i better by the second return and j better by the first;
        None without such a pair.
    discordant: fraction of pairs that are ordered oppositely, among the pairs that neither return ties.
    trivial: whether one of the returns is the same for every policy.
    """

    hackable: bool
    witness: tuple[int, int] | None
    discordant: float
    trivial: bool


def compare(first: ArrayLike, second: ArrayLike, tolerance: float = 1e-9) -> Comparison:
    """Compare the returns of the same policies under two rewards.

    Args:
        first: returns under the first reward, [policy].
        second: returns under the second reward, [policy].
        tolerance: the largest difference that counts as a tie.

    Raises:
        InputError: the two are not arrays [policy] of the same length, have no policy, or hold a return that
            is not finite; or the tolerance is negative.
    """
    check.non_negative("tolerance", tolerance)
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.ndim != 1 or one.shape != two.shape:
        raise check.InputError(
            f"the two returns must be [policy] of the same length, got shapes {list(one.shape)} and "
            f"{list(two.shape)}; give the returns of the same policies."
        )
    if one.size == 0 or not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise check.InputError(
            "returns to compare must be finite numbers, of at least one policy; "
            f"got {one.size} policies, {int((~np.isfinite(one) | ~np.isfinite(two)).sum())} of them with a "
            "return that is not finite; check how the returns were computed."
        )
    against = agree = 0
    witness = None
    for i in range(len(one) - 1):  # row by row: all pairs at once would need an array [policy, policy]
        a, b = _sign(one[i + 1 :] - one[i], tolerance), _sign(two[i + 1 :] - two[i], tolerance)
        opposite = a * b < 0
        agree += int((a * b > 0).sum())
        against += int(opposite.sum())
        if witness is None and opposite.any():
            j = i + 1 + int(np.argmax(opposite))
            witness = (i, j) if one[j] > one[i] else (j, i)
    trivial = min(np.ptp(one), np.ptp(two)) <= tolerance
    return Comparison(witness is not None, witness, against / max(against + agree, 1), bool(trivial))


def deterministic_policies(mdp: MDP) -> np.ndarray:
    """Every deterministic policy as actions, int [policy, state]; terminal states always take action 0.

    Raises:
        InputError: there are more than a million (`MOST_POLICIES`) policies.
    """
    choices = [range(1) if end else range(mdp.actions) for end in np.asarray(mdp.terminal)]
    count = mdp.actions ** sum(len(c) > 1 for c in choices) if mdp.actions > 1 else 1
    if count > MOST_POLICIES:
        raise check.InputError(
            f"this MDP has {count} deterministic policies, more than {MOST_POLICIES}; "
            "use hackable, which does not list policies."
        )
    return np.array(list(itertools.product(*choices)), np.int64)


def returns_of(mdp: MDP, rewards: Sequence[ArrayLike], actions: np.ndarray) -> np.ndarray:
    """Expected discounted returns [reward, policy] of deterministic policies.

    Args:
        mdp: the MDP; its dynamics, discount and initial distribution are used, its own rewards are not.
        rewards: the rewards, each [state, action]. Rewards in terminal states do not count.
        actions: the policies, int [policy, state].

    Raises:
        InputError: a reward has another shape or is not finite; or the MDP does not have the actions.
    """
    actions = np.asarray(actions)
    whole = np.issubdtype(actions.dtype, np.integer) and actions.ndim == 2 and actions.shape[1] == mdp.states
    if not whole or (actions.size and not 0 <= actions.min() <= actions.max() < mdp.actions):
        raise check.InputError(
            f"actions must be whole numbers [policy, {mdp.states}] from 0 to {mdp.actions - 1}, got "
            f"{actions.dtype} {list(actions.shape)}; deterministic_policies makes them."
        )
    p, initial, gamma, live = _host(mdp)
    tables = [_reward(mdp, r) for r in rewards]
    states = np.arange(mdp.states)
    result = np.empty((len(tables), len(actions)))
    for i, action in enumerate(actions):
        chain = p[states, action] * live[None, :]
        visits = live * np.linalg.solve(np.eye(mdp.states) - gamma * chain.T, initial)
        result[:, i] = [visits @ r[states, action] for r in tables]
    return result


class Hackability(NamedTuple):
    """The comparison of two rewards over all stochastic policies.

    hackable: whether the rewards order some pair of policies oppositely.
    trivial: for each of the two rewards, whether all policies have the same return.
    cosine: cosine of the angle between the two rewards after projection on the differences of visits, in
        [-1, 1]; 1 for equivalent rewards, nan if a reward is trivial.
    witness: policies [2, state, action], or None if not hackable. The first policy is uniform; the second is
        better by the first reward and worse by the second.
    """

    hackable: bool
    trivial: tuple[bool, bool]
    cosine: float
    witness: np.ndarray | None


def hackable(mdp: MDP, first: ArrayLike, second: ArrayLike, tolerance: float = 1e-6) -> Hackability:
    """Decide hackability over all stationary stochastic policies, exactly up to rounding.

    The visits of policies span an affine space ``d0 + V``, where V holds the flows that enter each state as
    much as they leave it. Only the projection of a reward on V matters for the order of policies. Let r1 and
    r2 be the projections. If both are nonzero and their directions differ, then the step
    ``r1 / |r1| - r2 / |r2|`` from any policy that takes every action gains on the first reward and loses on
    the second.

    Args:
        mdp: the MDP; its dynamics, discount and initial distribution are used. With discount 1 every policy
            must terminate.
        first: the first reward, [state, action].
        second: the second reward, [state, action].
        tolerance: relative norm below which a projection counts as zero, and sine of the angle below which
            two directions count as equal. The arrays of an MDP are float32, so much smaller tolerances make
            no sense.

    Raises:
        InputError: a reward has another shape or is not finite.
    """
    check.non_negative("tolerance", tolerance)
    p, initial, gamma, live = _host(mdp)
    one, two = _reward(mdp, first), _reward(mdp, second)
    visits = _uniform_visits(p, initial, gamma, live)
    reached = visits > 0  # a state that no policy reaches does not affect returns
    pairs = np.repeat(reached, mdp.actions)
    own = np.repeat(np.eye(mdp.states), mdp.actions, 0)  # [state action, state]
    arriving = p.reshape(-1, mdp.states) * live[None, :]
    flow = (own - gamma * arriving)[pairs][:, reached].T
    _, singular, rows = np.linalg.svd(flow)
    basis = rows[int((singular > 1e-12 * singular.max()).sum()) :]  # an orthonormal basis of V, in rows
    projected, trivial = [], []
    for reward in (one, two):
        r = reward.reshape(-1)[pairs]
        r_in = basis.T @ (basis @ r)
        trivial.append(bool(np.linalg.norm(r_in) <= tolerance * max(np.linalg.norm(r), 1e-300)))
        projected.append(r_in)
    if any(trivial):
        return Hackability(False, (trivial[0], trivial[1]), float("nan"), None)
    a, b = (r / np.linalg.norm(r) for r in projected)
    cosine = float(np.clip(a @ b, -1, 1))
    away = a - b
    # |a - b| is twice the sine of half the angle, and unlike the cosine does not lose small angles.
    if np.linalg.norm(away) <= tolerance:
        return Hackability(False, (False, False), cosine, None)
    center = (visits / mdp.actions)[:, None].repeat(mdp.actions, 1).reshape(-1)
    step = np.zeros_like(center)
    step[pairs] = away
    shrinking = step < 0
    size = 0.5 * (center[shrinking] / -step[shrinking]).min()  # half way to the boundary of the polytope
    witness = np.stack([_policy(center, mdp), _policy(center + size * step, mdp)])
    return Hackability(True, (False, False), cosine, witness)


def _host(mdp: MDP) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Transitions, initial distribution and discount in float64, and a mask of the nonterminal states."""
    p, initial = np.asarray(mdp.transitions, np.float64), np.asarray(mdp.initial, np.float64)
    p = p / p.sum(-1, keepdims=True)  # float32 rows sum to one only up to rounding
    return p, initial / initial.sum(), float(mdp.discount), ~np.asarray(mdp.terminal)


def _uniform_visits(p: np.ndarray, initial: np.ndarray, gamma: float, live: np.ndarray) -> np.ndarray:
    """Discounted visits [state] of the uniform policy; exactly 0 in states that no policy reaches."""
    reached, chain = initial > 0, p.mean(1) * live[None, :]
    for _ in range(len(initial)):
        reached = reached | (gamma * (reached & live) @ chain > 0)
    visits = np.linalg.solve(np.eye(len(initial)) - gamma * chain.T, initial)
    return np.where(reached & live, visits, 0.0)


def _policy(visits: np.ndarray, mdp: MDP) -> np.ndarray:
    table = visits.reshape(mdp.states, mdp.actions)
    total = table.sum(-1, keepdims=True)
    return np.where(total > 0, table / np.where(total > 0, total, 1), 1 / mdp.actions)


def _reward(mdp: MDP, reward: ArrayLike) -> np.ndarray:
    table = np.asarray(reward, np.float64)
    if table.shape != (mdp.states, mdp.actions):
        raise check.InputError(
            f"a reward must have shape [{mdp.states}, {mdp.actions}], got {list(table.shape)}; "
            "give one for each state and action."
        )
    if not np.isfinite(table).all():
        raise check.InputError(
            f"a reward must be finite, but {int((~np.isfinite(table)).sum())} of its numbers are not; "
            "use large finite numbers instead of infinity."
        )
    return table


def _sign(x: Any, tolerance: float) -> np.ndarray:
    return np.where(np.abs(x) <= tolerance, 0, np.sign(x))
