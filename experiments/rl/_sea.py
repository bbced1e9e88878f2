"""Runs of one learner on DeepSea: after how many episodes its greedy policy finds the treasure for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn.config import config as pytree
from lrn.rl.exploration.coded_q import CodedQConfig, coded_q
from lrn.rl.exploration.counts import CountConfig, count_bonus
from lrn.rl.exploration.deep_sea import Diver, deep_sea, table
from lrn.study.context import Context
from lrn.study.select import select
from lrn.types import Array, Key, Learner

SUSTAINED = 10  # episodes in a row after which the greedy policy must find the treasure
GREEDY, BOLTZMANN = "epsilon_greedy", "boltzmann"
# Of each rule its selection of actions, and three settings.
SEA: dict[str, tuple[str, list[dict[str, float]]]] = {
    "epsilon-greedy": (GREEDY, [{"epsilon_start": e, "epsilon_end": e} for e in (0.25, 0.5, 1.0)]),
    "Boltzmann": (BOLTZMANN, [{"temperature": t} for t in (0.03, 0.3, 3.0)]),
    "optimism": (GREEDY, [{"initial": v} for v in (0.1, 1.0, 10.0)]),
    "counts": (GREEDY, [{"initial": v, "beta": v / 10} for v in (0.1, 1.0, 10.0)]),
}
NONE, IDLE = "no exploration", "no learning"
UNTAUGHT = {NONE: {}, IDLE: {"epsilon_start": 1.0, "epsilon_end": 1.0, "learning_rate": 0.0}}
SOLVED, EPISODES = "solved", "episodes to solve, at least"


@pytree
class Dive:
    """How to explore: Q-learning's own settings, and the bonus of a first visit."""

    beta: float
    learner: CodedQConfig

    @property
    def interactions(self) -> int:
        """Environment steps of an episode."""
        return self.learner.interactions


def dive(depth: int, episodes: int, select: str, setting: Mapping[str, float]) -> Dive:
    """One episode a step of Q-learning on a table, with rate 1; the defaults explore nothing."""
    own = {"epsilon_start": 0.0, "epsilon_end": 0.0, "learning_rate": 1.0, **setting}
    beta = own.pop("beta", 0.0)
    sizes = {"num_envs": 1, "rollout_length": depth, "total_steps": depth * episodes}
    return Dive(beta, CodedQConfig(select=select, **own, **sizes))


class Runs(NamedTuple):
    """State of some runs side by side, leaves [runs, ...].

    agent: states of the learners. episodes: int32, episodes played, the same for all.
    since: int32, the last episode after which the greedy policy missed the treasure.
    solved_at: int32, the first episode of ten after which it did not; 0 before that.
    """

    agent: Any
    episodes: Array
    since: Array
    solved_at: Array


def divers(depth: int, runs: int, c: Dive) -> Learner:
    """So many runs of one learner on DeepSea of a depth; a step is an episode of each."""
    bonus = count_bonus(table(depth), CountConfig(beta=c.beta), actions=2)
    agent = coded_q(deep_sea(depth), table(depth), c.learner, bonus)
    solves = solver(depth)

    def init(key: Key, batch: Any) -> Runs:
        zeros = jnp.zeros(runs, jnp.int32)
        return Runs(jax.vmap(agent.init, (0, None))(jax.random.split(key, runs), batch), zeros, zeros, zeros)

    def step(key: Key, state: Runs, batch: Any) -> Any:
        inner, _ = jax.vmap(agent.step, (0, 0, None))(jax.random.split(key, runs), state.agent, batch)
        episodes, now = state.episodes + 1, jax.vmap(solves)(inner.weights)
        since = jnp.where(now, state.since, episodes)
        first = (state.solved_at == 0) & (episodes - since >= SUSTAINED)
        after = Runs(inner, episodes, since, jnp.where(first, since + 1, state.solved_at))
        return after, {"solving": now.mean(dtype=jnp.float32)}

    return Learner(init, step)


