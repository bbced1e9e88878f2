"""Atomic, durable writes: a reader sees the old file or the new file, never half of a file."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Error numbers by which a file system says that it cannot flush a folder.
_NOT_FOR_FOLDERS = {
    errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM
}  # fmt: skip


class WriteError(OSError):
    """A file could not be written; the file that was there before is untouched."""


class BusyError(RuntimeError):
    """Another process, or another call in this process, uses a folder."""


@contextlib.contextmanager
def locked(folder: Path | str) -> Iterator[None]:
    """Make a folder and hold its lock; the system releases the lock however the process ends.

    Where the folder cannot be written, or its file system has no locks, no lock is held and the
    body still runs.

    Raises:
        BusyError: another process, or another call in this process, holds the lock.
    """
    from filelock import FileLock, Timeout

    path = Path(folder) / ".lock"
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0.1, poll_interval=0.02)
    except Timeout:
        raise BusyError(
            f"another training is running in {folder}; wait for it, or give another folder."
        ) from None
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        # The file is removed while it is locked. A process that waits for it then sees that the path names
        # no file, and makes a new one.
        _forget(path)
        lock.release()


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write ``content`` to ``path`` through a temporary file, fsync and rename.

    Raises:
        WriteError: the disk is full or the folder cannot be written; ``path`` is then as it was.
    """

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            file.write(content)

    write_with(path, write)


def write_with(path: Path | str, write: Callable[[Path], Any]) -> None:
    """Let ``write(temporary_path)`` make a file, then move the file to ``path`` as `write_bytes` does.

    Raises:
        WriteError: the disk is full or the folder cannot be written; ``path`` is then as it was.
    """
    path = Path(path)
    # `remove_temporary` knows the file by its leading dot. Writers choose the format by the suffix, so the
    # suffix stays last.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        _forget(temporary)
        raise WriteError(
            f"{path} could not be written ({error.strerror or error}); "
            "free disk space, or allow writing there, and run the same command again."
        ) from error
    except BaseException:
        _forget(temporary)
        raise


def _forget(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink()


def remove_temporary(folder: Path | str) -> None:
    """Remove the temporary files of killed processes: every hidden file and folder, at any depth.

    Only the process that owns the folder may call this.
    """
    for path in list(Path(folder).rglob(".*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            _forget(path)


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinity become null.

    Raises:
        WriteError: the file cannot be written.
    """
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """The bytes that `write_json` writes."""
    return (json.dumps(_finite(value), indent=1, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    """A value with None for each number that is not finite, because JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _finite(value.tolist())
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return str(value)


def sync(path: Path | str) -> None:
    """Flush a file or a folder to disk, so that a rename survives a power cut.

    Some file systems, network disks above all, refuse to flush a folder. This function then raises nothing: a
    power cut may undo the rename, which leaves the old file in place.

    Raises:
        OSError: the flush failed for another reason.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS or not os.path.isdir(path):
            raise


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file, in hex.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """The SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(json.dumps(_finite(value), sort_keys=True).encode()).hexdigest()


def cache_home() -> Path:
    """The folder of downloads and compiled programs, which lrn can make again.

    The folder is ``$LRN_CACHE_DIR``, else ``$XDG_CACHE_HOME/lrn``, else ``~/.cache/lrn``. A user without a
    home folder, as in some containers, gets a path at which no folder can be made, so nothing is cached; a
    message says so once.
    """
    if chosen := os.environ.get("LRN_CACHE_DIR"):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lrn"
    except RuntimeError:
        _say_homeless()
        return Path(os.devnull) / "lrn"


@functools.cache
def _say_homeless() -> None:
    print(
        "lrn: this user has no home folder, so nothing is cached; set LRN_CACHE_DIR to a folder for that.",
        file=sys.stderr,
        flush=True,
    )
