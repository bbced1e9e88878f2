"""Strict jax for every test: rank promotion raises, raw keys are errors, caches stay out of the home."""

from __future__ import annotations

import os
import tempfile

# Before jax is imported: tests share one compilation cache, and never the user's.
os.environ.setdefault("LRN_CACHE_DIR", os.path.join(tempfile.gettempdir(), f"lrn-test-cache-{os.getuid()}"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Programs of tests are small and run briefly: compiled as far as users' they cost twice the CPU time.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_legacy_prng_key", "error")


@pytest.fixture
def key_reuse_checks():
    """Turn on jax's key-reuse checker for one test."""
    with jax.debug_key_reuse(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Drop what a module compiled: a worker that keeps all of it grows to gigabytes."""
    yield
    jax.clear_caches()
