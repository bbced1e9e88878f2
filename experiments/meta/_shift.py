"""Trainings of a breadth, in an order, and tasks out of their range, for the study of narrow training.

Sinusoids: a lesson has amplitudes and phases from the middle of their ranges, up to all of them. Letters
drawn from fonts: 48 of one script, or 16 of each of three. MAML, pooled pretraining and a fresh network adapt
alike, by gradient steps, and differ in what they start from, so one program measures all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import nets
from lrn.config import config
from lrn.data.glyphs import glyphs
from lrn.meta.adapt import InnerConfig
from lrn.meta.compute import maml_gradients, pooled_gradients
from lrn.meta.episode import Episode, TaskFamily, draw
from lrn.meta.evaluate import per_task
from lrn.meta.families.few_shot import few_shot
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.learner import MetaLearner, MetaState
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.mislead import wrong_support, zero_head
from lrn.meta.pooled import PooledConfig, pooled
from lrn.meta.problem import Problem, classification, regression
from lrn.meta.scratch import ScratchConfig, scratch
from lrn.study.context import Context
from lrn.study.select import Choice, select
from lrn.types import Array, Batch, Key, Metrics, PyTree, Sampler

WAVES, LETTERS = "sinusoids", "letters"
MAML, POOLED, SCRATCH = "MAML", "pooled", "scratch"
NARROW, WIDE, CURRICULA = "narrow", "wide", ("widening", "narrowing", "shuffled")
# The first and the last breadth of the lessons, and their order: 0 forwards, 1 backwards, 2 random.
COURSES = {NARROW: (0.0, 0.0, 0.0), WIDE: (1.0, 1.0, 0.0)} | {
    name: (0.0, 1.0, float(order)) for order, name in enumerate(CURRICULA)
}
PHASES, AMPLITUDES, UNSEEN = "phases out of range", "amplitudes out of range", "unseen scripts"
SPOTS = {  # where all are measured: where a training had its tasks, and out of its range
    WAVES: (f"{WAVES}, {NARROW}", f"{WAVES}, {WIDE}", PHASES, AMPLITUDES),
    LETTERS: (f"{LETTERS}, {NARROW}", f"{LETTERS}, {WIDE}", UNSEEN),
}
PART = 0.2  # the width of narrow ranges, as a part of the wide ones
SCRIPTS, SEEN, WAYS, SIZE, CLASSES = ("arabic", "armenian", "canadian", "georgian", "greek"), 3, 5, 14, 48
EXAMPLES = {WAVES: (10, 10), LETTERS: (WAYS, 3 * WAYS)}  # of a task in training: support, query
COSTS = {k: {MAML: maml_gradients(*n), POOLED: pooled_gradients(*n)} for k, n in EXAMPLES.items()}
STARTS = {  # MAML's inner rates, rates of Adam, scales of the first weights
    WAVES: {MAML: (0.02, 0.06, 0.2), POOLED: (2e-3, 6e-3, 2e-2), SCRATCH: (0.5, 1.5, 5.0)},
    LETTERS: {MAML: (0.3, 1.0, 3.0), POOLED: (3e-4, 1e-3, 3e-3), SCRATCH: (0.3, 1.0, 3.0)},
}
OUTER = {WAVES: 3e-3, LETTERS: 1e-3}  # MAML's rate of Adam
RATES = {WAVES: (0.003, 0.01, 0.03, 0.1), LETTERS: (0.01, 0.04, 0.15, 0.6)}  # of adaptation
CAP = 100.0  # the most that the squared error of a task counts


@config
class Course:
    """One training: the breadth of its first and last lesson, their order (see COURSES), and a setting."""

    first: float
    last: float
    order: float
    setting: float


def courses(part: str, method: str, training: str, length: int = 1) -> dict[str, Course]:
    """The trainings of a method by which it has three starts."""
    name = f"{part}: {method} {training}{LENGTHS[length]}"
    return {f"{name}, start {x:g}": Course(*COURSES[training], x) for x in STARTS[part][method]}


def problem_of(part: str) -> Problem:
    """The network and its loss."""
    if part == WAVES:
        return regression(nets.mlp(None, (40, 40), activation="tanh"))
    return classification(nets.mlp(None, (64, 64)), WAYS)


def learner(part: str, method: str, tasks: int, iterations: int, course: Course) -> MetaLearner:
    """One training; sinusoids come in lessons of so many tasks, letters from `both`."""
    problem = problem_of(part)
    made = {
        MAML: maml(problem, MAMLConfig(InnerConfig(rate=course.setting), OUTER[part])),
        POOLED: pooled(problem, PooledConfig(meta_rate=course.setting), CLASSES if part == LETTERS else 0),
        SCRATCH: scratch(problem, ScratchConfig(scale=course.setting)),
    }[method]
    if part == WAVES:
        order = (course.first, course.last, course.order)
        return in_order(made, lesson, order, tasks=tasks, iterations=iterations)
    which = jnp.asarray(course.first, jnp.float32).astype(jnp.int32)

    def init(key: Key, batch: Episode) -> MetaState:
        return made.init(key, jax.tree.map(lambda x: x[which], batch))

    def step(key: Key, state: MetaState, batch: Episode) -> tuple[MetaState, Metrics]:
        return made.step(key, state, jax.tree.map(lambda x: x[which], batch))

    return MetaLearner(init, step, made.curve)


def both(tasks: int) -> Sampler:
    """So many tasks of narrow and of wide letters, leaves [2, tasks, ...]."""

    def some(key: Key, data: Mapping[str, Array]) -> Episode:
        one = [draw(few_shot(data["images"][i], WAYS, 1, 3), key, tasks) for i in range(2)]
        return jax.tree.map(lambda *x: jnp.stack(x), *one)

    return Sampler(some)


def start_of(part: str, state: Any) -> PyTree:
    """The parameters from which a trained state adapts, leaves as those of the state."""
    if part == WAVES:
        return state.inner.meta
    head = state.meta["head"]["bias"].shape[-1] != WAYS  # of a pooled training, for all letters
    return zero_head(state.meta, WAYS) if head else state.meta


class Waves(NamedTuple):
    """A world of sinusoids ``amplitude * sin(frequency * x + phase)``.

    phase, amplitude: the centers of the ranges. phase_half, amplitude_half: the half widths of the ranges.
    low, high: a number drawn from U(low, high) for each task scales both half widths.
    """

    phase: Any
    phase_half: Any
    amplitude: Any
    amplitude_half: Any
    low: Any = 1.0
    high: Any = 1.0
    frequency: Any = 1.0


def waves(world: Waves) -> TaskFamily:
    """The family of a world's sinusoids; the world's numbers may be traced."""
    plain = sinusoid()

    def sample(key: Key) -> PyTree:
        width_key, key = jax.random.split(key)
        width = world.low + (world.high - world.low) * jax.random.uniform(width_key)
        phase, amplitude = width * world.phase_half, width * world.amplitude_half
        return sinusoid(
            phase=(world.phase - phase, world.phase + phase),
            amplitude=(world.amplitude - amplitude, world.amplitude + amplitude),
        ).sample(key)

    def batch(key: Key, task: PyTree) -> tuple[Batch, Batch]:
        def at(part: Batch) -> Batch:
            y = task["amplitude"] * jnp.sin(world.frequency * part["x"] + task["phase"])
            return {**part, "y": y}

        support, query = plain.batch(key, task)
        return at(support), at(query)

    return plain._replace(sample=sample, batch=batch)


def lesson(breadth: Any) -> TaskFamily:
    """The sinusoids of a lesson of some breadth, from 0, the narrow ranges, to 1, all of them."""
    width = PART + (1 - PART) * breadth
    return waves(Waves(math.pi / 2, math.pi / 2, 2.55, 2.45)._replace(low=width, high=width))


def worlds() -> np.ndarray:
    """The sinusoids at each spot, as the numbers of `Waves`, [spots, 7]."""
    wide = Waves(math.pi / 2, math.pi / 2, 2.55, 2.45)
    narrow = wide._replace(low=PART, high=PART)
    far = wide._replace(phase=1.5 * math.pi), wide._replace(amplitude=6.5, amplitude_half=1.5)
    return np.array([narrow, wide, *far], np.float32)


class InOrder(NamedTuple):
    """State of `in_order`.

    inner: the learner's state. stream: the key data of the lessons. order: a random order, int [iterations].
    """

    inner: MetaState
    stream: Array
    order: Array


def in_order(
    learner: MetaLearner,
    family_at: Callable[[Array], TaskFamily],
    course: Any,
    *,
    tasks: int,
    iterations: int,
) -> MetaLearner:
    """A meta-learner that is trained by a curriculum; it draws its own episodes, so `fit` needs no sampler.

    Args:
        learner: the meta-learner.
        family_at: ``family_at(breadth)``, the tasks of a breadth from 0 to 1.
        course: (first, last, order). Lesson i of n has the breadth first + (last - first) i / (n - 1), and
            tasks that depend only on the seed and on i. With order 0 the lessons come in their order, with 1
            backwards, with 2 in a random order. Courses with different orders thus have the same tasks.
        tasks: the number of tasks in a lesson.
        iterations: the number of lessons, and of meta-steps.

    Metrics: those of the learner; ``breadth`` of the lesson; ``size``, the mean square of its targets.
    """
    first, last, direction = course

    def lesson(stream: Array, i: Array) -> tuple[Episode, Array]:
        breadth = first + (last - first) * i / max(iterations - 1, 1)
        key = jax.random.fold_in(jax.random.wrap_key_data(stream), i)
        return draw(family_at(breadth), key, tasks), breadth

    def init(key: Key, batch: Any) -> InOrder:
        start, stream, order = jax.random.split(key, 3)
        stream = jax.random.key_data(stream)
        inner = learner.init(start, lesson(stream, jnp.int32(0))[0])
        return InOrder(inner, stream, jax.random.permutation(order, iterations).astype(jnp.int32))

    def step(key: Key, state: InOrder, batch: Any) -> tuple[InOrder, Metrics]:
        t = state.inner.taken
        i = jnp.where(direction == 0, t, jnp.where(direction == 1, iterations - 1 - t, state.order[t]))
        episodes, breadth = lesson(state.stream, i)
        inner, metrics = learner.step(key, state.inner, episodes)
        size = (episodes.query["y"] ** 2).mean()
        return state._replace(inner=inner), {**metrics, "breadth": breadth, "size": size}

    return MetaLearner(init, step, lambda state, *rest: learner.curve(state.inner, *rest))


def letters(seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Letters of each seed, uint8 [seeds, ...]: "training" [.., 2, 48, 10, size, size, 1], narrow and wide;
    "validation" and "test" [.., spots, 15, 10, size, size, 1], narrow, wide, and of unseen scripts.
    """
    tables = {script: glyphs(script, examples=10, size=SIZE).images for script in SCRIPTS}
    each = [split(tables, seed) for seed in seeds]
    return {name: np.stack([x[name] for x in each]) for name in each[0]}


