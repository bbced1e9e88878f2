"""Dyna-Q and Dyna-Q+: whole steps against Sutton and Barto (2018, sections 8.2 and 8.3) in plain NumPy.

The reference draws random numbers from the same keys as the agent; it shares no other code with it.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drift import check_episodes
from plain import compiled, numbers

from lrn.rl.env import Discrete, Env, Step
from lrn.rl.model_based.dyna import DynaConfig, dyna_q
from lrn.types import Array, Key

STATES, ACTIONS, LIMIT = 5, 3, 4
LARGEST = 2**31 - 1
PLUS = DynaConfig(
    discount=0.8,
    step_size=0.3,
    epsilon=0.4,
    initial=0.2,
    planning=3,
    bonus=0.15,
    untried=True,
    interactions=6,
)
PLAIN = DynaConfig(
    discount=0.9, step_size=0.2, epsilon=0.3, initial=-0.1, planning=2, bonus=0.1, interactions=7
)


class Place(NamedTuple):
    """State of the environment: its place, and the steps of the episode."""

    s: Any
    time: Any


def carousel() -> Env:
    """Five states in a circle, turned by the action and by chance; one state may be terminal or a start."""

    def observe(s: Array) -> Array:
        return jax.nn.one_hot(s, STATES)

    def reset(key: Key) -> tuple[Array, Place]:
        s = (jax.random.uniform(key) * STATES).astype(jnp.int32)
        return observe(s), Place(s, jnp.int32(0))

    def move(key: Key, place: Place, action: Array) -> tuple[Place, Step]:
        u = jax.random.uniform(key)
        s, time = (place.s + action + (u < 0.5)) % STATES, place.time + 1
        reward = 0.3 * place.s - 0.2 * action + 0.5 * u
        return Place(s, time), Step(reward, (s == 4) & (action > 0), time >= LIMIT, observe(s))

    return Env("carousel", reset, move, (STATES,), Discrete(ACTIONS), LIMIT)


def step_draws(c: DynaConfig, key: Any) -> Any:
    """The draws of a step: the agent's uniform numbers, and those of each move and each possible reset."""
    env_key, draw_key = jax.random.split(key)

    def moment(key: Any) -> Any:
        move_key, reset_key = jax.random.split(key)
        # Both are the keys of the only environment.
        return jax.random.uniform(move_key), jax.random.uniform(reset_key)

    moves = jax.vmap(moment)(jax.random.split(env_key, c.interactions))
    return jax.random.uniform(draw_key, (c.interactions, ACTIONS + 1 + c.planning)), *moves


class Reference:
    """The reference: an agent's state and its steps, in NumPy, with counters that cannot overflow."""

    def __init__(self, config: DynaConfig, state: Any):
        self.config, self.q, self.steps = config, numbers(state.q), int(state.steps)
        self.s, self.time = int(state.live.state.s[0]), int(state.live.state.time[0])
        self.total, self.length = float(state.live.episode_return[0]), int(state.live.episode_length[0])
        self.model: dict[tuple[int, int], tuple[int, float, bool]] = {}
        self.tried = {(s, a): 0 for s in range(STATES) for a in range(ACTIONS)}
        self.order: list[tuple[int, int]] = []
        self.draws = compiled(functools.partial(step_draws, config), jax.random.key(0))

    def act(self, u: np.ndarray) -> int:
        """The action: random or greedy, with ties broken by the largest draw."""
        values = self.q[self.s]
        if u[ACTIONS] < np.float32(self.config.epsilon):
            return int(np.argmax(u[:ACTIONS]))
        return int(max(np.flatnonzero(values == values.max()), key=lambda a: u[a]))

    def learn(self, s: int, a: int, reward: float, terminated: bool, after: int) -> float:
        c = self.config
        error = reward + (0.0 if terminated else c.discount * self.q[after].max()) - self.q[s, a]
        self.q[s, a] += c.step_size * error
        return abs(error)

    def step(self, key: Any) -> tuple[float, list[tuple[float, int]]]:
        c, over, errors = self.config, [], []
        for u, moved, fresh in zip(*map(numbers, self.draws(key))):
            s, a = self.s, self.act(u)
            after = (s + a + (moved < 0.5)) % STATES
            reward = 0.3 * s - 0.2 * a + 0.5 * moved
            terminated = bool(after == 4 and a > 0)
            self.steps, self.time = self.steps + 1, self.time + 1
            errors.append(self.learn(s, a, reward, terminated, after))

            for pair in [(s, b) for b in range(ACTIONS)] if c.untried else [(s, a)]:
                if pair not in self.order:
                    self.order.append(pair)
            self.model[s, a], self.tried[s, a] = (after, reward, terminated), self.steps
            for v in u[ACTIONS + 1 :]:
                pair = self.order[int(v * len(self.order))]
                follows, paid, ends = self.model.get(pair, (pair[0], 0.0, False))
                waited = self.steps - self.tried[pair]
                self.learn(*pair, paid + c.bonus * np.sqrt(waited), ends, follows)

            self.total, self.length, self.s = self.total + reward, self.length + 1, after
            if terminated or self.time >= LIMIT:
                over.append((self.total, self.length))
                self.s, self.time, self.total, self.length = int(fresh * STATES), 0, 0.0, 0
        return float(np.mean(errors)), over

    def check(self, state: Any, metrics: Any, error: float, over: list[tuple[float, int]]) -> None:
        """Assert that every leaf of the state and every metric equal those of the reference."""
        state = jax.tree.map(np.asarray, state)
        np.testing.assert_allclose(state.q, self.q, rtol=1e-4, atol=1e-5)
        live, model = state.live, state.model
        for actual, expected in (
            (live.state.s, self.s), (live.state.time, self.time), (live.episode_length, self.length),
            (live.observation, np.eye(STATES)[self.s]), (state.steps, min(self.steps, LARGEST)),
            (model.known, len(self.order)),
        ):  # fmt: skip
            np.testing.assert_array_equal(np.asarray(actual).reshape(-1), np.reshape(expected, -1))
        np.testing.assert_allclose(live.episode_return, [self.total], rtol=1e-4, atol=1e-5)
        numbered = [s * ACTIONS + a for s, a in self.order]
        np.testing.assert_array_equal(model.order[: len(numbered)], numbered)
        np.testing.assert_array_equal(np.flatnonzero(model.listed), sorted(numbered))
        for i, pair in enumerate(self.tried):
            follows, paid, ends = self.model.get(pair, (pair[0], 0.0, False))
            assert (int(model.next_state[i]), bool(model.terminated[i])) == (follows, ends)
            np.testing.assert_allclose(model.reward[i], paid, rtol=1e-4, atol=1e-6)
            waited = min(self.steps - self.tried[pair], LARGEST)
            assert int(state.steps) - int(model.tried_at[i]) == waited
        check_episodes(metrics, over)
        assert set(metrics) == {"return", "length", "td_error"}
        np.testing.assert_allclose(metrics["td_error"], error, rtol=1e-4)


