"""Every agent solves the tiny environments whose answers are known: the fast regression tests.

Each agent runs with four seeds, and at least three of them must solve the environment, in twice the steps
that they need: a single seed depends on rounding, which differs between processors. The value of the constant
reward is 1. The greedy policy reaches the best possible return in echo and delayed reward, and in memory
with the recurrent agent. A wrong sign, a lost discount, a misaligned reward or an action in wrong units
fails a test. One program trains an agent in all environments of its kind.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import run_once
from test_rl_truncation import CORES

from lrn import nets
from lrn.rl import evaluate, identity
from lrn.rl.a2c import A2CConfig, a2c
from lrn.rl.agent import Agent
from lrn.rl.dqn import DQNConfig, dqn
from lrn.rl.env import Box, Discrete, Env
from lrn.rl.heads import actor_critic, policy_size
from lrn.rl.ppo import PPOConfig, ppo
from lrn.rl.pqn import PQNConfig, pqn
from lrn.rl.recurrent_ppo import recurrent_ppo
from lrn.rl.reinforce import ReinforceConfig, reinforce
from lrn.rl.sac import SACConfig, sac
from lrn.rl.td3 import TD3Config, td3

SEEDS = 4
BOX = Box(-2.0, 2.0, (1,))
MLP = (32,)
CRITIC = nets.mlp(1, MLP)


Value = Callable[[Env, Any, jax.Array], jax.Array]


class Solver(NamedTuple):
    """An agent for an environment, and a function from an observation [1, ...] to its value [1]."""

    agent: Callable[[Env], Agent]
    value: Value
    steps: int


def actor(env: Env, each: int = 1):
    return nets.mlp(each * policy_size(env), MLP)


def both(env: Env):
    return actor_critic(actor(env), CRITIC)


def on_policy(config: Any, steps: int, **settings: Any) -> Any:
    """Settings for ``steps`` iterations; the rate falls to zero, so that the last policy is no accident."""
    return config(
        num_envs=16, rollout_length=10, total_steps=160 * steps, learning_rate=1e-2, anneal=True,
        discount=0.9, **settings,
    )  # fmt: skip


def replayed(config: Any, **settings: Any) -> Any:
    return config(num_envs=8, discount=0.9, buffer_size=4000, batch_size=64, learning_starts=200, **settings)


def critic_of(pick: Callable[[Any], Any]) -> Value:
    return lambda env, state, x: CRITIC.apply(pick(state), (), x)[0][:, 0]


def q_of(env: Env, state: Any, x: jax.Array) -> jax.Array:
    return actor(env).apply(state.params, (), x)[0].max(-1)


def twin_of(pick: Callable[[Any], Any]) -> Value:
    """The value of the first of two critics, at action 0."""
    return lambda env, state, x: CRITIC.apply(
        pick(state)[0], (), jnp.concatenate([x, jnp.zeros((len(x), 1))], 1)
    )[0][:, 0]


ADAM: Any = {"optimizer": "adam", "normalize_advantages": True}
PPO: Any = {"initial_log_std": -1.0, "entropy_coefficient": 0.0}
SOLVERS = {
    "reinforce": Solver(
        lambda env: reinforce(env, actor(env), on_policy(ReinforceConfig, 400, initial_log_std=-1.0), CRITIC),
        critic_of(lambda state: state.params["baseline"]),
        200,
    ),
    "a2c": Solver(
        lambda env: a2c(env, both(env), on_policy(A2CConfig, 800, **ADAM, initial_log_std=-1.0)),
        critic_of(lambda state: state.params["net"]["critic"]),
        400,
    ),
    "ppo": Solver(
        lambda env: ppo(env, both(env), on_policy(PPOConfig, 200, **PPO)),
        critic_of(lambda state: state.params["net"]["critic"]),
        100,
    ),
    "dqn": Solver(
        lambda env: dqn(
            env, actor(env), replayed(DQNConfig, total_steps=4800, learning_rate=5e-3, target_period=20)
        ),
        q_of,
        600,
    ),
    "pqn": Solver(
        lambda env: pqn(env, actor(env), on_policy(PQNConfig, 120, minibatches=4)), q_of, 60
    ),
    "td3": Solver(
        lambda env: td3(
            env, actor(env), CRITIC,
            replayed(TD3Config, actor_learning_rate=5e-3, critic_learning_rate=5e-3, target_rate=0.05),
        ),
        twin_of(lambda state: state.learned.critics),
        400,
    ),
    "sac": Solver(
        lambda env: sac(
            env, actor(env, 2), CRITIC,
            replayed(SACConfig, learning_rate=5e-3, target_rate=0.05, initial_temperature=0.05),
        ),
        twin_of(lambda state: state.learned.params.critics),
        400,
    ),
}  # fmt: skip
DISCRETE = ("reinforce", "a2c", "ppo", "dqn", "pqn")
CONTINUOUS = ("reinforce", "a2c", "ppo", "td3", "sac")


def with_box(env: Env) -> Env:
    """The environment with one continuous action, whose sign chooses the discrete action."""

    def move(key, state, action):
        return env.move(key, state, (action[0] > 0).astype(jnp.int32))

    return env._replace(actions=BOX, move=move)


def one_of(envs: Sequence[Env], which: jax.Array) -> Env:
    """The environment number ``which``, a traced number, so that one program trains in all of them."""
    width = max(env.observation_shape[0] for env in envs)
    boxed = isinstance(envs[0].actions, Box)
    actions = envs[0].actions if boxed else Discrete(max(env.actions.n for env in envs))  # pyright: ignore

    def pick(*trees):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves)[which], *trees)

    def pad(x):
        return jnp.pad(x, (0, width - len(x)))

    def reset(key):
        seen, states = zip(*[env.reset(key) for env in envs])
        return pick(*map(pad, seen)), states

    def move(key, states, action):
        # An action that an environment lacks counts as another of its actions.
        taken = [action if boxed else action % env.actions.n for env in envs]  # pyright: ignore
        states, steps = zip(*[env.move(key, state, a) for env, state, a in zip(envs, states, taken)])
        return states, pick(*[s._replace(final_observation=pad(s.final_observation)) for s in steps])

    return Env("one of", reset, move, (width,), actions, max(env.horizon for env in envs))  # pyright: ignore


def solve(agent_of: Callable[[Env], Agent], envs: Sequence[Env], steps: int, value: Value | None = None):
    """Greedy returns [env, seed, episode] after training, and values of the first observation [env, seed]."""

    def train(which, seed):
        env = one_of(envs, which)
        agent = agent_of(env)
        start, play, rest = jax.random.split(jax.random.key(seed), 3)

        def step(t, state):
            return agent.step(jax.random.fold_in(rest, t), state, None)[0]

        state = jax.lax.fori_loop(0, steps, step, agent.init(start, None))
        returns = evaluate.rollouts(env, agent.policy, play, state, 16).returns
        seen = env.reset(play)[0][None]
        return returns, jnp.zeros(1) if value is None else value(env, state, seen)

    which, seed = np.divmod(np.arange(len(envs) * SEEDS), SEEDS)
    returns, values = run_once(jax.vmap(train), which, seed)
    return np.asarray(returns).reshape(len(envs), SEEDS, -1), np.asarray(values).reshape(len(envs), SEEDS)


@functools.cache
def discrete(name: str):
    """What `solve` finds for an agent of discrete actions: constant reward, echo, delayed reward."""
    envs = identity.constant_reward(), identity.echo(3, 5), identity.delayed_reward(4)
    return solve_by(name, envs)


@functools.cache
def continuous(name: str):
    """What `solve` finds for an agent of continuous actions: constant reward, echo."""
    return solve_by(name, (with_box(identity.constant_reward()), identity.continuous_echo(5)))


def solve_by(name: str, envs: Sequence[Env]):
    solver = SOLVERS[name]
    return solve(solver.agent, envs, 2 * solver.steps, solver.value)


def most(solved: np.ndarray) -> bool:
    """Whether all seeds but one have solved it, for ``solved`` [seed] or [seed, episode]."""
    return solved.reshape(SEEDS, -1).all(1).sum() >= SEEDS - 1


def test_every_agent_is_here():
    assert set(CORES) == {*SOLVERS, "recurrent_ppo"} == {*DISCRETE, *CONTINUOUS, "recurrent_ppo"}


@pytest.mark.parametrize("name", SOLVERS)
def test_constant_reward(name):
    returns, values = discrete(name) if name in DISCRETE else continuous(name)
    assert (returns[0] == 1).all()
    assert most(np.abs(values[0] - 1) < 0.05)


@pytest.mark.parametrize("name", DISCRETE)
def test_echo(name):
    assert most(discrete(name)[0][1] == 5)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_echo(name):
    """The best return is 5. A mean error of a tenth gives 4.5, the constant answer 0 gives 3, random less."""
    assert most(continuous(name)[0][1].mean(1) > 4.5)


@pytest.mark.parametrize("name", DISCRETE)
def test_delayed_reward(name):
    assert most(discrete(name)[0][2] == 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTINUOUS)
def test_delayed_reward_of_a_continuous_action(name):
    returns, _ = solve_by(name, [with_box(identity.delayed_reward(4))])
    assert most(returns[0] == 1)


def recurrent_returns(*envs):
    return solve(
        lambda env: recurrent_ppo(env, nets.gru_actor_critic(2, 16), on_policy(PPOConfig, 160)), envs, 160
    )[0]


@pytest.mark.slow
def test_memory():
    assert most(recurrent_returns(identity.memory(3))[0] == 1)


@pytest.mark.slow
def test_the_recurrent_agent_elsewhere():
    echo, delayed = recurrent_returns(identity.echo(2, 5), identity.delayed_reward(4))
    assert most(echo == 5)
    assert most(delayed == 1)


@pytest.mark.slow
def test_memory_is_beyond_an_agent_without_it():
    returns, _ = solve_by("ppo", [identity.memory(3)])
    assert (returns[0].mean(1) < 0.8).all()  # no agent can solve it without memory
