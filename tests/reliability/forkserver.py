"""Start command lines of lrn cheaply: import everything once, then fork a child for each command line.

The imports of a run cost seconds of CPU; a fork costs milliseconds. Forking is safe as long as jax has no
backend in the server, and so no threads of XLA: each child makes its own backend. In all else a child is like
a fresh process.

The server reads and writes JSON lines on stdin and stdout: {"start": {...}} is answered by {"pid"}, and
{"wait": pid, "seconds"} by {"code"}, which is null while the child runs. When stdin ends, the server ends its
children and itself.
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
    """Serve requests; returns only in a child, with the "start" request that the child must run."""
    for name in PRELOADED:
        importlib.import_module(name)
    from lrn.study import store

    # The hash of the code is that of the modules imported above, even if somebody edits the files meanwhile.
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
    """The exit code of a child, negative for a signal as in subprocess; None if it runs after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.002)


def become(start: dict[str, Any]) -> None:
    """Give this child the streams, the environment, the limit and the faults of a "start" request."""
    signal.alarm(int(start["limit"]))  # the child ends after this time in any case
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
    """Let the ``call``-th call of the function ``at`` ("module:name.name") do the fault ``do`` of `FAULTS`.

    The fault comes before the function's work, or with ``after`` after the work (even if it raised), or
    with ``delay`` so many seconds after its start, in a thread.
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
        is_the_call = calls == call

        def act() -> None:
            FAULTS[do](**arguments)

        if is_the_call and delay is not None:
            threading.Timer(delay, act).start()
        elif is_the_call and not after:
            act()
        try:
            return original(*args, **kwargs)
        finally:
            if is_the_call and after:
                act()

    setattr(owner, name, wrapped)


def send(*signals: int) -> None:
    for number in signals:
        os.kill(os.getpid(), number)


def fill(path: str) -> None:
    """Fill the file system of ``path`` by writing to ``path``."""
    with open(path, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def limit(size: int) -> None:
    """From now on let no file grow above ``size`` bytes."""
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
