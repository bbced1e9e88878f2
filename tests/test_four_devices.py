"""Tests of several devices again, in a process with four virtual CPU devices; this process has one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

HERE = Path(__file__).parent
FILES = ("test_lanes", "test_parts", "ssl/test_gather", "robust/test_share")


@pytest.mark.skipif(jax.device_count() > 1, reason="these tests have several devices here")
def test_they_pass_on_four_devices():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         *(str(HERE / f"{name}.py") for name in FILES)],
        env={
            **os.environ,
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4",
            "JAX_PLATFORMS": "cpu",
        },
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout, done.stdout
