"""The fork server of a session, and the uninterrupted runs with which all other runs are compared."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Run, Server


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder in memory where possible: runs that save all the time would spend their time on fsync."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    folder = Path(tempfile.mkdtemp(prefix="lrn-", dir=memory if roomy else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server(scratch: Path) -> Iterator[Server]:
    """The fork server."""
    server = Server(scratch)
    yield server
    server.close()


@pytest.fixture
def out(scratch: Path) -> Iterator[Path]:
    """An empty folder for runs."""
    folder = Path(tempfile.mkdtemp(prefix="out-", dir=scratch))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def run(server: Server, out: Path) -> Run:
    """A run of the tiny study that has not begun."""
    return Run(server, out)


@pytest.fixture(scope="session")
def uninterrupted(server: Server, scratch: Path) -> Callable[[str], tuple[dict[str, Any], float]]:
    """``uninterrupted(preset)``: the result of a run that nothing disturbed, and its seconds."""

    @functools.cache
    def reference(preset: str) -> tuple[dict[str, Any], float]:
        # This run fills the compilation cache, so that the time of the next run is without compiling.
        Run(server, scratch / f"warm-{preset}", preset).ended()
        run = Run(server, scratch / f"reference-{preset}", preset)
        ended = run.ended()
        assert ended.code == 0, ended.said
        assert run.litter() == []
        return run.result(), ended.seconds

    return reference
