"""Small MDPs that papers use; `lrn.rl.mdp.gridworld` has the gridworlds."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.mdp.model import MDP, make


def two_state(discount: ArrayLike = 0.9, actions: int = 2) -> MDP:
    """Two states that alternate for ever and pay 1 and 2 for every action.

    The values are ``(1 + 2 g) / (1 - g^2)`` and ``(2 + g) / (1 - g^2)`` for a discount g.
    """
    check.integer("actions", actions, low=1)
    p = np.tile(np.array([[0.0, 1.0], [1.0, 0.0]])[:, None, :], (1, actions, 1))
    return make(p, np.tile([[1.0], [2.0]], (1, actions)), discount=discount)


def chain(length: int = 5, slip: Any = 0.2, discount: ArrayLike = 0.95) -> MDP:
    """The chain of Strens (2000): a large reward at the far end, a small one for going back to the start.

    Action 0 moves forward; at the end it stays there and pays 10. Action 1 goes back to the start and pays 2.
    With probability ``slip`` the effect is that of the other action. Episodes start in the first state and
    never terminate.
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

    Action 0 always drifts left and pays 0.005 at the left bank. Action 1 swims right, with these
    probabilities: at the left bank 0.6 right, 0.4 stay; in the river 0.35 right, 0.6 stay, 0.05 left; at
    the right bank 0.6 stay, 0.4 left, with reward 1. Episodes start at the left bank and never terminate.
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

    Actions are left (0) and right (1). States 0 and ``length + 1`` are terminal; episodes start in the
    middle. Under the uniform policy with discount 1, state i has the value ``2 i / (length + 1) - 1``.
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
    """DeepSea (Osband et al. 2020): a chest of 1 is reached only by ``size`` steps to the right in a row.

    The grid has ``size`` x ``size`` cells, and each step leads one row down. Action 1 goes right and costs
    ``cost / size``; action 0 goes left and costs nothing. States are numbered ``row * size + column``,
    followed by one terminal state. The best return is ``1 - cost``.
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

    In state 0, action 0 leads to state 1, and all other actions end the episode with reward 0. In state 1
    every action ends the episode with a reward of ``mean`` on average. With a negative mean, action 0 is
    wrong. But with noisy rewards (``reward_noise=1`` of `as_env`) the largest of many estimates of state 1
    is positive and lures a learner there.
    """
    check.integer("actions", actions, low=2)
    p = np.zeros((3, actions, 3))
    p[:, :, 2], p[0, 0] = 1.0, (0, 1, 0)
    second = np.zeros((3, actions))
    second[1] = 1.0
    return make(p, mean * second, np.eye(3)[0], discount, np.arange(3) == 2)


def baird(discount: ArrayLike = 0.99) -> MDP:
    """Baird's star (1995) as in Sutton and Barto (2018, example 11.1): seven states, rewards all zero.

    Action 0 (dashed) leads to one of the first six states at random, action 1 (solid) to the seventh.
    `lrn.rl.linear.baird` has the features that make the MDP a counterexample.
    """
    p = np.zeros((7, 2, 7))
    p[:, 0, :6], p[:, 1, 6] = 1 / 6, 1.0
    return make(p, np.zeros((7, 2)), discount=discount)
