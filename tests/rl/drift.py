"""For references of whole steps: a small environment and a linear network, in jax and in plain NumPy.

Two numbers drift, pushed by the action and by noise. Episodes begin at random places, terminate where the
first number is large, and are truncated after three steps. All constants differ, so that a mix-up shows.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from plain import numbers

from lrn.rl import replay
from lrn.rl.env import Box, Discrete, Env, Step
from lrn.types import Array, Key, Net

TURN = np.array([[0.8, 0.3], [-0.4, 0.6]])
PUSHES = np.array([[0.5, -0.2], [-0.4, 0.3], [0.1, 0.6]])  # pushes of the discrete actions
BOX = Box(np.array([-2.0, -1.0], np.float32), np.array([1.0, 3.0], np.float32), (2,))
EDGE, LENGTH = 0.7, 3


class Place(NamedTuple):
    """State of the environment: its two numbers, and the steps of the episode."""

    x: Array
    time: Array


def drift(actions: Discrete | Box) -> Env:
    """The environment; `Course` is the same in NumPy."""

    def reset(key: Key) -> tuple[Array, Place]:
        x = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        return x, Place(x, jnp.int32(0))

    def move(key: Key, place: Place, action: Array) -> tuple[Place, Step]:
        push = jnp.asarray(PUSHES, jnp.float32)[action] if isinstance(actions, Discrete) else 0.3 * action
        x = jnp.asarray(TURN, jnp.float32) @ place.x + push + 0.2 * jax.random.uniform(key, (2,))
        time = place.time + 1
        reward = x[0] - 0.5 * x[1] + 0.1 * push[1]
        return Place(x, time), Step(reward, x[0] > EDGE, time >= LENGTH, x)

    return Env("drift", reset, move, (2,), actions, LENGTH)


class Course:
    """n environments in the middle of episodes, in NumPy, with the random numbers of `lrn.rl.play`."""

    def __init__(self, live: Any):
        self.x, self.time = numbers(live.state.x), np.array(live.state.time)
        self.returns, self.lengths = numbers(live.episode_return), np.array(live.episode_length)

    @classmethod
    def begin(cls, key: Any, n: int) -> Course:
        """The environments of `play.start`."""
        made = object.__new__(cls)
        made.x = numbers(_starts(jax.random.split(key, n)))
        made.time, made.returns, made.lengths = np.zeros(n, int), np.zeros(n), np.zeros(n, int)
        return made

    def play(self, key: Any, length: int, act: Any) -> tuple[list[dict[str, Any]], list[tuple[float, int]]]:
        """Play with ``act(t, x [n, 2]) -> (push [n, 2], kept [n])``; returns rows and ended episodes."""
        n = len(self.x)
        draws, fresh = map(numbers, _world(key, length, n))
        rows, over = [], []
        for t in range(length):
            push, kept = act(t, self.x.copy())
            for e in range(n):
                x = TURN @ self.x[e] + push[e] + 0.2 * draws[t, e]
                reward = x[0] - 0.5 * x[1] + 0.1 * push[e][1]
                self.time[e] += 1
                row = {
                    "observation": self.x[e].copy(), "action": kept[e], "reward": reward,
                    "terminated": x[0] > EDGE, "truncated": self.time[e] >= LENGTH, "final_observation": x,
                }  # fmt: skip
                rows.append(row)
                self.returns[e] += reward
                self.lengths[e] += 1
                self.x[e] = x
                if row["terminated"] or row["truncated"]:
                    over.append((self.returns[e], self.lengths[e]))
                    self.x[e], self.time[e], self.returns[e], self.lengths[e] = fresh[t, e], 0, 0.0, 0
        return rows, over

    def check(self, live: Any) -> None:
        """Assert that the environments of an agent's state are in the same states."""
        np.testing.assert_allclose(live.state.x, self.x, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(live.observation, self.x, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(live.state.time, self.time)
        np.testing.assert_array_equal(live.episode_length, self.lengths)
        np.testing.assert_allclose(live.episode_return, self.returns, rtol=1e-4, atol=1e-5)


@jax.jit
def _starts(keys: Any) -> Array:
    """The starts [n, 2] of episodes with these keys."""
    return jax.vmap(lambda k: jax.random.uniform(k, (2,), minval=-1.0, maxval=1.0))(keys)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _world(key: Key, length: int, n: int) -> tuple[Array, Array]:
    """The random numbers of moves and of resets in a stretch, [length, n, 2] each."""
    move_keys, reset_keys = jax.random.split(key, (2, length, n))
    draws = jax.vmap(jax.vmap(lambda k: jax.random.uniform(k, (2,))))(move_keys)
    return draws, jax.vmap(_starts)(reset_keys)


def check_episodes(metrics: Any, over: list[tuple[float, int]]) -> None:
    """Assert that metrics are the means over the episodes that ended, weighted by their number."""
    for name, values in (("return", [r for r, _ in over]), ("length", [n for _, n in over])):
        assert float(metrics[name].weight) == len(over)
        np.testing.assert_allclose(metrics[name].value, np.mean(values) if over else 0.0, rtol=1e-4)


class Ring:
    """The contents of a replay, as a dict from row numbers to transitions."""

    def __init__(self, capacity: int):
        self.capacity, self.rows, self.written = capacity, {}, 0

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Write rows over the oldest rows."""
        for row in rows:
            self.rows[self.written % self.capacity] = row
            self.written += 1

    def take(self, index: Any) -> dict[str, np.ndarray]:
        """The rows with the given numbers, stacked."""
        rows = [self.rows[int(i)] for i in index]
        return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}

    def check(self, ring: replay.Played) -> None:
        """Assert that an agent's replay holds the same rows."""
        n = len(self.rows)
        assert int(ring.filled) == n
        assert int(ring.position) == self.written % self.capacity
        stored, expected = _everything(ring), self.take(range(n))
        for name, x in stored._asdict().items():
            np.testing.assert_allclose(np.asarray(x)[:n], expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


@jax.jit
def _everything(ring: replay.Played) -> replay.Transition:
    return replay.take(ring, jnp.arange(ring.capacity))


SCALE = np.array([1.5, -0.7])


def linear(inputs: int, outputs: int, state: bool = False) -> Net:
    """A linear network with different weights; with ``state`` it keeps a scale of its inputs as its state.

    Its initial parameters depend on the key and on the example observations.
    """

    def init(key: Key, x: Array) -> Any:
        weights = jax.random.normal(key, (inputs, outputs)) + x.mean()
        params = {"b": jnp.linspace(-0.2, 0.3, outputs), "w": weights}
        return params, jnp.asarray(SCALE, jnp.float32) if state else ()

    def apply(params: Any, kept: Any, x: Array, *, key: Key | None = None, train: bool = False) -> Any:
        assert not train, "agents use a network in evaluation mode"
        seen = x * jnp.broadcast_to(kept, x.shape) if state else x
        return seen @ params["w"] + jnp.broadcast_to(params["b"], (x.shape[0], outputs)), kept

    return Net(init, apply)  # pyright: ignore[reportArgumentType]


def evaluate(params: Any, x: np.ndarray, state: bool = False) -> np.ndarray:
    """The outputs [n, outputs] of `linear`, in NumPy."""
    return (x * SCALE if state else x) @ params["w"] + params["b"]
