"""PQN: whole steps against Gallici et al. (2024) in plain NumPy, every option on.

The reference draws random numbers from the same keys as the agent; it shares no other code with it.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drift import PUSHES, Course, check_episodes, drift, evaluate, linear
from plain import as_float64, assert_trees_close, clipped, compiled, gradient, numbers

from lrn.rl.env import Discrete
from lrn.rl.exploration.bonus import Bonus
from lrn.rl.pqn import PQNConfig, pqn

ENV, NET = drift(Discrete(3)), linear(2, 3, state=True)
PAID = np.array([0.3, -0.5])
BONUS = Bonus(
    init=lambda key, observation: jax.random.uniform(key) + observation.sum(),
    bonus=lambda state, x, action, after: state * (after @ PAID + 0.2 * action) + x[:, 0],
    update=lambda key, state, seen: (
        0.5 * state + jax.random.uniform(key)
        + (seen.observation[:, 1] + 0.1 * seen.action + seen.next_observation[:, 0]).mean()
    ),
)  # fmt: skip
# The schedules end within the steps of the test.
ALL = PQNConfig(
    total_steps=28, num_envs=2, rollout_length=4, epochs=2, minibatches=2, learning_rate=0.05, discount=0.8,
    lambda_=0.6, epsilon_start=0.9, epsilon_end=0.3, exploration_fraction=0.7, max_grad_norm=0.3,
)  # fmt: skip
PLAIN = PQNConfig(
    total_steps=20, num_envs=3, rollout_length=2, epochs=1, minibatches=3, learning_rate=0.02, anneal=False,
    discount=0.95, lambda_=0.25, epsilon_start=0.6, epsilon_end=0.0, exploration_fraction=0.5,
    max_grad_norm=100.0,
)  # fmt: skip


class RAdam:
    """Rectified Adam (Liu et al. 2020, algorithm 2), which uses the variance from rho = 5 on."""

    def __init__(self, params: Any):
        self.count, self.mu = 0, jax.tree.map(np.zeros_like, params)
        self.nu = jax.tree.map(np.zeros_like, params)

    def step(self, params: Any, slope: Any, rate: float, b1: float = 0.9, b2: float = 0.999) -> Any:
        self.count += 1
        t, most = self.count, 2 / (1 - b2) - 1
        self.mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, self.mu, slope)
        self.nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, self.nu, slope)
        rho = most - 2 * t * b2**t / (1 - b2**t)

        def move(p: np.ndarray, m: np.ndarray, v: np.ndarray) -> np.ndarray:
            m = m / (1 - b1**t)
            if rho < 5:
                return p - rate * m
            r = np.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
            return p - rate * r * m / (np.sqrt(v / (1 - b2**t)) + 1e-8)

        return jax.tree.map(move, params, self.mu, self.nu)


def draws(c: PQNConfig, key: Any) -> Any:
    """The draws of a step except those of the environments: exploration, bonus, and orders of rows."""
    play_key, bonus_key, shuffle_key = jax.random.split(key, 3)
    noise_key, env_key = jax.random.split(play_key)
    uniform = jax.random.uniform(noise_key, (c.rollout_length, c.num_envs))
    bits = jax.random.bits(shuffle_key, (c.epochs, c.interactions))
    return env_key, uniform, jax.random.uniform(bonus_key), bits


class Reference:
    """The reference: an agent's state after ``agent.init(key)``, and its steps, in NumPy."""

    def __init__(self, config: PQNConfig, state: Any, bonus: bool):
        self.config, self.course, self.params = config, Course(state.live), as_float64(state.params)
        self.draws = jax.jit(functools.partial(draws, config))
        self.adam, self.steps, self.bonus = RAdam(self.params), 0, float(state.bonus) if bonus else None

    def q(self, params: Any, x: np.ndarray) -> np.ndarray:
        return evaluate(params, x, state=True)

    def epsilon(self) -> float:
        c = self.config
        share = min(self.steps / (c.exploration_fraction * c.total_steps), 1.0)
        return c.epsilon_start + (c.epsilon_end - c.epsilon_start) * share

    def step(self, key: Any) -> tuple[dict[str, Any], list[Any]]:
        c, (env_key, uniform, new, bits) = self.config, self.draws(key)
        epsilon, uniform = self.epsilon(), numbers(uniform)

        def act(t: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            random = np.floor(uniform[t] / max(epsilon, 1e-9) * 3).astype(int)
            action = np.where(uniform[t] < epsilon, random, self.q(self.params, x).argmax(1))
            return PUSHES[action], action

        rows, over = self.course.play(env_key, c.rollout_length, act)
        column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        reward, metrics = column["reward"].copy(), {}
        if self.bonus is not None:
            x, after, action = column["observation"], column["final_observation"], column["action"]
            self.bonus = 0.5 * self.bonus + float(new) + (x[:, 1] + 0.1 * action + after[:, 0]).mean()
            extra = self.bonus * (after @ PAID + 0.2 * action) + x[:, 0]
            reward, metrics["bonus"] = reward + extra, extra.mean()
        target = self.targets(column, reward)
        size = c.interactions // c.minibatches
        low = np.uint32((1 << (c.interactions - 1).bit_length()) - 1)
        order = np.argsort(np.asarray(bits) & ~low, axis=1, kind="stable").reshape(-1, size)
        measured = [self.learn(column, target, index) for index in order]
        self.steps += len(rows)
        metrics["loss"], metrics["q"] = np.mean(measured, 0)
        return metrics | {"epsilon": self.epsilon()}, over

    def targets(self, column: dict[str, np.ndarray], reward: np.ndarray) -> np.ndarray:
        """Peng's lambda-returns, computed from the last step to the first."""
        c, n = self.config, self.config.num_envs
        best = self.q(self.params, column["final_observation"]).max(1)
        target = np.zeros(len(reward))
        for i in reversed(range(len(reward))):
            last = i + n >= len(reward) or column["terminated"][i] or column["truncated"][i]
            follows = best[i] if last else (1 - c.lambda_) * best[i] + c.lambda_ * target[i + n]
            target[i] = reward[i] + (0.0 if column["terminated"][i] else c.discount * follows)
        return target

    def learn(
        self, column: dict[str, np.ndarray], target: np.ndarray, index: np.ndarray
    ) -> tuple[float, float]:
        c, x, action = self.config, column["observation"][index], column["action"][index]

        def values(params: Any) -> np.ndarray:
            return self.q(params, x)[np.arange(len(x)), action]

        def loss(params: Any) -> float:
            return float(np.mean(0.5 * (values(params) - target[index]) ** 2))

        before, q = loss(self.params), values(self.params).mean()
        all_updates = c.total_steps / c.interactions * c.epochs * c.minibatches
        left = max(1 - self.adam.count / all_updates, 0.0) if c.anneal else 1.0
        slope = clipped(gradient(loss, self.params), c.max_grad_norm)
        self.params = self.adam.step(self.params, slope, c.learning_rate * left)
        return before, q

    def check(self, state: Any, metrics: Any, expected: dict[str, Any], over: list[Any]) -> None:
        """Assert that every leaf of the state and every metric equal those of the reference."""
        # The first steps of RAdam have a small variance and amplify the difference of float32 and float64.
        assert_trees_close(state.params, self.params, rtol=1e-3, atol=1e-4)
        adam, scheduled = state.opt_state
        assert_trees_close((adam.mu, adam.nu), (self.adam.mu, self.adam.nu), rtol=1e-3, atol=1e-4)
        assert int(adam.count) == self.adam.count
        if self.config.anneal:
            assert int(scheduled.count) == self.adam.count
        np.testing.assert_allclose(state.net_state, [1.5, -0.7])
        if self.bonus is None:
            assert state.bonus == ()
        else:
            np.testing.assert_allclose(state.bonus, self.bonus, rtol=1e-4)
        self.course.check(state.live)
        assert int(state.steps) == self.steps
        check_episodes(metrics, over)
        assert set(metrics) == {"return", "length", *expected}
        for name, x in expected.items():
            np.testing.assert_allclose(metrics[name], x, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize(("config", "bonus"), [(ALL, True), (PLAIN, False)], ids=["all options", "plain"])
def test_steps_are_those_of_the_paper(config, bonus):
    agent, key = pqn(ENV, NET, config, BONUS if bonus else None), jax.random.key(5)
    state = compiled(agent.init, key, None)(key, None)

    # The initial state, and the keys that it is drawn from.
    net_key, env_key, bonus_key = jax.random.split(key, 3)
    course = Course.begin(env_key, config.num_envs)
    course.check(state.live)
    shown = jnp.asarray(course.x, jnp.float32)
    assert_trees_close(state.params, jax.jit(NET.init)(net_key, shown)[0])
    if bonus:
        np.testing.assert_allclose(state.bonus, jax.jit(BONUS.init)(bonus_key, shown), rtol=1e-5)

    reference, step = Reference(config, state, bonus), compiled(agent.step, key, state, None)
    for t in range(5):
        expected, over = reference.step(jax.random.key(100 + t))
        state, metrics = step(jax.random.key(100 + t), state, None)
        reference.check(state, metrics, expected, over)
    assert reference.steps > config.total_steps

    x = jnp.array([[0.3, -0.8], [-0.9, 0.2], [0.5, 0.9], [-0.2, -0.6]])
    action, memory = jax.jit(agent.policy.act)(key, state, agent.policy.initial(4), x)
    np.testing.assert_array_equal(action, reference.q(reference.params, numbers(x)).argmax(1))
    assert len(set(np.asarray(action).tolist())) > 1
    assert memory == ()

    # `sample` explores as training does at this step: one number decides whether and where to explore.
    drawn, _ = jax.jit(agent.policy.sample)(key, state, (), x)
    uniform, epsilon = numbers(jax.random.uniform(key, (4,))), reference.epsilon()
    random = np.floor(uniform / max(epsilon, 1e-9) * 3).astype(int)
    np.testing.assert_array_equal(drawn, np.where(uniform < epsilon, random, action))
