"""On-policy and off-policy agents on two tasks: their settings, their menus, and what a training comes to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from lrn import nets, train
from lrn.rl import env as envs
from lrn.rl.a2c import A2CConfig, a2c
from lrn.rl.agent import Agent
from lrn.rl.dqn import DQNConfig, dqn
from lrn.rl.evaluate import evaluator
from lrn.rl.heads import actor_critic, policy_size
from lrn.rl.ppo import PPOConfig, ppo
from lrn.rl.sac import SACConfig, sac
from lrn.study import Cell, Exact
from lrn.study.context import Context
from lrn.study.controls import Control, equal_budgets, exact_budget
from lrn.study.curves import first_time
from lrn.study.select import Choice, interior_choice, select

PPO, A2C, DQN, SAC = "PPO", "A2C", "DQN", "SAC"
GRID, WIDTH = 2000, (32, 32)  # environment steps between two evaluations; hidden layers of all networks
SUSTAINED, LOST = 2, 0.1
UNSTABLE, SOLVED, HALF, LOSS = "unstable", "solved", "half of the way made", "lost"
FACTORS = (1, 2, 4, 8)
IDLE = 1e-12  # the learning rate of an arm that must not learn


def arm(task: str, method: str) -> str:
    """The name of a training."""
    return f"{task}: {method}"


def idle(task: str) -> str:
    """The name of a training that must not learn, by the last of the on-policy methods."""
    return arm(task, "no learning")


def times(factor: float, level: float = 1.0) -> str:
    """The metric that says whether a method needs over ``factor`` times the steps to a level of progress."""
    return f"over {factor:g} times the steps" + (f" to {level:g}" if level < 1 else "")


class Task(NamedTuple):
    """A task and who learns it.

    floor: the mean return of random play. solved: the return that counts as solved. on, off: the methods; the
    first of ``on`` is judged. rates: by method, its menu of learning rates. longer: the steps of an on-policy
    training over those of an off-policy training.
    """

    name: str
    floor: float
    solved: float
    on: tuple[str, ...]
    off: str
    rates: Mapping[str, tuple[float, ...]]
    longer: int


A2C_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
TASKS = {
    "CartPole": Task(
        "CartPole-v1", 22.0, 475.0, (PPO, A2C), DQN,
        {PPO: (1e-3, 3e-3, 1e-2, 3e-2), A2C: A2C_RATES, DQN: (1e-4, 3e-4, 1e-3, 3e-3)}, 2,
    ),
    "Pendulum": Task(
        "Pendulum-v1", -1200.0, -200.0, (PPO, A2C), SAC,
        {PPO: (3e-4, 1e-3, 3e-3, 1e-2), A2C: A2C_RATES, SAC: (1e-3, 3e-3, 1e-2, 3e-2)}, 10,
    ),
}  # fmt: skip


def settings(task: str, method: str, budget: int) -> Any:
    """The settings of a method on a task, without its learning rate; no rate is annealed."""
    common: dict[str, Any] = {"total_steps": budget}
    if method == DQN:
        return DQNConfig(
            **common, num_envs=8, updates=2, batch_size=64, buffer_size=20_000, double=True,
            learning_starts=min(1000, budget // 2), exploration_fraction=0.2,
        )  # fmt: skip
    if method == SAC:
        return SACConfig(
            **common, num_envs=2, batch_size=64, buffer_size=20_000, discount=0.95, target_rate=0.01,
            learning_starts=min(500, budget // 2),
        )  # fmt: skip
    common |= {"num_envs": 8, "anneal": False}
    if task == "Pendulum":
        common |= {"discount": 0.9, "entropy_coefficient": 0.0}
    if method == A2C:
        return A2CConfig(
            **common, rollout_length=25, optimizer="adam", gae_lambda=0.95, normalize_advantages=True
        )
    if task == "Pendulum":
        return PPOConfig(
            **common,
            rollout_length=125,
            clip_value=False,
            normalize_observations=True,
            normalize_rewards=True,
        )
    return PPOConfig(**common, rollout_length=125)


def factory(task: str, method: str) -> Callable[[Any], Agent]:
    """From settings to the agent, with networks of the same width for all methods."""
    env = envs.make(TASKS[task].name)
    k = policy_size(env)
    critic, actor = nets.mlp(1, WIDTH), nets.mlp(k, WIDTH)
    if method == DQN:
        return lambda c: dqn(env, actor, c)
    if method == SAC:
        return lambda c: sac(env, nets.mlp(2 * k, WIDTH), critic, c)
    both, make = actor_critic(actor, critic), {PPO: ppo, A2C: a2c}[method]
    return lambda c: make(env, both, c)


def evaluation(task: str, episodes: int) -> Callable[..., Mapping[str, Any]]:
    """An evaluation of the greedy policy that always begins with the same episodes.

    Both tasks are deterministic, so returns differ only where policies do, and none is lost by chance.
    """
    measure, key = evaluator(envs.make(TASKS[task].name), episodes), jax.random.key(0)
    return lambda agent, config, _, state, data: measure(agent, config, key, state, data)


def trained(
    fit: Callable[..., Any], task: str, method: str, budget: int, rates: Mapping[str, float], episodes: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Train a method on a task, one arm for each rate, and evaluate its greedy policy every `GRID` steps.

    Returns:
        By arm the environment steps [evaluations] and the `progress` [seeds, evaluations], by rising seed.
    """
    plain = settings(task, method, budget)
    arms = {name: dataclasses.replace(plain, learning_rate=rate) for name, rate in rates.items()}
    table = fit(
        factory(task, method), arms, name=f"{task} {method}", steps=budget // plain.interactions,
        evaluate=evaluation(task, episodes), eval_every=GRID // plain.interactions,
    ).table  # fmt: skip
    found = {}
    for name in arms:
        steps, values = table.curve(name, "greedy_return")
        found[name] = steps * plain.interactions, progress(TASKS[task], values)
    return found


