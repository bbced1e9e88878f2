"""Strict jax for every test: no rank promotion, no raw keys, and no caches in the home folder."""

from __future__ import annotations

import collections
import functools
import math
import os
import tempfile
from pathlib import Path

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
from jax import monitoring

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_legacy_prng_key", "error")


@pytest.fixture
def key_reuse_checks():
    """Turn on jax's key-reuse checker for one test."""
    with jax.debug_key_reuse(True):
        yield


MOST_MEMORY = 2 << 30  # bytes of a worker


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Drop compiled programs once a worker is large; small ones serve the modules that follow, too."""
    yield
    if _resident_bytes() > MOST_MEMORY:
        jax.clear_caches()


def _resident_bytes() -> float:
    """The memory of this process; infinity where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return math.inf


# Files that take longest, many of them with few tests. A worker takes whole files, so one that began last
# would keep the other waiting. The Makefile turns off pytest-xdist's own order, by the number of tests.
_LONGEST = (
    "test_battery.py", "test_four_devices.py", "test_notebooks.py", "test_robust_docs.py",
    "test_play_docs.py", "test_training_docs.py", "test_devices.py", "test_damage.py", "test_kill.py",
    "test_driver.py", "test_nets.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin first."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)  # stable


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


# What compiling costs: `make test` has a time limit, and compiles are most of its time.

_PHASES = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
_spent: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)  # by file of tests
_current = {"file": "while tests are collected"}


def _add(event: str, duration_secs: float, **kwargs: str | int) -> None:
    del kwargs
    if event in _PHASES:
        spent = _spent[_current["file"]]
        spent[_PHASES[event]] += duration_secs  # pyright: ignore[reportArgumentType]
        spent["programs"] += event.endswith("backend_compile_duration")


monitoring.register_event_duration_secs_listener(_add)


def pytest_runtest_logstart(nodeid: str, location: object) -> None:
    """Note the file whose tests run."""
    _current["file"] = nodeid.split("::")[0]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand a worker's counts to the process that reports."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["spent"] = {file: dict(spent) for file, spent in _spent.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """Take a worker's counts."""
    for file, spent in getattr(node, "workeroutput", {}).get("spent", {}).items():
        _spent[file].update(spent)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many programs were compiled, and which files compile longest."""
    total = sum(_spent.values(), collections.Counter())
    if not total["programs"]:
        return
    terminalreporter.section("programs compiled")
    longest = sorted(_spent, key=lambda file: -sum(_spent[file][p] for p in _PHASES.values()))[:15]
    for file, spent in [("all", total), *((file, _spent[file]) for file in longest)]:
        phases = ", ".join(f"{phase} {spent[phase]:.0f} s" for phase in _PHASES.values())
        terminalreporter.write_line(f"{spent['programs']:>6} programs: {phases}  {file}")
