"""Checkpoints that can be trusted: orbax arrays behind a SHA-256 manifest.

Orbax restores an array with a flipped bit without an error, and reports a failed save only to a caller that
waits for the save. Here a checkpoint is a folder that appears under its name only when all of its files are
on disk, and it is loaded only when every byte is what was written. A damaged checkpoint is skipped: the one
before it is used, and the caller gets a warning.

    folder/step_000000000100/manifest.json     step, meta, leaves, SHA-256 of every file and of itself
    folder/step_000000000100/arrays/...        orbax
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lrn import check, files
from lrn.train import structure
from lrn.types import PyTree, is_key

_FORMAT = 1


class SaveError(files.WriteError):
    """A checkpoint could not be saved; earlier checkpoints are untouched."""


class DamageError(ValueError):
    """A folder has checkpoints, and all of them are damaged."""


class DamageWarning(UserWarning):
    """A checkpoint is damaged, and the one before it was used."""


class Loaded(NamedTuple):
    """A checkpoint that passed every check.

    step: the number of steps done.
    tree: the pytree that was saved.
    meta: the values that `save` got as ``meta``.
    warnings: one sentence about each newer checkpoint, all of which are damaged.
    """

    step: int
    tree: PyTree
    meta: dict[str, Any]
    warnings: list[str]


class Saved(NamedTuple):
    """A checkpoint that passed every check, before its leaves are put into a pytree.

    path: the folder of the checkpoint.
    step: the number of steps done.
    leaves: the leaves of the pytree that was saved, in JAX's order.
    form: the structure of that pytree (see `lrn.train.structure`); None if an earlier version saved it.
    meta: the values that `save` got as ``meta``.
    warnings: one sentence about each newer checkpoint, all of which are damaged.
    """

    path: Path
    step: int
    leaves: list[Any]
    form: Any
    meta: dict[str, Any]
    warnings: list[str]


def save(
    folder: Path | str, step: int, tree: PyTree, meta: dict[str, Any] | None = None, keep: int = 2
) -> Path:
    """Save a pytree as the checkpoint of ``step``, and remove all but the ``keep`` newest checkpoints.

    One process at a time may save in a folder.

    Args:
        folder: the folder of the checkpoints of one training.
        step: the number of steps done. Checkpoints are ordered by this number.
        tree: a pytree of arrays (arrays of typed keys included) and Python's numbers. Python's numbers keep
            their types.
        meta: small JSON values, stored in the manifest.
        keep: the number of checkpoints that stay, at least 2: if the newest is damaged, the other is used.

    Raises:
        InputError: a leaf is neither an array of numbers nor a number.
        SaveError: the disk is full or cannot be written.
    """
    check.integer("step", step)
    folder = Path(folder)
    final = folder / f"step_{step:012d}"
    temporary = folder / f".saving-{step}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(".saving-*"):  # left by a process that was killed while it saved
            shutil.rmtree(stale, ignore_errors=True)
        arrays, keys, numbers = _to_host(tree)
        _orbax_save(temporary / "arrays", arrays)
        body = {
            "format": _FORMAT,
            "step": step,
            "meta": meta or {},
            "leaves": [[name, list(a.shape), str(a.dtype)] for name, a in arrays.items()],
            "keys": keys,
            "numbers": numbers,
            "form": structure.describe(tree),
            "files": {
                str(f.relative_to(temporary)): [f.stat().st_size, files.sha256(f)]
                for f in sorted(temporary.rglob("*"))
                if f.is_file()
            },
        }
        for entry in sorted(temporary.rglob("*")):
            files.sync(entry)
        files.write_json(temporary / "manifest.json", {"body": body, "sha256": files.sha256_json(body)})
        _remove(final)
        os.replace(temporary, final)
        files.sync(folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not isinstance(error, Exception) or isinstance(error, check.InputError):
            raise  # a signal, or a tree that cannot be saved on any disk
        # Any other error counts as a failed write: tensorstore reports a full disk as ValueError or
        # RuntimeError.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise SaveError(
            f"the checkpoint of step {step} could not be saved in {folder} ({reason}); "
            "earlier checkpoints are untouched: free disk space and run the same command again to resume."
        ) from error
    present = steps(folder)
    # Later checkpoints are damaged: otherwise this training would have started from one of them.
    for other in [s for s in present if s > step] + [s for s in present if s <= step][: -max(keep, 2)]:
        with contextlib.suppress(OSError):  # a checkpoint too many does no harm
            _remove(folder / f"step_{other:012d}")
    return final


def _remove(path: Path) -> None:
    """Remove a checkpoint. It is renamed first, so that a killed removal leaves no folder with its name."""
    if path.exists():
        doomed = path.with_name(f".saving-old-{path.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def steps(folder: Path | str) -> list[int]:
    """The steps of the checkpoints in ``folder``, damaged checkpoints included, in increasing order."""
    folder = Path(folder)
    names = (p.name for p in folder.glob("step_*")) if folder.is_dir() else ()
    return sorted(int(n[5:]) for n in names if n[5:].isdigit())


def load(
    folder: Path | str, target: PyTree = None, valid: Callable[[dict[str, Any]], str | None] | None = None
) -> Loaded | None:
    """Load the newest checkpoint that is not damaged.

    Args:
        folder: the folder given to `save`.
        target: a pytree of arrays, numbers or `jax.ShapeDtypeStruct` with the structure to restore. With
            ``None`` the result is a dict from the number of each leaf, as text, to the leaf.
        valid: a further check of a checkpoint by its meta values; it returns what is wrong, or None.

    Returns:
        The checkpoint; None if the folder has no checkpoint. Python's numbers come back with the types with
        which they were saved, whatever the target has.

    Raises:
        DamageError: all checkpoints are damaged. (A training that started again would hide the damage.)
        ValueError: the checkpoint is not damaged, but another program made it: shapes or dtypes differ.
    """
    saved = read(folder, valid)
    if saved is None:
        return None
    if target is None:
        tree = {_number(i): _key_data(leaf) for i, leaf in enumerate(saved.leaves)}
    else:
        tree = _matched(saved, target)
    return Loaded(saved.step, tree, saved.meta, saved.warnings)


def read(folder: Path | str, valid: Callable[[dict[str, Any]], str | None] | None = None) -> Saved | None:
    """The newest checkpoint that is not damaged, as a list of leaves; arguments and errors as of `load`."""
    folder = Path(folder)
    present = steps(folder)
    wrongs: list[str] = []
    for step in reversed(present):
        path = folder / f"step_{step:012d}"
        body, wrong = _verify(path)
        if body is not None and wrong is None and valid is not None:
            wrong = valid(body["meta"])
        if body is None or wrong is not None:
            wrongs.append(f"{path.name}: {wrong}")
            continue
        warnings = [f"a checkpoint in {folder} is damaged ({w}); the one before it is used." for w in wrongs]
        return Saved(path, body["step"], _leaves(path, body), body.get("form"), body["meta"], warnings)
    if present:
        raise DamageError(
            f"every checkpoint in {folder} is damaged ({'; '.join(wrongs)}) and nothing was restarted; "
            "restore the folder from a copy, remove it to do this part again, or use --fresh to begin anew."
        )
    return None


def _verify(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The body of a checkpoint's manifest, and what is wrong with the checkpoint; either may be None."""
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        body = manifest["body"]
        if files.sha256_json(body) != manifest["sha256"]:
            return None, "manifest.json does not match its own checksum"
        if body["format"] != _FORMAT:
            return None, f"format {body['format']}, this version reads {_FORMAT}"
        for name, (size, digest) in body["files"].items():
            file = path / name
            if not file.is_file():
                return None, f"{name} is missing"
            if file.stat().st_size != size:
                return None, f"{name} has {file.stat().st_size} bytes instead of {size}"
            if files.sha256(file) != digest:
                return None, f"{name} does not match its checksum"
    except FileNotFoundError as error:
        return None, f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"manifest.json cannot be read: {type(error).__name__}"
    return body, None