def progress(task: Task, values: np.ndarray) -> np.ndarray:
    """Greedy returns as shares of the way from random play to solved, in [0, 1]; 0 for a failed training."""
    share = (np.asarray(values, float) - task.floor) / (task.solved - task.floor)
    return np.clip(np.nan_to_num(share, nan=0.0), 0.0, 1.0)


def reached(steps: np.ndarray, curves: np.ndarray, level: float = 1.0) -> np.ndarray:
    """The environment steps [seeds] until a progress is first reached in `SUSTAINED` evaluations in a row."""
    return first_time(steps, curves, level, SUSTAINED)


def lost(curves: np.ndarray) -> np.ndarray:
    """By how much progress lies below its best so far, a mean over the second half of a training, [seeds]."""
    short = np.maximum.accumulate(curves, 1) - curves
    return short[:, curves.shape[1] // 2 :].mean(1)


def hungry(on: np.ndarray, off: np.ndarray, factor: float, most: int) -> np.ndarray:
    """Whether one method is seen to need over ``factor`` times the steps of another, 1.0 or 0.0, [seeds].

    Args:
        on, off: the steps of both methods, [seeds]; infinity where a training ended before.
        factor: the factor.
        most: the steps of a training of the first method. Where it ended before it got there, and ``factor``
            times the other's steps are more, nothing was seen.
    """
    return (np.minimum(on, most) > factor * off).astype(float)


def choose(config: Any, context: Context, task: str, others: Sequence[int]) -> dict[str, Choice]:
    """By method the choice of its rate, by trainings on other seeds; in brief trainings the second rate."""
    methods, tried = (*config.on(task), TASKS[task].off), {}
    if config.brief:
        return dict.fromkeys(methods, Choice((1,), np.nan, 0, 0))
    for m in methods:
        rates = {f"{r:g}": r for r in TASKS[task].rates[m]}
        fit = partial(train.fit, seeds=others, progress=False)
        play = partial(trained, fit, task, m, config.steps(task, m), rates, config.evaluated)
        name = f"{arm(task, m)}, choices"
        scores = context.once(name, lambda p=play: {k: c.mean(1) for k, (_, c) in p().items()})
        tried[m] = np.stack([scores[k] for k in rates])
    return select(tried, "higher")


def learn(config: Any, context: Context, task: str, others: Sequence[int]) -> None:
    """Train every method of a task, with a rate chosen on other seeds, and record what comes of it."""
    order, curves = np.argsort(np.argsort(context.seeds)), {}  # curves are sorted by seed
    for m, choice in choose(config, context, task, others).items():
        name, steps, menu = arm(task, m), config.steps(task, m), TASKS[task].rates[m]
        rates = {name: menu[choice.only]} | ({idle(task): IDLE} if m == config.on(task)[-1] else {})
        context.chosen(name, choice, 1 if config.brief else len(menu))
        for x, (grid, unordered) in trained(context.fit, task, m, steps, rates, config.evaluated).items():
            curve = unordered[order]
            curves[x] = {level: reached(grid, curve, level) for level in (0.5, 1.0)}
            context.record(x, LOSS, lost(curve))
            context.record(x, UNSTABLE, (lost(curve) > LOST).astype(float))
            for metric, level in ((SOLVED, 1.0), (HALF, 0.5)):
                context.record(x, metric, np.isfinite(curves[x][level]).astype(float))
    off = curves[arm(task, TASKS[task].off)]
    for m in config.on(task):
        name, most = arm(task, m), config.steps(task, m)
        for factor, level in [*((f, 1.0) for f in FACTORS), (2, 0.5)]:
            event = hungry(curves[name][level], off[level], factor, most)
            context.record(name, times(factor, level), event)


def guards(config: Any, task: str) -> list[Control]:
    """What shows that a training, the task or the measure of what is lost is broken."""
    names = {m: arm(task, m) for m in (*config.on(task), TASKS[task].off)}
    none, steps = idle(task), "environment steps"
    never = Exact(statement=f"{none}: never solved.", cell=Cell(none, SOLVED), value=0.0)
    kept = Exact(statement=f"{none}: nothing lost.", cell=Cell(none, LOSS), value=0.0, atol=0.01)
    return [
        equal_budgets("candidates", [*names.values()]),
        equal_budgets(steps, [none, *(names[m] for m in config.on(task))]),
        *(exact_budget(steps, name, config.steps(task, m)) for m, name in names.items()),
        *map(Control, (never, kept)),
        *map(interior_choice, names.values()),
    ]
