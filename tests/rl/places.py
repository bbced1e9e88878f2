"""A tiny environment of numbered places and its double in plain NumPy, for references of tabular learners.

There are six places, observed one-hot as a grid of two rows. The next place depends on the place, the
action and chance. Two places terminate an episode, and a time limit truncates it, sometimes both at once.
All rewards differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn.rl.env import Discrete, Env, Step
from lrn.rl.play import Live
from lrn.types import Key

PLACES, ACTIONS, LIMIT = 6, 3, 3
ENDS = (4, 5)


class Place(NamedTuple):
    """State of the environment: the place, and the steps of the episode."""

    number: Any
    time: Any


def _after(number: Any, action: Any, low: Any) -> Any:
    return (2 * number + action + 2 * low + 1) % PLACES


def _reward(number: Any, action: Any, after: Any) -> Any:
    return 0.3 * number - 0.7 * action + 0.11 * after**2 - 0.4


def places() -> Env:
    """The environment; `play` is the same in NumPy."""

    def observe(place: Place) -> jax.Array:
        return jax.nn.one_hot(place.number, PLACES).reshape(2, 3)

    def reset(key: Key) -> tuple[jax.Array, Place]:
        place = Place((4 * jax.random.uniform(key)).astype(jnp.int32), jnp.int32(0))
        return observe(place), place

    def move(key: Key, place: Place, action: jax.Array) -> tuple[Place, Step]:
        low = (jax.random.uniform(key) < 0.4).astype(jnp.int32)
        after = Place(_after(place.number, action, low), place.time + 1)
        reward = _reward(place.number, action, after.number)
        ends = (after.number == ENDS[0]) | (after.number == ENDS[1])
        return after, Step(reward, ends, after.time >= LIMIT, observe(after))

    return Env("places", reset, move, (2, 3), Discrete(ACTIONS), LIMIT)


# The code below is in NumPy, except for the random draws.
_uniform = jax.jit(jax.vmap(jax.random.uniform))


class Move(NamedTuple):
    """One step: place and action, the place before any reset, and the place where the next step begins."""

    state: int
    action: int
    reward: float
    terminated: bool
    ended: bool
    following: int
    begins: int


class Walker:
    """One environment in the middle of an episode."""

    def __init__(self, live: Live):
        self.number, self.time = (int(x[0]) for x in live.state)
        self.total, self.length = float(live.episode_return[0]), int(live.episode_length[0])
        self.over: list[tuple[float, int]] = []

    @classmethod
    def begin(cls, key: Key) -> Walker:
        """The environment of `lrn.rl.play.start` with n = 1."""
        made = object.__new__(cls)
        made.number = int(4 * _uniform(jax.random.split(key, 1))[0])
        made.time, made.total, made.length, made.over = 0, 0.0, 0, []
        return made

    def draws(self, keys: Key) -> np.ndarray:
        """The random numbers of each step's key [steps], for the move and for a reset, [steps, 2]."""
        both = jax.vmap(lambda key: jax.random.split(key, 2))(keys)
        return np.asarray(_uniform(both.reshape(-1)), np.float64).reshape(-1, 2)

    def move(self, action: int, draws: np.ndarray) -> Move:
        """Take an action."""
        state = self.number
        after = _after(state, action, int(draws[0] < 0.4))
        reward = _reward(state, action, after)
        self.time, self.total, self.length = self.time + 1, self.total + reward, self.length + 1
        ends = after in ENDS
        ended = ends or self.time >= LIMIT
        self.number = after
        if ended:
            self.over.append((self.total, self.length))
            self.number, self.time, self.total, self.length = int(4 * draws[1]), 0, 0.0, 0
        return Move(state, action, reward, ends, ended, after, self.number)

    def check(self, live: Live) -> None:
        """Assert that the environment of a learner's state is at the same place."""
        assert [int(x[0]) for x in live.state] == [self.number, self.time]
        np.testing.assert_array_equal(live.observation[0].reshape(-1), np.eye(PLACES)[self.number])
        assert int(live.episode_length[0]) == self.length
        np.testing.assert_allclose(live.episode_return[0], self.total, rtol=1e-5, atol=1e-6)

    def check_metrics(self, metrics: Any, errors: list[float]) -> None:
        """Assert the metrics of a step: the episodes that ended in it, and the mean absolute error."""
        assert set(metrics) == {"return", "length", "td_error"}
        for name, column in (("return", 0), ("length", 1)):
            assert float(metrics[name].weight) == len(self.over)
            mean = np.mean([row[column] for row in self.over]) if self.over else 0.0
            np.testing.assert_allclose(metrics[name].value, mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(metrics["td_error"], np.mean(np.abs(errors)), rtol=1e-4)
        self.over = []


def check_every_ending(moves: list[Move]) -> None:
    """Assert that terminations, truncations and other steps all occur, so that the test tells them apart."""
    assert any(m.terminated for m in moves)
    assert any(m.ended and not m.terminated and m.following != m.begins for m in moves)
    assert any(not m.ended for m in moves)


def scheduled(schedule: Any, n: Any) -> Any:
    """The value of a `lrn.rl.tabular.Schedule` at the n-th visit."""
    return schedule.scale * (1 + schedule.rate * (np.asarray(n, np.float64) - 1)) ** -schedule.power


def compiled(f: Callable[..., Any], *args: Any) -> Callable[..., Any]:
    """``jit(f)`` for arguments like these, compiled without optimization, since it runs only a few times."""
    return jax.jit(f).lower(*args).compile(compiler_options={"xla_backend_optimization_level": "0"})
