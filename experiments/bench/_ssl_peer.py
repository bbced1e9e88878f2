"""lightly in a process of its own, for the benchmarks of self-supervised learning."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lrn import check
from lrn.types import PyTree
from lrn.xla.runtime import processors


class Lightly:
    """lightly, run by an interpreter that has it, with a thread for each processor.

    Threads that wait sleep, so that they use no processor time.

    Raises:
        InputError: the interpreter lacks lightly.
    """

    def __init__(self, python: Path) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name) / "arrays.npz"
        command = [str(python), str(Path(__file__).with_name("_lightly.py")), str(processors())]
        settings = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings
        )
        self.versions = self._answer()
        if not self.versions:
            self.close()
            raise check.InputError(f"--peers needs lightly, which {python} lacks; give --peer-python.")

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
        assert self._process.stdin
        out = self._file.with_name("features.npz")
        out.unlink(missing_ok=True)
        options = {"task": task, "file": str(self._file), "out_file": str(out), **options}
        self._process.stdin.write(json.dumps(options) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if not answer:
            raise SystemExit(f"error: lightly failed on {task}")
        found = json.loads(answer)
        if out.exists():
            with np.load(out) as saved:
                found["features"] = {name: saved[name] for name in saved.files}
        return found

    def close(self) -> None:
        """End the process."""
        self._process.communicate()  # the process ends where its input ends
        self._folder.cleanup()

    def _answer(self) -> str:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("answer "):
                return line.removeprefix("answer ").strip()
        return ""
