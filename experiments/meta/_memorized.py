"""Tasks from a finite pool that a network can, or cannot, recognize by their inputs, for the study of memory.

Waves: a sinusoid from a pool, with eight random numbers beside x. They are the task's own, drawn once, and so
name it; or they are drawn anew in each episode and name nothing. Characters: five characters from a pool, one
of each residue modulo 5. The label is the residue, and so a property of the character; or the labels are
shuffled in each episode. Nothing else differs between the two kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import nets
from lrn.config import config
from lrn.data.few_shot import omniglot
from lrn.data.glyphs import glyphs
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import Episode, TaskFamily, draw
from lrn.meta.evaluate import per_task
from lrn.meta.families.sinusoid import HIGH, sinusoid
from lrn.meta.learner import MetaLearner
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.mislead import wrong_support
from lrn.meta.mr_maml import MRMAMLConfig, mr_maml
from lrn.meta.problem import Problem, classification, regression
from lrn.types import Sampler

WAVES, CHARACTERS = "waves", "characters"
WAYS, NUMBERS, STEPS = 5, 8, 10
VARIANCE = (5.0**3 - 0.1**3) / (3 * 4.9) / 2  # of y over all waves: amplitudes in [.1, 5], any phase
CAP = 4.0  # the most that a task's error counts, in variances
OWN, CHECKED, NEW = range(3)  # tasks of the pool; new tasks for validation; other new tasks
POOL = 77  # the stream of keys for pools
INNER = {WAVES: (0.003, 0.01, 0.03, 0.1), CHARACTERS: (0.15, 0.5, 1.5, 5.0)}
CHARGES = {WAVES: (1e-4, 1e-3, 1e-2, 1e-1), CHARACTERS: (1e-7, 1e-6, 1e-5, 1e-4)}
OUTER = {WAVES: 3e-3, CHARACTERS: 3e-3}


@config
class Arm:
    """One training.

    pool: the number of tasks (waves), or of characters. anew: 0 where inputs name the task, 1 where they do
    not. which: the place of these two among the settings of the sampler. tuned: MAML's inner rate, or
    MR-MAML's weight of the penalty.
    """

    pool: float
    anew: float
    which: float
    tuned: float


class Place(NamedTuple):
    """Where memory is asked for: the family, and the data of all seeds.

    family: waves or characters. shared, own: data for all seeds, and data [seeds, ...].
    training, checked, new: how many characters each part has; they lie one after the other.
    """

    family: str
    shared: dict[str, np.ndarray]
    own: dict[str, np.ndarray]
    parts: tuple[int, ...] = ()

    @property
    def problem(self) -> Problem:
        """The network and its loss."""
        if self.family == WAVES:
            return regression(nets.mlp(None, (40, 40)))
        return classification(nets.mlp(None, (64,)), WAYS)


def place_of(family: str, seeds: Sequence[int], real: bool, size: int) -> Place:
    """The waves; or the characters of Omniglot, or letters, with the training's in an order of each seed."""
    numbers = np.asarray(seeds, np.uint32)
    if family == WAVES:
        return Place(family, {}, {"seed": numbers})
    parts = (
        [omniglot(p, size=size).images for p in ("train", "validation", "test")] if real else _letters(size)
    )
    parts = [x[: len(x) // WAYS * WAYS] for x in parts]
    first = len(parts[0])
    order = np.tile(np.arange(sum(map(len, parts)), dtype=np.int32), (len(numbers), 1))
    for row, seed in zip(order, seeds):
        row[:first] = np.random.default_rng([POOL, seed]).permutation(first)
    return Place(family, {"images": np.concatenate(parts)}, {"order": order}, tuple(map(len, parts)))


def _letters(size: int) -> list[np.ndarray]:
    return [glyphs(script, examples=4, size=size).images for script in ("cyrillic", "hebrew", "greek")]


def tasks(place: Place, data: Any, pool: Any, anew: Any, part: int) -> TaskFamily:
    """The tasks of a part; ``pool`` and ``anew`` are those of `Arm`, and may be traced."""
    if place.family == WAVES:
        return _waves(data["seed"], pool, anew, part)
    return _characters(place, data, pool, anew, part)


def _waves(seed: Any, pool: Any, anew: Any, part: int) -> TaskFamily:
    base = sinusoid(5, 10)

    def sample(key: Any) -> Any:
        number = jnp.floor(jax.random.uniform(key) * pool).astype(jnp.int32)
        wave, code = jax.random.split(_key_of(seed, number) if part == OWN else key)
        return {"wave": base.sample(wave), "code": jax.random.normal(code, (NUMBERS,))}

    def batch(key: Any, task: Any) -> Any:
        fresh = jax.random.normal(jax.random.fold_in(key, 1), (NUMBERS,))
        code = jnp.where(anew > 0, fresh, task["code"])

        def beside(given: Any) -> Any:
            codes = jnp.broadcast_to(code[None], (given["x"].shape[0], NUMBERS))
            return {**given, "x": jnp.concatenate([given["x"], codes], axis=1)}

        support, query = base.batch(key, task["wave"])
        return beside(support), beside(query)

    return TaskFamily("waves with a code", sample, batch, 1)


def _key_of(seed: Any, number: Any) -> Any:
    """The key of a task of a pool."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(POOL), seed), number)


def _characters(place: Place, data: Any, pool: Any, anew: Any, part: int) -> TaskFamily:
    count = pool if part == OWN else place.parts[part]
    begin = sum(place.parts[:part])

    def sample(key: Any) -> Any:
        groups, order = jax.random.split(key)
        group = jnp.floor(jax.random.uniform(groups, (WAYS,)) * (count / WAYS)).astype(jnp.int32)
        label = jnp.where(anew > 0, jax.random.permutation(order, WAYS), jnp.arange(WAYS))
        return begin + WAYS * group[label] + label

    def batch(key: Any, task: Any) -> Any:
        images = data["images"]
        drawn = jax.vmap(lambda k: jax.random.permutation(k, images.shape[1])[:2])(
            jax.random.split(key, WAYS)
        )
        x = images[data["order"][task][:, None], drawn].astype(jnp.float32) / 255
        y = jnp.arange(WAYS, dtype=jnp.int32)
        return {"x": x[:, 0], "y": y}, {"x": x[:, 1], "y": y}

    return TaskFamily("characters", sample, batch, WAYS)


def sampler(place: Place, count: int, settings: Any) -> Sampler:
    """Tasks of the pools for each setting (pool, anew), leaves [tasks, settings, ...]."""
    pools, anew = (jnp.asarray(x, jnp.float32) for x in zip(*settings))

    def draws(key: Any, data: Any) -> Episode:
        def one(pool: Any, new: Any) -> Episode:
            return draw(tasks(place, data, pool, new, OWN), key, count)

        return jax.vmap(one, out_axes=1)(pools, anew)

    return Sampler(draws)


def learner(place: Place, regularized: bool, c: Arm) -> MetaLearner:
    """MAML or MR-MAML on the episodes of its own setting; the inner loop has one step in training."""
    problem, rate = place.problem, OUTER[place.family]
    if regularized:
        inner = InnerConfig(rate=INNER[place.family][1])
        settings = MRMAMLConfig(inner, beta=c.tuned, prior_std=0.3, adapted="all", meta_rate=rate)
        made = mr_maml(problem, settings)
    else:
        made = maml(problem, MAMLConfig(InnerConfig(rate=c.tuned), meta_rate=rate))

    def seen(episodes: Any) -> Any:
        return jax.tree.map(lambda x: x[:, jnp.asarray(c.which, jnp.int32)], episodes)

    def init(key: Any, episodes: Any) -> Any:
        return made.init(key, seen(episodes))

    def step(key: Any, state: Any, episodes: Any) -> Any:
        return made.step(key, state, seen(episodes))

    return MetaLearner(init, step, made.curve)


SEEN = ("own", "validation", "new", "misled")  # tasks, the last with the support set of another task


def successes(place: Place, count: int, made: Any, c: Arm, key: Any, state: Any, data: Any) -> dict[str, Any]:
    """Success after 0 to `STEPS` steps: 0 is no better than a constant or chance, 1 is perfect."""
    keys = jax.random.split(key, 3)
    drawn = [draw(tasks(place, data, c.pool, c.anew, p), keys[p], count) for p in (OWN, CHECKED, NEW)]
    every = jax.tree.map(lambda *x: jnp.concatenate(x), *drawn, wrong_support(drawn[NEW]))
    scores = per_task(made, place.problem, state, every, STEPS)
    if place.family == WAVES:
        error = scores["loss"] / VARIANCE
        success = 1 - jnp.where(error <= CAP, error, CAP)
    else:
        success = (scores["accuracy"] - 1 / WAYS) / (1 - 1 / WAYS)
    mean = success.reshape(len(SEEN), count, STEPS + 1).mean(1)
    return {f"{kind} @{k}": mean[i, k] for i, kind in enumerate(SEEN) for k in range(STEPS + 1)}


def one_function(seeds: Sequence[int], size: int) -> np.ndarray:
    """The most success [seeds] that one function can have on all waves of a pool, exactly.

    A wave is a weighted sum of sin x and cos x; the best function has the mean weights.
    """
    base = sinusoid(5, 10)

    def waves(seed: Any) -> Any:
        keys = jax.vmap(lambda number: jax.random.split(_key_of(seed, number))[0])(jnp.arange(size))
        return jax.vmap(base.sample)(keys)

    drawn = jax.device_get(jax.jit(jax.vmap(waves))(np.asarray(seeds, np.uint32)))
    squares = 0.5 + np.array([-1, 1]) * np.sin(2 * HIGH) / (4 * HIGH)  # the means of sin^2 x and cos^2 x
    spread = [(drawn["amplitude"] * part(drawn["phase"])).var(axis=1) for part in (np.cos, np.sin)]
    return 1 - squares @ np.array(spread) / VARIANCE
