"""The driver against a plain Python loop: keys, seeds, arms, windows, evaluations, failures and folders.

The learner `recorder` learns nothing. Its metrics are bits of its keys and the numbers that it gets, so a
wrong key, batch, config, seed, data, state or step changes a metric.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import stat
import time
from collections import namedtuple
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.core import Tracer
from test_train import Stop, StopAfter
from toy import ToyConfig, same, toy, toy_data, toy_sampler

from lrn import check, files, train
from lrn.config import config
from lrn.supervised.learner import SupervisedConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.table import Table
from lrn.train import checkpoint, warn
from lrn.train.pace import Pace, chunk_seconds
from lrn.types import Learner, Mean, Sampler

SEEDS = (5, 3, 2**32 - 1)
STEPS, LOG, EVAL = 23, 5, 4
SHARED, OWN = np.array([2.0, 7.0], np.float32), np.array([10.0, 20.0, 30.0], np.float32)


@config
class Arm:
    """The config of an arm: ``x`` can be swept, ``kind`` cannot."""

    x: float = 1.0
    kind: str = "plain"


ARMS = {"one": Arm(1.0), "two": Arm(2.0)}


class Seen(NamedTuple):
    """The state of `recorder`: what a lane was given.

    init: bits of the key of ``init``.
    first: the number in the first batch.
    x: the ``x`` of the config.
    count: the number of steps done.
    last: bits of the key of the last step.
    """

    init: Any
    first: Any
    x: Any
    count: Any
    last: Any


def bits(key: Any) -> Any:
    """Twenty bits of a key as a float, which represents them exactly."""
    return (jax.random.key_data(key)[..., 1] & 0xFFFFF).astype(jnp.float32)


def recorder(config: Arm) -> Learner:
    """A learner that learns nothing and reports what it is given."""

    def init(key, batch):
        return Seen(bits(key), batch["bits"] + batch["own"], config.x * 1.0, jnp.int32(0), jnp.float32(0))

    def step(key, state, batch):
        n = state.count
        weight = jnp.where(n % 4 == 1, 1.0 + n, 0.0)  # the weighted mean of a window is not its plain mean
        metrics = {
            "key": bits(key),
            "batch": batch["bits"],
            "given": 100 * config.x + batch["own"] + batch["shared"],
            "count": n,
            "some": Mean(bits(key), weight),
            "never": Mean(jnp.float32(jnp.nan), jnp.float32(0)),
        }
        return state._replace(count=n + 1, last=bits(key)), metrics

    return Learner(init, step)


def _draw(key, data):
    return {"bits": bits(key), "own": data["own"], "shared": data["shared"].sum()}


def measure(learner, config, key, state, data):
    return {
        "eval key": bits(key),
        "eval count": state.count,
        "eval given": 100 * config.x + data["own"] + data["shared"][1],
    }


def fit(factory: Any = recorder, arms: Any = ARMS, seeds: Any = SEEDS, **options: Any) -> train.Fit:
    settings = {
        "steps": STEPS, "data": {"shared": SHARED}, "per_seed": {"own": OWN}, "sampler": Sampler(_draw),
        "evaluate": measure, "eval_every": EVAL, "log_every": LOG, "progress": False,
    }  # fmt: skip
    return train.fit(factory, arms, seeds, **(settings | options))


def stream(seed: int, which: int, step: int | None = None) -> Any:
    key = jax.random.fold_in(jax.random.key(np.uint32(seed)), which)
    return key if step is None else jax.random.fold_in(key, step)


def test_a_samplers_check_sees_the_data_of_each_seed():
    """The check runs before anything compiles; without ``per_seed`` it gets the shared data once."""
    seen: list[dict[str, Any]] = []

    def check(data):
        seen.append(data)
        if len(seen) == 2:
            raise ValueError("the second seed's data")

    with pytest.raises(ValueError, match="the second seed's data"):
        fit(sampler=Sampler(_draw, check=check))
    for data, own in zip(seen, OWN):
        np.testing.assert_array_equal(data["own"], own)
        np.testing.assert_array_equal(data["shared"], SHARED)

    def refuse(data):
        raise ValueError(f"shared alone: {sorted(data)}")

    with pytest.raises(ValueError, match=r"shared alone: \['shared'\]"):
        fit(sampler=Sampler(_draw, check=refuse), per_seed=None)


@pytest.fixture(scope="module")
def by_hand():
    """From a Python loop: rows {(arm, seed, step, metric): value} and final states [arms, seeds, fields]."""
    rows: dict[tuple[str, int, int, str], float] = {}
    states = np.zeros((len(ARMS), len(SEEDS), 5))
    for s, seed in enumerate(SEEDS):
        splits = [jax.random.split(stream(seed, 1, t)) for t in range(STEPS)]
        keys, batches = ([float(bits(pair[i])) for pair in splits] for i in (1, 0))
        looks = {t: float(bits(stream(seed, 2, t))) for t in (*range(0, STEPS, EVAL), STEPS)}
        batch, init = map(float, bits(jax.random.split(stream(seed, 0))))
        for a, (arm, x) in enumerate((("one", 1.0), ("two", 2.0))):
            states[a, s] = init, batch + OWN[s], x, STEPS, keys[-1]
            for start in range(0, STEPS, LOG):
                window = range(start, min(start + LOG, STEPS))
                weights = {t: 1.0 + t for t in window if t % 4 == 1}
                values = {
                    "key": np.mean([keys[t] for t in window]),
                    "batch": np.mean([batches[t] for t in window]),
                    "given": 100 * x + OWN[s] + 9,
                    "count": np.mean(window),
                }
                if weights:
                    values["some"] = sum(keys[t] * w for t, w in weights.items()) / sum(weights.values())
                rows |= {(arm, seed, window[-1] + 1, m): float(v) for m, v in values.items()}
            for t, look in looks.items():
                rows[arm, seed, t, "eval key"] = look
                rows[arm, seed, t, "eval count"] = t
                rows[arm, seed, t, "eval given"] = 100 * x + float(OWN[s]) + 7
    return rows, states


def rows_of(result: train.Fit) -> dict[tuple[str, int, int, str], float]:
    table = result.table
    keys = list(zip(*(column.tolist() for column in table[:4])))
    assert len(set(keys)) == len(keys)
    assert (np.diff(table.step) >= 0).all()
    return dict(zip(keys, table.value.tolist()))


def assert_as_by_hand(result: train.Fit, by_hand: Any) -> None:
    rows, states = by_hand
    measured = rows_of(result)
    assert set(measured) == set(rows)
    for key, value in rows.items():
        np.testing.assert_allclose(measured[key], value, rtol=1e-6, err_msg=str(key))
    np.testing.assert_array_equal(np.stack(jax.tree.leaves(result.state), -1), states)
    assert (result.arms, result.seeds, result.failures) == (("one", "two"), SEEDS, [])


@pytest.fixture(scope="module")
def whole():
    return fit()


@pytest.mark.parametrize("chunk", [None, 1, 6])
def test_every_number_is_that_of_a_loop(chunk, whole, by_hand):
    assert_as_by_hand(whole if chunk is None else fit(chunk=chunk), by_hand)


def test_without_eval_every_it_evaluates_at_the_end_alone(by_hand):
    rows = {k for k in by_hand[0] if not k[3].startswith("eval") or k[2] == STEPS}
    assert set(rows_of(fit(eval_every=None))) == rows


def test_arms_and_lanes_are_found_by_name_and_seed(whole):
    for a, x in enumerate((1.0, 2.0)):
        assert whole.arm(whole.arms[a]).x.tolist() == [x] * 3
    lane = whole.lane("two", 3)
    assert (float(lane.x), lane.first - whole.lane("one", 3).first) == (2.0, 0.0)
    assert same(lane, jax.tree.map(lambda leaf: leaf[1, 1], whole.state))
    for wrong, sentence in (
        (("two", 4), "seed 4 was not trained; choose from 5, 3"),
        (("tow", 3), "mean two"),
    ):
        with pytest.raises(check.InputError, match=sentence):
            whole.lane(*wrong)


def test_more_windows_than_one_call_returns():
    """3500 steps in windows of 3 are more than 1024 windows; each mean is that of its three steps."""
    result = fit(arms=Arm(), seeds=[0], per_seed={"own": OWN[:1]}, steps=3500, log_every=3, chunk=3500,
                eval_every=None, save_every=None)  # fmt: skip
    steps, values = result.table.curve("default", "count")
    assert steps.tolist() == [*range(3, 3500, 3), 3500]
    np.testing.assert_allclose(values[0, :-1], np.arange(1, 3498, 3), rtol=1e-6)
    assert values[0, -1] == 3498.5


@pytest.mark.parametrize("chunks", [1, 4, 8])
def test_a_training_that_is_killed_anywhere_ends_the_same(chunks, whole, tmp_path):
    """Chunks end at 3, 4, 6, 8, 9, ...; the training saves at multiples of 3 and stops after one chunk."""
    with pytest.raises(Stop):
        fit(folder=tmp_path, chunk=3, save_every=3, sinks=[StopAfter(chunks)])
    resumed = fit(folder=tmp_path, chunk=5)
    assert same(resumed.state, whole.state)
    assert same(resumed.table, whole.table)


class Kept:
    """A sink that keeps the tables it gets."""

    def __init__(self):
        self.tables = []

    def write(self, table):
        self.tables.append(table)

    def close(self):
        pass


def test_sinks_get_each_row_once(whole):
    sink = Kept()
    fit(sinks=[sink], chunk=6)
    assert same(Table(*(np.concatenate(c) for c in zip(*sink.tables))), whole.table)
    assert len(sink.tables) > 3


def saves(monkeypatch, **options: Any) -> list[int]:
    """The steps at which a training saves."""
    saved_at = []
    save = checkpoint.save

    def recorded(folder, step, *rest):
        saved_at.append(step)
        return save(folder, step, *rest)

    monkeypatch.setattr(checkpoint, "save", recorded)
    fit(**options)
    return saved_at


def test_it_saves_at_multiples_and_at_the_end(monkeypatch, tmp_path):
    assert saves(monkeypatch, folder=tmp_path, save_every=9, eval_every=None) == [9, 18, 23]


def test_it_saves_by_time(monkeypatch, tmp_path):
    saved_at = saves(monkeypatch, folder=tmp_path, save_seconds=1e-6, chunk=10, eval_every=None)
    assert saved_at == [10, 20, 23]


def test_it_saves_at_the_end_in_any_case(monkeypatch, tmp_path):
    assert saves(monkeypatch, folder=tmp_path, save_seconds=1e6, chunk=5) == [23]


# Ways to fail. All faults are floats of one program.


@config
class Faults:
    """For each number of `faulty`, the step at which it becomes ``value``; -1 for never."""

    metric: float = -1.0
    other: float = -1.0
    hidden: float = -1.0
    state: float = -1.0
    best: float = -1.0
    fresh: float = -1.0
    evaluation: float = -1.0
    value: float = float("nan")


def faulty(config: Faults) -> Learner:
    def init(key, batch):
        del key, batch
        # "best" begins at infinity, like a best-so-far; "count" is no float; "empty" has no numbers.
        return {
            "best": jnp.array([jnp.inf, 0.0]),
            "count": jnp.int32(0),
            "empty": jnp.zeros((0,)),
            "w": jnp.where(config.state == 0.0, config.value, jnp.zeros(2)),
        }

    def step(key, state, batch):
        del key, batch
        n = state["count"] + 1
        at = lambda when, good: jnp.where(n == when, config.value, good)  # noqa: E731
        hidden = Mean(at(config.hidden, 1.0), jnp.where(n == config.hidden, 0.0, 1.0))
        metrics = {"metric": at(config.metric, 1.0), "other": at(config.other, 2.0), "hidden": hidden}
        kept = jnp.where(n == config.fresh, -jnp.inf, state["best"][1])
        best = state["best"].at[1].set(at(config.best, kept))
        return {**state, "best": best, "count": n, "w": at(config.state, state["w"])}, metrics

    return Learner(init, step)


def judge(learner, config, key, state, data):
    return {"score": jnp.where(state["count"] == config.evaluation, config.value, 1.0)}


INF = float("inf")
WAYS: dict[str, tuple[Faults, tuple[int, str] | None]] = {
    "none": (Faults(), None),
    "an infinite metric": (Faults(metric=3, value=INF), (3, "metric")),
    "one that is -inf": (Faults(metric=1, value=-INF), (1, "metric")),
    "a NaN at the last step": (Faults(metric=9), (9, "metric")),
    "two, the later one first in order": (Faults(metric=6, other=5), (5, "other")),
    "two at once": (Faults(metric=2, other=2), (2, "metric, other")),
    "what was not measured": (Faults(hidden=3), None),
    "the state, seen when it is looked at": (Faults(state=2), (4, "state")),
    "the state at the end": (Faults(state=9, value=INF), (9, "state")),
    "the state from the start": (Faults(state=0), (4, "state")),
    "an infinity where one began": (Faults(fresh=2), None),
    "a NaN where an infinity began": (Faults(best=5), (8, "state")),
    "an evaluation": (Faults(evaluation=8, value=-INF), (8, "score")),
    "the first evaluation": (Faults(evaluation=0), (0, "score")),
    "a metric, then an evaluation": (Faults(metric=3, evaluation=4), (3, "metric")),
    "an evaluation, then a metric": (Faults(metric=5, evaluation=4), (4, "score")),
    "the state and the evaluation at once": (Faults(state=3, evaluation=4), (4, "state")),
}


def test_every_way_to_fail():
    said: list[str] = []
    result = train.fit(
        faulty, {name: faults for name, (faults, _) in WAYS.items()}, [7, 8], steps=9, evaluate=judge,
        eval_every=4, log_every=2, chunk=3, progress=False, on_event=said.append, name="it",
    )  # fmt: skip
    expected = [
        train.Failure(name, seed, *failure)
        for name, (_, failure) in WAYS.items()
        if failure
        for seed in (7, 8)
    ]
    assert sorted(result.failures) == sorted(expected)
    assert [f.step for f in result.failures] == sorted(f.step for f in expected)
    assert len(said) == len(expected)
    assert said[0] == (
        "it: arm the first evaluation, seed 7 became non-finite at step 0 (score); "
        "it is recorded as failed and the others go on."
    )
    steps, values = result.table.curve("an infinite metric", "metric")
    assert steps.tolist() == [2, 4, 6, 8, 9]
    np.testing.assert_array_equal(values, [[1, np.nan, 1, 1, 1]] * 2)
    assert result.table.curve("what was not measured", "hidden")[1].tolist() == [[1] * 5] * 2


def test_a_failure_is_known_after_a_resume_and_the_infinity_at_the_start_too(tmp_path):
    arms = {name: WAYS[name][0] for name in ("an infinite metric", "an infinity where one began")}
    options: dict[str, Any] = dict(log_every=2, folder=tmp_path, progress=False)
    train.fit(faulty, arms, [7], steps=4, **options, on_event=lambda _: None)
    said: list[str] = []
    longer = train.fit(faulty, arms, [7], steps=8, **options, on_event=said.append)
    assert longer.failures == [train.Failure("an infinite metric", 7, 3, "metric")]
    assert said == []


def test_a_learner_without_metrics_or_floats_trains_too():
    def learner(config):
        return Learner(lambda key, batch: jnp.int32(0), lambda key, state, batch: (state + 1, {}))

    result = train.fit(learner, Arm(), [0, 1], steps=5, progress=False)
    assert result.state.tolist() == [[5, 5]]
    assert (result.failures, len(result.table.value)) == ([], 0)


# The identity of a training in a folder.


def _other_draw(key, data):
    return {**_draw(key, data), "shared": data["shared"].max()}


TABLE = np.arange(3000, dtype=np.float32)


def closes_over(numbers: np.ndarray, inner: bool) -> Any:
    """A factory of recorders that close over an array, in a jitted inner function if ``inner``."""

    def factory(config):
        plain = recorder(config)
        read = lambda n: jnp.asarray(numbers)[n]  # noqa: E731

        def step(key, state, batch):
            state, metrics = plain.step(key, state, batch)
            return state, {**metrics, "read": (jax.jit(read) if inner else read)(state.count)}

        return Learner(plain.init, step)

    return factory


def other_init(config):
    plain = recorder(config)
    return Learner(lambda key, batch: plain.init(key, batch)._replace(last=jnp.float32(1)), plain.step)


def one_more(*args):
    return {**measure(*args), "more": jnp.zeros(())}


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "name": (dict(name="other"), "name, fit there and other here"),
    "arms' names": (dict(arms={"one": Arm(1.0), "three": Arm(2.0)}), r"arms, \['one', 'two'\] there and "),
    "a config": (dict(arms={"one": Arm(1.0), "two": Arm(2.1)}), "differs: the configs"),
    "a NaN for a number": (dict(arms={"one": Arm(1.0), "two": Arm(float("nan"))}), "differs: the configs"),
    "a static setting": (
        dict(arms={"one": Arm(1.0, "other"), "two": Arm(2.0, "other")}),
        "differs: the static settings or the form of the state",
    ),
    "the order of arms": (dict(arms=dict(reversed(ARMS.items()))), r"arms, \['one', 'two'\]"),
    "a seed": (dict(seeds=(5, 3, 4)), r"seeds, \[5, 3, 4294967295\] there and \[5, 3, 4\] here"),
    "the order of seeds": (dict(seeds=(3, 5, 2**32 - 1)), "seeds, "),
    "log_every": (dict(log_every=4), "differs: log_every, 5 there and 4 here"),
    "eval_every": (dict(eval_every=5), "differs: eval_every, 4 there and 5 here"),
    "no eval_every": (dict(eval_every=None), "eval_every, 4 there and None here"),
    "the data": (dict(data={"shared": SHARED + 1}), "differs: the data"),
    "one seed's data": (dict(per_seed={"own": OWN + np.eye(3)[2].astype(np.float32)}), "differs: the data"),
    "the sampler": (dict(sampler=Sampler(_other_draw)), "what a step computes"),
    "the learner": (dict(factory=closes_over(TABLE, False)), "what a step computes"),
    "init": (dict(factory=other_init), "differs: what init computes"),
    "the evaluation": (dict(evaluate=one_more), "differs: the evaluation"),
    "no evaluation": (dict(evaluate=None, eval_every=None), "the evaluation"),
}


@pytest.fixture(scope="module")
def four_steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("four")
    fit(folder=folder, steps=4)
    return folder


@pytest.mark.parametrize("case", OTHERS)
def test_another_training_is_refused_and_what_differs_is_named(case, four_steps):
    options, sentence = OTHERS[case]
    before = {f: f.stat().st_mtime_ns for f in four_steps.rglob("*") if f.is_file()}
    with pytest.raises(check.InputError, match="holds another training .*" + sentence) as raised:
        fit(folder=four_steps, **{"steps": 4, **options})
    assert "\n" not in str(raised.value)
    assert before == {f: f.stat().st_mtime_ns for f in four_steps.rglob("*") if f.is_file()}


def test_the_same_training_is_taken_up(four_steps):
    """Chunks, saves, sinks and devices change no number, so they may differ."""
    again = fit(folder=str(four_steps), steps=4, chunk=2, save_every=3, save_seconds=5, sinks=[Kept()],
                devices=jax.devices()[:1])  # fmt: skip
    assert again.timing["compile"] == again.timing["train"] == 0
    assert again.memory == {}


@pytest.mark.parametrize("inner", [False, True])
def test_arrays_that_are_closed_over_are_known_at_any_depth(inner, tmp_path):
    def train_on(numbers):
        options: dict[str, Any] = dict(arms=Arm(), seeds=[0], per_seed={"own": OWN[:1]}, eval_every=None)
        return fit(closes_over(numbers, inner), folder=tmp_path, steps=2, **options)

    train_on(TABLE)
    assert train_on(TABLE).timing["train"] == 0
    with pytest.raises(check.InputError, match="what a step computes"):
        train_on(TABLE + (TABLE == 7))


def test_a_folder_of_something_else_is_refused(tmp_path):
    checkpoint.save(tmp_path, 1, {"x": np.zeros(3)}, {"names": ["x"]})
    with pytest.raises(check.InputError, match="holds another training"):
        fit(folder=tmp_path, steps=4)


# Longer trainings, locks of folders, and wrong arguments.


def test_a_longer_training_keeps_the_default_log_every(tmp_path):
    """The default of ``log_every`` is 1 for 100 steps and 3 for 300; a resumed training keeps the 1."""
    options: dict[str, Any] = dict(folder=tmp_path, log_every=None, eval_every=None, evaluate=None)
    fit(steps=100, **options)
    longer = fit(steps=300, **options)
    assert longer.timing["train"] > 0
    plain = fit(steps=300, log_every=1, eval_every=None, evaluate=None)
    assert same(longer.state, plain.state)
    assert same(longer.table, plain.table)
    with pytest.raises(check.InputError, match="log_every, 1 there and 3 here"):
        fit(steps=300, **options | {"log_every": 3})


def test_by_default_a_row_is_a_hundredth(tmp_path):
    steps, _ = fit(steps=205, log_every=None).table.curve("one", "count")
    assert steps.tolist() == [*range(3, 205, 3), 205]


def test_two_trainings_on_one_folder(four_steps, tmp_path):
    shutil.copytree(four_steps, tmp_path / "run")
    (tmp_path / "run" / ".lock").touch()  # left by a process that was killed
    with (
        files.locked(tmp_path / "run"),
        pytest.raises(files.BusyError, match=f"another training is running in {tmp_path / 'run'}; wait"),
    ):
        fit(folder=tmp_path / "run", steps=4)
    fit(folder=tmp_path / "run", steps=4)
    assert not (tmp_path / "run" / ".lock").exists()


def test_the_folder_is_held_while_it_trains_and_free_after_an_error(tmp_path):
    class Second:
        def write(self, table):
            with pytest.raises(files.BusyError):
                fit(folder=tmp_path, steps=4)
            raise Stop

        def close(self):
            pass

    with pytest.raises(Stop):
        fit(folder=tmp_path, steps=4, sinks=[Second()])
    with files.locked(tmp_path):
        pass


def test_where_no_lock_can_be_made_it_trains_without(tmp_path, monkeypatch):
    from filelock import FileLock

    def refuse(*args: Any, **options: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with files.locked(tmp_path), files.locked(tmp_path):
        pass


@pytest.mark.parametrize("argument", ["steps", "eval_every", "log_every", "chunk", "save_every"])
def test_counters_stay_below_2_to_the_31(argument):
    with pytest.raises(check.InputError, match=f"{argument} must be below 2\\^31, got 2147483648"):
        fit(**{argument: 2**31})


@pytest.mark.parametrize("argument", ["steps", "eval_every", "log_every", "chunk", "save_every"])
def test_counters_are_whole_and_positive(argument):
    for wrong, sentence in ((0, "at least 1"), (2.5, "whole number"), (True, "whole number")):
        with pytest.raises(check.InputError, match=f"{argument} must be .*{sentence}"):
            fit(**{argument: wrong})


def test_the_last_steps_that_can_be_counted():
    """Near 2^31 the windows and the keys of steps and evaluations are right."""
    from lrn.config import stack
    from lrn.train.program import Program

    end = 2**31 - 1
    program = Program(recorder, stack([Arm()]), 1, [5], {"shared": SHARED}, {"own": OWN[:1]}, Sampler(_draw),
                      measure, None)  # fmt: skip
    carry, windows = program.advance(program.start(), end - 3, end, 2)
    assert float(carry.state.last[0]) == float(bits(jax.random.split(stream(5, 1, end - 1))[1]))
    assert windows.weight["key"][0, :3].tolist() == [2, 1, 0]
    assert float(program.evaluate(carry, end)["eval key"][0]) == float(bits(stream(5, 2, end)))


# Replays of single lanes.


def test_one_lane_is_replayed_bit_for_bit():
    """The replay has other logs and evaluations; a lane trained alone would differ by rounding."""
    arms = {"slow": ToyConfig(lr=0.001), "fast": ToyConfig(lr=0.03)}

    def trained(**options):
        return train.fit(toy, arms, range(3), data=toy_data(), sampler=toy_sampler, progress=False, **options)

    whole = trained(steps=60, log_every=10)
    replay = trained(steps=60, log_every=1, chunk=7, only=[("fast", 1)], eval_every=20,
                  evaluate=lambda learner, config, key, state, data: {"look": config.lr})  # fmt: skip
    assert (replay.arms, replay.seeds) == (("fast",), (1,))
    assert same(replay.lane("fast", 1), whole.lane("fast", 1))
    assert replay.table.curve("fast", "loss")[0].tolist() == [*range(1, 61)]
    assert replay.table.seeds == [1]


def test_only_failures_of_replayed_lanes_are_reported():
    said: list[str] = []
    arms = {name: WAYS[name][0] for name in ("an infinite metric", "two at once", "none")}
    replay = train.fit(faulty, arms, [7, 8], steps=4, progress=False, on_event=said.append,
                      only=[("two at once", 8)])  # fmt: skip
    assert replay.failures == [train.Failure("two at once", 8, 2, "metric, other")]
    assert len(said) == 1


def test_some_lanes_are_reported_as_they_are_among_all(whole):
    replay = fit(only=[("two", 3), ("one", 3), ("one", 2**32 - 1), ("two", 2**32 - 1)])
    assert (replay.arms, replay.seeds) == (("one", "two"), SEEDS[1:])
    assert same(replay.state, jax.tree.map(lambda x: x[:, 1:], whole.state))
    assert same(replay.table, Table(*(column[whole.table.seed != 5] for column in whole.table)))


@pytest.mark.parametrize(
    ("only", "sentence"),
    [
        ([], "at least one"),
        ([("one", 5), ("two", 3)], "all pairs of its arms and seeds"),
        (["one"], "got 'one'; give"),
        ([("one",)], "pairs of an arm and a seed"),
        ([3], "pairs of an arm and a seed"),
        ([("on", 5)], "did you mean one"),
        ([("one", 4)], "names the seed 4, which is not among"),
    ],
)
def test_only_must_name_lanes_of_the_training(only, sentence):
    with pytest.raises(check.InputError, match=sentence) as raised:
        fit(only=only)
    assert "\n" not in str(raised.value)


def test_a_replay_saves_nothing(tmp_path):
    with pytest.raises(check.InputError, match="saves nothing; leave out folder="):
        fit(only=[("one", 5)], folder=tmp_path)


# Schedules.


@config
class Scheduled:
    rate: float = 0.1
    total_steps: int = 1050
    num_envs: int = 10

    @property
    def interactions(self) -> int:
        return self.num_envs


@config
class Around:
    inner: Scheduled = Scheduled()
    x: float = 1.0


Pair = namedtuple("Pair", ["inner", "x"])


@pytest.mark.parametrize(
    "config_", [Scheduled(), Around(), Pair(Scheduled(), 1.0)], ids=["config", "inner config", "tuple"]
)
def test_a_training_shorter_or_longer_than_its_schedules_warns(config_, recwarn):
    for steps in (95, 105, 115):
        warn.of_schedules(config_, steps)
    assert len(recwarn) == 0
    for steps in (94, 116, 10, 1050):
        sentence = (
            f"steps is {steps} and the schedules of Scheduled last 105 steps "
            r"\(total_steps 1050 by 10 interactions a step\)"
        )
        with pytest.warns(train.ScheduleWarning, match=sentence) as warned:
            warn.of_schedules(config_, steps)
        assert len(warned) == 1
        assert f"give steps=105 or total_steps={10 * steps}." in str(warned[0].message)


def test_an_optimizer_whose_schedule_ends_elsewhere_warns():
    within = SupervisedConfig(OptimizerConfig(schedule="cosine", steps=100))
    warn.of_schedules(within, 105)
    warn.of_schedules(SupervisedConfig(OptimizerConfig(steps=100)), 500)  # its rate is constant
    message = (
        r"schedules of OptimizerConfig last 100 steps \(its schedule is cosine\).*OptimizerConfig\(steps=50\)"
    )
    with pytest.warns(train.ScheduleWarning, match=message):
        warn.of_schedules(within, 50)


def test_the_warning_comes_before_the_training():
    def unmade(config):
        raise AssertionError("it was traced")

    with pytest.raises(train.ScheduleWarning, match="steps is 7"):  # warnings are errors in these tests
        train.fit(unmade, [Scheduled(0.1), Scheduled(0.2)], [0], steps=7)


def test_a_config_without_schedules_does_not_warn(recwarn):
    shorter_than_a_step = dataclasses.replace(Scheduled(), num_envs=2000)
    for config_, steps in (
        (Arm(), 5),
        (0.0, 5),
        (shorter_than_a_step, 1),
        (namedtuple("T", "total_steps")(9), 1),
    ):
        warn.of_schedules(config_, steps)
    assert len(recwarn) == 0


class InTwo(NamedTuple):
    """A state with parameters and with numbers that are no parameters."""

    params: dict[str, Any]
    frames: Any


@pytest.mark.parametrize("where", ["params", "target_params"])
@pytest.mark.parametrize(("dtype", "lost"), [("bfloat16", 256), ("float16", 2048)])
def test_parameters_in_half_precision_warn(where, dtype, lost):
    def learner(config):
        def init(key, batch):
            return {"inner": {where: {"w": jnp.ones(3, dtype)}}, "x": jnp.ones(3)}

        return Learner(init, lambda key, state, batch: (state, {"one": jnp.float32(1)}))

    sentence = f"{dtype}: an update below 1/{lost} of a parameter"
    with pytest.raises(train.PrecisionWarning, match=sentence) as raised:
        train.fit(learner, Arm(), [0], steps=1, progress=False)
    assert f"['{where}']['w']" in str(raised.value)


def test_numbers_that_are_no_parameters_may_be_in_half_precision(recwarn):
    warn.of_precision(InTwo({"w": jnp.ones(3), "count": jnp.ones(3, "int8")}, np.ones(3, "float16")))
    assert len(recwarn) == 0


# Without jit.


def test_without_jit_a_step_sees_numbers():
    looks = []

    def learner(config):
        def step(key, state, batch):
            del key, batch
            if not isinstance(state, Tracer):
                looks.append((float(config.x), int(state)))
            looped = jax.lax.while_loop(lambda n: n < 3, lambda n: n + 1, 0)
            return state + 1, {"sum": config.x + state + looped}

        return Learner(lambda key, batch: jnp.int32(0), step)

    def trained():
        return train.fit(
            learner, ARMS, [0], steps=3, chunk=2, log_every=2, progress=False,
            evaluate=lambda learner, config, key, state, data: {"look": config.x * state},
        )  # fmt: skip

    jitted = trained()
    assert looks == []
    with jax.disable_jit():
        plain = trained()
    assert looks == [(1, 0), (1, 1), (2, 0), (2, 1), (1, 2), (2, 2)]
    assert same(plain.state, jitted.state)
    assert same(plain.table, jitted.table)
    assert plain.memory == {}


def test_without_jit_a_folder_is_the_same_training(four_steps):
    with jax.disable_jit():
        assert fit(folder=four_steps, steps=4).timing["train"] == 0


# Errors of the disk.


@pytest.mark.parametrize("number", [22, 95, 38])
def test_a_folder_that_cannot_be_flushed_is_saved_all_the_same(number, tmp_path, monkeypatch):
    flush = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    checkpoint.save(tmp_path / "run", 3, {"x": np.arange(4)})
    loaded = checkpoint.load(tmp_path / "run")
    assert loaded is not None
    files.write_json(tmp_path / "x.json", {"a": 1})


def test_a_failed_flush_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    for number, path in ((5, tmp_path), (28, tmp_path), (22, tmp_path / "file")):

        def fsync(descriptor, number=number):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match=re.escape(os.strerror(number))):
            files.sync(path)


# The pace.


def test_the_pace_keeps_a_chunk_at_half_a_second():
    pace = Pace(1000, fixed=False)
    assert pace.length == 8
    pace.took(8, 0.1)
    assert pace.length == 40
    pace.took(40, 1e-9)
    assert pace.length == 640  # a chunk grows at most sixteenfold
    pace.took(640, 0.1)
    assert pace.length == 1000
    pace.took(1000, 5.0)
    assert pace.length == 100
    pace.took(100, 500.0)
    assert pace.length == 1
    assert Pace(5, fixed=False).length == 5
    fixed = Pace(1000, fixed=True)
    fixed.took(1000, 50.0)
    assert fixed.length == 1000


def test_chunks_are_longer_where_calls_need_much_memory():
    seconds = [chunk_seconds(int(size)) for size in (0, 1e6, 1e8, 1e9)]
    assert seconds == [0.5, 0.5, 1.0, 5.0]


def test_compile_train_evaluate_and_save_are_timed_separately(whole):
    assert set(whole.timing) == set(whole.cpu) == {"compile", "train", "evaluate", "save"}
    assert min(whole.timing["compile"], whole.timing["train"], whole.timing["evaluate"]) > 0
    assert whole.timing["save"] == 0
    assert whole.timing["compile"] > whole.timing["evaluate"]
    assert set(whole.memory) == {"arguments", "outputs", "temporaries"}
    assert whole.memory["outputs"] > 0


def test_timing_counts_a_sleep_and_cpu_does_not():
    def slow(learner, config, key, state, data):
        return {
            "slept": jax.pure_callback(
                lambda: np.float32(time.sleep(0.2) or 1), jax.ShapeDtypeStruct((), jnp.float32)
            )
        }

    result = fit(arms=Arm(), seeds=[0], per_seed={"own": OWN[:1]}, steps=2, evaluate=slow, eval_every=None)
    assert result.timing["evaluate"] > 0.2
    assert result.cpu["evaluate"] < result.timing["evaluate"]
