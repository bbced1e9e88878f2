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
from lrn.meta.adapt import InnerConfig
from lrn.meta.compute import maml_gradients, pooled_gradients
from lrn.meta.dial import Arm, Dial
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
DIALS = {PHASES: SINE, FREQUENCY: SINE, CENTERS: CLASSES, TURNED: CLASSES}
PLACES = (0.0, 0.33, 0.67, 1.0)
EXAMPLES = {SINE: (10, 10), CLASSES: (WAYS, 5 * WAYS)}  # of a task: support, query
COSTS = {k: {"MAML": maml_gradients(*n), "pooled": pooled_gradients(*n)} for k, n in EXAMPLES.items()}
CAP = 100.0  # the most that a task's loss counts


def tasks_at(name: str, distance: Any) -> TaskFamily:
    """The tasks at a distance on a dial; at 0 all dials of a family have the training's."""
    return _classes(name, distance) if DIALS[name] == CLASSES else _waves(name, distance)


def _classes(name: str, distance: Any) -> TaskFamily:
    base, axes = directions(WAYS, apart=APART), jnp.asarray(rotation(DIM, 0)[:4])
    angle = math.pi / 2 * distance
    frame = jnp.cos(angle) * axes[:2] + jnp.sin(angle) * axes[2:] if name == TURNED else axes[:2]

    def sample(key: Any) -> Any:
        return {"centers": base.sample(key)["centers"] + _moved(name, distance), "frame": frame}

    return base._replace(sample=sample)


def _waves(name: str, distance: Any) -> TaskFamily:
    low = math.pi * distance if name == PHASES else 0.0
    base = sinusoid(*EXAMPLES[SINE], phase=(low, low + math.pi / 2))

    def batch(key: Any, task: Any) -> Any:
        def at(part: Any) -> Any:
            angle = _frequency(name, distance) * part["x"] + task["phase"]
            return {"x": part["x"], "y": task["amplitude"] * jnp.sin(angle)}

        support, query = base.batch(key, task)
        return at(support), at(query)

    return base._replace(batch=batch)


def _moved(name: str, distance: Any) -> Any:
    """By how much each coordinate of the centers moves: by four deviations in all."""
    return 4 * APART / math.sqrt(2) * distance if name == CENTERS else 0.0


def _frequency(name: str, distance: Any) -> Any:
    return 1.0 + distance if name == FREQUENCY else 1.0


def told(name: str, episode: Episode, distance: Any) -> Any:
    """The best prediction from the support set by who is told the dial, and the wave or the directions."""
    if DIALS[name] == CLASSES:
        by = _moved(name, distance) * episode.code.reshape(-1, DIM).sum(0)
        support, query = ({**b, "x": b["x"] - by[None]} for b in (episode.support, episode.query))
        return posterior(Episode(support, query, episode.code), WAYS, APART)
    query = {**episode.query, "x": _frequency(name, distance) * episode.query["x"]}
    return shared_part(episode._replace(query=query))


def dial_of(name: str, steps: int) -> Dial:
    """The tasks along a dial, and the settings that every method chooses from."""
    if DIALS[name] == CLASSES:
        problem, rates = classification(nets.mlp(None, (64,)), WAYS), (0.01, 0.03, 0.1, 0.3, 1.0)
    else:
        problem = regression(nets.mlp(None, (40, 40), activation="tanh"))
        rates = (0.003, 0.01, 0.03, 0.1, 0.3)
    return Dial(partial(tasks_at, name), PLACES, Menu(problem, rates, steps, CAP), partial(told, name))


def learner(name: str, tasks: int, rate: float, method: str, arm: Arm) -> Any:
    """One training of so many tasks a step, or for scratch the first weights; ``rate`` is MAML's."""
    problem = dial_of(name, 1).menu.problem
    learners = {
        "MAML": maml(problem, MAMLConfig(InnerConfig(rate=arm.setting), rate)),
        "pooled": pooled(problem, PooledConfig(meta_rate=arm.setting)),
        "scratch": scratch(problem, ScratchConfig(scale=arm.setting)),
    }
    return own_episodes(learners[method], tasks_at(name, arm.position), tasks)
