"""Settings of the process, tested in a new process each."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lrn.xla.runtime import processors


def run(code: str, flags: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import jax; from lrn.xla.runtime import device_per_processor; {code}"],
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
    """A number that the user set stays."""
    nets = (
        "from lrn import nets; nets.resnet18(10); nets.cnn(10, (4,)); nets.wide_resnet(10)"  # starts nothing
    )
    done = run(f"{nets}; device_per_processor(); print(jax.device_count())", flags)
    assert done.stdout.split() == [str(devices)], done.stderr


def test_after_the_first_use_of_jax_it_is_too_late():
    done = run("jax.devices(); device_per_processor()")
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr


HOMELESS = """
import os, pwd
from lrn import files
from lrn.xla import runtime
def nobody(number):
    raise KeyError(number)
pwd.getpwuid = nobody
for name in ("HOME", "XDG_CACHE_HOME", "LRN_CACHE_DIR"):
    os.environ.pop(name, None)
for _ in range(2):
    runtime.enable_compilation_cache()
assert not files.cache_home().exists()
print(jax.config.jax_compilation_cache_dir)
os.environ["XDG_CACHE_HOME"] = "/some"
print(files.cache_home())
os.environ["LRN_CACHE_DIR"] = "/other"
print(files.cache_home())
"""


def test_without_a_home_nothing_is_cached_and_one_line_says_so():
    """As in a container whose user has a number and no name."""
    done = run(HOMELESS)
    assert done.stdout.split() == ["None", "/some/lrn", "/other"], done.stderr
    assert done.stderr.splitlines() == [
        "lrn: this user has no home folder, so nothing is cached; set LRN_CACHE_DIR to a folder for that."
    ]


def test_processors_are_those_this_process_may_use():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not bind processes")
    one = min(os.sched_getaffinity(0))
    done = run(
        f"import os; os.sched_setaffinity(0, {{{one}}}); device_per_processor(); print(jax.device_count())"
    )
    assert done.stdout.split() == ["1"], done.stderr
