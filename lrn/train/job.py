"""A job of several processes, through `jax.distributed`: join it, agree in it, leave it."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from lrn import check

T = TypeVar("T")

_JOB = ("LRN_COORDINATOR", "LRN_PROCESSES", "LRN_PROCESS")


class JobError(OSError):
    """Another process of this job failed or has gone; its own message says why."""


def join() -> None:
    """Join the other processes of a job, where the environment speaks of any; before jax is used.

    ``LRN_COORDINATOR=host:port`` (where process 0 can be reached), ``LRN_PROCESSES=n`` and
    ``LRN_PROCESS=0..n-1``, or ``LRN_DISTRIBUTED=auto`` where jax finds these out by itself: under
    SLURM or Open MPI, and on TPU slices.

    Raises:
        InputError: the variables are incomplete or wrong, or the others could not be reached.
    """
    job, automatic = _job(), _automatic()
    if job is not None and automatic:
        raise check.InputError(f"LRN_DISTRIBUTED=auto finds the job by itself; unset {', '.join(_JOB)}.")
    if job is None and not automatic:
        return
    # Its own SIGTERM handler would keep ours from being told; ours lets all processes stop together.
    jax.config.update("jax_enable_preemption_service", False)
    told = threading.Timer(10, _say_waiting)
    told.daemon = True
    told.start()
    try:
        if job is None:
            jax.distributed.initialize()
        elif job[1] > 1:
            coordinator, count, index = job
            jax.distributed.initialize(
                coordinator,
                count,
                index,
                cluster_detection_method="deactivate",
                # By default process 0 listens on every interface.
                coordinator_bind_address=coordinator if _is_loopback(coordinator) else None,
            )
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise check.InputError(
            f"this process could not join its job ({reason}); "
            f"check {', '.join(_JOB if job else ('LRN_DISTRIBUTED',))} and that all processes have started."
        ) from error
    finally:
        told.cancel()


def _say_waiting() -> None:
    # jax waits for five minutes without a word, and then aborts the process.
    print("waiting for the other processes of this job to start", file=sys.stderr, flush=True)


def in_job() -> bool:
    """Whether this process is one of several."""
    return jax.process_count() > 1


def leave(code: int) -> None:
    """Before an exit with ``code``: after a failure, leave a job without waiting for the others for minutes.

    jax waits at a process's end for all others to end too. After a failure they may never: they wait in
    turn for this one, and learn that it has gone only by its end.
    """
    if code == 0 or not jax.distributed.is_initialized():
        return
    # The others have this long to fail in their own words, where all have agreed to.
    leaving = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    leaving.start()
    leaving.join(timeout=10)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _job() -> tuple[str, int, int] | None:
    """The coordinator's address, the number of processes and the index of this one."""
    given = {name: os.environ[name] for name in _JOB if os.environ.get(name)}
    if not given:
        return None
    if len(given) < len(_JOB):
        missing = ", ".join(name for name in _JOB if name not in given)
        raise check.InputError(f"{', '.join(given)} is set and {missing} is not; a job needs all three.")
    coordinator = given["LRN_COORDINATOR"]
    found = re.fullmatch(r"(\[[0-9A-Fa-f:]+\]|[^\s:/]+):(\d{1,5})", coordinator)
    if found is None or not 0 < int(found[2]) < 2**16:
        raise check.InputError(
            f"LRN_COORDINATOR must be host:port, got {coordinator!r}; give for example node1:8476."
        )
    count, index = (_whole(name, given[name]) for name in _JOB[1:])
    if not 0 <= index < count:
        raise check.InputError(
            f"LRN_PROCESS must be from 0 to LRN_PROCESSES - 1, got {index} of {count}; number them from 0."
        )
    return coordinator, count, index


def _whole(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise check.InputError(f"{name} must be a whole number, got {value!r}; give it in digits.")
    return int(value)


def _automatic() -> bool:
    value = os.environ.get("LRN_DISTRIBUTED", "")
    if value not in ("", "0", "auto"):
        raise check.InputError(f"LRN_DISTRIBUTED must be auto or 0, got {value!r}; unset it for one process.")
    return value == "auto"


def _is_loopback(address: str) -> bool:
    host = address.rsplit(":", 1)[0]
    return host in ("localhost", "[::1]") or host.startswith("127.")


def main_process() -> bool:
    """Whether this is the one process that writes files."""
    return jax.process_index() == 0


def agree(value: int) -> int:
    """The main process's ``value``, in every process: what to do next must not differ between them."""
    if jax.process_count() == 1:
        return value
    return int(_together(lambda: multihost_utils.broadcast_one_to_all(np.int32(value))))


def on_main(action: Callable[[], T]) -> T | None:
    """Do something, such as writing a file, in the main process; where it fails, all processes fail.

    So none waits forever for a main process that has gone.

    Returns:
        What ``action`` returned in the main process, None in the others.

    Raises:
        JobError: in the other processes; in the main one, what ``action`` raised.
    """
    result, error = None, None
    if main_process():
        try:
            result = action()
        except BaseException as caught:  # a signal too must reach the others before this process leaves
            error = caught
    if agree(int(error is not None)):
        raise error or JobError("the main process of this job failed; its own message says why.")
    return result


def any_process(flag: bool) -> bool:
    """Whether any process says so."""
    return flag if jax.process_count() == 1 else bool(gather(np.array([flag], np.int32)).any())


def gather(x: Any) -> np.ndarray:
    """The parts of all processes, joined along the first axis."""
    return np.asarray(_together(lambda: multihost_utils.process_allgather(x, tiled=True)))


def _together(collective: Callable[[], T]) -> T:
    try:
        return collective()
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise JobError(
            f"the processes of this job lost each other ({reason}); start all of them again to resume."
        ) from error
