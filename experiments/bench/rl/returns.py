"""``python -m experiments.bench rl.returns [--only NAME ...] [--slow] [--json FILE]``: known returns.

Each line trains an agent on a gymnax 1.0 environment with ten seeds and then plays its greedy policy. The
mean over seeds, with a 95% t interval, is compared with a return that is known to be reachable. The exit
code is 1 if a line falls short of its known return. Seeds 0 to 29 are used for this benchmark only:
settings are from the literature, or were found on seeds from 1000 on.

Some returns have a ceiling: most seeds end at the ceiling, and the others lie far below it. A mean of ten
seeds then says little, and its t interval exceeds the ceiling. Such lines take thirty seeds and report how
many seeds end at the ceiling, with the exact (Clopper-Pearson) interval of that share; the interval of the
mean is cut off at the ceiling.

gymnax's MinAtar differs from the original (no sticky actions, 1,000 steps), so its returns can be compared
with those of other gymnax agents only. The MinAtar lines train ten million steps for each seed, which takes
hours on a CPU; they run with ``--slow``.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro

from experiments.bench.rl._networks import perceptrons
from lrn import check, nets, stats, train
from lrn.config import config
from lrn.rl import env as envs
from lrn.rl.agent import Agent
from lrn.rl.dqn import DQNConfig, dqn
from lrn.rl.env import Env
from lrn.rl.evaluate import evaluator
from lrn.rl.exploration.coded_q import CodedQConfig, coded_q
from lrn.rl.exploration.coding import grid, one_hot
from lrn.rl.exploration.counts import CountConfig, count_bonus
from lrn.rl.exploration.noise import pink
from lrn.rl.ppo import PPOConfig, ppo
from lrn.rl.pqn import PQNConfig, pqn
from lrn.rl.recurrent_ppo import recurrent_ppo
from lrn.rl.sac import SACConfig, sac


@dataclasses.dataclass
class Args:
    """What to run."""

    only: tuple[str, ...] = ()
    """Names of lines, or parts of them; all by default."""
    slow: bool = False
    """Run the MinAtar lines too."""
    seeds: int | None = None
    """Number of seeds; 10 by default, and 30 for a return with a ceiling."""
    first_seed: int = 0
    """The first seed; use 1000 or more for trials."""
    episodes: int = 64
    """Greedy episodes for each seed."""
    json: Path | None = None
    """File to write the figures to; lines of an earlier run are kept in it."""


class Line(NamedTuple):
    """An agent on an environment.

    target: mean greedy return that the agent should reach.
    env: the environment.
    agent: ``agent(config) -> Agent``.
    config: settings of the agent.
    ceiling: the largest possible return, if a trained agent reaches it; else None.
    """

    target: float
    env: Env
    agent: Callable[[Any], Agent]
    config: Any
    ceiling: float | None = None


def main(argv: list[str]) -> int:
    """Train, play, compare; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench rl.returns", description=__doc__)
    if args.seeds is not None:
        check.integer("seeds", args.seeds, low=2)
    check.integer("episodes", args.episodes, low=1)
    lines = {**FAST, **MINATAR} if args.slow or args.only else FAST
    chosen = [n for n in lines if not args.only or any(part.lower() in n.lower() for part in args.only)]
    if not chosen:
        raise check.InputError(f"no line is called {args.only[0]!r}; {check.nearest(args.only[0], lines)}")
    rows = {}
    print(
        f"{'':<28}{'steps':>12}{'seeds':>7}{'greedy return':>25}{'known':>8}{'at the ceiling':>24}"
        f"{'worst seed':>12}{'minutes':>9}"
    )
    for name in chosen:
        rows[name] = row = measure(lines[name](), args)
        interval = f"{row['mean']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
        mark = "" if row["reached"] else "  short of it"
        print(
            f"{name:<28}{row['steps']:>12,}{row['seeds']:>7}{interval:>25}{row['target']:>8g}"
            f"{_share(row):>24}{row['worst']:>12.1f}{row['seconds'] / 60:>9.1f}{mark}",
            flush=True,
        )
        if args.json:
            before = json.loads(args.json.read_text()) if args.json.exists() else {}
            args.json.write_text(json.dumps({**before, **rows}, indent=1))
    return int(not all(row["reached"] for row in rows.values()))


