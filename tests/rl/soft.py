"""Shared by the references of SAC and MBPO: the learning of SAC in plain NumPy.

Source: Haarnoja et al. (2018, 1812.05905): twin critics, a squashed Gaussian, a learned temperature.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from drift import BOX, evaluate, linear
from plain import Adam, as_float64, assert_trees_close, gradient, numbers

from lrn.rl.sac import SACConfig

ACTOR, CRITIC = linear(2, 4), linear(4, 1)
LOW, HIGH = numbers(BOX.low), numbers(BOX.high)
METRICS = ("critic_loss", "actor_loss", "entropy", "temperature", "value")


def to_env(unit: np.ndarray) -> np.ndarray:
    """Convert actions from [-1, 1] to the bounds of the environment."""
    return LOW + (unit + 1) / 2 * (HIGH - LOW)


class Soft:
    """The reference of a `lrn.rl.sac.Learned`, from before its first gradient step."""

    def __init__(self, learned: Any, config: SACConfig):
        self.actor, self.critics, log_temperature = as_float64(tuple(learned.params))
        self.config, self.temperature = config, {"log": log_temperature}
        self.target = as_float64(learned.target)
        self.adams = [Adam(x) for x in (self.actor, self.critics, self.temperature)]

    def policy(self, actor: Any, x: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions, and their log-densities: those of the Gaussian less the log of the slope of tanh."""
        out = evaluate(actor, x)
        mean, log_std = out[:, :2], np.clip(out[:, 2:], -10, 2)
        u = mean + np.exp(log_std) * noise
        gaussian = -0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi)
        slope = 2 * (np.log(2) - np.logaddexp(u, -u))  # log(1 - tanh(u)^2) = -2 log cosh(u)
        return np.tanh(u), (gaussian - slope).sum(1)

    def explore(self, x: np.ndarray, noise: np.ndarray, steps: int) -> np.ndarray:
        """Exploring actions in [-1, 1] after ``steps`` steps: uniform at first, then those of the policy."""
        if steps < self.config.learning_starts:
            return scipy.special.erf(noise / math.sqrt(2))
        return self.policy(self.actor, x, noise)[0]

    def greedy(self, x: np.ndarray) -> np.ndarray:
        """Greedy actions in the environment's units."""
        return to_env(np.tanh(evaluate(self.actor, x)[:, :2]))

    def q(self, critics: Any, x: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Values of both critics, [2, n]."""
        return np.stack([evaluate(p, np.concatenate([x, action], 1))[:, 0] for p in critics])

    def learn(self, b: dict[str, np.ndarray], noise: np.ndarray) -> dict[str, float]:
        """Critics, actor and temperature step together, each from the parameters before the step."""
        c, temperature = self.config, float(np.exp(self.temperature["log"]))
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
        metrics = {
            "critic_loss": critic_loss(self.critics), "actor_loss": actor_loss(self.actor),
            "entropy": -log_prob.mean(), "temperature": temperature,
            "value": self.q(self.critics, b["observation"], action).min(0).mean(),
        }  # fmt: skip
        slopes = gradient(actor_loss, self.actor), gradient(critic_loss, self.critics)
        # The temperature rises while the entropy is below its target, for each of two dimensions.
        excess = {"log": np.array(metrics["entropy"] - 2 * c.target_entropy)}
        adams = self.adams
        self.actor = adams[0].step(self.actor, slopes[0], c.learning_rate)
        self.critics = adams[1].step(self.critics, slopes[1], c.learning_rate)
        self.temperature = adams[2].step(self.temperature, excess, c.temperature_learning_rate)
        self.target = jax.tree.map(lambda t, p: t + c.target_rate * (p - t), self.target, self.critics)
        return metrics

    def check(self, learned: Any) -> None:
        """Assert that every leaf equals that of the reference."""
        mine = (self.actor, self.critics, self.temperature["log"])
        assert_trees_close(tuple(learned.params), mine)
        assert_trees_close(learned.target, self.target)
        for name in ("mu", "nu"):
            moments = [getattr(x, name) for x in self.adams]
            moments[2] = moments[2]["log"]
            assert_trees_close(tuple(getattr(learned.opt_state, name)), tuple(moments))
        assert int(learned.opt_state.count) == self.adams[0].count


def networks(key: Any) -> Any:
    """The initial parameters of the actor and of the two critics."""
    actor_key, critic_key = jax.random.split(key)
    critics = (CRITIC.init(k, jnp.zeros((1, 4)))[0] for k in jax.random.split(critic_key))
    return ACTOR.init(actor_key, jnp.zeros((1, 2)))[0], tuple(critics)


def check_init(key: Any, learned: Any, temperature: float) -> None:
    """Assert the initial networks, with the critics as targets."""
    actor, critics = jax.jit(networks)(key)
    assert_trees_close(tuple(learned.params), (actor, critics, np.log(temperature)))
    assert_trees_close(learned.target, critics)


def spread_out(learned: Any) -> Any:
    """Parameters with standard deviations on both sides of the bound, and targets unlike the critics."""
    actor, critics = jax.tree.map(np.array, (learned.params.actor, learned.params.critics))
    actor = {"b": actor["b"] + np.array([0, 0, 1.9, -0.5], np.float32), "w": 0.3 * actor["w"]}
    target = jax.tree.map(lambda x: 0.7 * x[::-1] + 0.1, critics)
    return learned._replace(params=learned.params._replace(actor=actor), target=target)


def check_losses(metrics: Any, expected: dict[str, float], names: tuple[str, ...] = METRICS) -> None:
    """Assert the metrics of learning, whose weight is 0 before learning starts."""
    assert set(metrics) == {"return", "length", *names}
    for name in names:
        assert float(metrics[name].weight) == bool(expected)
        if expected:
            np.testing.assert_allclose(metrics[name].value, expected[name], rtol=1e-4, err_msg=name)
