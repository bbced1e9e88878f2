"""lightly in a process of its own, for the benchmarks of self-supervised learning."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.bench._peer_process import PeerProcess
from lrn import check
from lrn.types import PyTree


class Lightly:
    """lightly, run by an interpreter that has it; see `PeerProcess`.

    Raises:
        InputError: the interpreter lacks lightly.
    """

    def __init__(self, python: Path) -> None:
        self._process = PeerProcess(python, Path(__file__).with_name("_lightly.py"), "lightly")
        self.versions = self._process.versions
        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name) / "arrays.npz"

    def give(self, params: PyTree = None, **arrays: Any) -> None:
        """The arrays of the tasks to come, and the weights of networks by name.

        Raises:
            InputError: an array has the name of a weight.
        """
        paths = jax.tree_util.tree_leaves_with_path({} if params is None else params)
        weights = {"/".join(str(part.key) for part in path): np.asarray(leaf) for path, leaf in paths}
        if both := weights.keys() & arrays.keys():
            raise check.InputError(f"an array and a weight have the name {both}; rename the array.")
        np.savez(self._file, **weights, **arrays)  # pyright: ignore[reportArgumentType]

    def run(self, task: str, **options: Any) -> dict[str, Any]:
        """The answer to a task, with an entry "features" where the task gives features."""
        out = self._file.with_name("features.npz")
        out.unlink(missing_ok=True)
        options = {"task": task, "file": str(self._file), "out_file": str(out), **options}
        found = self._process.ask(options)
        if out.exists():
            with np.load(out) as saved:
                found["features"] = {name: saved[name] for name in saved.files}
        return found

    def close(self) -> None:
        """End the process."""
        self._process.close()
        self._folder.cleanup()
