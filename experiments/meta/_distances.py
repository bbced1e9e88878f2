"""Tasks at a distance from those of the training, for the study of similar tasks.

Each of two families has two dials, from 0, the tasks of the training, to 1, a disjoint distribution. One dial
moves what differs between the training's tasks, the other changes what all of them share.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax.numpy as jnp

from lrn import nets
from lrn.config import config
from lrn.meta.adapt import InnerConfig
from lrn.meta.compute import maml_gradients, pooled_gradients
from lrn.meta.dial import Dial
from lrn.meta.episode import Episode, TaskFamily
from lrn.meta.families.blobs import rotation
from lrn.meta.families.directions import directions, posterior
from lrn.meta.families.sinusoid import shared_part, sinusoid
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.menu import Menu
from lrn.meta.own_episodes import own_episodes
from lrn.meta.pooled import PooledConfig, pooled
from lrn.meta.problem import classification, regression
from lrn.meta.scratch import ScratchConfig, scratch

SINE, CLASSES, WAYS, DIM, APART = "sinusoids", "classes", 5, 16, 3.0
PHASES, FREQUENCY, CENTERS, TURNED = "phases move", "frequency grows", "centers move", "directions turn"
DIALS = {SINE: (PHASES, FREQUENCY), CLASSES: (CENTERS, TURNED)}  # what differs moves, what is shared changes
PLACES = (0.0, 0.33, 0.67, 1.0)
SPOTS = ((0.0, 0.0), *((d, 0.0) for d in PLACES[1:]), *((0.0, d) for d in PLACES[1:]))  # on both dials
EXAMPLES = {SINE: (10, 10), CLASSES: (WAYS, 5 * WAYS)}  # of a task: support, query
COSTS = {k: {"MAML": maml_gradients(*n), "pooled": pooled_gradients(*n)} for k, n in EXAMPLES.items()}
CAP = 100.0  # the most that a task's loss counts
RATES = {SINE: (0.003, 0.01, 0.03, 0.1, 0.3), CLASSES: (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)}  # of adaptation
STARTS = {  # inner rates, factors of the rate of Adam, scales of the first weights
    SINE: {"MAML": (0.01, 0.03, 0.1), "pooled": (0.3, 1.0, 3.0), "scratch": (0.3, 1.0, 3.0)},
    CLASSES: {"MAML": (0.01, 0.03, 0.1), "pooled": (0.1, 0.3, 1.0), "scratch": (0.03, 0.1, 0.3)},
}
METHODS = ("MAML", "pooled", "scratch")


@config
class Arm:
    """One training: distances on both dials of a family, and an inner rate, a rate of Adam, or a scale."""

    moved: float
    changed: float
    setting: float


def tasks_at(family: str, spot: Any) -> TaskFamily:
    """The tasks at distances [2] on the two dials of a family; at (0, 0) those of the training."""
    return _classes(*spot) if family == CLASSES else _waves(*spot)


def _classes(moved: Any, turned: Any) -> TaskFamily:
    base, axes = directions(WAYS, apart=APART), jnp.asarray(rotation(DIM, 0)[:4])
    angle = math.pi / 2 * turned
    frame = jnp.cos(angle) * axes[:2] + jnp.sin(angle) * axes[2:]

    def sample(key: Any) -> Any:
        return {"centers": base.sample(key)["centers"] + _by(moved), "frame": frame}

    return base._replace(sample=sample)


def _by(moved: Any) -> Any:
    """By how much each coordinate of the centers moves: by four deviations in all."""
    return 4 * APART / math.sqrt(2) * moved


def _waves(moved: Any, faster: Any) -> TaskFamily:
    low = math.pi * moved
    base = sinusoid(*EXAMPLES[SINE], phase=(low, low + math.pi / 2))

    def batch(key: Any, task: Any) -> Any:
        def at(part: Any) -> Any:
            angle = (1 + faster) * part["x"] + task["phase"]
            return {"x": part["x"], "y": task["amplitude"] * jnp.sin(angle)}

        support, query = base.batch(key, task)
        return at(support), at(query)

    return base._replace(batch=batch)


def told(family: str, episode: Episode, spot: Any) -> Any:
    """The best prediction from the support set by who is told the spot, and the wave or the directions."""
    moved, changed = spot
    if family == CLASSES:
        by = _by(moved) * episode.code.reshape(-1, DIM).sum(0)
        support, query = ({**b, "x": b["x"] - by[None]} for b in (episode.support, episode.query))
        return posterior(Episode(support, query, episode.code), WAYS, APART)
    query = {**episode.query, "x": (1 + changed) * episode.query["x"]}
    return shared_part(episode._replace(query=query))


def dial_of(family: str, steps: int, spots: Any = SPOTS) -> Dial:
    """The tasks at some spots, and the settings that every method chooses from."""
    problem = regression(nets.mlp(None, (40, 40), activation="tanh"))
    if family == CLASSES:
        problem = classification(nets.mlp(None, (64,)), WAYS)
    menu = Menu(problem, RATES[family], steps, CAP)
    return Dial(partial(tasks_at, family), spots, menu, partial(told, family))


def learner(family: str, tasks: int, rate: float, method: str, arm: Arm) -> Any:
    """One training of so many tasks a step, or for scratch the first weights; ``rate`` is that of Adam."""
    problem = dial_of(family, 1).menu.problem
    learners = {
        "MAML": maml(problem, MAMLConfig(InnerConfig(rate=arm.setting), rate)),
        "pooled": pooled(problem, PooledConfig(meta_rate=arm.setting * rate)),
        "scratch": scratch(problem, ScratchConfig(scale=arm.setting)),
    }
    return own_episodes(learners[method], tasks_at(family, (arm.moved, arm.changed)), tasks)


def at(name: str, distance: float, method: str = "") -> str:
    """The name of an arm: a method at a distance on a dial (at 0 of its family), or what concerns several."""
    place = f"{name} {distance:g}" if distance else f"{family_of(name)} 0"
    return place + (f": {method}" if method else "")


def family_of(name: str) -> str:
    """The family of a dial."""
    return next(family for family, both in DIALS.items() if name in both)


def home(name: str) -> str:
    """MAML that is trained at the end of a dial."""
    return f"MAML trained at {name} 1"


def spots_of(name: str) -> list[int]:
    """The places of a dial among the spots of its family."""
    first = 1 + (len(PLACES) - 1) * DIALS[family_of(name)].index(name)
    return [0, *range(first, first + len(PLACES) - 1)]


def trainings(family: str, method: str) -> dict[str, Arm]:
    """Three starts of a method."""
    ends = {home(name): SPOTS[spots_of(name)[-1]] for name in DIALS[family]}
    starts = STARTS[family][method if method in METHODS else "MAML"]
    return {f"{family}: {method}, start {s:.2g}": Arm(*ends.get(method, SPOTS[0]), s) for s in starts}


def who(family: str) -> tuple[str, ...]:
    """All that adapt in a family: the methods, and MAML that is trained at the ends."""
    return (*METHODS, *map(home, DIALS[family]))
