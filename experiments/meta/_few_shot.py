"""The tasks, trainings and measurements of the study of prototypes and MAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrn import nets
from lrn.data.few_shot import omniglot
from lrn.data.glyphs import glyphs
from lrn.meta.adapt import InnerConfig
from lrn.meta.compute import maml_gradients, pooled_gradients
from lrn.meta.episode import TaskFamily, draw, episodes
from lrn.meta.evaluate import per_task
from lrn.meta.families.directions import directions
from lrn.meta.families.few_shot import few_shot
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.mislead import wrong_support
from lrn.meta.problem import Problem, classification
from lrn.meta.prototypical import PrototypicalConfig, prototypical
from lrn.study.context import Context
from lrn.study.curves import first_time

PROTOTYPES, MAML, METHODS, WAYS, QUERIES = "prototypes", "MAML", ("prototypes", "MAML"), 5, 5
PICTURES, POINTS, PARTS = "Omniglot", "classes", ("train", "validation", "test")
PLACES = tuple((family, shots) for family in (PICTURES, POINTS) for shots in (1, 5))
MEASURED, CLOSE = 8, 0.02  # measurements along a training; a difference of accuracies
RATES = {  # of Adam for prototypes, of the inner loop for MAML
    PICTURES: {PROTOTYPES: (1e-3, 3e-3, 1e-2), MAML: (0.1, 0.3, 1.0)},
    POINTS: {PROTOTYPES: (3e-3, 1e-2, 3e-2), MAML: (0.03, 0.1, 0.3)},
}
OUTER = {PICTURES: 3e-3, POINTS: 1e-2}  # MAML's rate of Adam
Place = tuple[str, int]  # a family and a number of shots


def cost(method: str, shots: int) -> int:
    """Gradients of an example that a task costs in training."""
    count = maml_gradients if method == MAML else pooled_gradients
    return count(WAYS * shots, WAYS * QUERIES)


def at(place: Place, method: str = "") -> str:
    """The name of an arm: a method in a place, or what concerns both."""
    family, shots = place
    return f"{family}, {shots} shot{'s' if shots > 1 else ''}" + (f": {method}" if method else "")


def candidates(place: Place, method: str) -> dict[str, Any]:
    """The trainings of an arm."""
    family, _ = place
    outer = OUTER[family]
    configs = {
        PROTOTYPES: lambda rate: PrototypicalConfig(rate, halve_every=0),
        MAML: lambda rate: MAMLConfig(InnerConfig(rate=rate), outer),
    }
    return {f"{at(place, method)}, rate {r:g}": configs[method](r) for r in RATES[family][method]}


def spent(config: Any, place: Place) -> int:
    """The gradients that every training of a place spends."""
    return config.training_steps[place[0] == POINTS] * config.tasks * cost(MAML, place[1])


def pictures(config: Any) -> dict[str, np.ndarray]:
    """The pictures of each part, uint8 [classes, examples, side, side, 1]."""
    if config.real:
        return {part: omniglot(part, size=config.side).images for part in PARTS}
    scripts = zip(PARTS, ("cyrillic", "hebrew", "greek"))
    return {part: glyphs(s, examples=WAYS + QUERIES, size=config.side).images for part, s in scripts}


def family_of(place: Place, part: str, data: Mapping[str, Any]) -> TaskFamily:
    """The tasks of a part; in training turned characters are further classes."""
    family, shots = place
    if family == PICTURES:
        return few_shot(data[part], WAYS, shots, QUERIES, rotations=part == "train")
    return directions(WAYS, shots, QUERIES)


def problem_of(place: Place) -> Problem:
    """The network and its loss; pixels are brought to mean 0 and deviation 1."""
    mean, std = (0.1, 0.25) if place[0] == PICTURES else (0.0, 1.0)
    return classification(nets.mlp(None, (64, 64), mean=mean, std=std), WAYS)


def trained(
    config: Any, context: Context, place: Place, method: str, data: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """By part, accuracies [candidates, steps of adaptation, seeds, measurements along the training]."""
    learner = {PROTOTYPES: prototypical, MAML: maml}[method]
    problem, arms = problem_of(place), candidates(place, method)
    steps = spent(config, place) // config.tasks // cost(method, place[1])
    fit = context.fit(
        partial(learner, problem),
        arms,
        name=at(place, method),
        steps=steps,
        data=data,
        sampler=episodes(partial(family_of, place, "train"), config.tasks),
        evaluate=partial(_measured, config, place, problem),
        eval_every=steps // MEASURED,
    )
    for name in arms:
        context.given(name, {"gradients": steps * config.tasks * cost(method, place[1])})
        if data:
            test = data["test"].reshape(-1, *data["test"].shape[2:]) / np.float32(255)
            context.judged_on(name, test)

    def scores(part: str) -> np.ndarray:
        every = range(config.steps + 1)
        return np.array([[fit.table.curve(a, f"{part} @{k}")[1] for k in every] for a in arms])

    return {part: scores(part) for part in ("validation", "test", "misled")}


def _measured(
    config: Any, place: Place, problem: Problem, learner: Any, c: Any, key: Any, state: Any, data: Any
) -> dict[str, Any]:
    """Accuracies on validation tasks, on test tasks, and on test tasks with a wrong support set."""
    seen, new = (family_of(place, part, data) for part in PARTS[1:])
    keys = jax.random.split(key)
    tests = draw(new, keys[1], config.tests)
    parts = [draw(seen, keys[0], config.validation), tests, wrong_support(tests)]
    every = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
    right = per_task(learner, problem, state, every, config.steps)["accuracy"]
    ends = (config.validation, config.validation + config.tests)
    found = dict(zip(("validation", "test", "misled"), jnp.split(right, ends)))
    return {f"{part} @{k}": x.mean(0)[k] for part, x in found.items() for k in range(config.steps + 1)}


def along(scores: Mapping[str, np.ndarray], places: Sequence[tuple[int, ...]]) -> dict[str, np.ndarray]:
    """By part, accuracies [seeds, measurements] of the candidate and steps chosen for each measurement."""
    return {
        part: np.stack([x[rate, steps + 1, :, i] for i, (rate, steps) in enumerate(places)], 1)
        for part, x in scores.items()
    }


def cheaper(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Whether a seed's accuracies [seeds, measurements] come close to the others' last at half of the cost.

    Close is two points less or better, and lasts for two measurements; 1.0 or 0.0, [seeds].
    """
    lead = ours - theirs[:, -1:] + CLOSE
    reached = first_time(np.arange(MEASURED + 1), lead, 0.0, sustained=2)
    return (reached <= MEASURED / 2).astype(float)
