"""DQN: whole steps against Mnih et al. (2015) and its extensions in plain NumPy, every option on.

The reference draws random numbers from the same keys as the agent; it shares no other code with it.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drift import PUSHES, Course, Ring, check_episodes, drift, evaluate, linear
from plain import Adam, as_float64, assert_trees_close, clipped, compiled, gradient, numbers

from lrn.rl.dqn import DQNConfig, dqn
from lrn.rl.env import Discrete
from lrn.rl.exploration.bonus import Bonus
from lrn.rl.heads import dueling

ENV = drift(Discrete(3))
PAID = np.array([0.3, -0.5])
BONUS = Bonus(
    init=lambda key, observation: jax.random.uniform(key) + observation.sum(),
    bonus=lambda state, x, action, after: state * (after @ PAID + 0.2 * action) + x[:, 0],
    update=lambda key, state, seen: (
        0.5 * state + jax.random.uniform(key)
        + (seen.observation[:, 1] + 0.1 * seen.action + seen.next_observation[:, 0]).mean()
    ),
)  # fmt: skip
# All options are on, gradients are clipped, and the ring wraps; the first round does not learn.
ALL = DQNConfig(
    total_steps=44, num_envs=2, rollout_length=2, updates=3, buffer_size=10, batch_size=5, learning_starts=6,
    learning_rate=0.03, anneal=True, discount=0.7, target_period=2, target_rate=0.6, epsilon_start=0.9,
    epsilon_end=0.2, exploration_fraction=0.4, double=True, n_step=2, loss="huber", max_grad_norm=0.4,
)  # fmt: skip
PLAIN = DQNConfig(
    total_steps=44, num_envs=3, rollout_length=1, updates=2, buffer_size=9, batch_size=4, learning_starts=3,
    learning_rate=0.02, discount=0.9, target_period=3, target_rate=1.0, epsilon_start=0.7, epsilon_end=0.3,
    exploration_fraction=0.5, max_grad_norm=100.0,
)  # fmt: skip


def draws(c: DQNConfig, key: Any, filled: Any) -> Any:
    """The draws of a step except those of the environments: exploration, bonus, and starts of windows."""
    play_key, bonus_key, sample_key = jax.random.split(key, 3)
    noise_key, env_key = jax.random.split(play_key)
    uniform = jax.random.uniform(noise_key, (c.rollout_length, c.num_envs))
    beginnings = filled - (c.n_step - 1) * c.num_envs
    first = jax.random.randint(sample_key, (c.updates, c.batch_size), 0, beginnings)
    return env_key, uniform, jax.random.uniform(bonus_key), first


class Reference:
    """The reference: an agent's state after ``agent.init(key)``, and its steps, in NumPy."""

    def __init__(self, config: DQNConfig, state: Any, dueled: bool, bonus: bool):
        self.config, self.dueled, self.course = config, dueled, Course(state.live)
        self.params, self.target = as_float64((state.params, state.target))
        self.adam, self.updates, self.steps = Adam(self.params), 0, 0
        self.bonus = float(state.bonus) if bonus else None
        self.ring, self.draws = Ring(config.buffer_size), jax.jit(functools.partial(draws, config))

    def q(self, params: Any, x: np.ndarray) -> np.ndarray:
        out = evaluate(params, x, state=True)
        if not self.dueled:
            return out
        advantage = out[:, 1:]
        return out[:, :1] + advantage - advantage.mean(1, keepdims=True)

    def epsilon(self, steps: int) -> float:
        c = self.config
        share = min(steps / (c.exploration_fraction * c.total_steps), 1.0)
        return c.epsilon_start + (c.epsilon_end - c.epsilon_start) * share

    def pay(self, row: Any) -> float:
        return self.bonus * (row["final_observation"] @ PAID + 0.2 * row["action"]) + row["observation"][0]

    def step(self, key: Any) -> tuple[dict[str, Any], list[Any]]:
        c, filled = self.config, min(self.ring.written + self.config.interactions, self.config.buffer_size)
        env_key, uniform, new, first = self.draws(key, filled)
        uniform = numbers(uniform)

        def act(t: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            epsilon = self.epsilon(self.steps + t * c.num_envs)
            random = np.floor(uniform[t] / epsilon * 3).astype(int)
            action = np.where(uniform[t] < epsilon, random, self.q(self.params, x).argmax(1))
            return PUSHES[action], action

        rows, over = self.course.play(env_key, c.rollout_length, act)
        measured: dict[str, Any] = {}
        if self.bonus is not None:
            terms = [r["observation"][1] + 0.1 * r["action"] + r["final_observation"][0] for r in rows]
            self.bonus = 0.5 * self.bonus + float(new) + np.mean(terms)
            measured["bonus"] = np.mean([self.pay(r) for r in rows])
        self.ring.add(rows)
        self.steps += len(rows)
        if self.steps >= c.learning_starts:
            measured["loss"], measured["q"] = np.mean(
                [self.learn(w) for w in self.windows(np.asarray(first))], 0
            )
        return measured | {"epsilon": self.epsilon(self.steps)}, over

    def windows(self, first: np.ndarray) -> np.ndarray:
        """Rows [updates, batch, n_step] of consecutive steps of one environment."""
        c = self.config
        if c.n_step == 1:
            return first[..., None]
        oldest = self.ring.written - len(self.ring.rows)
        return (oldest + first[..., None] + c.num_envs * np.arange(c.n_step)) % c.buffer_size

    def learn(self, windows: np.ndarray) -> tuple[float, float]:
        c, first, target = self.config, [], []
        for window in windows:
            rows = [self.ring.rows[int(w)] for w in window]
            first.append(rows[0])
            value, weight = 0.0, 1.0
            for row in rows:
                value += weight * (row["reward"] + (0.0 if self.bonus is None else self.pay(row)))
                weight *= c.discount
                if row["terminated"] or row["truncated"]:
                    break
            after = row["final_observation"][None]  # pyright: ignore[reportPossiblyUnboundVariable]
            online, slow = self.q(self.params, after)[0], self.q(self.target, after)[0]
            follows = slow[online.argmax()] if c.double else slow.max()
            target.append(value + (0.0 if row["terminated"] else weight * follows))  # pyright: ignore[reportPossiblyUnboundVariable]
        x, action = np.stack([r["observation"] for r in first]), np.array([r["action"] for r in first])

        def loss(params: Any) -> float:
            error = self.q(params, x)[np.arange(len(x)), action] - np.array(target)
            huber = np.where(abs(error) < 1, 0.5 * error**2, abs(error) - 0.5)
            return float(np.mean(huber if c.loss == "huber" else 0.5 * error**2))

        before, q = loss(self.params), self.q(self.params, x)[np.arange(len(x)), action].mean()
        rounds = c.total_steps / c.interactions - (-(-c.learning_starts // c.interactions) - 1)
        left = 1 - self.adam.count / (rounds * c.updates) if c.anneal else 1.0
        slope = clipped(gradient(loss, self.params), c.max_grad_norm)
        self.params = self.adam.step(self.params, slope, c.learning_rate * left)
        self.updates += 1
        if self.updates % c.target_period == 0:
            self.target = jax.tree.map(lambda t, p: t + c.target_rate * (p - t), self.target, self.params)
        return before, q

    def check(self, state: Any, metrics: Any, expected: dict[str, Any], over: list[Any]) -> None:
        """Assert that every leaf of the state and every metric equal those of the reference."""
        assert_trees_close(state.params, self.params)
        assert_trees_close(state.target, self.target)
        adam, scheduled = state.opt_state
        assert_trees_close((adam.mu, adam.nu), (self.adam.mu, self.adam.nu))
        assert int(adam.count) == int(scheduled.count) == int(state.updates) == self.updates
        assert state.steps == self.steps
        np.testing.assert_allclose(state.net_state, [1.5, -0.7])
        if self.bonus is None:
            assert state.bonus == ()
        else:
            np.testing.assert_allclose(state.bonus, self.bonus, rtol=1e-4)
        self.course.check(state.live)
        self.ring.check(state.replay)
        check_episodes(metrics, over)
        assert set(metrics) == {"return", "length", "loss", "q", "epsilon"} | ({"bonus"} & set(expected))
        np.testing.assert_allclose(metrics["epsilon"], expected["epsilon"], rtol=1e-5)
        for name in ("loss", "q"):
            assert float(metrics[name].weight) == (name in expected)
            if name in expected:
                np.testing.assert_allclose(metrics[name].value, expected[name], rtol=1e-4)
        if "bonus" in expected:
            np.testing.assert_allclose(metrics["bonus"], expected["bonus"], rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "dueled", "bonus"), [(ALL, True, True), (PLAIN, False, False)], ids=["all options", "plain"]
)
def test_steps_are_those_of_the_paper(config, dueled, bonus):
    net = dueling(linear(2, 4, state=True)) if dueled else linear(2, 3, state=True)
    agent = dqn(ENV, net, config, BONUS if bonus else None)
    key = jax.random.key(3)
    state = compiled(agent.init, key, None)(key, None)

    # The initial state, and the keys that it is drawn from.
    net_key, env_key, bonus_key = jax.random.split(key, 3)
    course = Course.begin(env_key, config.num_envs)
    course.check(state.live)
    shown = jnp.asarray(course.x, jnp.float32)
    assert_trees_close(state.params, jax.jit(net.init)(net_key, shown)[0])
    assert_trees_close(state.target, state.params)
    if bonus:
        np.testing.assert_allclose(state.bonus, jax.jit(BONUS.init)(bonus_key, shown), rtol=1e-5)

    # The target network differs from the network, since double Q chooses by one and values by the other.
    target = jax.tree.map(lambda x: jnp.asarray(0.6 * np.array(x)[::-1] + 0.1), state.target)
    state = state._replace(target=target)
    reference = Reference(config, state, dueled, bonus)
    step = compiled(agent.step, key, state, None)
    for t in range(8):
        expected, over = reference.step(jax.random.key(100 + t))
        state, metrics = step(jax.random.key(100 + t), state, None)
        reference.check(state, metrics, expected, over)
    assert reference.ring.written > 1.5 * config.buffer_size
    assert reference.updates >= 6 * config.updates

    x = jnp.array([[0.3, -0.8], [-0.9, 0.2], [0.5, 0.9], [-0.2, -0.6]])
    action, memory = jax.jit(agent.policy.act)(key, state, agent.policy.initial(4), x)
    np.testing.assert_array_equal(action, reference.q(reference.params, numbers(x)).argmax(1))
    assert len(set(np.asarray(action).tolist())) > 1
    assert memory == ()

    # `sample` explores as training does at this step: one number decides whether and where to explore.
    drawn, _ = jax.jit(agent.policy.sample)(key, state, (), x)
    uniform, epsilon = numbers(jax.random.uniform(key, (4,))), reference.epsilon(reference.steps)
    random = np.floor(uniform / max(epsilon, 1e-9) * 3).astype(int)
    np.testing.assert_array_equal(drawn, np.where(uniform < epsilon, random, action))


@pytest.mark.parametrize(("starts", "rounds"), [(2, 11), (4, 11), (5, 10), (8, 10), (9, 9)])
def test_rounds_that_learn_are_counted(starts, rounds):
    """A round learns after its four steps; the first round learns if learning starts within them."""
    config = dataclasses.replace(ALL, n_step=1, learning_starts=starts)
    assert config.gradient_steps == 3 * rounds
