"""Atomic, durable writes: a reader sees the old file or the new one, never half of one."""

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

# How file systems say that they cannot flush a folder: they do so by themselves, or not at all.
_NOT_FOR_FOLDERS = {
    errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM
}  # fmt: skip


class WriteError(OSError):
    """A file could not be written; what was there before is untouched."""


class BusyError(RuntimeError):
    """Another process, or another call in this one, works in a folder."""


@contextlib.contextmanager
def locked(folder: Path | str) -> Iterator[None]:
    """Hold a folder's lock, made with the folder; the system releases it however the process ends.

    Where no file can be made or locked nothing is held: then nobody can write there, or the file system has
    no locks.

    Raises:
        BusyError: somebody else holds it.
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
        # While it is still held: who waits for this file finds that it has lost its name, and takes another.
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
    """Let ``write(temporary_path)`` produce a file, then move it into place as `write_bytes` does."""
    path = Path(path)
    # Hidden, so that `remove_temporary` knows it. The suffix stays last: writers choose the format by it.
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
    """Remove what processes that were killed in a write left: whatever is hidden, at any depth.

    Only for the one process that owns the folder.
    """
    for path in list(Path(folder).rglob(".*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            _forget(path)


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinity become null."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """What `write_json` writes."""
    return (json.dumps(_finite(value), indent=1, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    """JSON has no NaN: a number that is not finite is written as null."""
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

    Some file systems, network disks above all, refuse that for a folder. Then a power cut may undo a rename,
    which leaves what was there before; no error is made of it.

    Raises:
        OSError: it failed.
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
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """The SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(json.dumps(_finite(value), sort_keys=True).encode()).hexdigest()


def cache_home() -> Path:
    """Where lrn keeps what it can make again.

    ``$LRN_CACHE_DIR``, else ``$XDG_CACHE_HOME/lrn``, else ``~/.cache/lrn``. A user without a home (a number
    without a name, in a container) keeps nothing, and is told so once: the folder is then one that cannot be.
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
