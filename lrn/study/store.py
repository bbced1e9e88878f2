"""Run folders ``<out>/<study>/<hash>/``: their names, locks, costs and provenance."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import hashlib
import importlib.metadata
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lrn import __version__, check, files
from lrn.study import seal

_PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "chex",
    "gymnax",
    "orbax-checkpoint",
    "numpy",
    "scipy",
    "scikit-learn",
)


class Busy(RuntimeError):
    """Another process runs in a folder."""


def run_hash(
    study: str, preset: str, config: Any, seeds: tuple[int, ...], study_sha256: str, where: str = ""
) -> str:
    """The name of a run's folder: the first 12 hex digits of a hash of study, settings, seeds and code.

    Args:
        study: the study's id.
        preset: the name of the preset.
        config: the study's config.
        seeds: the seeds.
        study_sha256: the hash of the study's code.
        where: the path of the study's file relative to the folder of all runs, for a study that does not come
            with lrn, because another folder may have a file of that name.
    """
    identity = [study, preset, plain(config), list(seeds), study_sha256, *([where] if where else [])]
    return files.sha256_json(identity)[:12]


def plain(config: Any) -> dict[str, Any]:
    """A study's config as JSON values."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(value)
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system releases the lock however the process ends.

    Raises:
        Busy: another process holds the lock.
        InputError: the folder of all runs cannot be made.
    """
    from filelock import FileLock, Timeout

    # The lock lies beside the folder, because a fresh start removes the folder.
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise check.InputError(
            f"the folder {folder.parent} cannot be made ({error.strerror}); choose another --out."
        ) from None
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Busy(f"another process is running {folder}; wait for it, or choose another --out.") from None
    try:
        yield
    finally:
        lock.release()


def clean(folder: Path, fresh: bool = False) -> None:
    """Remove killed processes' temporary files from a folder that is `owned`; if ``fresh``, the folder."""
    removed = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    if fresh and folder.exists():
        os.replace(folder, removed)  # atomic, so that a half removed run is never resumed
        shutil.rmtree(removed, ignore_errors=True)
    files.remove_temporary(folder)


@functools.cache
def source_sha256() -> str:
    """The SHA-256, in hex, of the lrn package's code; only the code that began a run may resume the run.

    The hash is taken once in a process, because the process keeps the code that it has imported.
    """
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Clock:
    """The cost of a run, summed over all processes that began or resumed it.

    Args:
        before: the provenance that the last process wrote; None for a new run.
    """

    def __init__(self, before: dict[str, Any] | None):
        before = before or {}
        self.started: str = before.get("started") or now()
        self.resumed = int(before.get("resumed", -1)) + 1
        self._wall = float(before.get("wall_seconds") or 0.0)
        self._cpu = float(before.get("cpu_seconds") or 0.0)
        self._peak = int(before.get("peak_memory_bytes") or 0)
        self._begin, self._cpu_begin = time.monotonic(), time.process_time()

    def cost(self) -> dict[str, Any]:
        """The cost so far: wall seconds, CPU seconds, peak memory in bytes, first start, times resumed."""
        unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB elsewhere
        return {
            "started": self.started,
            "resumed": self.resumed,
            "wall_seconds": self._wall + time.monotonic() - self._begin,
            "cpu_seconds": self._cpu + time.process_time() - self._cpu_begin,
            "peak_memory_bytes": max(self._peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit),
        }


def now() -> str:
    """The present time in UTC, as ISO 8601 with seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def provenance() -> dict[str, Any]:
    """The code, the versions of packages and the machine on which the results depend, as JSON values."""
    import jax

    from lrn.xla.runtime import processors

    commit, dirty = _git()
    device = jax.devices()[0]
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "lrn_version": __version__,
        "lrn_sha256": source_sha256(),
        "python": platform.python_version(),
        "packages": {p: importlib.metadata.version(p) for p in _PACKAGES},
        "platform": platform.platform(),
        "device": device.device_kind if device.platform != "cpu" else _cpu_name(),
        "backend": device.platform,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "cpus": processors(),
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git() -> tuple[str | None, bool | None]:
    """The commit of lrn's checkout, and whether tracked files differ from it; None outside of a checkout."""

    def git(*args: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(Path(__file__).parent), *args],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # lrn's files must be tracked: another project's checkout may contain the .venv in which lrn is installed.
    inside = git("ls-files", "--error-unmatch", str(Path(__file__)))
    commit = git("rev-parse", "HEAD") if inside else None
    status = git("status", "--porcelain", "--untracked-files=no") if commit else None
    return commit, None if status is None else bool(status)


def failures(out: Path) -> dict[str, str]:
    """From the studies whose newest run in the folder ``out`` failed to the error of that run."""
    newest: dict[str, tuple[str, str]] = {}
    for path in sorted(out.glob("*/*/provenance.json")) if out.is_dir() else ():
        try:
            value = seal.read_stamped(path)
        except seal.Broken:
            continue  # the report names damaged files
        told = str(value.get("started") or ""), str(value.get("failed") or "")
        newest[path.parent.parent.name] = max(newest.get(path.parent.parent.name, ("", "")), told)
    return {study: failed for study, (_, failed) in newest.items() if failed}
