"""`policy.sample` of every agent draws the actions that training draws, with known frequencies and spreads.

There are two places, observed one-hot in turn, and the outputs of each network are written down.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import lrn.rl
from lrn import nets
from lrn.rl import identity, tabular
from lrn.rl.a2c import A2CConfig, a2c
from lrn.rl.agent import Agent
from lrn.rl.dqn import DQNConfig, dqn
from lrn.rl.env import Box, Discrete
from lrn.rl.exploration import one_hot
from lrn.rl.exploration.coded_q import CodedQConfig, coded_q
from lrn.rl.exploration.deep_sea import Scored, scored
from lrn.rl.exploration.noise import white
from lrn.rl.heads import actor_critic
from lrn.rl.model_based.dyna import DynaConfig, dyna_q
from lrn.rl.model_based.dynamics import DynamicsConfig
from lrn.rl.model_based.mbpo import MBPOConfig, mbpo
from lrn.rl.model_based.pets import PETSConfig, pets
from lrn.rl.ppo import PPOConfig, ppo
from lrn.rl.pqn import PQNConfig, pqn
from lrn.rl.recurrent_ppo import recurrent_ppo
from lrn.rl.reinforce import ReinforceConfig, reinforce
from lrn.rl.running import Moments
from lrn.rl.sac import SACConfig, sac
from lrn.rl.tabular.control import ControlConfig
from lrn.rl.tabular.schedule import Schedule
from lrn.rl.td3 import TD3Config, td3
from lrn.types import RecurrentNet

N = 4000  # rows, half of them of each place
KEY = jax.random.key(0)
SEEN = jnp.tile(jnp.eye(2), (N // 2, 1))
DISCRETE = identity.two_state_truncating(actions=Discrete(3))
BOX = identity.two_state_truncating(actions=Box(-2.0, 2.0, (1,)))
LOGITS = jnp.array([[0.0, 1.0, -1.0], [2.0, 0.0, 0.5]])


def table(values: Any):
    values = jnp.asarray(values)
    return nets.from_function(lambda key, x: values, lambda params, x: x @ params)


VALUE = table(jnp.zeros((2, 1)))


def sampled(agent: Agent, state: Any, memory: Any = ()) -> np.ndarray:
    """Sampled actions [N / 2, place, ...]."""
    action, after = jax.jit(lambda s: agent.policy.sample(KEY, s, memory, SEEN))(state)
    assert jax.tree.structure(after) == jax.tree.structure(memory)
    return np.asarray(action).reshape(N // 2, 2, *action.shape[1:])


def check_frequencies(actions: np.ndarray, expected: Any) -> None:
    """Assert the frequencies of three actions in each place, within five standard deviations."""
    for place, chances in enumerate(np.asarray(expected, float)):
        frequencies = np.bincount(actions[:, place], minlength=3) / len(actions)
        spread = np.sqrt(chances * (1 - chances) / len(actions))
        assert (np.abs(frequencies - chances) <= 5 * spread + 1e-9).all(), (place, frequencies, chances)
    # Rows are independent draws.
    assert abs(np.corrcoef(actions[:-1, 0], actions[1:, 0])[0, 1]) < 0.08


def check_uniform(actions: np.ndarray, low: float = -2.0, high: float = 2.0) -> None:
    assert stats.kstest(actions.reshape(-1), "uniform", (low, high - low)).pvalue > 1e-3


def check_normal(values: np.ndarray, means: Any, deviations: Any) -> None:
    for place, (mean, deviation) in enumerate(zip(means, deviations)):
        p_value = stats.kstest(values[:, place].reshape(-1), "norm", (mean, deviation)).pvalue
        assert p_value > 1e-3, (place, values[:, place].mean(), values[:, place].std())


ON_POLICY: Any = {"num_envs": 2, "rollout_length": 4}


@pytest.mark.parametrize("name", ["reinforce", "a2c", "ppo"])
def test_on_policy_agents_sample_from_the_policy(name):
    net = actor_critic(table(LOGITS), VALUE)
    agent = {
        "reinforce": lambda: reinforce(
            DISCRETE, table(LOGITS), ReinforceConfig(**ON_POLICY, whole_episodes=False)
        ),
        "a2c": lambda: a2c(DISCRETE, net, A2CConfig(**ON_POLICY)),
        "ppo": lambda: ppo(DISCRETE, net, PPOConfig(**ON_POLICY)),
    }[name]()
    check_frequencies(sampled(agent, agent.init(KEY, None)), jax.nn.softmax(LOGITS))


@pytest.mark.parametrize("name", ["reinforce", "a2c", "ppo"])
def test_continuous_actions_have_the_policys_spread(name):
    """Spreads are in units of half the range, 2; no sample reaches a bound."""
    means = jnp.array([[0.1], [-0.2]])
    net, settings = actor_critic(table(means), VALUE), ON_POLICY | {"initial_log_std": -2.0}
    agent = {
        "reinforce": lambda: reinforce(BOX, table(means), ReinforceConfig(**settings, whole_episodes=False)),
        "a2c": lambda: a2c(BOX, net, A2CConfig(**settings)),
        "ppo": lambda: ppo(BOX, net, PPOConfig(**settings)),
    }[name]()
    check_normal(sampled(agent, agent.init(KEY, None)), [0.2, -0.4], [2 * np.exp(-2.0)] * 2)


def test_ppo_samples_by_what_it_normalizes():
    net = actor_critic(table(LOGITS), VALUE)
    agent = ppo(DISCRETE, net, PPOConfig(**ON_POLICY, normalize_observations=True))
    moments = Moments(jnp.array([0.0, 0.9]), jnp.array([4.0, 1.0]), jnp.float32(10))
    state = agent.init(KEY, None)._replace(observations=moments)
    seen = (np.eye(2) - [0.0, 0.9]) / [2.0, 1.0]
    check_frequencies(sampled(agent, state), jax.nn.softmax(seen @ LOGITS))


def test_the_recurrent_agent_samples_by_its_memory():
    """The memory shifts the logits and is carried on."""

    def apply(params, memory, x, first):
        memory = jnp.where(first[:, None], 0.0, memory) + x[:, :1]
        return (x @ params[0] + memory * jnp.array([[0.0, 0.0, 3.0]]), x @ params[1]), memory

    net = RecurrentNet(lambda key, x: (LOGITS, jnp.zeros(2)), lambda n: jnp.zeros((n, 1)), apply)
    agent = recurrent_ppo(DISCRETE, net, PPOConfig(**ON_POLICY, minibatches=1))
    state, memory = agent.init(KEY, None), jnp.full((N, 1), 0.5)
    logits = LOGITS + jnp.array([[1.5], [0.5]]) * jnp.array([[0.0, 0.0, 3.0]])
    check_frequencies(sampled(agent, state, memory), jax.nn.softmax(logits))
    _, after = agent.policy.sample(KEY, state, memory, SEEN)
    np.testing.assert_allclose(after, memory + SEEN[:, :1])


# With chance 0.6 of a random action, the greedy one of three actions has probability .4 + .2.
GREEDY_OF = [[0.2, 0.6, 0.2], [0.6, 0.2, 0.2]]


@pytest.mark.parametrize("name", ["dqn", "pqn"])
def test_value_agents_sample_by_epsilon_of_the_moment(name):
    """Epsilon falls from 1 to .2 over 1000 of 2000 steps; half of the fall is over."""
    schedule: Any = {
        "total_steps": 2000, "epsilon_start": 1.0, "epsilon_end": 0.2, "exploration_fraction": 0.5,
    }  # fmt: skip
    agent = {
        "dqn": lambda: dqn(
            DISCRETE, table(LOGITS), DQNConfig(**schedule, buffer_size=100, batch_size=4, learning_starts=10)
        ),
        "pqn": lambda: pqn(DISCRETE, table(LOGITS), PQNConfig(**schedule, **ON_POLICY, minibatches=1)),
    }[name]()
    state = agent.init(KEY, None)
    check_frequencies(sampled(agent, state._replace(steps=jnp.int32(500))), GREEDY_OF)
    check_frequencies(sampled(agent, state._replace(steps=jnp.int32(0))), np.full((2, 3), 1 / 3))


OFF_POLICY: Any = {
    "num_envs": 2, "buffer_size": 100, "batch_size": 4, "learning_starts": 50, "rollout_length": 2,
}  # fmt: skip
LATE = jnp.int32(50)


def test_td3_samples_with_its_noise():
    actor, critic = table(jnp.array([[0.2], [-2.0]])), table(jnp.zeros((3, 1)))
    config = TD3Config(**OFF_POLICY, updates=2, policy_delay=1, exploration_noise=0.1)
    agent = td3(BOX, actor, critic, config)
    state = agent.init(KEY, None)
    check_uniform(sampled(agent, state))  # before learning starts
    actions = sampled(agent, state._replace(steps=LATE))
    check_normal(actions[:, :1], [2 * np.tanh(0.2)], [0.2])
    # The second action is near the end of the range, at -1.93, so that samples are clipped.
    assert actions[:, 1].min() == -2
    assert (actions[:, 1] == -2).mean() == pytest.approx(
        stats.norm.cdf((-2 - 2 * np.tanh(-2)) / 0.2), abs=0.06
    )


@pytest.mark.parametrize("name", ["sac", "mbpo"])
def test_soft_agents_sample_from_their_policy(name):
    actor = table(jnp.array([[0.3, -1.0], [-0.2, -2.0]]))
    critic, config = table(jnp.zeros((3, 1))), SACConfig(**OFF_POLICY)
    if name == "sac":
        agent = sac(BOX, actor, critic, config)
    else:
        settings = MBPOConfig(
            sac=config,
            model=DynamicsConfig(members=2),
            rollouts=4,
            rollout_length=1,
            imagined_size=50,
            real=2,
        )
        agent = mbpo(BOX, actor, critic, table(jnp.zeros((3, 6))), settings)
    state = agent.init(KEY, None)
    check_uniform(sampled(agent, state))
    raw = np.arctanh(sampled(agent, state._replace(steps=LATE)) / 2)
    check_normal(raw, [0.3, -0.2], np.exp([-1.0, -2.0]))


def test_the_planner_samples_by_planning():
    from lrn.rl.model_based.cem import CEMConfig

    search = CEMConfig(population=4, elites=2, iterations=1)
    config = PETSConfig(
        model=DynamicsConfig(members=2), search=search, horizon=2, particles=2, num_envs=2, rollout_length=2,
        buffer_size=100, batch_size=4, learning_starts=50,
    )  # fmt: skip
    agent = pets(BOX, table(jnp.zeros((3, 6))), config)
    state = agent.init(KEY, None)
    plans = jax.random.uniform(KEY, (N, 2, 1), minval=-1.0, maxval=1.0)
    early, kept = jax.jit(agent.policy.sample)(KEY, state, plans, SEEN)
    check_uniform(np.asarray(early))
    np.testing.assert_array_equal(kept, plans)
    late = state._replace(steps=LATE)
    sample = jax.jit(agent.policy.sample)(KEY, late, plans, SEEN)
    planned = jax.jit(agent.policy.act)(jax.random.split(KEY)[0], late, plans, SEEN)
    jax.tree.map(np.testing.assert_array_equal, sample, planned)
    assert (sample[1] != plans).any()


def test_tables_sample_by_epsilon_of_the_place():
    """Epsilon is 1/n at the n-th visit: a half after one visit, and a fifth after four."""
    agent = tabular.q_learning(DISCRETE, ControlConfig(epsilon=Schedule(1.0, power=1.0)))
    visits = jnp.array([[[1, 0, 0], [2, 0, 2]]], jnp.int32)
    state = agent.init(KEY, None)._replace(tables=LOGITS[None], visits=visits)
    chances = [[1 / 6, 1 / 2 + 1 / 6, 1 / 6], [4 / 5 + 1 / 15, 1 / 15, 1 / 15]]
    check_frequencies(sampled(agent, state), chances)


def test_dyna_samples_by_its_epsilon():
    agent = dyna_q(DISCRETE, DynaConfig(epsilon=0.6))
    check_frequencies(sampled(agent, agent.init(KEY, None)._replace(q=LOGITS)), GREEDY_OF)


def test_coded_q_samples_by_its_rule():
    coding = one_hot(2)
    weights = jnp.concatenate([LOGITS, jnp.zeros((1, 3))])
    rules: dict[str, Any] = {"epsilon_greedy": GREEDY_OF, "boltzmann": jax.nn.softmax(LOGITS / 0.7)}
    for rule, chances in rules.items():
        config = CodedQConfig(select=rule, epsilon_start=0.6, epsilon_end=0.6, temperature=0.7)
        agent = coded_q(DISCRETE, coding, config)
        check_frequencies(sampled(agent, agent.init(KEY, None)._replace(weights=weights)), chances)
    # Noise of standard deviation .8 half ranges, each one action wide, moves the greedy actions 1 and 0.
    config = CodedQConfig(epsilon_start=0.0, epsilon_end=0.0, noise_scale=0.8)
    agent = coded_q(DISCRETE, coding, config, noise=white())
    up = stats.norm.sf(0.5, scale=0.8)
    twice = stats.norm.sf(1.5, scale=0.8)
    check_frequencies(
        sampled(agent, agent.init(KEY, None)._replace(weights=weights)),
        [[up, 1 - 2 * up, up], [1 - up, up - twice, twice]],
    )
    kept = scored(agent)
    state = Scored(agent.init(KEY, None)._replace(weights=weights), *3 * [jnp.int32(0)])
    np.testing.assert_array_equal(sampled(kept, state), sampled(agent, state.agent))


def test_every_agent_samples():
    """Every agent has ``sample`` in its policy, and a test above."""
    calls = 0
    for file in Path(lrn.rl.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("memoryless", "Policy"):
                if file.name in ("agent.py", "chance.py"):  # random play is no agent
                    continue
                calls += 1
                assert len(node.args) + len(node.keywords) == (2 if node.func.id == "memoryless" else 3), file  # pyright: ignore[reportAttributeAccessIssue]
    assert calls == 14
