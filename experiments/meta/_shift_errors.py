"""The errors that adaptation leaves at every spot: on validation tasks, and as chosen there, on others.

MAML, pooled pretraining and a fresh network adapt alike, by gradient steps, and differ in what they start
from, so one program measures all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.meta._curricula import Waves, waves, worlds
from experiments.meta._shift_arms import LETTERS, NARROW, RATES, SPOTS, WAVES, WAYS, at, pairs, starts
from experiments.meta._shift_training import problem_of
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import Episode, draw
from lrn.meta.evaluate import per_task
from lrn.meta.families.few_shot import few_shot
from lrn.meta.learner import MetaState
from lrn.meta.mislead import wrong_support
from lrn.meta.scratch import ScratchConfig, scratch
from lrn.study.context import Context
from lrn.study.select import Choice, select
from lrn.types import Array, PyTree

CAP = 100.0  # the most that the squared error of a task counts


def episodes(part: str, tasks: int, own: Any, shared: Any) -> Episode:
    """Tasks at every spot of a part for one seed, leaves [spots, tasks, ...], by the same keys at all spots.

    Args:
        part: sinusoids or letters.
        tasks: at each spot.
        own: the seed, and for letters the tables of the spots.
        shared: the stream of keys, and for sinusoids `worlds`.
    """
    (seed, tables), (stream, numbers) = own, shared
    key = jax.random.fold_in(jax.random.key(stream), seed)
    if part == WAVES:
        return jax.lax.map(lambda w: draw(waves(Waves(*w)), key, tasks), jnp.asarray(numbers))
    return jax.lax.map(lambda table: draw(few_shot(table, WAYS, 1, 5), key, tasks), tables)


def errors(part: str, steps: int, params: PyTree, rate: Any, tasks: Episode) -> Array:
    """The mean error after 0 to ``steps`` steps of adaptation, [steps + 1]: squares, or wrong answers."""
    problem = problem_of(part)
    fresh = scratch(problem, ScratchConfig(InnerConfig(rate=rate)))
    scores = per_task(fresh, problem, MetaState(params, (), (), jnp.int32(0)), tasks, steps)
    if part == LETTERS:
        return 1 - scores["accuracy"].mean(0)
    return jnp.where(scores["loss"] <= CAP, scores["loss"], CAP).mean(0)


def validated(part: str, steps: int, own: Any, pairs: Array) -> dict[str, Array]:
    """ "errors" of every start and rate for one seed, [pairs, starts, rates, steps + 1].

    Args:
        part, steps: as for `errors`.
        own: parameters, leaves [methods, starts, ...], and the tasks of `episodes`.
        pairs: of a method and a spot, int [pairs, 2].
    """
    params, tasks = own
    sizes = len(pairs), jax.tree.leaves(params)[0].shape[1], len(RATES[part])
    grid = jnp.stack(jnp.meshgrid(*map(jnp.arange, sizes), indexing="ij"), -1).reshape(-1, 3)

    def one(place: Array) -> Array:
        method, spot = jnp.asarray(pairs)[place[0]]
        start = jax.tree.map(lambda x: x[method, place[1]], params)
        there = jax.tree.map(lambda x: x[spot], tasks)
        return errors(part, steps, start, jnp.array(RATES[part])[place[2]], there)

    return {"errors": jax.lax.map(one, grid).reshape(*sizes, steps + 1)}


def judged(part: str, steps: int, own: Any, places: Array) -> dict[str, Array]:
    """What is measured of the chosen settings for one seed, [places] each, and of every spot.

    Args:
        part, steps, own: as for `validated`.
        places: int [places, 5]: a method, a spot, a start, a rate, and a number of steps.

    Returns:
        "right" and, with the support set of another task, "wrong" errors; "nothing", the error [spots] of
        the constant 0 or of chance; "told", that of least squares by who knows the sinusoids, [spots].
    """
    params, tasks = own

    def one(place: Array) -> tuple[Array, Array]:
        start = jax.tree.map(lambda x: x[place[0], place[2]], params)
        there = jax.tree.map(lambda x: x[place[1]], tasks)
        rate = jnp.array(RATES[part])[place[3]]
        right, wrong = (errors(part, steps, start, rate, e) for e in (there, wrong_support(there)))
        return right[place[4]], wrong[place[4]]

    right, wrong = jax.lax.map(one, jnp.asarray(places))
    count = tasks.query["y"].shape[0]
    if part == LETTERS:
        return {"right": right, "wrong": wrong, "nothing": jnp.full(count, 1 - 1 / WAYS)}
    nothing = (tasks.query["y"] ** 2).reshape(count, -1).mean(1)
    told = jax.vmap(jax.vmap(known))(tasks).mean(1)
    return {"right": right, "wrong": wrong, "nothing": nothing, "told": told}


def known(task: Episode) -> Array:
    """The squared error of who fits sine and cosine to the support set of one task, by least squares."""

    def basis(x: Array) -> Array:
        return jnp.concatenate([jnp.sin(x), jnp.cos(x)], 1)

    a = basis(task.support["x"])
    weights = jnp.linalg.solve(a.T @ a, a.T @ task.support["y"])
    return ((basis(task.query["x"]) @ weights - task.query["y"]) ** 2).mean()


def tested(
    context: Context,
    part: str,
    lengths: Sequence[int],
    steps: int,
    count: int,
    params: Mapping[str, PyTree],
    tables: Mapping[str, np.ndarray],
) -> tuple[dict[str, Choice], dict[str, np.ndarray]]:
    """The choices on validation tasks, and what they come to on other tasks.

    Args:
        context: gives the seeds and keeps the results.
        part, lengths, params, tables: as of `trained`.
        steps: of adaptation, the most. count: tasks at each spot.

    Returns:
        By arm its choice; and "errors", [seeds, pairs, 3] of the chosen settings, of these with the support
        set of another task, and of what is chosen where the training had its tasks; "nothing" and "told", see
        `judged`.
    """
    names, spots, those = list(params), SPOTS[part], pairs(part, lengths)
    seeds, draws = np.asarray(context.seeds, np.uint32), context.over_seeds(partial(episodes, part, count))
    checked, new = (
        draws((seeds, tables.get(name, seeds)), (np.uint32(stream), worlds()))
        for name, stream in (("validation", 601), ("test", 600))
    )
    every = jax.tree.map(lambda *x: np.stack(x, 1), *params.values())
    numbers = np.array([(names.index(name), spots.index(spot)) for name, spot in those])
    found = context.per_seed(
        f"validation on {part}", partial(validated, part, steps), (every, checked), numbers
    )
    menus = {
        at(spot, name): np.moveaxis(found["errors"][:, i], 0, -1) for i, (name, spot) in enumerate(those)
    }
    choices = select(menus, "lower")
    own = [choices[at(spot, name)].place for name, spot in those]
    home = {name: at(f"{part}, {t or NARROW}", name) for name, (_, t, _) in starts(part, lengths).items()}
    blind = [choices.get(home[name], choices[at(spot, name)]).place for name, spot in those]
    places = [[*number, *place] for each in (own, blind) for number, place in zip(numbers, each)]
    found = context.per_seed(f"test on {part}", partial(judged, part, steps), (every, new), np.array(places))
    right, wrong = (found.pop(k).reshape(len(seeds), 2, -1) for k in ("right", "wrong"))
    return choices, found | {"errors": np.stack([right[:, 0], wrong[:, 0], right[:, 1]], -1)}
