"""Small MDPs that papers use; gridworlds have a file of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.mdp.model import MDP, make


def two_state(discount: ArrayLike = 0.9, actions: int = 2) -> MDP:
    """Two states that alternate for ever and pay 1 and 2, whatever one does.

    The values are ``(1 + 2 g) / (1 - g^2)`` and ``(2 + g) / (1 - g^2)`` for a discount g.
    """
    check.integer("actions", actions, low=1)
    p = np.tile(np.array([[0.0, 1.0], [1.0, 0.0]])[:, None, :], (1, actions, 1))
    return make(p, np.tile([[1.0], [2.0]], (1, actions)), discount=discount)


def chain(length: int = 5, slip: Any = 0.2, discount: ArrayLike = 0.95) -> MDP:
    """The chain of Strens (2000): walk to the far end for 10 a step there, or go back to the start for 2.

    Action 0 is forward (at the end: stay, reward 10), action 1 back to the start (reward 2); with
    probability ``slip`` the other happens. Starts at the first state; nothing terminates.
    """
    check.integer("length", length, low=2)
    check.between("slip", slip, 0, 1)
    eye = np.eye(length)
    forward = eye[np.minimum(np.arange(length) + 1, length - 1)]
    back = np.tile(eye[0], (length, 1))
    moves = np.stack([forward, back], 1)
    pays = np.stack([np.where(np.arange(length) == length - 1, 10.0, 0.0), np.full(length, 2.0)], 1)

    def slipping(x: Any) -> Any:
        return (1 - slip) * x + slip * x[:, ::-1]

    return make(slipping(moves), slipping(pays), eye[0], discount)


def river_swim(length: int = 6, discount: ArrayLike = 0.95) -> MDP:
    """RiverSwim (Strehl and Littman 2008): swimming right, against the stream, pays off only at the far end.

    Action 0 drifts left surely (reward 0.005 at the left bank). Action 1 swims right: from the left bank 0.6
    right, else stay; in the river 0.35 right, 0.6 stay, 0.05 left; at the right bank 0.6 stay (reward 1),
    0.4 left. Starts at the left bank; nothing terminates.
    """
    check.integer("length", length, low=2)
    p = np.zeros((length, 2, length))
    for s in range(length):
        p[s, 0, max(s - 1, 0)] = 1.0
        if 0 < s < length - 1:
            p[s, 1, s - 1 : s + 2] = 0.05, 0.6, 0.35
    p[0, 1, :2] = 0.4, 0.6
    p[-1, 1, -2:] = 0.4, 0.6
    r = np.zeros((length, 2))
    r[0, 0], r[-1, 1] = 0.005, 1.0
    return make(p, r, np.eye(length)[0], discount)


def random_walk(length: int = 19, discount: ArrayLike = 1.0) -> MDP:
    """The random walk of Sutton and Barto (2018, example 7.1): -1 for leaving on the left, 1 on the right.

    Actions are left and right. States 0 and ``length + 1`` are terminal; it starts in the middle. Under the
    uniform policy with discount 1, state i has the value ``2 i / (length + 1) - 1``.
    """
    check.integer("length", length, low=1)
    n = length + 2
    eye = np.eye(n)
    p = np.stack([eye[np.maximum(np.arange(n) - 1, 0)], eye[np.minimum(np.arange(n) + 1, n - 1)]], 1)
    r = np.zeros((n, 2))
    r[1, 0], r[length, 1] = -1.0, 1.0
    ends = np.isin(np.arange(n), (0, n - 1))
    return make(p, r, eye[n // 2], discount, ends)


def deep_sea(size: int = 10, cost: Any = 0.01, discount: ArrayLike = 1.0) -> MDP:
    """DeepSea (Osband et al. 2020): the one chest, worth 1, takes ``size`` steps right in a row.

    A grid of ``size`` x ``size`` cells, a row down each step; action 1 goes right at a cost of
    ``cost / size``, action 0 left for nothing. State ``row * size + column``, then one terminal state. The
    best return is ``1 - cost``.
    """
    check.integer("size", size, low=1)
    cells = np.arange(size * size)
    row, column = cells // size, cells % size
    n = size * size + 1
    p, moving, chest = np.zeros((n, 2, n)), np.zeros((n, 2)), np.zeros((n, 2))
    for a, shift in enumerate((-1, 1)):
        to = (row + 1) * size + np.clip(column + shift, 0, size - 1)
        p[cells, a, np.where(row == size - 1, n - 1, to)] = 1.0
    p[-1, :, -1] = 1.0
    moving[:-1, 1], chest[n - 2, 1] = 1 / size, 1.0
    return make(p, chest - cost * moving, np.eye(n)[0], discount, np.arange(n) == n - 1)


def maximization_bias(actions: int = 10, mean: Any = -0.1, discount: ArrayLike = 1.0) -> MDP:
    """The example for double Q-learning (Sutton and Barto 2018, example 6.7).

    In state 0 action 0 leads to state 1, where every action ends the episode with ``mean`` on average; the
    others end it at once with 0. So action 0 is wrong; but with noisy rewards (``reward_noise=1`` of
    `as_env`) the largest of many estimates lures a learner there.
    """
    check.integer("actions", actions, low=2)
    p = np.zeros((3, actions, 3))
    p[:, :, 2], p[0, 0] = 1.0, (0, 1, 0)
    second = np.zeros((3, actions))
    second[1] = 1.0
    return make(p, mean * second, np.eye(3)[0], discount, np.arange(3) == 2)


def baird(discount: ArrayLike = 0.99) -> MDP:
    """Baird's star (1995) as in Sutton and Barto (2018, example 11.1): seven states, rewards all zero.

    Action 0 (dashed) leads to one of the first six states at random, action 1 (solid) to the seventh. The
    features that make it a counterexample are in `lrn.rl.linear.baird`.
    """
    p = np.zeros((7, 2, 7))
    p[:, 0, :6], p[:, 1, 6] = 1 / 6, 1.0
    return make(p, np.zeros((7, 2)), discount=discount)