def solver(depth: int) -> Callable[[Array], Array]:
    """A function of Q-learning's weights: whether the greedy policy goes right all along the diagonal."""
    env, coding, rows = deep_sea(depth), table(depth), jnp.arange(depth)
    ahead, _ = jax.vmap(env.move, (None, 0, None))(jax.random.key(0), Diver(rows, rows), jnp.int32(1))
    goes_right = ahead.column == jnp.minimum(rows + 1, depth - 1)  # whether action 1 does
    places = coding.encode((), jnp.stack([rows, rows], 1).astype(jnp.float32))[:, 0]

    def solves(weights: Array) -> Array:
        q = weights[places]
        lead = jnp.where(goes_right, q[:, 1] - q[:, 0], q[:, 0] - q[:, 1])
        return (lead > 0).all()

    return solves


def episodes_to_solve(solved_at: Any) -> np.ndarray:
    """Episodes [...] to solve; infinity, which is censored, for runs that were never solved."""
    at = np.asarray(solved_at, float)
    return np.where(at > 0, at, np.inf)


def bend(medians: np.ndarray, budgets: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """By how much the exponent of the depth grows from the lower two depths to the upper two, [seeds].

    The exponent is the slope of log episodes over log depth: a power of the depth has one exponent, the
    exponential 2^N a growing one. Where the deepest is censored the number is a lower bound; where another
    depth is censored it is NaN.

    Args:
        medians: episodes [seeds, 3]; infinity where censored.
        budgets: episodes [3] after which runs are censored.
        depths: [3].
    """
    known = np.where(np.isinf(medians), budgets[None], medians)
    slopes = np.diff(np.log(known), axis=1) / np.diff(np.log(depths))[None]
    return np.where(np.isinf(medians[:, :2]).any(1), np.nan, slopes[:, 1] - slopes[:, 0])


def sea(depth: int, rule: str) -> str:
    """The name of a rule at a depth of DeepSea, with the setting chosen there."""
    return f"DeepSea {depth}: {rule}"


def dive_all(config: Any, context: Context, depth: int, episodes: int) -> dict[str, np.ndarray]:
    """Run all settings of all rules at a depth; choose one for each rule by its runs for choosing.

    Returns:
        From a rule to the median episodes to solve over the other runs, [seeds]; infinity where censored.
    """
    found: dict[str, np.ndarray] = {}
    for way in (GREEDY, BOLTZMANN):
        rules = [rule for rule, (selects, _) in SEA.items() if selects == way]
        settings = {f"{sea(depth, r)}, candidate {i}": s for r in rules for i, s in enumerate(SEA[r][1])}
        settings |= {sea(depth, r): s for r, s in UNTAUGHT.items()} if way == GREEDY else {}
        fit = context.fit(
            lambda c: divers(depth, config.sea_choosing + config.runs, c),
            {name: dive(depth, episodes, way, s) for name, s in settings.items()},
            name=f"DeepSea {depth} {way}", steps=episodes, log_every=episodes,
        )  # fmt: skip
        times = {name: episodes_to_solve(fit.arm(name).solved_at) for name in settings}  # [seeds, runs]
        scores = {
            r: np.log(
                [times[f"{sea(depth, r)}, candidate {i}"][:, : config.sea_choosing].ravel() for i in range(3)]
            )
            for r in rules
        }
        chosen = select(scores, "lower")
        judged = {r: times[f"{sea(depth, r)}, candidate {c.only}"] for r, c in chosen.items()}
        judged |= {r: times[sea(depth, r)] for r in UNTAUGHT if way == GREEDY}
        for rule, each in judged.items():
            mine = each[:, config.sea_choosing :]
            found[rule] = np.median(mine, 1)
            context.record(sea(depth, rule), SOLVED, np.isfinite(mine).mean(1))
            context.record(sea(depth, rule), EPISODES, np.minimum(found[rule], episodes))
            if rule in chosen:
                context.chosen(sea(depth, rule), chosen[rule], 3)
    return found
