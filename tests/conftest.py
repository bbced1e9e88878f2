"""Strict jax for every test: no rank promotion, no raw keys, and no caches in the home folder."""

from __future__ import annotations

import functools
import os
import tempfile

# Set before the import of jax: tests share one compilation cache, and never use the user's cache.
os.environ.setdefault("LRN_CACHE_DIR", os.path.join(tempfile.gettempdir(), f"lrn-test-cache-{os.getuid()}"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Programs of tests are small and run briefly. Full optimization would cost twice the processor time.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import jax.numpy as jnp
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
    """Drop a module's compiled programs; a worker that keeps all of them grows to gigabytes."""
    yield
    jax.clear_caches()


@functools.cache
def _float16_compiles() -> bool:
    """Whether XLA compiles float16 here. On CPUs without F16C it needs a missing symbol."""
    there_and_back = jax.jit(lambda x: x.astype(jnp.float16).astype(jnp.float32))
    try:
        return bool(there_and_back(jnp.ones(1))[0] == 1)
    except jax.errors.JaxRuntimeError:
        return False


@pytest.fixture
def float16():
    """Skip a test of float16 where float16 does not compile."""
    if not _float16_compiles():
        pytest.skip("XLA has no float16 on this processor")
