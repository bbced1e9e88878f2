"""Settings of jax and of its compiler."""

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

    The function does nothing if a cache is already configured, or with ``LRN_COMPILATION_CACHE=0`` in the
    environment.
    """
    if os.environ.get("LRN_COMPILATION_CACHE") == "0" or getattr(
        jax.config, "jax_compilation_cache_dir", None
    ):
        return
    folder = files.cache_home() / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # the folder cannot be written: compile each time rather than fail
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def device_per_processor() -> None:
    """Make each processor that this process may use a CPU device of its own; call it before JAX is used.

    This speeds up several large networks, and one network whose learner divides its step (`lrn.xla.parts`).
    Several small networks are faster together on one device. If XLA_FLAGS sets the number of devices, the
    function does nothing.

    Raises:
        RuntimeError: JAX has been used already.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", processors())


def processors() -> int:
    """The number of processors that this process may use, or of all processors where that is unknown."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compiler_options(wanted: dict[str, Any]) -> dict[str, Any]:
    """The options ``wanted`` for the CPU compiler, without those that the user set in XLA_FLAGS."""
    return {name: value for name, value in wanted.items() if name not in os.environ.get("XLA_FLAGS", "")}


def brief_options(level: int = 1) -> dict[str, Any] | None:
    """Options with which the CPU compiles a program in half the time, for programs that run for seconds.

    LLVM runs fewer passes, and XLA uses its older emitters of kernels, which compile faster. Results are the
    same up to rounding. None on other backends.

    Args:
        level: LLVM's level of optimization. With 0 programs compile in a fifth of the time and run slowly.
    """
    if jax.default_backend() != "cpu":
        return None
    wanted: dict[str, Any] = {"xla_backend_optimization_level": level, "xla_cpu_use_fusion_emitters": False}
    if level == 0:
        wanted |= {"xla_llvm_disable_expensive_passes": True, "xla_cpu_parallel_codegen_split_count": 1}
    return compiler_options(wanted)


def jit_brief(
    function: Callable[..., T], static_argnums: Sequence[int] = (), level: int = 1
) -> Callable[..., T]:
    """`jax.jit` for functions that run for seconds, not for hours, with `brief_options`.

    Do not call the function inside of another `jax.jit`, which has options of its own.

    Args:
        function: the function. static_argnums: as for `jax.jit`. level: as for `brief_options`.
    """

    @functools.cache
    def jitted() -> Callable[..., T]:
        return jax.jit(function, static_argnums=tuple(static_argnums), compiler_options=brief_options(level))

    return functools.wraps(function)(lambda *args, **kwargs: jitted()(*args, **kwargs))
