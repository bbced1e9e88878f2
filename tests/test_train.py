"""The driver: results depend on configs, seeds and steps, and not on chunks, resumes or other lanes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import ToyConfig, same, toy, toy_data, toy_mse, toy_sampler

from lrn import interrupt, table, train
from lrn.config import grid
from lrn.train import checkpoint
from lrn.types import Learner, Sampler

ARMS = {"slow": ToyConfig(lr=0.001), "fast": ToyConfig(lr=0.03)}


def fit(configs: Any = ARMS, seeds: Any = range(3), **options: Any) -> train.Fit:
    settings = {
        "steps": 120, "data": toy_data(), "sampler": toy_sampler, "evaluate": toy_mse,
        "eval_every": 50, "log_every": 7, "progress": False,
    }  # fmt: skip
    return train.fit(toy, configs, seeds, **(settings | options))


@pytest.fixture(scope="module")
def reference():
    return fit()


@pytest.mark.parametrize("chunk", [1, 13, 120])
def test_the_chunk_changes_no_bit(reference, chunk):
    again = fit(chunk=chunk)
    assert same(again.state, reference.state)
    assert same(again.table, reference.table)


def test_it_learns_and_arms_differ(reference):
    steps, curve = reference.table.curve("fast", "mse")
    assert steps.tolist() == [0, 50, 100, 120]
    assert (curve[:, -1] < curve[:, 0]).all()
    assert (reference.table.final("fast", "mse") < reference.table.final("slow", "mse")).all()
    assert jax.tree.leaves(reference.arm("fast"))[0].shape[0] == 3


def test_window_means_equal_a_loop_by_hand(reference):
    """The whole driver against a Python loop; the two have in common only the keys and the learner."""
    data = jax.tree.map(jnp.asarray, toy_data())
    learner = toy(ARMS["fast"])

    @jax.jit
    def begin(key):
        batch_key, init_key = jax.random.split(jax.random.fold_in(key, 0))
        return learner.init(init_key, toy_sampler.draw(batch_key, data))

    @jax.jit
    def step(key, state, t):
        batch_key, step_key = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 1), t))
        return learner.step(step_key, state, toy_sampler.draw(batch_key, data))

    key = jax.random.key(2)
    state, losses, rare = begin(key), [], []
    for t in range(120):
        state, metrics = step(key, state, t)
        losses.append(float(metrics["loss"]))
        rare.append((float(metrics["rare"].value), float(metrics["rare"].weight)))
    steps, values = reference.table.curve("fast", "loss")
    assert steps.tolist() == [*range(7, 120, 7), 120]
    np.testing.assert_allclose(
        values[2], [np.mean(losses[max(0, s - 7 if s < 120 else 119) : s]) for s in steps], rtol=2e-5
    )
    np.testing.assert_allclose(reference.arm("fast").params["w"][2], state.params["w"], rtol=1e-4, atol=1e-6)
    of_fast = (reference.table.arm == "fast") & (reference.table.seed == 2)
    rare_rows = of_fast & (reference.table.metric == "rare")
    expected = {}
    for s in steps:
        window = [(v, w) for v, w in rare[(119 if s == 120 else s - 7) : s] if w]
        if window:
            expected[s] = np.mean([v for v, _ in window])
    assert reference.table.step[rare_rows].tolist() == list(expected)  # no row where nothing was measured
    np.testing.assert_allclose(reference.table.value[rare_rows], list(expected.values()), rtol=2e-5)


def test_a_lane_equals_its_solo_run(reference):
    solo = fit(ARMS["fast"], [1])
    together = jax.tree.map(lambda x: x[1], reference.arm("fast").params)
    alone = jax.tree.map(lambda x: x[0], solo.arm("default").params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), together, alone)


def test_a_failed_lane_is_recorded_and_changes_no_other(reference):
    said = []
    broken = fit({**ARMS, "broken": ToyConfig(lr=float("nan"))}, on_event=said.append)
    assert [(f.arm, f.seed, f.step, f.metric) for f in broken.failures] == [
        ("broken", s, 2, "loss") for s in range(3)
    ]
    assert len(said) == 3
    assert "arm broken, seed 0 became non-finite at step 2" in said[0]
    assert np.isnan(broken.table.final("broken", "mse")).all()
    for arm in ARMS:
        assert same(broken.arm(arm), reference.arm(arm))
        assert same(broken.table.final(arm, "loss"), reference.table.final(arm, "loss"))


def test_a_failure_that_no_metric_shows_is_found_in_the_state():
    def learner(config):
        return Learner(
            lambda key, batch: jnp.zeros(2), lambda key, s, batch: (s + jnp.inf, {"loss": jnp.float32(0)})
        )

    result = train.fit(learner, ToyConfig(), [0], steps=5, progress=False, on_event=lambda _: None)
    assert [(f.step, f.metric) for f in result.failures] == [(5, "state")]


class Stop(Exception):
    pass


class StopAfter:
    """A sink that raises after ``chunks`` chunks, as a crash would."""

    def __init__(self, chunks):
        self.left = chunks

    def write(self, table):
        self.left -= 1
        if self.left < 0:
            raise Stop

    def close(self):
        pass


@pytest.mark.parametrize("chunks", [0, 3, 7, 11])
def test_resumed_equals_uninterrupted(reference, tmp_path, chunks):
    with pytest.raises(Stop):
        fit(folder=tmp_path, chunk=10, save_every=30, sinks=[StopAfter(chunks)])
    resumed = fit(folder=tmp_path, chunk=11)
    assert same(resumed.state, reference.state)
    assert same(resumed.table, reference.table)


def test_a_failure_survives_a_resume(tmp_path):
    arms = {**ARMS, "broken": ToyConfig(lr=float("nan"))}
    with pytest.raises(Stop):
        fit(arms, folder=tmp_path, chunk=10, save_every=30, sinks=[StopAfter(7)], on_event=lambda _: None)
    said = []
    resumed = fit(arms, folder=tmp_path, on_event=said.append)
    assert len(resumed.failures) == 3
    assert said == []  # the first training reported the failures


def test_a_finished_training_is_not_run_again(reference, tmp_path):
    first = fit(folder=tmp_path)
    again = fit(folder=tmp_path)
    assert again.timing["compile"] == 0 == again.timing["train"]
    assert same(first.state, again.state)
    assert same(again.table, reference.table)


def test_a_training_can_be_made_longer(reference, tmp_path):
    fit(folder=tmp_path, steps=70)
    longer = fit(folder=tmp_path, steps=140)
    assert longer.timing["train"] > 0
    assert same(longer.state, fit(steps=140).state)


def test_sigterm_saves_and_the_same_call_resumes(reference, tmp_path):
    class Signal:
        def __init__(self):
            self.left = 4

        def write(self, table):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGTERM)

        def close(self):
            pass

    with interrupt.handled(), pytest.raises(interrupt.Interrupted) as stopped:
        fit(folder=tmp_path, chunk=10, sinks=[Signal()])
    assert stopped.value.code == 143
    assert 0 < checkpoint.steps(tmp_path)[-1] < 120
    assert same(fit(folder=tmp_path).state, reference.state)


def test_another_training_in_the_folder_is_refused(tmp_path):
    fit(folder=tmp_path, steps=20)
    with pytest.raises(ValueError, match="holds another training"):
        fit({"slow": ToyConfig(lr=0.5)}, folder=tmp_path, steps=20)
    with pytest.raises(ValueError, match="more than the 10 asked for"):
        fit(folder=tmp_path, steps=10)


def test_per_seed_data_reaches_only_its_seed():
    shift = np.array([0.0, 100.0, 0.0], np.float32)

    def draw(key, data):
        batch = toy_sampler.draw(key, data)
        return batch | {"y": batch["y"] + data["shift"]}

    shifted = fit(ToyConfig(), sampler=Sampler(draw), per_seed={"shift": shift})
    plain = fit(ToyConfig())
    shifted_losses, plain_losses = (result.table.final("default", "loss") for result in (shifted, plain))
    assert same(shifted_losses[[0, 2]], plain_losses[[0, 2]])
    assert shifted_losses[1] > 100 * plain_losses[1]


def test_floats_are_swept_in_one_program():
    traces = []

    def counted(config):
        traces.append(config.lr)
        return toy(config)

    result = train.fit(
        counted,
        grid(ToyConfig(), lr=[0.001, 0.01, 0.1]),
        range(2),
        steps=5,
        data=toy_data(),
        sampler=toy_sampler,
        progress=False,
    )
    assert result.arms == ("lr=0.001", "lr=0.01", "lr=0.1")
    assert all(not isinstance(lr, float) for lr in traces)


def test_memory_does_not_grow_with_the_steps(tmp_path):
    """The peak memory of a process does not grow if it trains 10 times as long; imports are most of it."""
    script = textwrap.dedent(
        """
        import os, resource, sys
        sys.path.insert(0, "tests")
        from toy import *
        from lrn import train
        for steps in (2_000, 20_000):
            child = os.fork()  # each training has a process and a backend of its own; the imports are shared
            if child == 0:
                train.fit(toy, ToyConfig(width=64), range(4), steps=steps, data=toy_data(),
                          sampler=toy_sampler, log_every=100, progress=False,
                          folder=f"{sys.argv[1]}/{steps}", save_seconds=0.5)
                print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    short, long = map(float, done.stdout.split())
    assert long < 1.05 * short + 5, (short, long)