# On disk the tree is one flat dict of numpy arrays. Orbax stores neither empty arrays nor typed keys: the
# manifest holds the shapes of empty arrays, and the implementations of keys, whose data orbax stores. The
# manifest also holds Python's numbers, as text.

_NUMBERS: dict[str, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    "bool": (str, lambda text: text == "True"),
    "int": (str, int),
    "float": (float.hex, float.fromhex),
    "complex": (
        lambda z: f"{z.real.hex()} {z.imag.hex()}",
        lambda t: complex(*map(float.fromhex, t.split())),
    ),
}


def _number(i: int) -> str:
    return f"{i:05d}"


def _to_host(tree: PyTree) -> tuple[dict[str, np.ndarray], dict[str, str], dict[str, list[str]]]:
    """The leaves that are arrays, the implementations of typed keys, and Python's numbers as type and text.

    Each is a dict from the number of a leaf, as text.
    """
    arrays, keys, numbers = {}, {}, {}
    for i, (path, leaf) in enumerate(jax.tree_util.tree_flatten_with_path(tree)[0]):
        name, kind = _number(i), type(leaf).__name__
        if type(leaf) in (bool, int, float, complex):
            numbers[name] = [kind, _NUMBERS[kind][0](leaf)]
            continue
        if is_key(leaf):
            keys[name] = str(jax.random.key_impl(leaf))
        array = np.asarray(_key_data(leaf))
        if array.dtype.kind in "OSUMm" or array.dtype.names:
            where = jax.tree_util.keystr(path) or "its top"
            raise check.InputError(
                f"a checkpoint holds arrays of numbers and the tree has a {kind} at {where}; leave it out, "
                "or give it in the meta values."
            )
        arrays[name] = array
    return arrays, keys, numbers


