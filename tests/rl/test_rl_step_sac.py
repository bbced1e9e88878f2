"""SAC: whole steps against Haarnoja et al. (2018, 1812.05905) in plain NumPy.

The reference makes the random draws from the same keys; all else is its own.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from drift import BOX, Course, Ring, check_episodes, drift, evaluate, linear, numbers
from plain import Adam, as_float64, assert_trees_close, gradient

from lrn.rl.exploration.noise import Noise
from lrn.rl.sac import SACConfig, sac, soft_actor_critic

ENV, ACTOR, CRITIC = drift(BOX), linear(2, 4), linear(4, 1)
CONFIG = SACConfig(
    learning_rate=0.02, temperature_learning_rate=0.05, discount=0.8, target_rate=0.3, batch_size=4,
    initial_temperature=0.4, target_entropy=-0.7, buffer_size=11, num_envs=2, rollout_length=2, updates=3,
    learning_starts=6, total_steps=40,
)  # fmt: skip
NOISE = Noise(
    lambda key, shape: jax.random.normal(key, shape),
    lambda key, state, steps: (
        0.6 * state[None] + jax.random.normal(key, (steps, *state.shape)),
        0.5 * state + 0.1,
    ),
)
LOW, HIGH = numbers(BOX.low), numbers(BOX.high)


def to_env(unit: np.ndarray) -> np.ndarray:
    """From [-1, 1] to the bounds."""
    return LOW + (unit + 1) / 2 * (HIGH - LOW)


class Reference:
    """The agent's state after ``agent.init(key)``, and its steps."""

    def __init__(self, state: Any):
        learned = state.learned
        self.actor, self.critics, log_temperature = as_float64(tuple(learned.params))
        self.temperature = {"log": log_temperature}
        self.target, self.noise = as_float64(learned.target), numbers(state.noise)
        self.adams = [Adam(x) for x in (self.actor, self.critics, self.temperature)]
        self.course, self.ring, self.steps = Course(state.live), Ring(CONFIG.buffer_size), 0

    def policy(self, actor: Any, x: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions, and their log-probabilities: a Gaussian's, less the slope of tanh."""
        out = evaluate(actor, x)
        mean, log_std = out[:, :2], np.clip(out[:, 2:], -10, 2)
        u = mean + np.exp(log_std) * noise
        gaussian = -0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi)
        slope = 2 * (np.log(2) - np.logaddexp(u, -u))  # log(1 - tanh(u)^2) = -2 log cosh(u)
        return np.tanh(u), (gaussian - slope).sum(1)

    def q(self, critics: Any, x: np.ndarray, action: np.ndarray) -> np.ndarray:
        return np.stack([evaluate(p, np.concatenate([x, action], 1))[:, 0] for p in critics])

    def step(self, key: Any) -> tuple[dict[str, Any], list[Any]]:
        c = CONFIG
        play_key, colour_key, noise_key, row_key = jax.random.split(key, 4)
        shape = (c.rollout_length, c.num_envs, 2)
        exploring = 0.6 * self.noise + numbers(jax.random.normal(colour_key, shape))
        self.noise = 0.5 * self.noise + 0.1

        def act(t: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if self.steps < c.learning_starts:
                unit = scipy.special.erf(exploring[t] / math.sqrt(2))
            else:
                unit = self.policy(self.actor, x, exploring[t])[0]
            return 0.3 * to_env(unit), unit

        rows, over = self.course.play(play_key, c.rollout_length, act)
        self.ring.add(rows)
        self.steps += len(rows)
        if self.steps < c.learning_starts:
            return {}, over
        index = np.asarray(jax.random.randint(row_key, (c.updates, c.batch_size), 0, len(self.ring.rows)))
        noises = numbers(jax.random.normal(noise_key, (c.updates, 2, c.batch_size, 2)))
        told = [self.learn(self.ring.take(i), noise) for i, noise in zip(index, noises)]
        return {name: np.mean([x[name] for x in told]) for name in told[0]}, over

    def learn(self, b: dict[str, np.ndarray], noise: np.ndarray) -> dict[str, float]:
        """Critics, actor and temperature step at once, each from what was before."""
        c, temperature = CONFIG, float(np.exp(self.temperature["log"]))
        after, log_prob = self.policy(self.actor, b["final_observation"], noise[1])
        soft = self.q(self.target, b["final_observation"], after).min(0) - temperature * log_prob
        goal = b["reward"] + c.discount * np.where(b["terminated"], 0.0, soft)

        def critic_loss(critics: Any) -> float:
            return 0.5 * float(((self.q(critics, b["observation"], b["action"]) - goal) ** 2).mean(1).sum())

        def actor_loss(actor: Any) -> float:
            action, log_prob = self.policy(actor, b["observation"], noise[0])
            return float(
                (temperature * log_prob - self.q(self.critics, b["observation"], action).min(0)).mean()
            )

        action, log_prob = self.policy(self.actor, b["observation"], noise[0])
        told = {
            "critic_loss": critic_loss(self.critics), "actor_loss": actor_loss(self.actor),
            "entropy": -log_prob.mean(), "temperature": temperature,
            "value": self.q(self.critics, b["observation"], action).min(0).mean(),
        }  # fmt: skip
        slopes = gradient(actor_loss, self.actor), gradient(critic_loss, self.critics)
        # The temperature rises while the entropy is below its target, -0.7 nats for each of two dimensions.
        excess = {"log": np.array(told["entropy"] - 2 * c.target_entropy)}
        adams = self.adams
        self.actor = adams[0].step(self.actor, slopes[0], c.learning_rate)
        self.critics = adams[1].step(self.critics, slopes[1], c.learning_rate)
        self.temperature = adams[2].step(self.temperature, excess, c.temperature_learning_rate)
        self.target = jax.tree.map(lambda t, p: t + c.target_rate * (p - t), self.target, self.critics)
        return told

    def check(self, state: Any, metrics: Any, found: dict[str, float], over: list[Any]) -> None:
        """Every leaf of the state, and every metric."""
        learned = state.learned
        mine = (self.actor, self.critics, self.temperature["log"])
        assert_trees_close(tuple(learned.params), mine)
        assert_trees_close(learned.target, self.target)
        for name in ("mu", "nu"):
            moments = [getattr(x, name) for x in self.adams]
            moments[2] = moments[2]["log"]
            assert_trees_close(tuple(getattr(learned.opt_state, name)), tuple(moments))
        assert int(learned.opt_state.count) == self.adams[0].count
        np.testing.assert_allclose(state.noise, self.noise, rtol=1e-5)
        self.course.check(state.live)
        self.ring.check(state.replay)
        assert int(state.steps) == self.steps
        check_episodes(metrics, over)
        names = {"critic_loss", "actor_loss", "entropy", "temperature", "value"}
        assert set(metrics) == {"return", "length"} | names
        for name in names:
            assert float(metrics[name].weight) == bool(found)
            if found:
                np.testing.assert_allclose(metrics[name].value, found[name], rtol=1e-4, err_msg=name)


def test_steps_are_those_of_the_paper():
    agent, key = sac(ENV, ACTOR, CRITIC, CONFIG, NOISE), jax.random.key(7)
    state = jax.jit(lambda key: agent.init(key, None))(key)

    # What it begins with, from which keys.
    net_key, play_key, noise_key = jax.random.split(key, 3)
    actor_key, critic_key = jax.random.split(net_key)
    Course.begin(play_key, 2).check(state.live)
    learned = state.learned
    assert_trees_close(learned.params.actor, ACTOR.init(actor_key, jnp.zeros((1, 2)))[0])
    critics = tuple(CRITIC.init(k, jnp.zeros((1, 4)))[0] for k in jax.random.split(critic_key))
    assert_trees_close(learned.params.critics, critics)
    assert_trees_close(learned.target, critics)
    np.testing.assert_allclose(learned.params.log_temperature, np.log(0.4), rtol=1e-6)
    np.testing.assert_allclose(state.noise, jax.random.normal(noise_key, (2, 2)), rtol=1e-6)

    # Standard deviations on both sides of the largest that is allowed; targets that are not the critics.
    params = learned.params
    actor = {"b": params.actor["b"] + jnp.array([0.0, 0.0, 1.9, -0.5]), "w": 0.3 * params.actor["w"]}
    target = jax.tree.map(lambda x: 0.7 * x[::-1] + 0.1, learned.target)
    learned = learned._replace(params=params._replace(actor=actor), target=target)
    state = state._replace(learned=learned)
    reference, step = Reference(state), jax.jit(agent.step)
    for t in range(6):
        found, over = reference.step(jax.random.key(100 + t))
        state, metrics = step(jax.random.key(100 + t), state, None)
        reference.check(state, metrics, found, over)
    assert reference.ring.written > 1.5 * CONFIG.buffer_size

    x = jnp.array([[0.3, -0.8], [-0.9, 0.2], [0.5, 0.9]])
    action, memory = agent.policy.act(key, state, agent.policy.initial(3), x)
    greedy = to_env(np.tanh(evaluate(reference.actor, numbers(x))[:, :2]))
    np.testing.assert_allclose(action, greedy, rtol=1e-4)
    assert memory == ()


def test_standard_deviations_have_bounds():
    """Of an action whose mean is 0: exp(-10) at least, exp(2) at most."""
    core = soft_actor_critic(ENV, ACTOR, CRITIC, CONFIG)
    params = core.init(jax.random.key(0)).params
    for log_std, bound in ((-50.0, -10.0), (50.0, 2.0)):
        actor = {"b": jnp.array([0.0, 0.0, log_std, log_std]), "w": jnp.zeros((2, 4))}
        action = core.act(params._replace(actor=actor), jnp.ones((1, 2)), jnp.array([[0.1, -0.2]]))
        np.testing.assert_allclose(action, np.tanh(np.exp(bound) * np.array([[0.1, -0.2]])), rtol=1e-5)