def measure(line: Line, args: Args) -> dict[str, Any]:
    """Train and evaluate one line; returns its figures by name."""
    begin = time.perf_counter()
    config, seeds = line.config, args.seeds or (10 if line.ceiling is None else 30)
    interactions, total = _budget(config)
    fit = train.fit(
        line.agent,
        config,
        range(args.first_seed, args.first_seed + seeds),
        steps=total // interactions,
        evaluate=evaluator(line.env, args.episodes),
        progress=False,
    )
    figures = summary(fit.table.final("default", "greedy_return"), line.ceiling)
    return {
        "target": line.target,
        **figures,
        "steps": total // interactions * interactions,
        "seconds": time.perf_counter() - begin,
        "reached": bool(figures["mean"] >= line.target),
        "config": {f.name: repr(getattr(config, f.name)) for f in dataclasses.fields(config)},
        "device": str(jax.devices()[0].device_kind),
        "machine": platform.machine(),
    }


def summary(returns: np.ndarray, ceiling: float | None) -> dict[str, Any]:
    """The mean over seeds with its interval, the worst seed, and the number of seeds at the ceiling.

    Args:
        returns: mean greedy returns of the seeds, [seeds].
        ceiling: the largest possible return; with None the figures about the ceiling are left out.
    """
    interval = stats.t_interval(returns)
    figures = {
        "seeds": len(returns),
        "mean": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "worst": float(np.min(returns)),
    }
    if ceiling is None:
        return figures
    at_ceiling = int(np.sum(returns >= ceiling - 1e-4 * max(abs(ceiling), 1.0)))  # returns are float32
    share = stats.share_interval(at_ceiling, len(returns))
    return figures | {
        "high": min(interval.high, ceiling),
        "ceiling": ceiling,
        "at_ceiling": at_ceiling,
        "share_low": share.low,
        "share_high": share.high,
    }


def _share(row: dict[str, Any]) -> str:
    if "ceiling" not in row:
        return ""
    at_ceiling, seeds = row["at_ceiling"], row["seeds"]
    return f"{at_ceiling}/{seeds} [{row['share_low']:.2f}, {row['share_high']:.2f}]"


def _budget(config: Any) -> tuple[int, int]:
    """Environment steps of one iteration, and of the whole training."""
    inner = getattr(config, "agent", config)
    return inner.interactions, inner.total_steps


def _ppo(name: str, target: float, config: PPOConfig, ceiling: float | None = None, **network: Any) -> Line:
    env = envs.make(name)
    net = perceptrons(env, **network)
    return Line(target, env, lambda c: ppo(env, net, c), config, ceiling)


def cartpole_ppo() -> Line:
    """CleanRL's settings."""
    return _ppo("CartPole-v1", 490, PPOConfig(total_steps=500_000), ceiling=500)


def cartpole_dqn() -> Line:
    """CleanRL's network and most of its settings.

    Five-step returns, a larger buffer and a falling learning rate make the last policy more reliable.
    """
    env, net = envs.make("CartPole-v1"), nets.mlp(2, (120, 84))
    settings = DQNConfig(total_steps=500_000, n_step=5, buffer_size=50_000, anneal=True)
    return Line(490, env, lambda c: dqn(env, net, c), settings, ceiling=500)


def acrobot_ppo() -> Line:
    """The settings of CartPole with a learning rate four times as high."""
    return _ppo("Acrobot-v1", -86, PPOConfig(total_steps=500_000, learning_rate=1e-3))


@config
class WithBonus:
    """The config of an agent and the config of its bonus."""

    agent: PPOConfig
    bonus: CountConfig


def mountain_car_ppo() -> Line:
    """PPO with a bonus for rare positions and velocities: without one no agent sees the flag in 200 steps."""
    env = envs.make("MountainCar-v0")
    net = perceptrons(env)
    coding = grid((-1.2, -0.07), (0.6, 0.07), (24, 24))
    settings = WithBonus(
        PPOConfig(
            total_steps=500_000, num_envs=16, rollout_length=128, learning_rate=1e-3, epochs=10,
            minibatches=8, discount=0.99, normalize_observations=True, normalize_rewards=True,
        ),
        CountConfig(beta=5.0),
    )  # fmt: skip
    return Line(-150, env, lambda c: ppo(env, net, c.agent, count_bonus(coding, c.bonus)), settings)


