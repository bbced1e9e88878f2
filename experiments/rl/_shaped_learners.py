"""The algorithms of `reward_shaping`, and what their trainings under a reward come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.rl._shaped_rewards import DISCOUNT, TASKS, Reward, Task, rewarded
from lrn import nets, train
from lrn.config import config
from lrn.rl import env as envs
from lrn.rl.a2c import A2CConfig, a2c
from lrn.rl.agent import Agent
from lrn.rl.dqn import DQNConfig, dqn
from lrn.rl.evaluate import evaluator
from lrn.rl.heads import actor_critic
from lrn.rl.ppo import PPOConfig, ppo
from lrn.rl.pqn import PQNConfig, pqn
from lrn.rl.reinforce import ReinforceConfig, reinforce
from lrn.study.select import Choice, select
from lrn.types import Array, Net

WIDTH, PLAYERS = (32, 32), 8  # hidden layers of all networks; environments side by side
LOOKS = 8  # evaluations of a training, after as many equal parts
# By budget, as a share of a training, the evaluations whose mean is the progress there.
BUDGETS = {"a quarter": (1, 2), "half": (3, 4), "all": (7, 8)}
LONGEST = 2000  # environment steps in a step of REINFORCE, which the other algorithms' steps divide
ROUND = LONGEST * LOOKS  # the environment steps of a training are a multiple
IDLE = 1e-12  # the learning rate of an arm that must not learn
ALGORITHMS = ("REINFORCE", "A2C", "PPO", "DQN", "PQN")
RATES = {  # by algorithm the menu of learning rates
    "REINFORCE": (3e-3, 1e-2, 3e-2),
    "A2C": (3e-4, 1e-3, 3e-3),
    "PPO": (3e-3, 1e-2, 3e-2),
    "DQN": (1e-3, 3e-3, 1e-2),
    "PQN": (3e-3, 1e-2, 3e-2),
}


@config
class _Reinforce:
    """REINFORCE and the reward that it learns from; the classes below are the same for the others."""

    agent: ReinforceConfig
    reward: Reward


@config
class _A2C:
    agent: A2CConfig
    reward: Reward


@config
class _PPO:
    agent: PPOConfig
    reward: Reward


@config
class _DQN:
    agent: DQNConfig
    reward: Reward


@config
class _PQN:
    agent: PQNConfig
    reward: Reward


_KINDS: dict[str, Any] = dict(zip(ALGORITHMS, (_Reinforce, _A2C, _PPO, _DQN, _PQN)))


def setting(algorithm: str, steps: int, rate: float, reward: Reward) -> Any:
    """An algorithm's settings and its reward; rates are constant, and the discount is that of the potentials.

    Args:
        algorithm: one of `ALGORITHMS`.
        steps: environment steps of the training.
        rate: the learning rate.
        reward: of the training.
    """
    common: dict[str, Any] = {"total_steps": steps, "num_envs": PLAYERS, "discount": DISCOUNT}
    common |= {"learning_rate": rate, "anneal": False}
    if algorithm == "REINFORCE":
        agent: Any = ReinforceConfig(**common, rollout_length=LONGEST // PLAYERS, whole_episodes=False)
    elif algorithm == "A2C":
        agent = A2CConfig(
            **common, rollout_length=25, optimizer="adam", gae_lambda=0.95, normalize_advantages=True
        )
    elif algorithm == "PPO":
        agent = PPOConfig(**common, rollout_length=125)
    elif algorithm == "DQN":
        agent = DQNConfig(
            **common, batch_size=64, buffer_size=20_000, learning_starts=1000, target_period=100, double=True,
            exploration_fraction=0.2,
        )  # fmt: skip
    else:
        agent = PQNConfig(**common, rollout_length=50, minibatches=4, exploration_fraction=0.2)
    return _KINDS[algorithm](agent, reward)


def factory(task: str, algorithm: str) -> Callable[[Any], Agent]:
    """From a `setting` to the agent that plays under its reward, with networks of one width for all."""
    actions = envs.require_discrete(envs.make(TASKS[task].name), "every algorithm here")
    see = partial(scaled_inputs, TASKS[task])
    policy, value = see(nets.mlp(actions, WIDTH)), see(nets.mlp(1, WIDTH))
    both, normed = actor_critic(policy, value), see(nets.mlp(actions, WIDTH, layer_norm=True))
    make: Callable[[Any, Any], Agent] = {
        "REINFORCE": lambda env, c: reinforce(env, policy, c, value),
        "A2C": lambda env, c: a2c(env, both, c),
        "PPO": lambda env, c: ppo(env, both, c),
        "DQN": lambda env, c: dqn(env, policy, c),
        "PQN": lambda env, c: pqn(env, normed, c),
    }[algorithm]
    return lambda c: make(rewarded(task, c.reward), c.agent)


def scaled_inputs(task: Task, net: Net) -> Net:
    """The network with the task's observations moved to around 0 and scaled to order one."""
    middle, half = (jnp.asarray([x], jnp.float32) for x in (task.middle, task.half))

    def apply(params: Any, state: Any, x: Array, **options: Any) -> Any:
        return net.apply(params, state, (x - middle) / half, **options)

    return net._replace(init=lambda key, x: net.init(key, (x - middle) / half), apply=apply)


