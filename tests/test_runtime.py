"""Settings of the process, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lrn.runtime import processors


def run(code: str, flags: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import jax; from lrn.runtime import device_per_processor; {code}"],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("flags", "devices"),
    [("", processors()), ("--xla_force_host_platform_device_count=3", 3)],
)
def test_each_processor_becomes_a_device(flags, devices):
    """But for a user who said how many there are."""
    done = run("device_per_processor(); print(jax.device_count())", flags)
    assert done.stdout.split() == [str(devices)], done.stderr


def test_after_the_first_use_of_jax_it_is_too_late():
    done = run("jax.devices(); device_per_processor()")
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr


def test_processors_are_those_this_process_may_use():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not bind processes")
    one = min(os.sched_getaffinity(0))
    done = run(
        f"import os; os.sched_setaffinity(0, {{{one}}}); device_per_processor(); print(jax.device_count())"
    )
    assert done.stdout.split() == ["1"], done.stderr
