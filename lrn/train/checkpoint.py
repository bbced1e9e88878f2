"""Checkpoints that can be trusted: orbax arrays behind a SHA-256 manifest.

Orbax restores an array with a flipped bit without a word, and reports a failed save only when it is
waited for. So a checkpoint here is a folder that appears under its name only when all of it is on
disk, and is loaded only when every byte is what was written; otherwise the one before it is used,
and the caller is told.

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
    """A checkpoint could not be saved; the ones saved before it are untouched."""


class DamageError(ValueError):
    """Checkpoints exist and none of them can be trusted."""


class DamageWarning(UserWarning):
    """A checkpoint is damaged, and the one before it was used."""


class Loaded(NamedTuple):
    """A checkpoint that passed every check, and the warnings about those that did not."""

    step: int
    tree: PyTree
    meta: dict[str, Any]
    warnings: list[str]


class Saved(NamedTuple):
    """A checkpoint that passed every check, its leaves in JAX's order.

    form: its structure (see `lrn.train.structure`), or None if an earlier version saved it.
    warnings: about the newer checkpoints that did not pass.
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
    """Save a pytree as the checkpoint of ``step``; keep the ``keep`` newest.

    One process at a time may save in a folder.

    Args:
        folder: where the checkpoints of one training lie.
        step: the number of steps done; it orders the checkpoints.
        tree: any pytree of arrays, typed keys included, and of Python's numbers, which stay what they are.
        meta: small JSON values stored in the manifest.
        keep: how many checkpoints to leave, at least 2: the last, and the one to fall back on.

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
        for stale in folder.glob(".saving-*"):  # a process that was killed in a save
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
            raise  # a signal, not a failure; or what no disk can help
        # Whatever it is: tensorstore reports a full disk as ValueError or RuntimeError.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise SaveError(
            f"the checkpoint of step {step} could not be saved in {folder} ({reason}); "
            "earlier checkpoints are untouched: free disk space and run the same command again to resume."
        ) from error
    found = steps(folder)
    # Later ones are damaged, or this training would have started from them.
    for other in [s for s in found if s > step] + [s for s in found if s <= step][: -max(keep, 2)]:
        with contextlib.suppress(OSError):  # too many checkpoints do no harm
            _remove(folder / f"step_{other:012d}")
    return final


def _remove(path: Path) -> None:
    """Remove a checkpoint; killed half way, what is left no longer looks like one."""
    if path.exists():
        doomed = path.with_name(f".saving-old-{path.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def steps(folder: Path | str) -> list[int]:
    """The steps that have a checkpoint in ``folder``, oldest first; damaged ones included."""
    folder = Path(folder)
    names = (p.name for p in folder.glob("step_*")) if folder.is_dir() else ()
    return sorted(int(n[5:]) for n in names if n[5:].isdigit())


def load(
    folder: Path | str, target: PyTree = None, valid: Callable[[dict[str, Any]], str | None] | None = None
) -> Loaded | None:
    """Load the newest checkpoint that can be trusted.

    Args:
        folder: the folder given to `save`.
        target: a pytree of arrays, numbers or `jax.ShapeDtypeStruct` with the structure to restore; with
            ``None`` the leaves come back as a dict from their number, as text, to the leaf.
        valid: an extra check of the meta values; returns what is wrong, or None.

    Returns:
        None where there is no checkpoint at all. Python's numbers come back as such, whatever the target has.

    Raises:
        DamageError: there are checkpoints and all are damaged. Starting over would hide that.
        ValueError: the checkpoint is sound and was made by another program (shapes or dtypes differ).
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
    """The newest checkpoint that can be trusted, without a target; arguments and errors as of `load`."""
    folder = Path(folder)
    found = steps(folder)
    wrongs: list[str] = []
    for step in reversed(found):
        path = folder / f"step_{step:012d}"
        body, wrong = _verify(path)
        if body is not None and wrong is None and valid is not None:
            wrong = valid(body["meta"])
        if body is None or wrong is not None:
            wrongs.append(f"{path.name}: {wrong}")
            continue
        warnings = [f"a checkpoint in {folder} is damaged ({w}); the one before it is used." for w in wrongs]
        return Saved(path, body["step"], _leaves(path, body), body.get("form"), body["meta"], warnings)
    if found:
        raise DamageError(
            f"every checkpoint in {folder} is damaged ({'; '.join(wrongs)}) and nothing was restarted; "
            "restore the folder from a copy, remove it to do this part again, or use --fresh to begin anew."
        )
    return None


def _verify(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The manifest's body and what is wrong with the checkpoint, if anything is."""
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


# The tree on disk: one flat dict of numpy arrays. Orbax keeps neither empty arrays nor typed keys,
# so those are turned into what it does keep, and back. Python's numbers are text in the manifest.

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
    """The leaves as numpy arrays by number; each typed key's implementation; Python's numbers."""
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
    """The leaves of a checkpoint that was verified, as they were saved."""
    named: dict[str, Any] = dict(_orbax_restore(path / "arrays", body["leaves"]))
    for name, implementation in body["keys"].items():
        named[name] = jax.random.wrap_key_data(jax.numpy.asarray(named[name]), impl=implementation)
    for name, (kind, text) in body.get("numbers", {}).items():
        named[name] = _NUMBERS[kind][1](text)
    return [named[name] for name in sorted(named, key=int)]


def _key_data(leaf: Any) -> Any:
    return np.asarray(jax.random.key_data(leaf)) if is_key(leaf) else leaf


def _matched(saved: Saved, target: PyTree) -> PyTree:
    """The leaves in the target's structure, each of the form that it has there."""
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
    # A number whose target was found by `jax.eval_shape`.
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
    import orbax.checkpoint as ocp  # a second to import, and only a run that saves needs it

    logging.getLogger("absl").setLevel(logging.ERROR)  # orbax warns at every save of numpy arrays
    # One process saves while others of the same jax.distributed job may be elsewhere: no barriers.
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
