"""`lrn.load` reads a training from its folder alone: states, table and failures, or one clear error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_train import Stop, StopAfter
from toy import ToyConfig, ToyState, same, toy, toy_data, toy_mse, toy_sampler

import lrn
from lrn import check, train
from lrn.train import checkpoint, structure
from lrn.types import Learner

ARMS = {"slow": ToyConfig(lr=0.001), "broken": ToyConfig(lr=float("nan"))}


def fit(folder: Any, steps: int = 20, **options: Any) -> train.Fit:
    return train.fit(
        toy, ARMS, (4, 2, 9), steps=steps, data=toy_data(), sampler=toy_sampler, evaluate=toy_mse,
        folder=folder, log_every=7, progress=False, on_event=lambda _: None, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "training"
    return folder, fit(str(folder), save_every=10)


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the training's folder, which a test may damage."""
    shutil.copytree(trained[0], tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("kind", [str, Path])
def test_a_training_comes_back_from_its_folder(kind, trained):
    folder, result = trained
    training = lrn.load(kind(folder))
    assert jax.tree.structure(training.state) == jax.tree.structure(result.state)
    assert type(training.state) is ToyState
    assert same(training.state, result.state)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(training.state))
    assert same(training.table, result.table)
    assert (training.arms, training.seeds) == (("slow", "broken"), (4, 2, 9))
    assert (training.step, training.steps) == (20, 20)
    assert sorted(training.failures) == sorted(result.failures)
    assert {f.arm for f in training.failures} == {"broken"}


def test_a_loaded_lane_can_be_trained_further(trained):
    folder, result = trained
    lane = lrn.load(folder).lane("slow", 2)
    assert same(lane, result.lane("slow", 2))
    assert same(lrn.load(folder).arm("slow"), result.arm("slow"))
    batch = {"x": np.ones((32, 4), np.float32), "y": np.ones(32, np.float32)}
    state, _ = jax.jit(toy(ToyConfig()).step)(jax.random.key(1), lane, batch)
    assert jax.tree.structure(state) == jax.tree.structure(lane)
    for wrong, sentence in ((("slow", 3), "choose from 4, 2, 9"), (("slo", 2), "did you mean slow")):
        with pytest.raises(check.InputError, match=sentence):
            lrn.load(folder).lane(*wrong)
    with pytest.raises(check.InputError, match="did you mean slow"):
        lrn.load(folder).arm("slo")


def test_an_unfinished_training_gives_its_newest_checkpoint(tmp_path):
    with pytest.raises(Stop):
        fit(tmp_path, chunk=5, save_every=5, sinks=[StopAfter(1)])
    training = lrn.load(tmp_path)
    assert (training.step, training.steps) == (10, 20)
    assert training.table.metrics == ["loss", "rare"]
    assert training.table.step.max() == 7
    assert same(fit(tmp_path).lane("slow", 4), lrn.load(tmp_path).lane("slow", 4))


def test_damage_warns_and_the_checkpoint_before_it_is_used(folder):
    newest = folder / "step_000000000020" / "manifest.json"
    newest.write_bytes(newest.read_bytes()[:-3])
    with pytest.warns(
        checkpoint.DamageWarning, match="step_000000000020: .* the one before it is used"
    ) as said:
        training = lrn.load(folder)
    assert training.step == 10
    assert said[0].filename == __file__


def test_a_damaged_row_is_damage_too(folder):
    part = sorted((folder / "metrics").iterdir())[-1]
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.warns(checkpoint.DamageWarning, match=f"metrics/{part.name} does not match its checksum"):
        assert lrn.load(folder).step == 10


def test_damage_of_all_checkpoints_is_an_error(folder):
    for manifest in folder.glob("step_*/manifest.json"):
        manifest.write_bytes(b"{}")
    with pytest.raises(checkpoint.DamageError, match="every checkpoint in"):
        lrn.load(folder)