def test_another_closure_or_data_set_is_another_training(tmp_path):
    fit(folder=tmp_path, steps=20)
    changes = (
        {"data": {k: v + 1 for k, v in toy_data().items()}},
        {"sampler": Sampler(lambda key, data: toy_sampler.draw(key, {k: v * 2 for k, v in data.items()}))},
        {"evaluate": lambda *args: {"mse": 2 * toy_mse(*args)["mse"]}},
    )
    for change in changes:
        with pytest.raises(ValueError, match="holds another training"):
            fit(folder=tmp_path, steps=20, **change)
    assert fit(folder=tmp_path, steps=20).timing["train"] == 0


BAD = {
    "a name used twice": (dict(evaluate=lambda *_: {"loss": jnp.zeros(())}), "both return the metric"),
    "eval_every without evaluate": (dict(evaluate=None), "nothing to evaluate"),
    "no config": (dict(configs=[]), "at least one config"),
    "static fields differ": (dict(configs=[ToyConfig(), ToyConfig(width=9)]), "only floats can be swept"),
    "no seed": (dict(seeds=[]), "seeds must be one or more distinct"),
    "a seed twice": (dict(seeds=[1, 1]), "distinct"),
    "a negative seed": (dict(seeds=[-1]), "at least 0"),
    "a huge seed": (dict(seeds=[2**32]), "below 2\\^32"),
    "a float seed": (dict(seeds=[0.5]), "whole number"),
    "seeds as a number": (dict(seeds=3), "range\\(n\\)"),
    "zero steps": (dict(steps=0), "steps must be at least 1"),
    "steps as a float": (dict(steps=10.0), "whole number"),
    "zero chunk": (dict(chunk=0), "chunk must be at least 1"),
    "zero eval_every": (dict(eval_every=0), "eval_every must be at least 1"),
    "negative log_every": (dict(log_every=-5), "log_every must be at least 1"),
    "zero save_seconds": (dict(save_seconds=0.0), "save_seconds must be"),
    "a sampler without data": (dict(data=None), "no data to draw from"),
    "a sampler that is a function": (dict(sampler=lambda k, d: d), "Sampler\\(draw\\)"),
    "data without rows": (dict(data={"x": np.zeros((0, 4))}), "without rows"),
    "per-seed data of another length": (dict(per_seed={"a": np.zeros(7)}), "its first axis is the seed"),
    "a metric that is no scalar": (dict(evaluate=lambda *_: {"m": jnp.zeros(3)}), "metrics are scalars"),
    "an evaluation without the learner": (
        dict(evaluate=lambda c, k, s, d: {}), r"evaluate takes \(c, k, s, d\); let it take \(learner, config"
    ),
    "metrics that are no dict": (dict(evaluate=lambda *_: jnp.zeros(3)), "dict from name to scalar"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case, tmp_path):
    options, sentence = BAD[case]
    with pytest.raises(ValueError, match=sentence) as raised:
        fit(folder=tmp_path / "run", **options)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_a_step_that_changes_its_state_is_named():
    def learner(config):
        return Learner(
            lambda key, batch: {"a": jnp.zeros(2)}, lambda key, s, batch: ({"a": jnp.zeros(3)}, {})
        )

    with pytest.raises(ValueError, match=r"changes \['a'\] from float32\[2\] to float32\[3\]"):
        train.fit(learner, ToyConfig(), [0], steps=5, progress=False)


def test_tables_read_what_they_write(reference, tmp_path):
    reference.table.write(tmp_path / "t.parquet")
    assert same(table.read(tmp_path / "t.parquet"), reference.table)
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[len(content) // 3] ^= 1
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        table.read(tmp_path / "t.parquet")
