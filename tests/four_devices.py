"""Run a test file again, in a process with four virtual CPU devices; this process has one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def passes_on_four_devices(file: str) -> None:
    """Assert that all tests of the file pass there, except the test that calls this function."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
        env={
            **os.environ,
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4",
            "JAX_PLATFORMS": "cpu",
        },
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 skipped" in done.stdout, done.stdout
