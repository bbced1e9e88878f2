"""Settings of jax that a run wants, and of its compiler."""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax

from lrn import check, files

T = TypeVar("T")

_JOB = ("LRN_COORDINATOR", "LRN_PROCESSES", "LRN_PROCESS")


def enable_compilation_cache() -> None:
    """Keep compiled programs on disk, so that a second run of a study starts in seconds.

    Leaves a cache that was already configured alone; ``LRN_COMPILATION_CACHE=0`` turns it off.
    """
    if os.environ.get("LRN_COMPILATION_CACHE") == "0" or getattr(
        jax.config, "jax_compilation_cache_dir", None
    ):
        return
    folder = files.cache_home() / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home: compile each time rather than fail
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def device_per_processor() -> None:
    """Make each processor that this process may use a CPU device of its own, before JAX is used.

    What pays for several large networks, and for one whose learner divides its step (`lrn.parts`). Small ones
    are faster together on one device. XLA_FLAGS that say how many devices there are have their way.

    Raises:
        RuntimeError: JAX has been used already.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", processors())


def processors() -> int:
    """How many this process may use; where the system does not tell, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compiler_options(wanted: dict[str, Any]) -> dict[str, Any]:
    """Options for the compiler of CPUs, but for those the user chose in XLA_FLAGS."""
    return {name: value for name, value in wanted.items() if name not in os.environ.get("XLA_FLAGS", "")}


def jit_brief(function: Callable[..., T], static_argnums: Sequence[int] = ()) -> Callable[..., T]:
    """`jax.jit` for what runs for seconds and not for hours: compiled in half the time on CPU.

    Fewer passes of LLVM, and XLA's older emitters of kernels, which compile sooner. Results are the same up
    to rounding. Not to be called inside of another `jax.jit`, which has options of its own.
    """

    @functools.cache
    def made() -> Callable[..., T]:
        fast = {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}
        options = compiler_options(fast) if jax.default_backend() == "cpu" else None
        return jax.jit(function, static_argnums=tuple(static_argnums), compiler_options=options)

    return functools.wraps(function)(lambda *args, **kwargs: made()(*args, **kwargs))


def initialise_distributed() -> None:
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


def leave_job(code: int) -> None:
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
