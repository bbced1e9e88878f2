"""A tiny environment and its double in plain NumPy, for references of whole steps of agents.

A walker's place changes by its action and by chance. An episode terminates beyond a place and is truncated
by a time limit, sometimes both at once. No two observations are equal, and every random number identifies
its key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn.rl.env import Box, Discrete, Env, Step
from lrn.rl.play import Live
from lrn.types import Key

LOW, HIGH = np.array([-1.0, 0.5]), np.array([2.0, 1.5])
PUSH = np.array([-0.5, 0.1, 0.7])
BEYOND, LIMIT = 1.3, 3


class Place(NamedTuple):
    """State of the environment: the place of the walker, and the steps of the episode."""

    x: Any
    time: Any


def walk(continuous: bool = False) -> Env:
    """The environment, with three discrete actions, or with two real ones of different, asymmetric ranges."""

    def observe(place: Place) -> jax.Array:
        return jnp.stack([place.x, 0.4 * place.time - place.x**2])

    def reset(key: Key) -> tuple[jax.Array, Place]:
        place = Place(jax.random.uniform(key), jnp.int32(0))
        return observe(place), place

    def move(key: Key, place: Place, action: jax.Array) -> tuple[Place, Step]:
        if continuous:
            push, cost = 0.5 * action[0] - 0.3 * action[1], 0.2 * action[1] ** 2
        else:
            push, cost = jnp.asarray(PUSH, jnp.float32)[action], 0.1 * action
        x = place.x + push + 0.4 * (jax.random.uniform(key) - 0.5)
        after = Place(x, place.time + 1)
        step = Step(x + place.x**2 - cost, x > BEYOND, after.time >= LIMIT, observe(after))
        return after, step

    actions = (
        Box(jnp.asarray(LOW, jnp.float32), jnp.asarray(HIGH, jnp.float32), (2,))
        if continuous
        else Discrete(3)
    )
    return Env("walk", reset, move, (2,), actions, LIMIT)


# The code below is in NumPy, except for the random draws.
def uniform(keys: Key) -> np.ndarray:
    """One uniform draw of each key, [...]."""
    flat = jax.vmap(jax.random.uniform)(keys.reshape(-1))
    return np.asarray(flat, np.float64).reshape(keys.shape)


def observe(x: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Observations [..., 2]."""
    return np.stack([x, 0.4 * time - x**2], -1)


def start(key: Key, n: int) -> Live:
    """n walkers, each reset by one of the key's n splits."""
    x, time = uniform(jax.random.split(key, n)), np.zeros(n, int)
    return Live(Place(x, time), observe(x, time), np.zeros(n), np.zeros(n, int))  # pyright: ignore[reportArgumentType]


def under_way(n: int) -> Live:
    """n walkers in the middle of their episodes, float32 and int32."""
    x, time = np.linspace(-0.3, 0.9, n) ** 3, np.arange(n) % LIMIT
    live = Live(Place(x, time), observe(x, time), 0.7 * np.arange(n), time)  # pyright: ignore[reportArgumentType]
    return jax.tree.map(lambda v: jnp.asarray(v, jnp.int32 if v.dtype == int else jnp.float32), live)


class Played(NamedTuple):
    """A stretch, leaves [time, n, ...], with actions as sampled, and the sums over episodes that ended."""

    observation: np.ndarray
    action: np.ndarray
    sent: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    following: np.ndarray
    returns: list[float]
    lengths: list[int]

    @property
    def ended(self) -> np.ndarray:
        """Whether an episode ended with this step, by termination or truncation."""
        return self.terminated | self.truncated


def play(
    key: Key, live: Live, act: Callable[[int, np.ndarray], Any], send: Callable[[Any], Any], length: int
) -> tuple[Live, Played]:
    """Play ``length`` steps with ``act(t, observation [n, 2]) -> action [n, ...]``.

    ``send`` converts an action to the walker's units. Each walker has a key for the move and a key for a
    reset at each step, made by ``split(key, (2, length, n))``.
    """
    n = len(live.episode_length)
    draws = uniform(jax.random.split(key, (2, length, n)))
    x, time = (np.array(v, np.float64) for v in live.state)
    total, count = np.array(live.episode_return, np.float64), np.array(live.episode_length)
    rows, returns, lengths = [], [], []
    for t in range(length):
        seen = observe(x, time)
        action = np.asarray(act(t, seen))
        sent = np.asarray(send(action))
        if sent.ndim == 2:
            push, cost = 0.5 * sent[:, 0] - 0.3 * sent[:, 1], 0.2 * sent[:, 1] ** 2
        else:
            push, cost = PUSH[sent], 0.1 * sent
        after = x + push + 0.4 * (draws[0, t] - 0.5)
        reward = after + x**2 - cost
        terminated, truncated = after > BEYOND, time + 1 >= LIMIT
        assert (np.abs(after - BEYOND) > 1e-4).all(), "too near to the edge for rounding; take another key"
        rows.append((seen, action, sent, reward, terminated, truncated, observe(after, time + 1)))
        total, count, ended = total + reward, count + 1, terminated | truncated
        returns += list(total[ended])
        lengths += list(count[ended])
        x, time = np.where(ended, draws[1, t], after), np.where(ended, 0, time + 1)
        total, count = np.where(ended, 0.0, total), np.where(ended, 0, count)
    columns = [np.stack(column) for column in zip(*rows)]
    after = Live(Place(x, time), observe(x, time), total, count)  # pyright: ignore[reportArgumentType]
    return after, Played(*columns, returns, lengths)  # pyright: ignore[reportCallIssue]


def assert_every_ending(played: Played) -> None:
    """Assert that terminations, truncations and both at once occur, before the last step and with it."""
    both = played.terminated & played.truncated
    only = played.terminated & ~both, played.truncated & ~both
    assert all(kind[:-1].any() for kind in only), "an end and a cut before the last step"
    assert all(kind[-1].any() for kind in only), "an end and a cut at the last step"
    assert not played.ended[-1].all(), "an episode that goes on"


def gae(
    played: Played, reward: Any, value: Any, following: Any, discount: float, lambda_: float
) -> np.ndarray:
    """Generalized advantages (Schulman et al. 2016, eq. 16), computed backward."""
    advantage, later = np.zeros_like(value), 0.0
    for t in reversed(range(len(value))):
        delta = reward[t] + discount * ~played.terminated[t] * following[t] - value[t]
        later = delta + discount * lambda_ * ~played.ended[t] * later
        advantage[t] = later
    return advantage
