"""Observations of bytes are stored as bytes, each once, and become floats only in front of a network."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import run_once

from lrn import nets
from lrn.rl import identity, replay
from lrn.rl.agent import Agent
from lrn.rl.dqn import DQNConfig, dqn
from lrn.rl.env import Env
from lrn.rl.pqn import PQNConfig, pqn
from lrn.rl.sac import SACConfig, sac
from lrn.rl.td3 import TD3Config, td3

SMALL: Any = {"num_envs": 2, "rollout_length": 2, "buffer_size": 40, "batch_size": 4, "learning_starts": 8}


def shown_as(env: Env, dtype: Any) -> Env:
    """The environment with observations as whole numbers from 0 to 200, in the given dtype."""

    def see(x):
        return jnp.round(100 + 100 * x).astype(dtype)

    def reset(key):
        observation, state = env.reset(key)
        return see(observation), state

    def move(key, state, action):
        state, step = env.move(key, state, action)
        return state, step._replace(final_observation=see(step.final_observation))

    return env._replace(reset=reset, move=move, observation_dtype=np.dtype(dtype))


def network(outputs: int):
    """A linear network that accepts only floats."""

    def init(key, x):
        assert x.dtype == jnp.float32
        return 0.01 * jax.random.normal(key, (x.shape[-1], outputs))

    def apply(params, x):
        assert x.dtype == jnp.float32
        return x @ params

    return nets.from_function(init, apply)


AGENTS = {
    "dqn": lambda env: dqn(env, network(3), DQNConfig(double=True, n_step=2, **SMALL)),
    "pqn": lambda env: pqn(env, network(3), PQNConfig(num_envs=2, rollout_length=4, minibatches=2)),
    "sac": lambda env: sac(env, network(2), network(1), SACConfig(**SMALL)),
    "td3": lambda env: td3(env, network(1), network(1), TD3Config(**SMALL)),
}


def environment(name: str, dtype: Any) -> Env:
    return shown_as(identity.echo(3) if "q" in name else identity.continuous_echo(), dtype)


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int16, bool])
def test_bytes_are_kept_as_bytes(name, dtype):
    agent: Agent = AGENTS[name](environment(name, dtype))
    key, state = jax.random.key(0), jax.eval_shape(agent.init, jax.random.key(0), None)
    after, _ = jax.eval_shape(agent.step, key, state, None)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(
        lambda x: (x.shape, x.dtype), after
    )
    assert after.live.observation.dtype == dtype
    if name != "pqn":
        assert after.replay.seen.dtype == dtype
        drawn = jax.eval_shape(lambda ring: replay.take(ring, jnp.arange(5)), after.replay)
        assert drawn.observation.dtype == drawn.final_observation.dtype == dtype
    jax.eval_shape(agent.policy.act, key, after, agent.policy.initial(2), after.live.observation)


@pytest.mark.parametrize("name", ["dqn", "sac"])
def test_what_is_learned_from_bytes_is_what_is_learned_from_the_same_numbers_as_floats(name):
    def learned(dtype: Any) -> Any:
        agent = AGENTS[name](environment(name, dtype))

        def run(key: Any) -> Any:
            state = agent.init(key, None)
            return jax.lax.fori_loop(
                0, 6, lambda t, s: agent.step(jax.random.fold_in(key, t), s, None)[0], state
            )

        state = run_once(run, jax.random.key(0))
        return state.params if name == "dqn" else state.learned

    jax.tree.map(np.testing.assert_array_equal, learned(jnp.uint8), learned(jnp.float32))


@pytest.mark.parametrize("dtype", [jnp.uint8, bool, jnp.float32])
def test_frames_are_stored_once(dtype):
    """There are as many frames as rows, and an eighth more for ends of episodes, not two for each row."""
    ring = jax.eval_shape(
        lambda frames: replay.start(frames, jnp.int32(0), 100_000, 8),
        jax.ShapeDtypeStruct((4, 84, 84), dtype),
    )
    frames = ring.seen.size * ring.seen.dtype.itemsize / (84 * 84 * jnp.dtype(dtype).itemsize)
    assert 100_000 < frames < 113_000
