"""Notice that computation stands still, and begin the process again.

On CPUs a compiled program can wait for itself: some of XLA's calls (batched LAPACK, FFT) hand work to the
thread pool they run on, and wait for it there. With few processors no thread is left to do that work, and the
process waits forever without using the processor. A run of a study keeps checkpoints, so the cure is to begin
the same command again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

PATIENCE = 180.0  # seconds
AGAIN = "LRN_BEGAN_AGAIN"  # the environment variable that counts how often a process began again
MOST = 5  # times that a command begins again
_IDLE = 0.002  # share of a processor; a process that only waits uses a tenth of this


@contextlib.contextmanager
def watched(stalled: Callable[[], None], patience: float = PATIENCE) -> Iterator[None]:
    """Inside, call ``stalled`` once if the process uses no processor time for ``patience`` seconds.

    A process that was stopped and continued, or a machine that slept, starts the count anew. Code that waits
    for something else than a computation (a lock, a download) must not be watched.

    Args:
        stalled: called in a thread of its own, while the main thread may hang.
        patience: seconds without processor time.
    """
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(done, stalled, patience), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _watch(done: threading.Event, stalled: Callable[[], None], patience: float) -> None:
    every = patience / 36
    idle, before, used = 0.0, time.monotonic(), time.process_time()
    while not done.wait(every):
        now, spent = time.monotonic(), time.process_time()
        passed, spent_since = now - before, spent - used
        before, used = now, spent
        # A gap means that nobody could have computed in it.
        still = passed < 3 * every and spent_since <= _IDLE * passed + 1e-3
        idle = idle + passed if still else 0.0
        if idle >= patience:
            stalled()
            return


def begin_again() -> None:
    """Replace this process by the same command, which resumes; after `MOST` times only say what is wrong."""
    times = int(os.environ.get(AGAIN, "0")) + 1
    what = f"no processor time was used for {PATIENCE:.0f} s: a compiled program waits for itself"
    if times > MOST:
        print(
            f"{what}, {times} times so far; stop it and set XLA_FLAGS=--xla_cpu_multi_thread_eigen=false.",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        return
    print(f"{what}; the command begins again from its last checkpoint.", file=sys.stderr, flush=True)
    words = [word for word in sys.orig_argv[1:] if word != "--fresh"]  # what was computed is kept
    os.execve(sys.executable, [sys.executable, *words], {**os.environ, AGAIN: str(times)})
