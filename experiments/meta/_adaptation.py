"""One procedure by which MAML and the specialist adapt to a task, and the record of what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.meta import _points as points
from experiments.meta._points import CLASSES, TEST, VALIDATION, WAVES, Place, Tasks, drawn
from lrn.meta.mislead import wrong_support
from lrn.study import Control
from lrn.study.context import Context
from lrn.study.controls import equal_budgets, no_overlap, own_state
from lrn.study.curves import crossing
from lrn.study.select import interior_choice, select
from lrn.types import Array, Params

BATCH = 20  # points in a step of adaptation
# SGD at a constant rate, as in MAML's inner loop, or Adam at a constant rate.
RATES = {
    WAVES: {"sgd": (1e-3, 3e-3, 1e-2, 3e-2), "adam": (1e-3, 3e-3, 1e-2, 3e-2)},
    CLASSES: {"sgd": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1), "adam": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)},
}
TAIL = 8.0  # the averaged weights are those of about the last 1 / (1 + TAIL) of the steps

MAML, SPECIALIST = "MAML", "specialist"
METHODS = (MAML, SPECIALIST)
FEW_STEPS, TUNED, UNEQUAL = 10, "tuned steps", "10 steps against tuned steps"
KNOWN, NOTHING, WRONG = "who knows the family", "who knows nothing", "MAML, another task's points"
ERROR, LEAD, ENDS, RATIO = "log10 error", "log10 lead", "points at which the lead ends", "error over theory"
LATE, STEPS, ALONG = "log10 error that the last steps save", "steps", "log10 error by steps"


class Setting(NamedTuple):
    """How a network adapts to a task.

    points: the number N of labeled points. adam: whether Adam makes the steps, else SGD. rate: of the steps.
    limit: the number of steps after which the weights stay.
    """

    points: Any
    adam: Any
    rate: Any
    limit: Any


def adapted(place: Place, params: Params, task: Tasks, setting: Setting, menu: Any) -> tuple[Array, Array]:
    """The log10 error of one task after each number of steps of a menu [n], and the number of steps taken.

    Batches cycle through the points, which are in random order. The weights that are judged are averages
    (Shamir and Zhang 2013), so that no rate has to fall and one adaptation serves all numbers of steps.
    """
    moments, support = optax.scale_by_adam(), task.episodes.support

    def loss(params: Params, batch: Any) -> Array:
        return place.problem.loss_on(params, (), batch, batch)

    def step(i: Any, carry: Any) -> Any:
        params, opt_state, mean, taken = carry
        index = (i * BATCH + jnp.arange(BATCH)) % setting.points
        gradient = jax.grad(loss)(params, jax.tree.map(lambda a: a[index], support))
        direction, opt_state = moments.update(gradient, opt_state)
        direction = jax.tree.map(lambda d, g: jnp.where(setting.adam, d, g), direction, gradient)
        params = jax.tree.map(lambda p, d: p - setting.rate * d, params, direction)
        share = (TAIL + 1) / (i + 1 + TAIL)
        mean = jax.tree.map(lambda m, p: m + share * (p - m), mean, params)
        return params, opt_state, mean, taken + 1

    def stretch(carry: Any, ends: Any) -> Any:
        carry = jax.lax.fori_loop(ends[0], jnp.minimum(ends[1], setting.limit), step, carry)
        outputs = place.problem.predict(carry[2], (), support, task.episodes.query["x"])
        return carry, place.log10_error(outputs, task.truth)

    menu = jnp.asarray(menu, jnp.int32)
    begin = (params, moments.init(params), params, jnp.int32(0))
    end, errors = jax.lax.scan(stretch, begin, (jnp.concatenate([jnp.zeros(1, jnp.int32), menu[:-1]]), menu))
    return errors, end[-1]


def errors_of(place: Place, menu: Any, count: int) -> Callable[[Any, Any], dict[str, Array]]:
    """A program for one seed, compiled once: settings, with points and limits of steps, are arrays.

    Returns:
        ``program((params, seed), (setting, stream, wrong))``: "error" [tasks, menu], "taken" [tasks]. With
        ``wrong`` 1 each task adapts to the points of another task.
    """

    def program(own: Any, shared: Any) -> dict[str, Array]:
        (params, seed), (setting, stream, wrong) = own, shared
        tasks = drawn(place, seed, stream, count)
        tasks = tasks._replace(episodes=wrong_support(tasks.episodes, wrong))
        errors, taken = jax.vmap(lambda task: adapted(place, params, task, setting, menu))(tasks)
        return {"error": errors, "taken": taken}

    return program


class Method(NamedTuple):
    """A method's adaptation to all tasks of a family.

    rates: of the family, by optimizer. program: `errors_of` over the seeds, see
    `lrn.study.context.Context.over_seeds`. start: weights, leaves [seeds, ...]. seeds: uint32.
    counts, longest: numbers of points, and the largest number of steps with each. steps: the menu of
    `errors_of`. streams: of test tasks.
    """

    rates: Mapping[str, Sequence[float]]
    program: Callable[[Any, Any], dict[str, np.ndarray]]
    start: Params
    seeds: np.ndarray
    counts: Sequence[int]
    longest: Sequence[int]
    steps: Sequence[int]
    streams: int

    def tried(self, i: int, place: Sequence[int], limit: int, stream: int, wrong: bool) -> Any:
        """Errors [menu, seeds] and steps [seeds] with the i-th number of points by one setting."""
        kind, rate = place[:2]
        name = list(self.rates)[kind]
        numbers = np.int32(self.counts[i]), np.bool_(name == "adam"), np.float32(self.rates[name][rate])
        shared = Setting(*numbers, np.int32(limit)), np.uint32(stream), np.bool_(wrong)
        found = self.program((self.start, self.seeds), shared)
        return found["error"].mean(1).T, found["taken"].sum(1)

    def validated(self, i: int) -> dict[str, np.ndarray]:
        """Validation errors [optimizers, rates, menu, seeds]; "taken" [seeds], all steps."""
        sizes = len(self.rates), len(self.rates["sgd"])
        tried = [self.tried(i, at, self.longest[i], VALIDATION, False) for at in np.ndindex(*sizes)]
        errors = np.array([e for e, _ in tried]).reshape(*sizes, len(self.steps), -1)
        menu = sum(n <= self.longest[i] for n in self.steps)
        return {"errors": errors[:, :, :menu], "taken": np.sum([t for _, t in tried], 0)}

    def tested(self, i: int, place: Sequence[int], limit: int, wrong: bool = False) -> dict[str, np.ndarray]:
        """Errors on test tasks by one setting, [menu, seeds]; "taken" [seeds], all steps.

        Args:
            i: the place of the number of points.
            place: the setting by its indices in `validated`: optimizer, rate, and what follows.
            limit: the number of steps.
            wrong: whether each task has the points of another task.
        """
        tried = [self.tried(i, place, limit, TEST + s, wrong) for s in range(self.streams)]
        return {"errors": np.mean([e for e, _ in tried], 0), "taken": np.sum([t for _, t in tried], 0)}


def at(family: str, what: str, steps: str | int = TUNED) -> str:
    """The name of an arm: a method or a lead, with its number of steps."""
    said = f"{steps} steps" if isinstance(steps, int) else steps
    return f"{family}: {what}, {said}".removesuffix(", ")


def apart(config: Any, context: Context, place: Place, judged: Any, trained: Any) -> None:
    """Record what the controls read: whose weights are judged, and on which tasks."""
    arm = at(place.name, MAML)
    context.judged_state(arm, judged, trained)
    own = points.shown(place, np.asarray(context.seeds, np.uint32), config.tasks, config.streams)
    context.judged_on(arm, own["test"], seen=lambda batch: batch.support["x"], by_seed=True)
    specialist = at(place.name, SPECIALIST)
    context.judged_on(specialist, own["test"], trained_on=own["validation"], by_seed=True)


def judged(
    config: Any, context: Context, family: str, i: int, methods: dict[str, Method]
) -> dict[str | int, np.ndarray]:
    """Record errors with the i-th number of points; MAML's leads [seeds] by number of steps."""
    n, menu, errors = config.counts[i], config.menu(family, i), {}
    names = {m: at(family, f"{m}, N = {n}", "") for m in METHODS}
    seen = {m: context.once(f"{names[m]} validation", partial(methods[m].validated, i)) for m in METHODS}
    scores = {m: x["errors"] for m, x in seen.items()}
    choices: dict[str | int, Any] = {TUNED: select(scores, "lower", free=(0,))}
    for k in config.equal:
        choices[k] = select({m: x[..., menu.index(k), :] for m, x in scores.items()}, "lower", free=(0,))
    fewer = select({m: x[..., :-1, :] for m, x in scores.items()}, "lower", free=(0,))
    for m in METHODS:
        best = choices[TUNED][m].place
        context.chosen(names[m], choices[TUNED][m], scores[m][..., 0].size)
        context.record(names[m], LATE, scores[m][fewer[m].place] - scores[m][best])
        context.record(names[m], STEPS, np.full(len(context.seeds), menu[best[-1]]))
        context.given(at(family, m), {"gradient steps": seen[m]["taken"]})
        for steps, choice in choices.items():
            last, limit = (best[-1], menu[-1]) if steps == TUNED else (menu.index(int(steps)), int(steps))
            judge = partial(methods[m].tested, i, choice[m].place, limit)
            found = context.once(f"{names[m]} {steps}", judge)
            errors[m, steps] = found["errors"][last]
            context.given(at(family, m), {"gradient steps": found["taken"]})
            context.record(at(family, m, steps), ERROR, errors[m, steps], step=n)
            if steps == TUNED and n == config.counts[-1]:
                for k, values in zip(menu, found["errors"]):
                    context.record(at(family, m), ALONG, values, step=k)
        if m == MAML and n == config.few:
            wrong = context.once(f"{names[m]} wrong", partial(methods[m].tested, i, best, menu[-1], True))
            context.record(at(family, WRONG, ""), ERROR, wrong["errors"][best[-1]], step=n)
    leads = {steps: errors[SPECIALIST, steps] - errors[MAML, steps] for steps in choices}
    leads[UNEQUAL] = errors[SPECIALIST, TUNED] - errors[MAML, FEW_STEPS]
    for steps, values in leads.items():
        context.record(at(family, LEAD, steps), LEAD, values, step=n)
    return leads


