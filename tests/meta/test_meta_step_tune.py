"""The choice of candidates and their measures against plain NumPy: tasks, keys, and every number."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain import assert_trees_close, compiled
from scipy import stats
from tiny import fold_in, split, uniform, words

from lrn.config import config
from lrn.meta.episode import TaskFamily
from lrn.meta.evaluate import evaluator, per_seed_and_task
from lrn.meta.learner import MetaLearner
from lrn.meta.problem import Problem
from lrn.meta.tune import tuned

SEEDS, STEPS = (4, 5), 3
SHOTS = 2


@config
class Setting:
    """A candidate: the length of a step."""

    rate: float = 0.1


def family(shift: float = 0.0, name: str = "numbers") -> TaskFamily:
    """A family in which a task is a number drawn from its key, with examples drawn from another key."""

    def sample(key: Any) -> Any:
        return jax.random.uniform(key, minval=shift, maxval=1.0 + shift)

    def batch(key: Any, task: Any) -> Any:
        x = jax.random.uniform(key, (SHOTS + 3, 1))
        y = task + 0.1 * x
        return {"x": x[:SHOTS], "y": y[:SHOTS]}, {"x": x[SHOTS:], "y": y[SHOTS:]}

    return TaskFamily(name, sample, batch, 1, lambda task: task[None])


def drawn(key: np.ndarray, count: int, shift: float = 0.0) -> list[Any]:
    """The same tasks in NumPy: number, support and query x."""
    keys = split(key, (2, count))
    numbers = [uniform(k, (), shift, 1 + shift) for k in keys[0]]
    xs = [uniform(k, (SHOTS + 3, 1)) for k in keys[1]]
    return [(number, x[:SHOTS], x[SHOTS:]) for number, x in zip(numbers, xs)]


def learner_of(setting: Setting) -> MetaLearner:
    """A learner whose output after k steps depends on all of its arguments."""

    def curve(state: Any, support: Any, x: Any, code: Any, steps: int) -> Any:
        k = jnp.arange(steps + 1)[:, None, None]
        return state["w"] + setting.rate * k**2 * support["y"].mean() + 0.3 * x[None] + 0.05 * code[0] * k

    return MetaLearner(lambda key, episodes: (), lambda key, state, episodes: (state, {}), curve)


def score(outputs: Any, y: Any) -> Any:
    error = (outputs - y)[:, 0]
    return {"loss": error**2, "sign": jnp.sign(error) + jnp.abs(error)}


PROBLEM: Any = Problem(
    init=lambda key, x: ((), ()), features=lambda *_: jnp.zeros((1, 1)), head=lambda *_: jnp.zeros((1, 1)),
    loss=lambda outputs, y: jnp.zeros(()), score=score, outputs=1,
)  # fmt: skip


def scores_of(rate: float, w: float, task: Any) -> dict[str, np.ndarray]:
    """Means over the queries after 0 to ``STEPS`` steps."""
    number, support, x = task
    k = np.arange(STEPS + 1)[:, None]
    said = w + rate * k**2 * (number + 0.1 * support).mean() + 0.3 * x[:, 0] + 0.05 * number * k
    error = said - (number + 0.1 * x[:, 0])
    return {"loss": (error**2).mean(1), "sign": (np.sign(error) + abs(error)).mean(1)}


def table(rate: float, w: float, tasks: list[Any]) -> dict[str, np.ndarray]:
    """{name: [tasks, steps + 1]}."""
    each = [scores_of(rate, w, task) for task in tasks]
    return {name: np.stack([e[name] for e in each]) for name in ("loss", "sign")}


# Candidates so close to each other that the choice depends on the tasks.
RATES = (0.02, 0.09, 0.05, 0.03, 3.0)
STATES = [{"w": np.array([w, w + 0.1], np.float32)} for w in (0.42, 0.29, 0.36, 0.5, 0.45)]
BOUND = 0.2


def bounded(losses: np.ndarray) -> np.ndarray:
    return np.where(losses <= BOUND, losses, BOUND)


def choice(stream: int, count: int) -> np.ndarray:
    """The candidate of the least mean loss on tasks of this stream, for each number of steps."""
    losses = [
        np.mean([
            bounded(table(rate, float(states["w"][s]), drawn(fold_in(words(stream), seed), count))["loss"])
            for s, seed in enumerate(SEEDS)
        ], (0, 1))
        for rate, states in zip(RATES, STATES)
    ]  # fmt: skip
    return np.argmin(losses, 0)


@pytest.mark.parametrize("several", [False, True])
def test_it_chooses_on_one_stream_and_measures_on_another(several):
    """Stream 601 chooses and stream 600 judges; here the two streams would choose differently."""
    test = {"near": family(), "far": family(0.3)} if several else family()
    tuning = tuned(
        learner_of, PROBLEM, [(Setting(r), s) for r, s in zip(RATES, STATES)], SEEDS,
        validation=family(), test=test, steps=STEPS, validation_tasks=6, test_tasks=5, tasks_at_once=2,
        diverged_above=BOUND,
    )  # fmt: skip
    chosen = choice(601, 6)
    assert len(set(chosen.tolist())) > 1
    assert (chosen != choice(600, 6)).any()
    assert (chosen != choice(601, 5)).any()
    np.testing.assert_array_equal(tuning.pop("chosen"), chosen)
    expected = {}
    for prefix, shift in {"near: ": 0.0, "far: ": 0.3}.items() if several else [("", 0.0)]:
        values: Any = {"loss": [], "sign": [], "diverged": []}
        for s, seed in enumerate(SEEDS):
            tasks = drawn(fold_in(words(600), seed), 5, shift)
            of = [table(RATES[c], float(STATES[c]["w"][s]), tasks) for c in chosen]
            loss, sign = (np.stack([of[k][n][:, k] for k in range(STEPS + 1)]) for n in ("loss", "sign"))
            values["loss"].append(bounded(loss).mean(1))
            values["sign"].append(sign.mean(1))
            values["diverged"].append((loss > BOUND).mean(1))
        expected |= {prefix + name: np.stack(value) for name, value in values.items()}
    assert any(0 < d < 1 for name, v in expected.items() if "diverged" in name for d in v.ravel())
    assert_trees_close(tuning, expected)


def test_every_task_of_every_seed_is_of_the_stream_to_be_judged_by():
    tuning = per_seed_and_task(
        learner_of, PROBLEM, Setting(0.3), STATES[0], family(), SEEDS, tasks=4, steps=STEPS, tasks_at_once=3
    )
    each = [
        table(0.3, float(w), drawn(fold_in(words(600), seed), 4)) for w, seed in zip(STATES[0]["w"], SEEDS)
    ]
    assert_trees_close(tuning, {name: np.stack([e[name] for e in each]) for name in ("loss", "sign")})


@pytest.mark.parametrize("bound", [0.205, 1e-9, None])
def test_an_evaluation_measures_fresh_tasks_of_its_key(bound):
    """Means, Student's intervals and medians of the tasks that have not diverged, and how many have."""
    options = {} if bound is None else {"diverged_above": bound}
    evaluate = evaluator(
        lambda setting: PROBLEM, lambda data: family(data), tasks=7, at=(3, 0), tasks_at_once=2,
        **options,
    )  # fmt: skip
    args = Setting(0.1), jax.random.key(9), {"w": np.float32(0.3)}
    found = compiled(lambda *args: evaluate(learner_of(args[0]), *args, 0.2), *args)(*args)  # pyright: ignore
    scores, expected = table(0.1, 0.3, drawn(words(9), 7, 0.2)), {}
    for k in (3, 0):
        fine = scores["loss"][:, k] <= (1e6 if bound is None else bound)
        expected[f"diverged@{k}"] = 1 - fine.mean()
        for name, values in scores.items():
            some = values[fine, k]
            some = some if len(some) else np.full(2, np.nan)
            expected[f"{name}@{k}"], expected[f"{name}@{k} median"] = some.mean(), np.median(some)
            error = some.std(ddof=1) / np.sqrt(len(some))
            expected[f"{name}@{k} halfwidth"] = stats.t.ppf(0.975, len(some) - 1) * error
    if bound == 0.205:
        # Two tasks are left, the least number for a spread.
        np.testing.assert_allclose(expected["diverged@3"], 5 / 7)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-4, err_msg=name)
