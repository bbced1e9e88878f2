"""Settings of jax that a run wants, and of its compiler."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax

from lrn import files

T = TypeVar("T")


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

    What pays for several large networks, and for one whose learner divides its step (`lrn.xla.parts`). Small
    ones are faster together on one device. XLA_FLAGS that say how many devices there are have their way.

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
