"""SAC: whole steps against Haarnoja et al. (2018, 1812.05905) in plain NumPy.

The reference draws random numbers from the same keys as the agent; it shares no other code with it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from drift import BOX, Course, Ring, check_episodes, drift
from plain import compiled, numbers
from soft import ACTOR, CRITIC, Soft, check_init, check_losses, spread_out, to_env

from lrn.rl.exploration.noise import Noise
from lrn.rl.sac import SACConfig, sac, soft_actor_critic

ENV = drift(BOX)
# The second round is the first to learn and the third the first to act by the policy, to test "after"
# exactly.
CONFIG = SACConfig(
    learning_rate=0.02, temperature_learning_rate=0.05, discount=0.8, target_rate=0.3, batch_size=4,
    initial_temperature=0.4, target_entropy=-0.7, buffer_size=11, num_envs=2, rollout_length=2, updates=3,
    learning_starts=8, total_steps=40,
)  # fmt: skip
NOISE = Noise(
    lambda key, shape: jax.random.normal(key, shape),
    lambda key, state, steps: (
        0.6 * state[None] + jax.random.normal(key, (steps, *state.shape)),
        0.5 * state + 0.1,
    ),
)


@jax.jit
def draws(key: Any, filled: Any) -> Any:
    """The draws of a step except those of the environments: exploration, rows and noise of each update."""
    play_key, color_key, noise_key, row_key = jax.random.split(key, 4)
    fresh = jax.random.normal(color_key, (CONFIG.rollout_length, CONFIG.num_envs, 2))
    shape = (CONFIG.updates, CONFIG.batch_size)
    index = jax.random.randint(row_key, shape, 0, filled)
    return play_key, fresh, index, jax.random.normal(noise_key, (CONFIG.updates, 2, CONFIG.batch_size, 2))


class Reference:
    """The reference: an agent's state after ``agent.init(key)``, and its steps, in NumPy."""

    def __init__(self, state: Any):
        self.soft, self.noise = Soft(state.learned, CONFIG), numbers(state.noise)
        self.course, self.ring, self.steps = Course(state.live), Ring(CONFIG.buffer_size), 0

    def step(self, key: Any) -> tuple[dict[str, Any], list[Any]]:
        c = CONFIG
        play_key, fresh, index, noises = draws(key, min(self.ring.written + 4, c.buffer_size))
        exploring = 0.6 * self.noise + numbers(fresh)
        self.noise = 0.5 * self.noise + 0.1

        def act(t: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            unit = self.soft.explore(x, exploring[t], self.steps)
            return 0.3 * to_env(unit), unit

        rows, over = self.course.play(play_key, c.rollout_length, act)
        self.ring.add(rows)
        self.steps += len(rows)
        if self.steps < c.learning_starts:
            return {}, over
        told = [self.soft.learn(self.ring.take(i), n) for i, n in zip(np.asarray(index), numbers(noises))]
        return {name: np.mean([x[name] for x in told]) for name in told[0]}, over

    def check(self, state: Any, metrics: Any, expected: dict[str, float], over: list[Any]) -> None:
        """Assert that every leaf of the state and every metric equal those of the reference."""
        self.soft.check(state.learned)
        np.testing.assert_allclose(state.noise, self.noise, rtol=1e-5)
        self.course.check(state.live)
        self.ring.check(state.replay)
        assert int(state.steps) == self.steps
        check_episodes(metrics, over)
        check_losses(metrics, expected)


def test_steps_are_those_of_the_paper():
    agent, key = sac(ENV, ACTOR, CRITIC, CONFIG, NOISE), jax.random.key(7)
    state = compiled(agent.init, key, None)(key, None)

    # The initial state, and the keys that it is drawn from.
    net_key, play_key, noise_key = jax.random.split(key, 3)
    Course.begin(play_key, 2).check(state.live)
    check_init(net_key, state.learned, 0.4)
    np.testing.assert_allclose(state.noise, jax.random.normal(noise_key, (2, 2)), rtol=1e-6)

    state = jax.tree.map(jnp.asarray, state._replace(learned=spread_out(state.learned)))
    reference, step = Reference(state), compiled(agent.step, key, state, None)
    x = jnp.array([[0.3, -0.8], [-0.9, 0.2], [0.5, 0.9]])
    sample = jax.jit(agent.policy.sample)
    for t in range(6):
        # `sample` explores as training does, but always with white noise.
        noise = numbers(jax.random.normal(jax.random.key(50 + t), (3, 2)))
        action, _ = sample(jax.random.key(50 + t), state, (), x)
        drawn = reference.soft.explore(numbers(x), noise, reference.steps)
        np.testing.assert_allclose(action, to_env(drawn), rtol=1e-4, atol=1e-5)

        expected, over = reference.step(jax.random.key(100 + t))
        state, metrics = step(jax.random.key(100 + t), state, None)
        reference.check(state, metrics, expected, over)
    assert reference.ring.written > 1.5 * CONFIG.buffer_size

    action, memory = jax.jit(agent.policy.act)(key, state, agent.policy.initial(3), x)
    np.testing.assert_allclose(action, reference.soft.greedy(numbers(x)), rtol=1e-4)
    assert memory == ()


def test_standard_deviations_have_bounds():
    """The standard deviation of an action of mean 0 lies between exp(-10) and exp(2)."""
    core = soft_actor_critic(ENV, ACTOR, CRITIC, CONFIG)
    params = jax.jit(core.init)(jax.random.key(0)).params
    for log_std, bound in ((-50.0, -10.0), (50.0, 2.0)):
        actor = {"b": jnp.array([0.0, 0.0, log_std, log_std]), "w": jnp.zeros((2, 4))}
        action = core.act(params._replace(actor=actor), jnp.ones((1, 2)), jnp.array([[0.1, -0.2]]))
        np.testing.assert_allclose(action, np.tanh(np.exp(bound) * np.array([[0.1, -0.2]])), rtol=1e-5)
