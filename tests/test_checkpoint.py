"""Checkpoints: every leaf comes back bit for bit, or is known to be damaged."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import same

from lrn import checkpoint, files, interrupt


class State(NamedTuple):
    params: dict[str, Any]
    count: Any
    rest: tuple[Any, ...]


def tree(scale: float = 1.0) -> State:
    """A state with every kind of leaf that a learner may keep."""
    numbers = np.random.RandomState(0)
    return State(
        {
            "w": np.float32(scale * numbers.randn(30, 40)),
            "half": jnp.asarray(numbers.randn(3, 2), jnp.bfloat16),
            "strange": np.array([np.nan, -np.inf, -0.0, 1e-45], np.float32),
        },
        np.int32(7),
        (
            np.zeros((0, 3), np.float32),
            np.array([True, False]),
            np.arange(5, dtype=np.uint8),
            np.array(2.5, np.float64),
            jax.random.key(1),
            jax.random.split(jax.random.key(2, impl="rbg"), 3),
            (),
        ),
    )


def shape_of(value: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), value)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder with the checkpoints of steps 10 and 20."""
    folder = tmp_path_factory.mktemp("two")
    checkpoint.save(folder, 10, tree(1.0), {"note": "ten"})
    checkpoint.save(folder, 20, tree(2.0), {"note": "twenty"})
    return folder


@pytest.fixture
def folder(two, tmp_path):
    """A copy of it to damage."""
    shutil.copytree(two, tmp_path / "run")
    return tmp_path / "run"


def newest(folder: Path) -> Path:
    return folder / "step_000000000020"


def contents(folder: Path) -> dict[Path, bytes]:
    return {f: f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def check_falls_back(folder: Path, reason: str = "") -> None:
    loaded = checkpoint.load(folder, shape_of(tree()))
    assert loaded is not None
    assert (loaded.step, loaded.meta) == (10, {"note": "ten"})
    assert same(loaded.tree, tree(1.0))
    (warning,) = loaded.warnings
    assert "step_000000000020: " in warning
    assert reason in warning
    assert "\n" not in warning


@pytest.mark.parametrize("target", [tree(), shape_of(tree())], ids=["arrays", "shapes"])
def test_every_leaf_comes_back_bit_for_bit(two, target):
    loaded = checkpoint.load(two, target)
    assert loaded is not None
    assert (loaded.step, loaded.meta, loaded.warnings) == (20, {"note": "twenty"}, [])
    assert jax.tree.structure(loaded.tree) == jax.tree.structure(tree())
    assert same(loaded.tree, tree(2.0))
    for a, b in zip(jax.tree.leaves(loaded.tree), jax.tree.leaves(tree())):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)


def test_without_a_target_the_leaves_come_by_number(two):
    loaded = checkpoint.load(two)
    assert loaded is not None
    assert list(loaded.tree) == [f"{i:05d}" for i in range(len(jax.tree.leaves(tree())))]
    assert same(loaded.tree["00002"], tree(2.0).params["w"])


@pytest.mark.parametrize(
    "value", [(), {}, {"a": np.zeros((0, 2))}], ids=["nothing", "no leaf", "an empty leaf"]
)
def test_a_tree_without_numbers(value, tmp_path):
    checkpoint.save(tmp_path, 1, value)
    loaded = checkpoint.load(tmp_path, shape_of(value))
    assert loaded is not None
    assert same(loaded.tree, value)


def test_no_checkpoint_is_no_error(tmp_path):
    assert checkpoint.load(tmp_path / "nothing") is None
    (tmp_path / "step_x").mkdir()
    (tmp_path / ".saving-3-1").mkdir()
    assert checkpoint.steps(tmp_path) == []
    assert checkpoint.load(tmp_path) is None


@pytest.mark.parametrize("keep", [0, 2, 3])
def test_the_newest_are_kept_and_at_least_two(keep, tmp_path):
    for step in (1, 2, 30, 4000):
        checkpoint.save(tmp_path, step, {"x": np.float32(step)}, keep=keep)
    assert checkpoint.steps(tmp_path) == [1, 2, 30, 4000][-max(keep, 2) :]
    assert {p.name[:5] for p in tmp_path.iterdir()} == {"step_"}


def test_saving_a_step_again_replaces_it(tmp_path):
    for value in (1.0, 2.0):
        checkpoint.save(tmp_path, 5, {"x": np.float32(value)})
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded.tree["00000"] == 2.0


def test_a_flipped_bit_in_any_file_is_found(folder):
    numbers = random.Random(0)
    tried = 0
    for path in [f for f in sorted(newest(folder).rglob("*")) if f.is_file()]:
        content = path.read_bytes()
        for position in {0, len(content) - 1, *(numbers.randrange(len(content)) for _ in range(3))}:
            damaged = bytearray(content)
            damaged[position] ^= 1 << numbers.randrange(8)
            path.write_bytes(damaged)
            check_falls_back(folder, path.name)
            tried += 1
        path.write_bytes(content)
    assert tried > 30
    loaded = checkpoint.load(folder)
    assert loaded is not None
    assert loaded.step == 20


