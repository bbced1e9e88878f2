"""Every deep core that learns values tells a time limit from a termination.

Two states alternate with rewards 1 and 2, and episodes are truncated after five steps. Actions have no
effect, so for every policy the values are those of the endless chain. Each core learns the values with
tables in place of networks, which can represent them exactly, in three versions of the environment at once
(one compile): the end of an episode is reported as a truncation, as a termination (the classic mistake,
`merge_truncation`), or as both (as in DeepSea).
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import run_once, stretch

import lrn.rl
from lrn import nets
from lrn.rl import identity, returns
from lrn.rl.a2c import A2CConfig, a2c
from lrn.rl.agent import Agent
from lrn.rl.dqn import DQNConfig, dqn
from lrn.rl.env import Box, Env, merge_truncation
from lrn.rl.heads import actor_critic
from lrn.rl.ppo import PPOConfig, ppo
from lrn.rl.pqn import PQNConfig, pqn
from lrn.rl.recurrent_ppo import recurrent_ppo
from lrn.rl.reinforce import ReinforceConfig, reinforce
from lrn.rl.sac import SACConfig, sac
from lrn.rl.td3 import TD3Config, td3
from lrn.types import RecurrentNet

DISCOUNT = 0.8
LENGTH = 5
EXACT = np.array([1 + 2 * DISCOUNT, 2 + DISCOUNT]) / (1 - DISCOUNT**2)
BOX = Box(-1.0, 1.0, (1,))


class Core(NamedTuple):
    """An agent with tables as networks, its values of the two states, and the steps to learn them."""

    agent: Callable[[Env], Agent]
    values: Callable[[Agent, Any], jax.Array]
    steps: int
    continuous: bool = False


def table(outputs: int, inputs: int = 2):
    """A linear network that starts at zero, which is a table for one-hot inputs."""
    return nets.from_function(lambda key, x: jnp.zeros((inputs, outputs)), lambda params, x: x @ params)


def recurrent_table() -> RecurrentNet:
    """Tables of policy and value without memory."""
    return RecurrentNet(
        lambda key, x: (jnp.zeros((2, 2)), jnp.zeros(2)),
        lambda n: (),
        lambda params, memory, x, first: ((x @ params[0], x @ params[1]), memory),
    )


def on_policy(config: Any, updates: int, **settings: Any) -> Any:
    """Settings of a short training whose rate falls to zero, so that it ends at the fixed point."""
    made = config(num_envs=8, rollout_length=5, discount=DISCOUNT, learning_rate=0.1, anneal=True, **settings)
    return config(**{**made.__dict__, "total_steps": updates * made.interactions})


def replayed(config: Any, **settings: Any) -> Any:
    return config(
        num_envs=4, discount=DISCOUNT, buffer_size=400, batch_size=64, learning_starts=40, **settings
    )


def of_its_own_actions(agent: Agent, state: Any, critic: jax.Array) -> jax.Array:
    """Values of the policy's own actions, since a linear critic is wrong about actions never played."""
    action, _ = agent.policy.act(jax.random.key(0), state, agent.policy.initial(2), jnp.eye(2))
    return (jnp.concatenate([jnp.eye(2), action], 1) @ critic)[:, 0]


CORES = {
    "reinforce": Core(
        lambda env: reinforce(env, table(2), on_policy(ReinforceConfig, 600), table(1)),
        lambda agent, state: state.params["baseline"][:, 0],
        600,
    ),
    "a2c": Core(
        lambda env: a2c(env, actor_critic(table(2), table(1)), on_policy(A2CConfig, 600, optimizer="adam")),
        lambda agent, state: state.params["net"]["critic"][:, 0],
        600,
    ),
    "ppo": Core(
        lambda env: ppo(env, actor_critic(table(2), table(1)), on_policy(PPOConfig, 200, clip_value=False)),
        lambda agent, state: state.params["net"]["critic"][:, 0],
        200,
    ),
    "recurrent_ppo": Core(
        lambda env: recurrent_ppo(env, recurrent_table(), on_policy(PPOConfig, 200, clip_value=False)),
        lambda agent, state: state.params["net"][1],
        200,
    ),
    "dqn": Core(
        lambda env: dqn(env, table(2), replayed(DQNConfig, learning_rate=0.05, target_period=20, n_step=2)),
        lambda agent, state: state.params.max(-1),
        1500,
    ),
    "pqn": Core(
        lambda env: pqn(env, table(2), on_policy(PQNConfig, 100, minibatches=4)),
        lambda agent, state: state.params.max(-1),
        100,
    ),
    "td3": Core(
        lambda env: td3(
            env, table(1), table(1, 3), replayed(TD3Config, critic_learning_rate=0.05, target_rate=0.1)
        ),
        lambda agent, state: of_its_own_actions(agent, state, state.learned.critics[0]),
        1500,
        continuous=True,
    ),
    "sac": Core(
        # A temperature near zero, since the soft value includes the entropy of the policy.
        lambda env: sac(
            env, table(2), table(1, 3),
            replayed(
                SACConfig, learning_rate=0.05, target_rate=0.1, initial_temperature=1e-9,
                temperature_learning_rate=0.0,
            ),
        ),
        lambda agent, state: of_its_own_actions(agent, state, state.learned.params.critics[0]),
        1500,
        continuous=True,
    ),
}  # fmt: skip
# Agents without a core above: tables are tested on exact solutions; others use a core above, or learn no
# values.
ELSEWHERE = {
    "coded_q", "double_q_learning", "dyna_q", "expected_sarsa", "explorer", "mbpo", "pets", "q_learning",
    "sarsa",
}  # fmt: skip
TRUNCATED, TERMINATED, BOTH = range(3)