@pytest.mark.parametrize("config", [PLUS, PLAIN], ids=["plus", "plain"])
def test_steps_are_those_of_the_book(config):
    agent, key = dyna_q(carousel(), config), jax.random.key(0)
    state = compiled(agent.init, key, None)(key, None)

    # In the initial model an action that was never tried stays in its state.
    first = jax.tree.map(np.asarray, state)
    s = int(jax.jit(lambda key: jax.random.uniform(jax.random.split(key, 1)[0]))(key) * STATES)
    assert (int(first.live.state.s[0]), int(first.live.state.time[0])) == (s, 0)
    np.testing.assert_array_equal(first.live.observation, np.eye(STATES)[[s]])
    np.testing.assert_array_equal(first.q, np.full((STATES, ACTIONS), config.initial, np.float32))
    np.testing.assert_array_equal(first.model.next_state, np.repeat(np.arange(STATES), ACTIONS))
    rest = (first.steps, *(x for name, x in first.model._asdict().items() if name != "next_state"))
    assert not any(np.any(x) for x in rest)

    reference, step = Reference(config, state), compiled(agent.step, key, state, None)
    listed, tried = [], []
    for t in range(5):
        if t == 3:  # from here on, the number of steps exceeds 32 bits
            far = LARGEST - 5 - reference.steps
            tried_at = state.model.tried_at + jnp.where(state.model.tried_at > 0, far, 0)
            state = state._replace(steps=state.steps + far, model=state.model._replace(tried_at=tried_at))
            reference.steps += far
            reference.tried = {p: n + far if n > 0 else 0 for p, n in reference.tried.items()}
        error, over = reference.step(jax.random.key(100 + t))
        state, metrics = step(jax.random.key(100 + t), state, None)
        reference.check(state, metrics, error, over)
        listed.append(len(reference.order))
        tried.append(len(reference.model))
    assert tried[0] < tried[2]
    assert not config.untried or listed[2] > tried[2], "a pair that was never tried"

    every = jnp.eye(STATES)
    action, memory = jax.jit(agent.policy.act)(key, state, agent.policy.initial(STATES), every)
    np.testing.assert_array_equal(action, reference.q.argmax(1))
    assert memory == ()
    u = numbers(jax.random.uniform(key, (STATES, ACTIONS + 1)))
    action, _ = jax.jit(agent.policy.sample)(key, state, (), every)
    random, best = u[:, :ACTIONS].argmax(1), reference.q.argmax(1)
    drawn = np.where(u[:, ACTIONS] < config.epsilon, random, best)
    np.testing.assert_array_equal(action, drawn)
    assert (random != best)[u[:, ACTIONS] < config.epsilon].any()
    assert (random != best)[u[:, ACTIONS] >= config.epsilon].any()