def split(tables: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """The parts of `letters` for one seed; no training has a letter of its own tests, or an unseen one."""
    rng = np.random.default_rng([5, seed])
    scripts = [SCRIPTS[i] for i in rng.permutation(len(SCRIPTS))]
    mixed = {s: tables[s][rng.permutation(len(tables[s]))] for s in scripts}

    def seen(begin: int, end: int) -> list[np.ndarray]:
        wide = [mixed[s][begin // SEEN : end // SEEN] for s in scripts[:SEEN]]
        return [mixed[scripts[0]][begin:end], np.concatenate(wide)]

    def new(first: int, second: int) -> np.ndarray:
        one, other = (mixed[s] for s in scripts[SEEN:])
        return np.concatenate([one[first : first + 8], other[second : second + 7]])

    return {
        "training": np.stack(seen(0, CLASSES)),
        "validation": np.stack([*seen(CLASSES, CLASSES + 15), new(0, 0)]),
        "test": np.stack([*seen(CLASSES + 15, CLASSES + 30), new(8, 7)]),
    }


# The parts of the iterations of the longest training, by their divisor.
LENGTHS = {1: "", 2: ", half as long", 4: ", a quarter as long"}


def who(method: str, training: str = "", length: int = 1) -> str:
    """A method after a training of a length."""
    return f"{method} {training}{LENGTHS[length]}" if training else method


def at(spot: str, name: str) -> str:
    """The arm of what adapts at a spot."""
    return f"{spot}: {name}"


def best(training: str) -> str:
    """The better of a training's baselines."""
    return f"best non-meta, {training}"


def named(part: str, method: str, training: str, length: int) -> str:
    """The name under which a training's budget is recorded."""
    return f"{part}: {who(method, training, length)}"


def apart(context: Context, tables: np.ndarray) -> None:
    """Record how many of the test letters a training had, as "letters, narrow" and "letters, wide".

    Args:
        context: batches of its trainings hold the tasks of both.
        tables: the test letters of `letters`.
    """
    for i, t in enumerate((NARROW, WIDE)):
        new = tables[:, [i, 2]].reshape(len(tables), -1, SIZE, SIZE, 1) / np.float32(255)
        like = next(iter(courses(LETTERS, MAML, t)))
        seen = partial(jax.tree.map, lambda x, i=i: x[i])
        context.judged_on(f"{LETTERS}, {t}", new, trained_like=like, seen=seen, by_seed=True)


SIZES = "mean square of all targets"


def starts(part: str, lengths: Sequence[int]) -> dict[str, tuple[str, str, int]]:
    """All that adapt in a part: method, training, and the divisor of its iterations."""
    waves = part == WAVES
    trainings = (NARROW, WIDE, *CURRICULA) if waves else (NARROW, WIDE)
    each = [(MAML, t, n) for n in (lengths if waves else (1,)) for t in trainings]
    each += [(POOLED, t, 1) for t in (NARROW, WIDE)] + [(SCRATCH, "", 1)]
    return {who(*x): x for x in each}


def pairs(part: str, lengths: Sequence[int]) -> list[tuple[str, str]]:
    """What adapts, and where: out of range, and at full length where its training had its tasks."""
    found = []
    for name, (_, training, n) in starts(part, lengths).items():
        home = [f"{part}, {t}" for t in (NARROW, WIDE) if n == 1 and training in (t, "")]
        found += [(name, spot) for spot in (*home, *SPOTS[part][2:])]
    return found


def trained(
    context: Context,
    part: str,
    lengths: Sequence[int],
    iterations: int,
    tasks: int,
    tables: Mapping[str, np.ndarray],
) -> dict[str, PyTree]:
    """By name, the parameters to start from, leaves [seeds, starts, ...].

    Args:
        context: records what each training was given, and the targets of the curricula.
        part: sinusoids or letters.
        lengths: the divisors of the iterations; sinusoids only.
        iterations: of MAML. tasks: of an iteration. tables: see `letters`; none for sinusoids.
    """
    every, params, data = starts(part, lengths), {}, {}
    if part == LETTERS:
        data = {"sampler": both(tasks), "data": {}, "per_seed": {"images": tables["training"]}}
    for method, n in dict.fromkeys((method, n) for method, _, n in every.values()):
        those = {name: t or NARROW for name, (m, t, o) in every.items() if (m, o) == (method, n)}
        arms = {name: courses(part, method, t, n) for name, t in those.items()}
        cost = COSTS[part].get(method, 0)
        steps = iterations * COSTS[part][MAML] // (cost * n) if cost else 1
        fit = context.fit(
            partial(learner, part, method, tasks, steps),
            {k: c for each in arms.values() for k, c in each.items()},
            name=f"{method} on {part}{LENGTHS[n]}",
            steps=steps,
            **data,
        )
        for name, each in arms.items():
            params[name] = jax.tree.map(
                lambda *x: np.stack(x, 1), *(start_of(part, fit.arm(k)) for k in each)
            )
            context.given(f"{part}: {name}", {"gradients": steps * tasks * cost})
            if part == WAVES and n == 1 and those[name] in CURRICULA:
                sizes = [fit.table.curve(k, "size")[1].mean(1) for k in each]
                context.record(name, SIZES, np.mean(sizes, 0))
    return {name: params[name] for name in every}


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


def of_length(part: str, lengths: Sequence[int], n: int) -> list[str]:
    """The names of the trainings whose iterations have the divisor ``n``, for their budgets."""
    return [named(part, *x) for x in starts(part, lengths).values() if x[2] == n and x[0] != SCRATCH]


def candidates(part: str, steps: int) -> int:
    """The settings that every method chooses from: starts, rates, and 0 to ``steps`` steps."""
    return len(STARTS[part][MAML]) * len(RATES[part]) * (steps + 1)


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
