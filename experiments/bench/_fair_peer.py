"""fairlearn in a process of its own, for the fairness benchmarks."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lrn import check


class Fairlearn:
    """fairlearn, run by an interpreter that has it.

    Raises:
        InputError: the interpreter lacks fairlearn.
    """

    def __init__(self, python: Path) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name) / "rows.npz"
        command = [str(python), str(Path(__file__).with_name("_fairlearn.py"))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions = self._answer()
        if not self.versions:
            raise check.InputError(f"--peers needs fairlearn, which {python} lacks; give --python.")

    def give(self, **arrays: Any) -> None:
        """The rows of the tasks to come; see ``_fairlearn.py`` for the names."""
        np.savez(self._file, **arrays)

    def run(self, task: str, **options: Any) -> tuple[dict[str, Any], np.ndarray | None]:
        """The answer to a task, and the expected decisions on the test rows where the task makes any."""
        assert self._process.stdin
        decisions = self._file.with_suffix(".npy")
        decisions.unlink(missing_ok=True)
        self._process.stdin.write(json.dumps({"file": str(self._file), "task": task, **options}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if not answer:
            raise SystemExit(f"error: fairlearn failed on {task}")
        return json.loads(answer), np.load(decisions) if decisions.exists() else None

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._folder.cleanup()

    def _answer(self) -> str:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("answer "):
                return line.removeprefix("answer ").strip()
        return ""