def mountain_car_continuous_sac() -> Line:
    """SAC that explores with pink noise (Eberhard et al. 2023)."""
    env = envs.make("MountainCarContinuous-v0")
    actor, critic = nets.mlp(2, (64, 64)), nets.mlp(1, (64, 64))
    settings = SACConfig(total_steps=50_000, learning_starts=5_000, num_envs=4, updates=2)
    return Line(90, env, lambda c: sac(env, actor, critic, c, noise=pink(999)), settings)


def pendulum_sac() -> Line:
    """SAC with one update for each step."""
    env = envs.make("Pendulum-v1")
    actor, critic = nets.mlp(2, (64, 64)), nets.mlp(1, (64, 64))
    return Line(-160, env, lambda c: sac(env, actor, critic, c), SACConfig(total_steps=10_000))


def pendulum_ppo() -> Line:
    """PPO with a discount of .9: each reward already tells how far the pole is from upright."""
    settings = PPOConfig(
        total_steps=1_000_000, num_envs=16, rollout_length=128, epochs=10, minibatches=32,
        learning_rate=5e-4, discount=0.9, entropy_coefficient=0.0, normalize_rewards=True,
    )  # fmt: skip
    return _ppo("Pendulum-v1", -200, settings)


def memory_chain_recurrent_ppo() -> Line:
    """One bit must be remembered for a whole episode; the return is 1 for memory and 0 for guessing."""
    env, net = envs.make("MemoryChain-bsuite"), nets.gru_actor_critic(2, 32)
    settings = PPOConfig(
        total_steps=250_000, num_envs=16, rollout_length=64, learning_rate=2.5e-3, epochs=4, minibatches=4
    )
    return Line(0.95, env, lambda c: recurrent_ppo(env, net, c), settings, ceiling=1)


def deep_sea_counts() -> Line:
    """Q-learning in a table with UCB and a count bonus, for 10,000 episodes.

    Random actions would take a million episodes. The chest pays 1, and the path to it costs .01.
    """
    env, coding = envs.make("DeepSea-bsuite", size=20), one_hot(400)
    bonus = count_bonus(coding, CountConfig(beta=0.1), actions=2)
    settings = CodedQConfig(
        total_steps=200_000, select="ucb", ucb_scale=0.1, learning_rate=1.0, discount=1.0, rollout_length=20
    )
    return Line(0.9, env, lambda c: coded_q(env, coding, c, bonus), settings, ceiling=0.99)


def _minatar_ppo(name: str, target: float, hidden: tuple[int, ...] = (64, 64), **settings: Any) -> Line:
    config = PPOConfig(
        **{
            "total_steps": 10_000_000, "num_envs": 64, "rollout_length": 128, "minibatches": 8,
            "learning_rate": 5e-3, **settings,
        }
    )  # fmt: skip
    return _ppo(name, target, config, hidden=hidden, activation="relu")


def breakout_pqn() -> Line:
    """The authors' settings for MinAtar, with a perceptron in place of their convolutional network."""
    env = envs.make("Breakout-MinAtar")
    net = nets.mlp(3, (128, 128), layer_norm=True)
    settings = PQNConfig(
        total_steps=10_000_000, num_envs=128, rollout_length=32, minibatches=32, epochs=2,
        learning_rate=5e-4, lambda_=0.65, exploration_fraction=0.1,
    )  # fmt: skip
    return Line(28, env, lambda c: pqn(env, net, c), settings)


FAST: dict[str, Callable[[], Line]] = {
    "CartPole PPO": cartpole_ppo,
    "CartPole DQN": cartpole_dqn,
    "Acrobot PPO": acrobot_ppo,
    "MountainCar PPO + counts": mountain_car_ppo,
    "MountainCarContinuous SAC": mountain_car_continuous_sac,
    "Pendulum SAC": pendulum_sac,
    "Pendulum PPO": pendulum_ppo,
    "MemoryChain recurrent PPO": memory_chain_recurrent_ppo,
    "DeepSea 20 counts": deep_sea_counts,
}

MINATAR: dict[str, Callable[[], Line]] = {
    "Breakout PPO": lambda: _minatar_ppo("Breakout-MinAtar", 28),
    "Breakout PQN": breakout_pqn,
    "Asterix PPO": lambda: _minatar_ppo(
        "Asterix-MinAtar", 15, hidden=(128, 128), learning_rate=1e-3, discount=0.999
    ),
    "Freeway PPO": lambda: _minatar_ppo("Freeway-MinAtar", 58),
    "SpaceInvaders PPO": lambda: _minatar_ppo("SpaceInvaders-MinAtar", 131),
}