DAMAGE = {
    "emptied": lambda f: f.write_bytes(b""),
    "cut short": lambda f: f.write_bytes(f.read_bytes()[:-2]),
    "a byte longer": lambda f: f.write_bytes(f.read_bytes() + b"\0"),
    "deleted": lambda f: f.unlink(),
    "made a folder": lambda f: (f.unlink(), f.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_cut_or_lost_file_is_found(damage, folder):
    for path in [f for f in sorted(newest(folder).rglob("*")) if f.is_file()]:
        content = path.read_bytes()
        if (damage, path.name) == ("a byte longer", "manifest.json"):
            continue  # JSON ends where it ends
        DAMAGE[damage](path)
        check_falls_back(folder, path.name)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize(
    "manifest", ["", "[]", "null", "3", "{}", '{"body": null, "sha256": 3}', '{"body": {}}', "\xff"]
)
def test_a_manifest_that_is_something_else_is_found(manifest, folder):
    (newest(folder) / "manifest.json").write_bytes(manifest.encode("latin-1"))
    check_falls_back(folder, "manifest.json")


def test_a_manifest_of_another_format_is_not_trusted(folder):
    path = newest(folder) / "manifest.json"
    body = json.loads(path.read_bytes())["body"] | {"format": 99}
    files.write_json(path, {"body": body, "sha256": files.sha256_json(body)})
    check_falls_back(folder, "format 99")


def test_a_checkpoint_that_lost_everything_is_found(folder):
    shutil.rmtree(newest(folder))
    newest(folder).mkdir()
    check_falls_back(folder, "manifest.json is missing")


def test_when_all_are_damaged_it_says_so_and_touches_nothing(folder):
    for step in newest(folder), folder / "step_000000000010":
        (step / "manifest.json").write_bytes(b"{}")
    before = contents(folder)
    with pytest.raises(checkpoint.DamageError) as raised:
        checkpoint.load(folder, shape_of(tree()))
    assert "step_000000000020: " in str(raised.value)
    assert "step_000000000010: " in str(raised.value)
    assert "--fresh" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert contents(folder) == before


def test_the_caller_can_refuse_a_checkpoint(folder):
    loaded = checkpoint.load(folder, valid=lambda meta: "no good" if meta["note"] == "twenty" else None)
    assert loaded is not None
    assert loaded.step == 10
    assert "no good" in loaded.warnings[0]


def test_a_save_after_a_fall_back_removes_the_damaged_one(folder):
    (newest(folder) / "manifest.json").unlink()
    checkpoint.save(folder, 15, tree(1.5))
    assert checkpoint.steps(folder) == [10, 15]


OTHER = {
    "another shape": (tree()._replace(count=np.zeros(2, np.int32)), r"int32\[\] at .count and .* int32\[2\]"),
    "another dtype": (tree()._replace(count=np.float32(0)), r"int32\[\] at .count and .* float32\[\]"),
    "more leaves": (tree()._replace(count=(np.int32(0), np.int32(0))), "holds 10 arrays and .* expects 11"),
}


@pytest.mark.parametrize("case", OTHER)
def test_a_checkpoint_of_another_program_is_refused(case, two):
    target, sentence = OTHER[case]
    with pytest.raises(ValueError, match=sentence) as raised:
        checkpoint.load(two, target)
    assert not isinstance(raised.value, checkpoint.DamageError)
    assert "\n" not in str(raised.value)


def half_written(path: Path, arrays: Any) -> None:
    path.mkdir(parents=True)
    (path / "half").write_bytes(b"x" * 100)


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), ValueError("UNKNOWN: Error writing\nmore"), RuntimeError("")],
)
def test_a_failed_save_harms_nothing(error, folder, monkeypatch):
    def fail(path: Path, arrays: Any) -> None:
        half_written(path, arrays)
        raise error

    before = contents(folder)
    monkeypatch.setattr(checkpoint, "_orbax_save", fail)
    with pytest.raises(checkpoint.SaveError, match="step 30 could not be saved") as raised:
        checkpoint.save(folder, 30, tree())
    assert "\n" not in str(raised.value)
    assert contents(folder) == before


def test_a_signal_in_a_save_is_no_failed_save(folder, monkeypatch):
    def stop(path: Path, arrays: Any) -> None:
        half_written(path, arrays)
        raise interrupt.Interrupted(interrupt.signal.SIGTERM)

    before = contents(folder)
    monkeypatch.setattr(checkpoint, "_orbax_save", stop)
    with pytest.raises(interrupt.Interrupted):
        checkpoint.save(folder, 30, tree())
    assert contents(folder) == before


def test_a_folder_that_cannot_be_is_a_failed_save(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(checkpoint.SaveError, match="Not a directory"):
        checkpoint.save(tmp_path / "file" / "run", 1, tree())


def test_what_a_killed_save_left_is_removed_by_the_next(folder):
    half_written(folder / ".saving-30-123" / "arrays", None)
    shutil.copytree(newest(folder), folder / ".saving-old-step_000000000005")
    checkpoint.save(folder, 30, tree())
    assert sorted(p.name for p in folder.iterdir()) == ["step_000000000020", "step_000000000030"]
