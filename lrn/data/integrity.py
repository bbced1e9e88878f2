"""Checksums of data files, which are cached, and their comparison with recorded checksums.

The cache keeps a digest together with the file's size and modification time, and computes a new digest
when either changes. A change of the file that forges both is not noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from lrn import files
from lrn.data.errors import DataError


def cache_dir() -> Path:
    """The folder of downloads and decoded pictures: ``data`` in `lrn.files.cache_home`."""
    return files.cache_home() / "data"


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hex; from the cache if size and modification time have not changed.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    stat = path.stat()
    stamp = {"path": str(path), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    note = cache_dir() / "digests" / (hashlib.sha256(str(path).encode()).hexdigest()[:32] + ".json")
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(note.read_text())
        if isinstance(known, dict) and {k: known.get(k) for k in stamp} == stamp:
            return str(known["sha256"])
    digest = files.sha256(path)
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        files.write_json(note, {**stamp, "sha256": digest})
    return digest


def verify(path: Path) -> str:
    """The SHA-256 of a data file, in hex, after a comparison with the file's record, if there is one.

    Raises:
        DataError: the file is not the recorded file, or the record cannot be read.
    """
    expected, where = _expected(path)
    size = path.stat().st_size
    if "bytes" in expected and expected["bytes"] != size:
        raise DataError(
            f"it has {size:,} bytes, {where} says {expected['bytes']:,}: it is truncated or another file"
        )
    digest = sha256(path)
    if "sha256" in expected and expected["sha256"] != digest:
        raise DataError(
            f"its SHA-256 is {digest[:12]}..., {where} says {str(expected['sha256'])[:12]}...: it is damaged"
        )
    return digest


def record(path: Path, facts: dict[str, Any]) -> None:
    """Write a file's size and SHA-256, and further ``facts``, to a JSON file beside it."""
    note = path.with_suffix(".json")
    files.write_json(note, {"bytes": path.stat().st_size, "sha256": sha256(path), **facts})


def _expected(path: Path) -> tuple[dict[str, Any], str]:
    """The record of a file and the record's path: a note beside it, or a manifest.json beside or above it."""
    places = (
        (path.with_suffix(".json"), None),
        (path.parent / "manifest.json", path.name),
        (path.parent.parent / "manifest.json", f"{path.parent.name}/{path.name}"),
    )
    for place, key in places:
        if not place.is_file():
            continue
        try:
            entry = json.loads(place.read_text())
            entry = entry if key is None else entry.get(key)
            if entry is None:
                continue
            if not isinstance(entry, dict):
                raise TypeError
        except (ValueError, TypeError, AttributeError, OSError):
            raise DataError(
                f"{place} beside it cannot be read as a manifest (JSON, file to sha256 and bytes)"
            ) from None
        return entry, str(place)
    return {}, ""
