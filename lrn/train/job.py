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
    """Another process of this job failed or ended; the message of that process says why."""


def join() -> None:
    """Join the job that the environment describes, before jax is used; without a description do nothing.

    The environment has ``LRN_COORDINATOR=host:port`` (the address of process 0), ``LRN_PROCESSES=n`` and
    ``LRN_PROCESS=0..n-1``. Under SLURM or Open MPI, and on TPU slices, jax finds these values by itself with
    ``LRN_DISTRIBUTED=auto``.

    Raises:
        InputError: the variables are incomplete or wrong, or the other processes could not be reached.
    """
    job, automatic = _job(), _automatic()
    if job is not None and automatic:
        raise check.InputError(f"LRN_DISTRIBUTED=auto finds the job by itself; unset {', '.join(_JOB)}.")
    if job is None and not automatic:
        return
    # jax's preemption service would replace the SIGTERM handler of `lrn.interrupt`, by which all processes
    # stop at the same step.
    jax.config.update("jax_enable_preemption_service", False)
    notice = threading.Timer(10, _say_waiting)
    notice.daemon = True
    notice.start()
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
        notice.cancel()


def _say_waiting() -> None:
    # jax waits for five minutes without a message, and then aborts the process.
    print("waiting for the other processes of this job to start", file=sys.stderr, flush=True)


def in_job() -> bool:
    """Whether this process belongs to a job of several processes."""
    return jax.process_count() > 1


def leave(code: int) -> None:
    """Call this before an exit with ``code``: after a failure it ends the process within 10 seconds.

    At a process's end jax waits for all other processes of the job to end. After a failure they may never
    end: they wait for this process, and only its end tells them that it failed. With code 0, or without a
    job, the function returns.
    """
    if code == 0 or not jax.distributed.is_initialized():
        return
    # In this time the other processes can print messages of their own.
    leaving = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    leaving.start()
    leaving.join(timeout=10)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _job() -> tuple[str, int, int] | None:
    """The coordinator's address, the number of processes and the index of this one; None without a job."""
    given = {name: os.environ[name] for name in _JOB if os.environ.get(name)}
    if not given:
        return None
    if len(given) < len(_JOB):
        missing = ", ".join(name for name in _JOB if name not in given)
        raise check.InputError(f"{', '.join(given)} is set and {missing} is not; a job needs all three.")
    coordinator = given["LRN_COORDINATOR"]
    address = re.fullmatch(r"(\[[0-9A-Fa-f:]+\]|[^\s:/]+):(\d{1,5})", coordinator)
    if address is None or not 0 < int(address[2]) < 2**16:
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
    """Whether this is the main process of the job: process 0, the only one that writes files."""
    return jax.process_index() == 0


def agree(value: int) -> int:
    """The ``value`` of the main process, returned in every process, so that all processes do the same."""
    if jax.process_count() == 1:
        return value
    return int(_together(lambda: multihost_utils.broadcast_one_to_all(np.int32(value))))


def on_main(action: Callable[[], T]) -> T | None:
    """Call ``action`` (such as a function that writes a file) in the main process.

    If ``action`` raises, all processes raise, so that no process waits forever for the main process.

    Returns:
        The result of ``action`` in the main process, and None in the other processes.

    Raises:
        JobError: in the other processes, if ``action`` raised; the main process raises the error itself.
    """
    result, error = None, None
    if main_process():
        try:
            result = action()
        except BaseException as caught:  # also a signal: the other processes must learn of it
            error = caught
    if agree(int(error is not None)):
        raise error or JobError("the main process of this job failed; its own message says why.")
    return result


def any_process(flag: bool) -> bool:
    """Whether ``flag`` is true in any process of the job."""
    return flag if jax.process_count() == 1 else bool(gather(np.array([flag], np.int32)).any())


def gather(x: Any) -> np.ndarray:
    """The arrays ``x`` of all processes, concatenated along the first axis in order of process."""
    return np.asarray(_together(lambda: multihost_utils.process_allgather(x, tiled=True)))


def _together(collective: Callable[[], T]) -> T:
    """The result of a collective call; `JobError` if the processes lost each other."""
    try:
        return collective()
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise JobError(
            f"the processes of this job lost each other ({reason}); start all of them again to resume."
        ) from error
