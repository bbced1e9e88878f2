"""Starts lrn command lines cheaply: imports everything once, then forks a child for each.

Importing jax and what a run needs costs seconds of CPU; forking costs milliseconds. It is safe as
long as jax has no backend here, hence no threads of XLA: each child makes its own. A child differs
from a fresh process in nothing else.

Speaks JSON lines on stdin and stdout: {"start": {...}} gives {"pid"}, {"wait": pid, "seconds"} gives
{"code"}, null when it still runs. Ends, with its children, when stdin does.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import threading
import time
from typing import Any

PRELOADED = (
    "jax", "jax.numpy", "jax.experimental.multihost_utils", "optax", "orbax.checkpoint", "pyarrow.parquet",
    "scipy.stats", "matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg",
    "rich.console", "tyro", "lrn.cli", "lrn.study.runner", "lrn.train", "lrn.figures", "lrn.train.sinks",
    "lrn.report", "toy",
)  # fmt: skip


def main() -> dict[str, Any]:
    """Serve; returns only in a child, with what it was asked to run."""
    for name in PRELOADED:
        importlib.import_module(name)
    from lrn.study import store

    # What a run is resumed by is the code imported above, not what an editor has since put on disk.
    frozen = store.source_sha256()
    store.source_sha256 = lambda: frozen
    answers = os.fdopen(os.dup(1), "w")
    alive: set[int] = set()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            pid = os.fork()
            if pid == 0:
                answers.close()
                return request["start"]
            alive.add(pid)
            answer: dict[str, Any] = {"pid": pid}
        else:
            answer = {"code": _wait(request["wait"], request["seconds"])}
            if answer["code"] is not None:
                alive.discard(request["wait"])
        print(json.dumps(answer), file=answers, flush=True)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _wait(pid: int, seconds: float) -> int | None:
    """The exit code, negative for a signal as in subprocess; None after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.002)


def become(start: dict[str, Any]) -> None:
    """Be the process that was asked for: its own streams, environment, limits and faults."""
    signal.alarm(int(start["limit"]))  # whatever happens, it ends
    log = os.open(start["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.update(start["env"])
    for fault in start["faults"]:
        plant(**fault)


def plant(
    at: str, call: int, do: str, after: bool = False, delay: float | None = None, **arguments: Any
) -> None:
    """Let the ``call``-th call of ``at`` ("module:name.name") do what `FAULTS` says.

    Before its work, after it (even if it failed), or ``delay`` seconds into it, by a thread.
    """
    module, _, path = at.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        mine = calls == call

        def act() -> None:
            FAULTS[do](**arguments)

        if mine and delay is not None:
            threading.Timer(delay, act).start()
        elif mine and not after:
            act()
        try:
            return original(*args, **kwargs)
        finally:
            if mine and after:
                act()

    setattr(owner, name, wrapped)


def send(*signals: int) -> None:
    for number in signals:
        os.kill(os.getpid(), number)


def fill(path: str) -> None:
    """Fill the disk that ``path`` lies on."""
    with open(path, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def limit(size: int) -> None:
    """Allow no file above ``size`` bytes from now on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


FAULTS = {
    "crash": lambda: 1 / 0,
    "sleep": lambda seconds: time.sleep(seconds),
    "kill": lambda: send(signal.SIGKILL),
    "term": lambda: send(signal.SIGTERM),
    "interrupt": lambda: send(signal.SIGINT),
    "term twice": lambda: send(signal.SIGTERM, signal.SIGTERM),
    "fill": fill,
    "free": lambda path: os.unlink(path),
    "limit": limit,
}


if __name__ == "__main__":
    start = main()
    become(start)
    from lrn import cli

    cli.main(start["argv"])
