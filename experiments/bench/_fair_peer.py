"""fairlearn in a process of its own, for the fairness benchmarks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench._peer_process import PeerProcess


class Fairlearn:
    """fairlearn, run by an interpreter that has it.

    Raises:
        InputError: the interpreter lacks fairlearn.
    """

    def __init__(self, python: Path) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name) / "rows.npz"
        script = Path(__file__).with_name("_fairlearn.py")
        self._process = PeerProcess(python, script, "fairlearn", sleep=False, remedy="give --python")
        self.versions = self._process.versions

    def give(self, **arrays: Any) -> None:
        """The rows of the tasks to come; see ``_fairlearn.py`` for the names."""
        np.savez(self._file, **arrays)

    def run(self, task: str, **options: Any) -> tuple[dict[str, Any], np.ndarray | None]:
        """The answer to a task, and the expected decisions on the test rows where the task makes any."""
        decisions = self._file.with_suffix(".npy")
        decisions.unlink(missing_ok=True)
        answer = self._process.ask({"file": str(self._file), "task": task, **options})
        return answer, np.load(decisions) if decisions.exists() else None

    def close(self) -> None:
        """End the process."""
        self._process.close()
        self._folder.cleanup()
