"""Start runs of the tiny study, break them, and read the folders that they leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lrn.study import seal
from lrn.train import checkpoint

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
STUDY = HERE / "study_tiny.py"
LIMIT = 120  # after so many seconds a process that still runs is killed, and its test fails


class Ended(NamedTuple):
    """The end of a process.

    code: its exit code, negative for a signal.
    said: what it printed.
    seconds: how long it ran.
    """

    code: int
    said: str
    seconds: float


class Process:
    """A command line that runs in a child of the fork server."""

    def __init__(self, server: Server, pid: int, log: Path):
        self._server, self.pid, self._log, self._began = server, pid, log, time.monotonic()

    @property
    def said(self) -> str:
        """What the process has printed until now."""
        return self._log.read_text()

    def send(self, number: signal.Signals) -> None:
        """Send a signal. The server has not waited for the process yet, so its number is still its own."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = LIMIT) -> Ended:
        """Wait for the end of the process.

        Raises:
            TimeoutError: the process still runs after ``seconds``; it is killed.
        """
        code = self._server.ask({"wait": self.pid, "seconds": seconds})["code"]
        if code is None:
            self.send(signal.SIGKILL)
            self._server.ask({"wait": self.pid, "seconds": 10})
            raise TimeoutError(f"a run did not end in {seconds} s; it said: {self.said[-2000:]}")
        return Ended(code, self.said, time.monotonic() - self._began)

    def wait_until(self, condition: Any, seconds: float = LIMIT) -> None:
        """Wait until ``condition()`` holds; it is called every few milliseconds.

        Raises:
            TimeoutError: the condition did not hold within ``seconds``.
        """
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"nothing happened in {seconds} s; it said: {self.said[-2000:]}")
            time.sleep(0.003)


class Server:
    """The fork server. All its processes share a compilation cache and a folder for logs."""

    def __init__(self, folder: Path):
        folder.mkdir(exist_ok=True)
        self._folder, self._started = folder, 0
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            # Cache the small programs too: a resumed run would spend most of its time compiling them.
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "forkserver.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **cache, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}", "COLUMNS": "200"},
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("the fork server did not start; its error is above.")

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request, and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(
        self, *argv: Any, faults: Sequence[dict[str, Any]] = (), env: Mapping[str, str] | None = None
    ) -> Process:
        """Start ``lrn argv`` with faults planted (see `forkserver.plant`)."""
        self._started += 1
        log = self._folder / f"log-{self._started}"
        log.touch()
        start = {
            "argv": [str(a) for a in argv], "faults": list(faults), "env": dict(env or {}),
            "log": str(log), "limit": 2 * LIMIT,
        }  # fmt: skip
        return Process(self, self.ask({"start": start})["pid"], log)

    def close(self) -> None:
        """End the server and all processes that it started."""
        self._process.communicate(timeout=60)


class Run:
    """A run of the tiny study at one preset, in a folder of its own."""

    def __init__(self, server: Server, out: Path, preset: str = "smoke", options: Sequence[Any] = ()):
        self._server, self.out, self.preset, self._options = server, out, preset, tuple(options)

    def start(self, *options: Any, also: Sequence[Path] = (), **more: Any) -> Process:
        """Start the run, or start it again; it saves after each chunk. ``also``: studies that follow it."""
        return self._server.start(
            "run", STUDY, *also, "--preset", self.preset, "--out", self.out, "--no-progress",
            "--save-seconds", 0.001, *self._options, *options, **more,
        )  # fmt: skip

    def ended(self, *options: Any, **more: Any) -> Ended:
        """Start the run and wait for its end."""
        return self.start(*options, **more).wait()

    @property
    def folder(self) -> Path:
        """The run folder; there must be exactly one."""
        (folder,) = (f for f in (self.out / "study_tiny").iterdir() if f.is_dir())
        return folder

    def checkpoints(self) -> dict[str, list[int]]:
        """From the name of a training to the steps of its checkpoints."""
        return {f.name: checkpoint.steps(f) for f in sorted((self.folder / "checkpoints").iterdir())}

    def saved(self, step: int | None = None) -> list[Path]:
        """The manifests of the checkpoints (of one ``step``) that are on disk now, oldest first.

        The run may be running. The pattern names the depth of the manifests, because a recursive search fails
        when a save renames its folder.
        """
        name = "step_*" if step is None else f"step_{step:012d}"
        return sorted(self.out.glob(f"study_tiny/*/checkpoints/*/{name}/manifest.json"))

    def phase(self) -> str:
        """The phase in which a process was killed, as its files show it."""
        if not (self.out / "study_tiny").is_dir() or not any(
            f.is_dir() for f in (self.out / "study_tiny").iterdir()
        ):
            return "start"
        names = {str(f.relative_to(self.folder)) for f in self.folder.rglob("*")}
        if "verdict.json" in names:
            return "done"
        if any(".saving-" in n for n in names) or any("/metrics/." in n for n in names):
            return "save"
        if "metrics.parquet" in names or any(n.startswith(".") for n in names):
            return "finish"
        return "training" if any("/step_" in n for n in names) else "start"

    def result(self) -> dict[str, Any]:
        """The contents of the run folder that must not depend on how often the run was killed."""
        folder = self.folder
        looked = seal.look(folder)
        assert (looked.sealed, looked.wrongs) == (True, {})
        verdict = {k: v for k, v in (looked.verdict or {}).items() if k not in ("seconds", "seal")}
        arrays = {}
        for training in sorted((folder / "checkpoints").iterdir()):
            loaded = checkpoint.load(training)
            assert loaded is not None
            assert not loaded.warnings
            arrays[training.name] = {
                k: (v.shape, str(v.dtype), v.tobytes()) for k, v in sorted(loaded.tree.items())
            }
        kept = ("config.json", "metrics.parquet", "figure.png", "figure-dark.png", "figure.svg")
        return {"verdict": verdict, "arrays": arrays, **{n: (folder / n).read_bytes() for n in kept}}

    def litter(self) -> list[str]:
        """The temporary files, and the parts of metrics that no checkpoint knows."""
        litter = [str(f) for f in self.folder.rglob("*") if f.name.startswith(".") or ".tmp" in f.name]
        for training in (self.folder / "checkpoints").iterdir():
            loaded = checkpoint.load(training)
            known = {name for name, _ in loaded.meta.get("parts", ())} if loaded else set()
            litter += [str(f) for f in (training / "metrics").glob("*") if f.name not in known]
        return litter