def ended(config: Any, context: Context, family: str, leads: Sequence[dict[str | int, np.ndarray]]) -> None:
    """Record where MAML's leads end, from the results of `judged` for each number of points."""
    for steps in leads[0]:
        ends = 10 ** crossing(np.log10(config.counts), np.array([lead[steps] for lead in leads]).T)
        # A lead that lasts to the last number of points, or that never is, stays censored.
        ends = np.clip(ends, config.counts[0], config.counts[-1])
        context.record(at(family, LEAD, steps), ENDS, ends)


def marked(config: Any, context: Context, place: Place) -> None:
    """Record the errors of who knows the family and of who knows nothing."""
    marks = partial(points.yardsticks, place, config.counts, config.tasks, config.streams)
    seeds = np.asarray(context.seeds, np.uint32)
    found = context.per_seed(f"{place.name}: yardsticks", lambda seed, _: marks(seed), seeds)
    context.record(at(place.name, KNOWN, ""), RATIO, found["ratio"])
    for i, n in enumerate(config.counts):
        context.record(at(place.name, KNOWN, ""), ERROR, found["known"][:, i], step=n)
        context.record(at(place.name, NOTHING, ""), ERROR, found["nothing"][:, i], step=n)


def alike(config: Any, family: str) -> list[Control]:
    """Equal steps and candidates, choices inside of their menus, test tasks that nobody has seen."""
    chosen = [[at(family, f"{m}, N = {n}", "") for m in METHODS] for n in config.counts]
    arms = [at(family, m) for m in METHODS]
    found = [equal_budgets("gradient steps", arms)]
    found += [equal_budgets("candidates", both) for both in chosen]
    found += [interior_choice(arm) for both in chosen for arm in both]
    return [*found, *map(no_overlap, arms), own_state(at(family, MAML))]
