"""A corridor with a television, and agents that get a bonus for novelty there (Burda et al. 2019).

Leaving the last of eight rooms pays 1. Watching pays nothing and shows ten random pixels, or a dark screen.
The agents are double DQN, and learn from the reward plus a weight times a bonus.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from lrn import nets
from lrn.config import config as pytree
from lrn.rl.agent import Agent
from lrn.rl.dqn import DQNConfig, dqn
from lrn.rl.env import Env
from lrn.rl.evaluate import evaluator
from lrn.rl.exploration.bonus import Bonus, both
from lrn.rl.exploration.coding import Coding
from lrn.rl.exploration.counts import CountConfig, count_bonus
from lrn.rl.exploration.rnd import RNDConfig, rnd
from lrn.rl.hacking import CuriosityConfig, curiosity, noisy_tv
from lrn.rl.hacking.noisy_tv import WATCH
from lrn.study import Cell, Share
from lrn.study.context import Context
from lrn.study.controls import Control, equal_budgets
from lrn.types import Array

ROOMS, PIXELS, LIMIT, DISCOUNT = 8, 10, 24, 0.95
NONE, COUNTS, RND, CURIOSITY, BLIND = "no bonus", "counts", "RND", "curiosity", "counts of rooms"
PAID = "pay for watching"
BONUSES = (COUNTS, RND, CURIOSITY)
WEIGHTS = (0.1, 0.3, 1.0)  # pay for a first view, in units of the pay for leaving
LIT, DARK = SCREENS = ("lit", "dark")
READS, LAST = 8, 3  # evaluations, and how many of the last of them count
LEAVES, ABANDONED = "greedy_return", "task abandoned"


@pytree
class Arm:
    """The floats of an arm, so that all arms with a kind of bonus are one program.

    weight: of the bonus. blind: of a bonus for counts of rooms, which does not see the screen. pay: for each
    step spent watching. brightness: of the screen.
    """

    weight: float = 0.0
    blind: float = 0.0
    pay: float = 0.0
    brightness: float = 0.0


def arm(bonus: str, screen: str, weight: float = 0.0) -> str:
    """The name of an arm."""
    return f"{bonus}{f' x {weight:g}' if weight else ''}, {screen}"


def corridor(c: Arm) -> Env:
    """The corridor with the arm's screen."""
    return noisy_tv(ROOMS, PIXELS, LIMIT, brightness=c.brightness)


def settings(steps: int) -> DQNConfig:
    """The settings of the agents."""
    return DQNConfig(
        total_steps=steps, num_envs=8, buffer_size=20_000, batch_size=64, learning_starts=512,
        learning_rate=1e-3, discount=DISCOUNT, double=True, exploration_fraction=0.1,
    )  # fmt: skip


def bonus_of(kind: str, c: Arm) -> Bonus:
    """The bonus of an arm; it pays about ``weight`` for a first view of a lit screen."""
    features = nets.mlp(16, (32,))
    if kind == RND:
        return rnd(features, features, RNDConfig(coefficient=c.weight))
    if kind == CURIOSITY:  # the mean squared error of a first view is about a quarter
        model = nets.mlp(ROOMS + PIXELS, (32,))
        return curiosity(model, 3, CuriosityConfig(coefficient=4 * c.weight, learning_rate=3e-3))
    seen = both(count_bonus(pictures(), CountConfig(c.weight)), count_bonus(rooms(), CountConfig(c.blind)))
    return both(
        seen, Bonus(lambda key, x: (), lambda state, x, a, _: c.pay * (a == WATCH), lambda k, s, t: s)
    )


def rooms() -> Coding:
    """A coding of observations by the room alone."""
    return _coded(ROOMS, _room)


def pictures() -> Coding:
    """A coding of observations by the room and the pixels."""
    powers = 2 ** jnp.arange(PIXELS)[None]
    return _coded(ROOMS * 2**PIXELS, lambda x: _room(x) * 2**PIXELS + ((x[:, ROOMS:] > 0) * powers).sum(-1))