def _leaves(path: Path, body: dict[str, Any]) -> list[Any]:
    """The leaves of a checkpoint that passed `_verify`, as they were saved."""
    named: dict[str, Any] = dict(_orbax_restore(path / "arrays", body["leaves"]))
    for name, implementation in body["keys"].items():
        named[name] = jax.random.wrap_key_data(jax.numpy.asarray(named[name]), impl=implementation)
    for name, (kind, text) in body.get("numbers", {}).items():
        named[name] = _NUMBERS[kind][1](text)
    return [named[name] for name in sorted(named, key=int)]


def _key_data(leaf: Any) -> Any:
    return np.asarray(jax.random.key_data(leaf)) if is_key(leaf) else leaf


def _matched(saved: Saved, target: PyTree) -> PyTree:
    """The leaves in the target's structure; ValueError unless each has the target's shape and dtype."""
    named, treedef = jax.tree_util.tree_flatten_with_path(target)
    other = "it was made by another version of the code: run that version, or --fresh to begin again."
    if len(named) != len(saved.leaves):
        raise ValueError(
            f"checkpoint {saved.path} holds {len(saved.leaves)} arrays and this program expects "
            f"{len(named)}; {other}"
        )
    for (where, wanted), leaf in zip(named, saved.leaves):
        if not _fits(leaf, wanted):
            raise ValueError(
                f"checkpoint {saved.path} holds {_form(leaf)} at {jax.tree_util.keystr(where)} "
                f"and this program expects {_form(wanted)}; {other}"
            )
    return jax.tree.unflatten(treedef, saved.leaves)


def _fits(leaf: Any, wanted: Any) -> bool:
    if hasattr(leaf, "dtype") and hasattr(wanted, "dtype"):
        return leaf.dtype == wanted.dtype and leaf.shape == wanted.shape
    if type(leaf) is type(wanted):
        return True
    # The leaf is one of Python's numbers, and the target is its shape from `jax.eval_shape`.
    kinds = {bool: np.bool_, int: np.integer, float: np.floating, complex: np.complexfloating}
    kind = kinds.get(type(leaf))
    return (
        kind is not None
        and hasattr(wanted, "dtype")
        and wanted.shape == ()
        and bool(jax.numpy.issubdtype(wanted.dtype, kind))
    )


def _form(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else f"a Python {type(leaf).__name__}"


def _handler() -> Any:
    import orbax.checkpoint as ocp  # the import takes a second, and only runs that save need it

    logging.getLogger("absl").setLevel(logging.ERROR)  # orbax warns at every save of numpy arrays
    # Only this process saves: orbax must not wait for the other processes of a jax.distributed job.
    options = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f"lrn-{jax.process_index()}",
    )
    return ocp.Checkpointer(
        ocp.StandardCheckpointHandler(multiprocessing_options=options), multiprocessing_options=options
    )


def _orbax_save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import orbax.checkpoint as ocp

    full = {k: a for k, a in arrays.items() if a.size}
    if not full:
        path.mkdir(parents=True)
        return
    with _handler() as checkpointer:
        checkpointer.save(path.absolute(), args=ocp.args.StandardSave(full))


def _orbax_restore(path: Path, leaves: list[list[Any]]) -> dict[str, np.ndarray]:
    import orbax.checkpoint as ocp

    empty = {name: np.zeros(shape, dtype) for name, shape, dtype in leaves if 0 in shape}
    full = {name: np.empty(shape, dtype) for name, shape, dtype in leaves if 0 not in shape}
    with _handler() as checkpointer:
        restored = checkpointer.restore(path.absolute(), args=ocp.args.StandardRestore(full)) if full else {}
    return {name: np.asarray(restored[name]) if name in full else empty[name] for name, _, _ in leaves}