def flagged(env: Env, terminated: Any, truncated: Any) -> Env:
    """The environment with the ends of episodes reported by the given flags, which may be traced."""

    def move(key, state, action):
        state, step = env.move(key, state, action)
        over = step.ended
        return state, step._replace(terminated=over & terminated, truncated=over & truncated)

    return env._replace(move=move)


@functools.cache
def learned(name: str) -> np.ndarray:
    """Values [version, state] after training in each version of the environment, with the same seed."""
    core = CORES[name]
    base = identity.two_state_truncating(LENGTH, BOX if core.continuous else None)

    def train(terminated, truncated):
        agent = core.agent(flagged(base, terminated, truncated))
        start, rest = jax.random.split(jax.random.key(0))

        def step(t, state):
            return agent.step(jax.random.fold_in(rest, t), state, None)[0]

        return core.values(agent, jax.lax.fori_loop(0, core.steps, step, agent.init(start, None)))

    versions = jnp.array([False, True, True]), jnp.array([True, False, True])
    return np.asarray(run_once(jax.vmap(train), *versions))


def test_every_agent_is_here():
    """A new agent needs a core above, or a name in ELSEWHERE and the reason."""
    agents = set()
    for file in Path(lrn.rl.__path__[0]).rglob("*.py"):
        functions = [f for f in ast.parse(file.read_text()).body if isinstance(f, ast.FunctionDef)]
        agents |= {f.name for f in functions if f.returns and ast.unparse(f.returns) == "Agent"} & {file.stem}
    assert agents - ELSEWHERE == set(CORES)


@pytest.mark.parametrize("name", CORES)
def test_values_are_those_of_the_endless_chain(name):
    np.testing.assert_allclose(learned(name)[TRUNCATED], EXACT, atol=1e-3)


@pytest.mark.parametrize("name", CORES)
def test_merging_truncation_with_termination_fails_visibly(name):
    """The values of the merged chain are 3.5 on average, 4 too low, and off by over 2 in each state."""
    assert (np.abs(learned(name)[TERMINATED] - EXACT) > 2).all()


@pytest.mark.parametrize("name", CORES)
def test_both_flags_at_once_are_a_termination(name):
    np.testing.assert_array_equal(learned(name)[BOTH], learned(name)[TERMINATED])


def test_merge_truncation_is_the_terminated_version():
    base = identity.two_state_truncating(1)

    def steps(key):
        _, state = base.reset(key)
        return [env.step(key, state, jnp.int32(0))[2] for env in (base, merge_truncation(base))]

    right, wrong = jax.jit(steps)(jax.random.key(0))
    assert (bool(right.terminated), bool(right.truncated)) == (False, True)
    assert bool(wrong.terminated)
    np.testing.assert_array_equal(wrong.final_observation, right.final_observation)


def test_deep_sea_ends_by_both_flags_and_is_not_bootstrapped():
    from lrn.rl import env

    sea = env.make("DeepSea-bsuite", size=4, randomize_actions=False)
    seen = stretch(sea, lambda noise, x, memory: (jnp.ones(2, jnp.int32), (), memory), 2, 4)
    np.testing.assert_array_equal(seen.terminated[:, 0], [False, False, False, True])
    np.testing.assert_array_equal(seen.truncated[:, 0], [False, False, False, True])
    ones = np.ones((4, 2), np.float32)
    advantage = jax.jit(returns.gae)(seen.reward, ones, ones, seen.terminated, seen.ended, 1.0, 1.0)
    # For four steps right, the moves cost .01 in total and the chest pays 1; the advantage subtracts the
    # value, 1.
    np.testing.assert_allclose(np.asarray(advantage)[0], -0.01, atol=1e-6)