def test_a_folder_without_a_training_is_refused(folder, tmp_path):
    checkpoint.save(tmp_path / "once", 0, [np.zeros(3)], {"names": ["x"]})
    checkpoint.save(tmp_path / "bare", 0, [np.zeros(3)])
    (tmp_path / "empty").mkdir()
    study = tmp_path / "study"
    shutil.copytree(folder, study / "checkpoints" / "arm")
    for wrong, sentence in (
        (tmp_path / "nothing", "nothing holds no training: there is no such folder; give the one"),
        (tmp_path / "empty", "empty holds no training; give the folder that `fit` was given."),
        (tmp_path / "once", "once holds a study's arrays; give a folder that `fit`"),
        (tmp_path / "bare", "bare holds no training, or one of an earlier version"),
        (study, f"study holds no training; give one of {study / 'checkpoints' / 'arm'}."),
        (study / "checkpoints", f"give one of {study / 'checkpoints' / 'arm'}."),
    ):
        with pytest.raises(check.InputError, match=sentence) as raised:
            lrn.load(wrong)
        assert "\n" not in str(raised.value)


def test_an_older_checkpoint_without_its_structure(trained, monkeypatch):
    read = checkpoint.read

    def old(*args: Any) -> Any:
        saved = read(*args)
        return saved and saved._replace(form=None)

    monkeypatch.setattr(checkpoint, "read", old)
    with pytest.raises(check.InputError, match="one of an earlier version"):
        lrn.load(trained[0])


def test_a_class_that_cannot_be_found_needs_like(tmp_path):
    class Inside(NamedTuple):
        x: Any
        n: Any

    def learner(config):
        return Learner(
            lambda key, batch: Inside(jnp.full(3, config), {"n": jnp.int32(0)}),
            lambda key, state, batch: (Inside(state.x + 1, state.n), {}),
        )

    result = train.fit(learner, [1.0, 2.0], [0, 1], steps=2, folder=tmp_path, progress=False)
    with pytest.raises(
        structure.UnknownClassError, match=r"Inside, which cannot be found here; .* pass like="
    ):
        lrn.load(tmp_path)
    learner_ = learner(0.0)
    shapes = jax.eval_shape(learner_.init, jax.random.key(0), None)
    for like in (learner_, shapes, result.lane("0", 1), Inside(np.zeros(3, np.float32), {"n": np.int32(7)})):
        training = lrn.load(tmp_path, like=like)
        assert type(training.state) is Inside
        assert same(training.state, result.state)
    assert training.lane("1", 0).x.tolist() == [4, 4, 4]
    with_batch = Learner(lambda key, batch: batch["x"], learner(0.0).step)
    for wrong, sentence in (
        (Inside(np.zeros(3, np.float32), {}), "have 2 arrays and like= has 1; pass a state"),
        (shapes._replace(x=np.zeros(4, np.float32)), r"float32\[3\] at .x and like= has float32\[4\]"),
        (shapes._replace(x=np.zeros(3, np.int32)), r"float32\[3\] at .x and like= has int32\[3\]"),
        (result.state, r"float32\[3\] at .x and like= has float32\[2, 2, 3\]"),
        (with_batch, r"whose init wants a batch \(TypeError without one\)"),
    ):
        with pytest.raises(check.InputError, match=sentence):
            lrn.load(tmp_path, like=wrong)


def test_a_dtype_that_jax_would_round_is_kept(tmp_path):
    """A state in 64 bits keeps them when it is loaded without `jax_enable_x64`."""
    with jax.enable_x64(True):
        learner = Learner(
            lambda key, batch: jnp.float64(1 / 3), lambda key, state, batch: (state, {"x": jnp.float32(0)})
        )
        train.fit(lambda _: learner, 0.0, [0], steps=1, folder=tmp_path, progress=False)
    state = lrn.load(tmp_path).state
    assert state.dtype == np.float64
    assert state[0, 0] == 1 / 3


def test_another_process_needs_no_more_than_the_folder(trained):
    """`import lrn` imports neither jax nor numpy; `lrn.load` imports the state's class by its name."""
    script = (
        "import sys, lrn\n"
        "assert not {'jax', 'numpy'} & set(sys.modules)\n"
        "assert not hasattr(lrn, 'nothing')\n"
        f"training = lrn.load({str(trained[0])!r})\n"
        "print(type(training.state).__name__, training.lane('slow', 9).params['w'].sum())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300,
        cwd=Path(__file__).parent, env={**os.environ, "PYTHONPATH": str(Path(lrn.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    name, total = done.stdout.split()
    assert name == "ToyState"
    np.testing.assert_allclose(float(total), trained[1].lane("slow", 9).params["w"].sum(), rtol=1e-6)
