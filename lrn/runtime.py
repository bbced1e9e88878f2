"""Process-wide settings of jax that a run wants."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def cache_home() -> Path:
    """Where lrn keeps what it can make again: ``$LRN_CACHE_DIR``, else ``$XDG_CACHE_HOME/lrn``, else ``~/.cache/lrn``."""
    if chosen := os.environ.get("LRN_CACHE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lrn"


def enable_compilation_cache() -> None:
    """Keep compiled programs on disk, so that a second run of a study starts in seconds.

    Leaves a cache that was already configured alone; ``LRN_COMPILATION_CACHE=0`` turns it off.
    """
    if os.environ.get("LRN_COMPILATION_CACHE") == "0" or jax.config.jax_compilation_cache_dir:
        return
    folder = cache_home() / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home: compile each time rather than fail
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