def evaluation(task: str, episodes: int) -> Callable[..., Mapping[str, Any]]:
    """The greedy policy's return by the environment's own reward, always in the same episodes.

    The tasks are deterministic, so returns differ only where policies do, and none is lost by chance.
    """
    measure, key = evaluator(envs.make(TASKS[task].name), episodes), jax.random.key(0)
    return lambda agent, config, _, state, data: measure(agent, config, key, state, data)


def trained(
    fit: Callable[..., Any], task: str, algorithm: str, steps: int, arms: Mapping[str, tuple[float, Reward]],
    episodes: int,
) -> dict[str, dict[str, np.ndarray]]:  # fmt: skip
    """Train an algorithm on a task, one arm for each rate and reward.

    Args:
        fit: `lrn.train.fit` or `Context.fit`, with its seeds.
        task, algorithm: names.
        steps: environment steps of a training.
        arms: from a name to the learning rate and the reward.
        episodes: of an evaluation.

    Returns:
        By arm, each by rising seed: "progress" [seeds, 1 + LOOKS]; "steps", the environment steps that were
        played, [seeds]; and "other pay" [seeds], the largest difference between a return and what the
        environment itself pays for an episode of that length.
    """
    made = {name: setting(algorithm, steps, *of) for name, of in arms.items()}
    played = next(iter(made.values())).agent.interactions
    table = fit(
        factory(task, algorithm), made, name=f"{task} {algorithm}", steps=steps // played,
        evaluate=evaluation(task, episodes), eval_every=steps // played // LOOKS,
        log_every=steps // played // LOOKS,
    ).table  # fmt: skip
    found = {}
    for name in arms:
        at, values = table.curve(name, "greedy_return")
        lengths = table.curve(name, "greedy_length")[1]
        away = np.abs(values - TASKS[task].sign * lengths)
        found[name] = {
            "progress": progress(TASKS[task], values),
            "steps": np.full(len(values), at[-1] * played),
            "other pay": np.nan_to_num(away).max(1),
        }
    return found


def progress(task: Task, returns: Any) -> np.ndarray:
    """Greedy returns as shares of the way to solved, in [0, 1]; 0 for a failed training."""
    share = (np.asarray(returns, float) - task.floor) / (task.solved - task.floor)
    return np.clip(np.nan_to_num(share, nan=0.0), 0.0, 1.0)


def scores(curves: np.ndarray) -> dict[str, np.ndarray]:
    """By budget the progress [...] of curves [..., 1 + LOOKS]."""
    return {name: curves[..., list(at)].mean(-1) for name, at in BUDGETS.items()}


def choose(
    task: str, algorithms: Sequence[str], rewards: Mapping[str, Reward], steps: int, episodes: int,
    seeds: Sequence[int], once: Callable[..., Mapping[str, Any]],
) -> dict[str, Choice]:  # fmt: skip
    """By algorithm the choice of its rate, by the mean score over all rewards in trainings on other seeds.

    Args:
        task, algorithms: names.
        rewards: from name to reward.
        steps, episodes: of a training and of an evaluation.
        seeds: the other seeds; where there are none, the middle rate is taken.
        once: `Context.once`, which keeps what was computed.
    """
    if not seeds:
        return dict.fromkeys(algorithms, Choice((1,), np.nan, 0, 0))

    def tried(algorithm: str) -> dict[str, np.ndarray]:
        arms = {f"{r:g} {name}": (r, x) for r in RATES[algorithm] for name, x in rewards.items()}
        fit = partial(train.fit, seeds=seeds, progress=False, brief=True)
        found = trained(fit, task, algorithm, steps, arms, episodes)
        curves = [[found[f"{r:g} {name}"]["progress"] for name in rewards] for r in RATES[algorithm]]
        return {"scores": np.mean([*scores(np.array(curves)).values()], (0, 2))}

    found = {a: once(f"{task} {a}, choices", partial(tried, a))["scores"] for a in algorithms}
    return select(found, "higher")
