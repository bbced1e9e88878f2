"""A peer library in a process of its own, which answers lines of JSON."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from lrn import check
from lrn.xla.runtime import processors


class PeerProcess:
    """A script, run by an interpreter that has a library, with a thread for each processor.

    The script prints lines "answer ...", the versions of its library first, and then an object for each line
    of JSON that it reads; other lines are dropped.

    Args:
        python: the interpreter.
        script: the script, whose first argument is the number of threads. arguments: its other ones.
        library: the library's name, for messages.
        sleep: whether threads that wait sleep, for figures in processor seconds; else they do as the library
            has it, for figures in wall seconds.
        remedy: what to do if the interpreter lacks the library, for messages.

    Raises:
        InputError: there is no such interpreter, or it lacks the library.
    """

    def __init__(
        self,
        python: Path,
        script: Path,
        library: str,
        *arguments: str,
        sleep: bool = True,
        remedy: str = "give --peer-python",
    ) -> None:
        self._library = library
        settings = {**os.environ, "PYTHONWARNINGS": "ignore"}
        if sleep:
            settings["OMP_WAIT_POLICY"] = "PASSIVE"
        try:
            self._process = subprocess.Popen(
                [str(python), str(script), str(processors()), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=settings,
            )
        except OSError as error:
            raise check.InputError(
                f"--peers needs {library}, and {python} cannot be run ({error.strerror}); {remedy}."
            ) from None
        self.versions = self._answer()
        if not self.versions:
            self.close()
            raise check.InputError(f"--peers needs {library}, which {python} lacks; {remedy}.")

    def ask(self, options: dict[str, Any]) -> dict[str, Any]:
        """The answer to one line.

        Raises:
            SystemExit: the process ended without an answer.
        """
        assert self._process.stdin
        answer = ""
        try:
            self._process.stdin.write(json.dumps(options) + "\n")
            self._process.stdin.flush()
            answer = self._answer()
        except BrokenPipeError:
            pass  # the process has ended
        if not answer:
            raise SystemExit(f"error: {self._library} failed on {options}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process, which ends where its input ends."""
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("answer "):
                return line.removeprefix("answer ").strip()
        return ""
