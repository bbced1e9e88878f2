"""TD3: whole steps against Fujimoto et al. (2018, algorithm 1) in plain NumPy.

The reference draws random numbers from the same keys as the agent; it shares no other code with it.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from drift import BOX, Course, Ring, check_episodes, drift, evaluate, linear
from plain import Adam, as_float64, assert_trees_close, compiled, gradient, numbers

from lrn.rl.exploration.noise import Noise
from lrn.rl.td3 import TD3Config, td3

ENV, ACTOR, CRITIC = drift(BOX), linear(2, 2), linear(4, 1)
CONFIG = TD3Config(
    actor_learning_rate=0.03, critic_learning_rate=0.02, discount=0.8, target_rate=0.3, exploration_noise=0.6,
    target_noise=0.4, target_noise_clip=0.3, policy_delay=2, batch_size=4, buffer_size=11, num_envs=2,
    rollout_length=2, updates=4, learning_starts=8, total_steps=40,
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
    """Convert actions from [-1, 1] to the bounds of the environment."""
    return LOW + (unit + 1) / 2 * (HIGH - LOW)


@jax.jit
def draws(key: Any, filled: Any) -> Any:
    """The draws of a step except those of the environments: exploration, rows and noise of each update."""
    play_key, color_key, noise_key, row_key = jax.random.split(key, 4)
    fresh = jax.random.normal(color_key, (CONFIG.rollout_length, CONFIG.num_envs, 2))
    shape = (CONFIG.updates // CONFIG.policy_delay, CONFIG.policy_delay, CONFIG.batch_size)
    index = jax.random.randint(row_key, shape, 0, filled)
    return play_key, fresh, index, jax.random.normal(noise_key, (*shape, 2))


class Reference:
    """The reference: an agent's state after ``agent.init(key)``, and its steps, in NumPy."""

    def __init__(self, state: Any):
        learned = as_float64(state.learned)
        self.actor, self.critics = learned.actor, learned.critics
        self.target_actor, self.target_critics = learned.target_actor, learned.target_critics
        self.actor_adam, self.critic_adam = Adam(self.actor), Adam(self.critics)
        self.noise, self.course = numbers(state.noise), Course(state.live)
        self.ring, self.steps, self.played = Ring(CONFIG.buffer_size), 0, []

    def policy(self, actor: Any, x: np.ndarray) -> np.ndarray:
        return np.tanh(evaluate(actor, x))

    def q(self, critics: Any, x: np.ndarray, action: np.ndarray) -> np.ndarray:
        return np.stack([evaluate(p, np.concatenate([x, action], 1))[:, 0] for p in critics])

    def step(self, key: Any) -> tuple[dict[str, Any], list[Any]]:
        c = CONFIG
        play_key, fresh, index, noises = draws(key, min(self.ring.written + 4, c.buffer_size))
        exploring = 0.6 * self.noise + numbers(fresh)
        self.noise = 0.5 * self.noise + 0.1

        def act(t: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if self.steps < c.learning_starts:
                unit = scipy.special.erf(exploring[t] / math.sqrt(2))
            else:
                unit = np.clip(self.policy(self.actor, x) + c.exploration_noise * exploring[t], -1, 1)
                self.played.append(unit)
            return 0.3 * to_env(unit), unit

        rows, over = self.course.play(play_key, c.rollout_length, act)
        self.ring.add(rows)
        self.steps += len(rows)
        if self.steps < c.learning_starts:
            return {}, over
        losses, values = [], []
        for several, noise in zip(np.asarray(index), numbers(noises)):
            batches = [self.ring.take(i) for i in several]
            losses += [self.evaluate(b, n) for b, n in zip(batches, noise)]
            values.append(self.improve(batches[-1]))
        return {"critic_loss": np.mean(losses), "value": np.mean(values)}, over

    def evaluate(self, b: dict[str, np.ndarray], noise: np.ndarray) -> float:
        """One step of both critics, to the smaller target value at a smoothed action of the target policy."""
        c = CONFIG
        smoothing = np.clip(c.target_noise * noise, -c.target_noise_clip, c.target_noise_clip)
        after = np.clip(self.policy(self.target_actor, b["final_observation"]) + smoothing, -1, 1)
        value = self.q(self.target_critics, b["final_observation"], after).min(0)
        goal = b["reward"] + c.discount * np.where(b["terminated"], 0.0, value)

        def loss(critics: Any) -> float:
            return 0.5 * float(((self.q(critics, b["observation"], b["action"]) - goal) ** 2).mean(1).sum())

        before, slope = loss(self.critics), gradient(loss, self.critics)
        self.critics = self.critic_adam.step(self.critics, slope, c.critic_learning_rate)
        return before

    def improve(self, b: dict[str, np.ndarray]) -> float:
        """One step of the actor along the gradient of the first critic, then a move of the targets."""
        c = CONFIG

        def value(actor: Any) -> float:
            return float(
                self.q(self.critics, b["observation"], self.policy(actor, b["observation"]))[0].mean()
            )

        before, slope = value(self.actor), gradient(lambda actor: -value(actor), self.actor)
        self.actor = self.actor_adam.step(self.actor, slope, c.actor_learning_rate)
        move = lambda t, p: t + c.target_rate * (p - t)  # noqa: E731
        self.target_actor = jax.tree.map(move, self.target_actor, self.actor)
        self.target_critics = jax.tree.map(move, self.target_critics, self.critics)
        return before

    def check(self, state: Any, metrics: Any, expected: dict[str, float], over: list[Any]) -> None:
        """Assert that every leaf of the state and every metric equal those of the reference."""
        learned = state.learned
        for name in ("actor", "critics", "target_actor", "target_critics"):
            assert_trees_close(getattr(learned, name), getattr(self, name))
        pairs = ((learned.actor_opt_state, self.actor_adam), (learned.critic_opt_state, self.critic_adam))
        for (moments, *_), adam in pairs:
            assert_trees_close((moments.mu, moments.nu), (adam.mu, adam.nu))
            assert int(moments.count) == adam.count
        np.testing.assert_allclose(state.noise, self.noise, rtol=1e-5)
        self.course.check(state.live)
        self.ring.check(state.replay)
        assert int(state.steps) == self.steps
        check_episodes(metrics, over)
        assert set(metrics) == {"return", "length", "critic_loss", "value"}
        for name in ("critic_loss", "value"):
            assert float(metrics[name].weight) == bool(expected)
            if expected:
                np.testing.assert_allclose(metrics[name].value, expected[name], rtol=1e-4, err_msg=name)


def networks(actor_key: Any, critic_key: Any) -> Any:
    """The initial parameters of the actor and of the two critics."""
    critics = (CRITIC.init(k, jnp.zeros((1, 4)))[0] for k in jax.random.split(critic_key))
    return ACTOR.init(actor_key, jnp.zeros((1, 2)))[0], tuple(critics)


def test_steps_are_those_of_the_paper():
    agent, key = td3(ENV, ACTOR, CRITIC, CONFIG, NOISE), jax.random.key(9)
    state = compiled(agent.init, key, None)(key, None)

    # The initial state, and the keys that it is drawn from.
    *net_keys, play_key, noise_key = jax.random.split(key, 4)
    Course.begin(play_key, 2).check(state.live)
    nets, learned = jax.jit(networks)(*net_keys), state.learned
    assert_trees_close((learned.actor, learned.critics), nets)
    assert_trees_close((learned.target_actor, learned.target_critics), nets)
    np.testing.assert_allclose(state.noise, jax.random.normal(noise_key, (2, 2)), rtol=1e-6)

    # The targets differ from the networks.
    targets = jax.tree.map(lambda x: jnp.asarray(0.7 * np.array(x)[::-1] + 0.1), nets)
    state = state._replace(learned=learned._replace(target_actor=targets[0], target_critics=targets[1]))
    reference, step = Reference(state), compiled(agent.step, key, state, None)
    for t in range(6):
        expected, over = reference.step(jax.random.key(100 + t))
        state, metrics = step(jax.random.key(100 + t), state, None)
        reference.check(state, metrics, expected, over)
    assert reference.ring.written > 1.5 * CONFIG.buffer_size
    assert (
        0.1 < np.mean(np.abs(reference.played) == 1.0) < 0.9
    )  # some exploring actions are clipped, and some are not

    x = jnp.array([[0.3, -0.8], [-0.9, 0.2], [0.5, 0.9]])
    action, memory = jax.jit(agent.policy.act)(key, state, agent.policy.initial(3), x)
    unit = reference.policy(reference.actor, numbers(x))
    np.testing.assert_allclose(action, to_env(unit), rtol=1e-4)
    assert memory == ()

    # `sample` explores as training does, with white noise.
    sample, noise = jax.jit(agent.policy.sample), numbers(jax.random.normal(key, (3, 2)))
    drawn = np.clip(unit + CONFIG.exploration_noise * noise, -1, 1)
    np.testing.assert_allclose(sample(key, state, (), x)[0], to_env(drawn), rtol=1e-4, atol=1e-5)
    early = state._replace(steps=jnp.int32(7))
    random = scipy.special.erf(noise / math.sqrt(2))
    np.testing.assert_allclose(sample(key, early, (), x)[0], to_env(random), rtol=1e-4, atol=1e-5)
