"""Checkpoints: every leaf comes back bit for bit, or the checkpoint is reported as damaged."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import same

from lrn import check, files, interrupt
from lrn.train import checkpoint, structure


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
    """A copy of the folder ``two``, which a test may damage."""
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


def test_without_a_target_the_leaves_are_keyed_by_number(two):
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


def test_damage_of_all_checkpoints_is_an_error_and_touches_nothing(folder):
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


# Python's numbers, and leaves that no checkpoint can hold.

NUMBERS = {
    "a": 3, "b": True, "c": False, "d": 2.5, "e": -0.0, "f": float("inf"), "g": 5e-324, "h": 10**40, "i": -7,
    "j": complex(0.1, -2), "x": np.float32(1.5),
}  # fmt: skip


def test_python_numbers_come_back_as_they_were(tmp_path):
    checkpoint.save(tmp_path, 1, NUMBERS)
    for target in (NUMBERS, {name: type(value)() for name, value in NUMBERS.items()}):
        loaded = checkpoint.load(str(tmp_path), target)
        assert loaded is not None
        assert [(k, type(v), str(v)) for k, v in loaded.tree.items() if k != "x"] == [
            (k, type(v), str(v)) for k, v in NUMBERS.items() if k != "x"
        ]
        assert loaded.tree["x"] == 1.5
    by_number = checkpoint.load(tmp_path)
    assert by_number is not None
    assert by_number.tree["00000"] == 3
    assert list(by_number.tree) == [f"{i:05d}" for i in range(len(NUMBERS))]
    checkpoint.save(tmp_path, 2, [math.nan])
    nan = checkpoint.load(tmp_path, [0.0])
    assert nan is not None
    assert math.isnan(nan.tree[0])


def test_a_python_number_fits_only_its_own_type_or_shape(tmp_path):
    """The shapes that `jax.eval_shape` makes of a tree are a target too."""
    tree = {"flag": True, "n": 3, "rate": 0.5}
    checkpoint.save(tmp_path, 1, tree)
    loaded = checkpoint.load(tmp_path, jax.eval_shape(lambda: tree))
    assert loaded is not None
    assert loaded.tree == tree
    assert type(loaded.tree["n"]) is int
    for wrong, sentence in (
        ({**tree, "n": 3.0}, r"holds a Python int at \['n'\] and this program expects a Python float"),
        ({**tree, "n": np.float32(3)}, r"a Python int at \['n'\] and .* float32\[\]"),
        ({**tree, "rate": np.zeros(2)}, r"a Python float at \['rate'\] and .* float64\[2\]"),
        ({**tree, "flag": np.int32(1)}, r"a Python bool at \['flag'\]"),
    ):
        with pytest.raises(ValueError, match=sentence):
            checkpoint.load(tmp_path, wrong)
    checkpoint.save(tmp_path, 2, {"n": np.int32(3)})
    with pytest.raises(ValueError, match=r"int32\[\] at .* a Python int"):
        checkpoint.load(tmp_path, {"n": 3})


@pytest.mark.parametrize(
    ("leaf", "kind"),
    [
        ("adam", "str"),
        (b"adam", "bytes"),
        (np.array(["a"]), "ndarray"),
        (np.array([object()]), "ndarray"),
        (np.datetime64("2020-01-01"), "datetime64"),
        (np.zeros(2, [("a", "i4")]), "ndarray"),
        (State, "type"),
    ],
)
def test_a_leaf_that_is_no_number_is_refused_at_the_save(leaf, kind, folder):
    before = contents(folder)
    sentence = f"holds arrays of numbers and the tree has a {kind} at \\['rest'\\]\\[1\\]; leave it out"
    with pytest.raises(check.InputError, match=sentence) as raised:
        checkpoint.save(folder, 30, {"rest": (np.zeros(2), leaf)})
    assert "disk" not in str(raised.value)
    assert contents(folder) == before


def test_a_folder_is_made_with_those_above_it(tmp_path):
    where = checkpoint.save(str(tmp_path / "a" / "b"), 7, {"x": np.arange(3)})
    assert where == tmp_path / "a" / "b" / "step_000000000007"
    assert checkpoint.steps(str(tmp_path / "a" / "b")) == [7]


def test_steps_are_counted_from_zero(tmp_path):
    with pytest.raises(check.InputError, match="step must be at least 0, got -1"):
        checkpoint.save(tmp_path, -1, {})


def test_more_leaves_than_five_digits_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_number", lambda i: f"{i:01d}")
    checkpoint.save(tmp_path, 1, [np.int32(i) for i in range(12)] + list(range(12, 24)))
    saved = checkpoint.read(tmp_path)
    assert saved is not None
    assert [int(x) for x in saved.leaves] == [*range(24)]


# The structure of a pytree, made again from its description.


class Outer(NamedTuple):
    a: Any
    b: Any


class Empty(NamedTuple):
    pass


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Data:
    x: Any


@jax.tree_util.register_pytree_node_class
class Odd:
    """A node that is neither a NamedTuple nor a dataclass."""

    def __init__(self, x: Any):
        self.x = x

    def tree_flatten(self):
        return (self.x,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


def test_a_structure_comes_back_from_json():
    tree_ = {
        "z": [1, (2, None, ()), {}],
        "a": Outer({3: Empty(), 1: 7}, Outer(State({"p": 4}, 5, (6,)), [Empty()])),
        "b": {"c": None},
        "y": Data((8, [Data(9)])),
    }
    form = json.loads(json.dumps(structure.describe(tree_)))
    leaves = jax.tree.leaves(tree_)
    assert structure.count(form) == len(leaves) == 8
    again = structure.rebuild(form, leaves)
    assert again == tree_
    assert jax.tree.structure(again) == jax.tree.structure(tree_)
    assert structure.rebuild("leaf", [3]) == 3
    assert structure.describe(np.zeros(3)) == "leaf"


def test_child_gives_the_leaves_of_a_field():
    tree_ = Outer({"x": 1, "y": Data((2, 3))}, [4, 5])
    for field, own in (("a", [1, 2, 3]), ("b", [4, 5])):
        form, part = structure.child(structure.describe(tree_), field)
        assert jax.tree.leaves(tree_)[part] == own
        assert structure.count(form) == len(own)


def test_classes_that_cannot_be_made_again_are_named():
    class Inside(NamedTuple):
        x: Any

    here = f"{__name__}:"
    gone = {**structure.describe(Outer(1, 2)), "class": here + "Gone"}
    nowhere = {**gone, "class": "no_such_module_of_ours:Outer"}
    no_tuple = {**gone, "class": "os:system"}
    other_fields = {**gone, "class": here + "Outer", "fields": ["a", "c"]}
    for form, sentence in (
        (
            [Inside(1)],
            rf"\[0\] was a {here}test_classes.*<locals>.Inside, which cannot be found here; make",
        ),
        ([Odd(1)], r"has a .*:Odd at \[0\], and only NamedTuples"),
        (gone, "the state was a .*Gone, which cannot be found here"),
        (nowhere, "no_such_module_of_ours:Outer, which cannot be found"),
        (no_tuple, "os:system, which is neither a NamedTuple nor a dataclass"),
        ({**gone, "class": ":"}, "cannot be found"),
        (other_fields, "with the fields a, c, and the class now has a, b; make"),
        ({"k": Outer(Inside(1), 2)}, r"\['k'\].a was a "),
    ):
        described = form if isinstance(form, dict) and "kind" in form else structure.describe(form)
        with pytest.raises(structure.UnknownClassError, match=sentence) as raised:
            structure.rebuild(described, [1, 2])
        assert "pass like=, a state of the same learner." in str(raised.value)


def half_written(path: Path, arrays: Any) -> None:
    path.mkdir(parents=True)
    (path / "half").write_bytes(b"x" * 100)


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), ValueError("UNKNOWN: Error writing\nmore"), RuntimeError("")],
)
def test_a_failed_save_leaves_other_checkpoints_alone(error, folder, monkeypatch):
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


def test_a_folder_that_cannot_be_made_is_a_failed_save(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(checkpoint.SaveError, match="Not a directory"):
        checkpoint.save(tmp_path / "file" / "run", 1, tree())


def test_the_next_save_removes_the_remains_of_a_killed_save(folder):
    half_written(folder / ".saving-30-123" / "arrays", None)
    shutil.copytree(newest(folder), folder / ".saving-old-step_000000000005")
    checkpoint.save(folder, 30, tree())
    assert sorted(p.name for p in folder.iterdir()) == ["step_000000000020", "step_000000000030"]