def _room(observation: Array) -> Array:
    return jnp.argmax(observation[:, :ROOMS], -1)


def _coded(size: int, number: Any) -> Coding:
    def encode(params: Any, observation: Array) -> Array:
        return number(observation).astype(jnp.int32)[:, None]

    return Coding(size, 1, lambda key, x: (), encode)


def agent(steps: int, kind: str, c: Arm) -> Agent:
    """Double DQN in the arm's corridor with a bonus of a kind."""
    return dqn(corridor(c), nets.mlp(3, (32,)), settings(steps), bonus_of(kind, c))


def arms(kind: str) -> dict[str, Arm]:
    """The arms of a kind of bonus: each weight, lit and dark. With counts also those of the controls."""
    screens, most = {LIT: 1.0, DARK: 0.0}, WEIGHTS[-1]
    found = {arm(kind, s, w): Arm(w, brightness=b) for s, b in screens.items() for w in WEIGHTS}
    if kind == COUNTS:
        for s, b in screens.items():
            found[arm(NONE, s)] = Arm(brightness=b)
            found[arm(BLIND, s, most)] = Arm(blind=most, brightness=b)
            found[arm(PAID, s, most)] = Arm(pay=most, brightness=b)
    return found


def learn(config: Any, context: Context, kind: str) -> dict[str, np.ndarray]:
    """Train all arms with a kind of bonus.

    Returns:
        By arm whether each seed has abandoned the task at each evaluation, [seeds, `READS`]: whether its
        greedy policy leaves in under half of the episodes of this evaluation and the two before.
    """
    steps, plain = config.corridor, settings(config.corridor)
    every = steps // plain.interactions // READS
    table = context.fit(
        partial(agent, steps, kind), arms(kind), name=f"corridor, {kind}", steps=every * READS,
        evaluate=evaluator(corridor, config.episodes), eval_every=every,
    ).table  # fmt: skip
    order, found = np.argsort(np.argsort(context.seeds)), {}  # curves are sorted by seed
    for name in arms(kind):
        left = table.curve(name, LEAVES)[1][order, -READS:]
        mean = [left[:, max(0, i - LAST + 1) : i + 1].mean(1) for i in range(READS)]
        found[name] = (np.stack(mean, 1) < 0.5).astype(float)
    return found


def measure(config: Any, context: Context) -> None:
    """Train all arms, and record for each, and for parts of the grid, in what share the task is abandoned."""
    found: dict[str, np.ndarray] = {}
    for kind in config.bonuses:
        found |= learn(config, context, kind)
    for screen in SCREENS:
        grid = np.stack([[found[arm(b, screen, w)] for w in WEIGHTS] for b in config.bonuses])
        found |= {arm(b, screen): x.mean(0) for b, x in zip(config.bonuses, grid)}
        found |= {arm(f"weight {w:g}", screen): grid[:, i].mean(0) for i, w in enumerate(WEIGHTS)}
        found[arm("bonuses", screen)] = grid.mean((0, 1))
    for name, events in found.items():
        for i in range(READS):
            context.record(name, ABANDONED, events[:, i], config.corridor * (i + 1) // READS)


def guards(bonuses: Sequence[str]) -> list[Control]:
    """What shows that the trainings or the measure of abandoning are broken."""
    checks: list[Control] = []
    asked: tuple[tuple[str, Any, float], ...] = ((BLIND, "below", 0.25), (PAID, "above", 0.75))
    for screen in SCREENS:
        for kind, side, bound in asked:
            name = arm(kind, screen, WEIGHTS[-1])
            said = f"{name}: the task is abandoned in {'under' if side == 'below' else 'over'} {bound:.0%}."
            checks.append(Control(Share(statement=said, cell=Cell(name, ABANDONED), bound=bound, side=side)))
    names = [name for kind in bonuses for name in arms(kind)]
    return [*checks, equal_budgets("steps", names)]
