"""The tasks, methods and measurements of the study of adaptation in few steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrn import nets
from lrn.data.few_shot import omniglot
from lrn.data.glyphs import glyphs
from lrn.meta.adapt import InnerConfig
from lrn.meta.compute import maml_gradients, pooled_gradients
from lrn.meta.episode import Episode, TaskFamily, draw
from lrn.meta.evaluate import TEST, VALIDATION
from lrn.meta.families.few_shot import few_shot
from lrn.meta.families.sinusoid import shared_part, sinusoid
from lrn.meta.learner import MetaLearner
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.menu import Menu
from lrn.meta.mislead import wrong_support, zero_head
from lrn.meta.pooled import PooledConfig, pooled
from lrn.meta.problem import Problem, classification, regression
from lrn.meta.scratch import ScratchConfig, scratch

SINE, PICTURES, PARTS, WAYS, SIDE = "sinusoids", "Omniglot", ("train", "validation", "test"), 5, 14
METHODS, FROZEN = ("MAML", "pooled", "scratch"), "MAML, body frozen at test"
STEPS, MORE = (1, 5), 10  # few steps, and how many times more a baseline may take
CLASSES, HIDDEN, CAP = 206, 64, 100.0
EXAMPLES = {SINE: (10, 10), PICTURES: (WAYS, 2 * WAYS)}  # of a task: support, query
OUTER = {SINE: 1e-2, PICTURES: 3e-3}  # of Adam
RATES = {SINE: (0.003, 0.01, 0.03, 0.1, 0.3), PICTURES: (0.03, 0.1, 0.3, 1.0, 3.0)}

# A pooled network classifies all training classes: with 206 of them an example takes twice as many products.
_WIDER = (SIDE**2 + CLASSES) / (SIDE**2 + WAYS)
WIDER = {SINE: 1, PICTURES: round(_WIDER)}
COSTS = {
    k: {"MAML": maml_gradients(*n), "pooled": WIDER[k] * pooled_gradients(*n)} for k, n in EXAMPLES.items()
}


def problem_of(family: str) -> Problem:
    """The network and its loss; pixels are brought to mean 0 and deviation 1."""
    if family == SINE:
        return regression(nets.mlp(None, (40, 40), activation="tanh"))
    return classification(nets.mlp(None, (HIDDEN,), mean=0.1, std=0.25), WAYS)


def pictures(real: bool) -> dict[str, np.ndarray]:
    """The pictures of each part, uint8 [classes, examples, side, side, 1]."""
    if not real:
        scripts = zip(PARTS, ("cyrillic", "hebrew", "greek"))
        return {part: glyphs(script, examples=3, size=SIDE).images for part, script in scripts}
    found = {part: omniglot(part, size=SIDE).images for part in PARTS}
    return {**found, "train": found["train"][:CLASSES]}


def tasks(family: str, part: str, data: Mapping[str, Any]) -> TaskFamily:
    """The tasks of a part."""
    return sinusoid(*EXAMPLES[SINE]) if family == SINE else few_shot(data[part], WAYS, 1, 2)


def learner(family: str, method: str, classes: int, setting: float) -> MetaLearner:
    """One training, or for scratch the first weights, by an inner rate, a rate of Adam, or a scale."""
    problem = problem_of(family)
    if method == "MAML":
        return maml(problem, MAMLConfig(InnerConfig(rate=setting), OUTER[family]))
    if method == "pooled":
        return pooled(problem, PooledConfig(meta_rate=setting), classes)
    return scratch(problem, ScratchConfig(scale=setting))


def starts_of(family: str, method: str) -> tuple[float, ...]:
    """Three settings of a method's training."""
    scales = (0.3, 1.0, 3.0)
    starts = {"MAML": RATES[family][1:-1], "pooled": tuple(s * OUTER[family] for s in scales)}
    return starts.get(method, scales)


def adaptable(method: str, params: Any) -> Any:
    """Parameters to adapt from, leaves [seeds, starts, ...]; a head of training classes becomes zeros."""
    wide = method == "pooled" and params["head"]["bias"].shape[-1] > WAYS
    return zero_head(params, WAYS) if wide else params


def menu_of(family: str, steps: int, frozen: bool = False) -> Menu:
    """The settings of adaptation; with ``frozen`` gradients change the head alone."""
    problem = problem_of(family)
    if frozen:
        still = problem.features

        def features(*args: Any) -> Any:
            return jax.lax.stop_gradient(still(*args))

        problem = problem._replace(features=features)
    return Menu(problem, RATES[family], steps, CAP)


def menus(family: str, steps: int) -> dict[str, Menu]:
    """The menu of each method."""
    return {**dict.fromkeys(METHODS, menu_of(family, steps)), FROZEN: menu_of(family, steps, frozen=True)}


def drawn(family: str, part: str, stream: int, seed: Any, data: Any, count: int) -> Episode:
    """Tasks of a seed, the same for all methods."""
    return draw(tasks(family, part, data), jax.random.fold_in(jax.random.key(stream), seed), count)


def validated(family: str, count: int, one: Any, data: Any) -> dict[str, Any]:
    """Losses on validation tasks, by method, [starts, heads, rates, steps + 1]."""
    seed, starts = one
    episodes = drawn(family, "validation", VALIDATION, seed, data, count)
    return {m: each.losses(starts[m], episodes) for m, each in menus(family, MORE * STEPS[-1]).items()}


def judged(family: str, count: int, one: Any, given: Any) -> dict[str, Any]:
    """Losses on test tasks of what was chosen within each number of steps.

    Args:
        family: sinusoids or Omniglot.
        count: the number of tasks.
        one: the seed, and by method the parameters to adapt from, leaves [starts, ...].
        given: the data, and by method int [limits, 4]: the chosen start, head, rate and steps less one.

    Returns:
        By method [limits]; for MAML also ``"before"`` and ``"misled"``, [limits]; on sinusoids ``"told"``.
    """
    (seed, starts), (data, places) = one, given
    episodes = drawn(family, "test", TEST, seed, data, count)
    losses = {}
    for method, menu in menus(family, MORE * STEPS[-1]).items():

        def at(place: Any, menu: Menu = menu, own: Any = starts[method]) -> Any:
            right, wrong = (menu.at(place, own, tasks) for tasks in (episodes, wrong_support(episodes)))
            return right[place[3] + 1], right[0], wrong[place[3] + 1]

        losses[method], before, misled = jax.lax.map(at, places[method])
        if method == "MAML":
            losses |= {"before": before, "misled": misled}
    if family == SINE:
        told = jax.vmap(lambda e: ((shared_part(e) - e.query["y"]) ** 2).mean())(episodes)
        losses["told"] = jnp.mean(told)
    return losses
