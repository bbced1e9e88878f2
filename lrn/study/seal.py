"""Seals: what was written into a run folder is told from what was changed, cut or removed since.

While a run goes on, ``provenance.json`` carries the SHA-256 of ``config.json``, its registration, and of
itself. When it ends, ``verdict.json`` carries the size and the SHA-256 of every other file of the run, and
its own SHA-256. (Checkpoints have manifests of their own, and may be removed from a finished run.) A JSON
file's own hash is that of its canonical JSON without it; besides, its bytes must be those that lrn writes.

A seal tells damage and careless edits. It is no signature: who means to can compute it anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrn import files

FORMAT = 2  # in config.json: the first whose finished runs are sealed
FIGURES = ("figure.png", "figure.svg", "figure-dark.png")
SEALED = ("config.json", "provenance.json", "metrics.parquet", *FIGURES)
LIMITS = {".json": 2**24, ".parquet": 2**32, ".png": 2**26, ".svg": 2**30}  # bytes that a file may have
DEPTH = 32  # of lists and objects in each other

_SELF = "sha256"


class Broken(ValueError):
    """A file is not as it was written; the message says in what, as the end of a sentence on it."""


@dataclass
class Sealed:
    """What a look at a finished run's folder found.

    verdict: the object in verdict.json; None when it cannot be read.
    sealed: whether it carries a seal; a run of before there were seals does not.
    wrongs: from file to what is wrong with it, as the end of a sentence.
    """

    verdict: dict[str, Any] | None = None
    sealed: bool = False
    wrongs: dict[str, str] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """All that is wrong."""
        return "; ".join(f"{name} {wrong}" for name, wrong in self.wrongs.items())

    @property
    def only_figures(self) -> bool:
        """Whether drawing again mends it."""
        return bool(self.wrongs) and set(self.wrongs) <= set(FIGURES)


def stamped(value: Mapping[str, Any]) -> bytes:
    """A JSON file's bytes that carry the hash of their own content."""
    body = {k: v for k, v in value.items() if k != _SELF}
    return files.json_bytes({**body, _SELF: files.sha256_json(body)})


def read_stamped(path: Path) -> dict[str, Any]:
    """The object in a file of `stamped`.

    Raises:
        Broken: it is missing or not as it was written.
    """
    content = _content(path)
    value = _object(content)
    body = {k: v for k, v in value.items() if k != _SELF}
    if value.get(_SELF) != files.sha256_json(body) or files.json_bytes(value) != content:
        raise Broken("does not match its own checksum")
    return value


def sealed(verdict: Mapping[str, Any], folder: Path, without: Iterable[str] = ()) -> bytes:
    """The bytes of verdict.json that seal the files now in ``folder``; ``without``: files to leave out."""
    names = [n for n in SEALED if n not in set(without) and (folder / n).is_file()]
    seal = {"files": {n: [(folder / n).stat().st_size, files.sha256(folder / n)] for n in names}}
    body = {**{k: v for k, v in verdict.items() if k != "seal"}, "seal": seal}
    return files.json_bytes({**body, "seal": {**seal, _SELF: files.sha256_json(body)}})


def look(folder: Path) -> Sealed:
    """Check a finished run's folder against its seal; never raises for what is in it."""
    found = Sealed()
    try:
        content = _content(folder / "verdict.json")
        verdict = found.verdict = _object(content)
    except Broken as broken:
        found.wrongs["verdict.json"] = str(broken)
        return found
    if "seal" not in verdict:
        if _expects_seal(folder):
            found.wrongs["verdict.json"] = "has lost its seal"
        return found
    found.sealed = True
    seal = verdict["seal"] if isinstance(verdict["seal"], dict) else {}
    body = {**verdict, "seal": {k: v for k, v in seal.items() if k != _SELF}}
    if seal.get(_SELF) != files.sha256_json(body) or files.json_bytes(verdict) != content:
        found.wrongs["verdict.json"] = "does not match its own checksum"
    listed = seal.get("files")
    if not isinstance(listed, dict):
        listed = {}
    if not set(SEALED) - set(FIGURES) <= set(listed) <= set(SEALED):
        found.wrongs.setdefault("verdict.json", "has a seal of another form")
    for name in sorted(set(listed) & set(SEALED)):
        size, digest = listed[name] if isinstance(listed[name], list) and len(listed[name]) == 2 else (0, "")
        if wrong := _wrong(folder / name, size, digest):
            found.wrongs[name] = wrong
    return found


def _wrong(path: Path, size: Any, digest: Any) -> str:
    """What is wrong with a sealed file; "" when nothing is."""
    try:
        if not path.is_file():
            return "is missing"
        if (now := path.stat().st_size) != size:
            return f"has {now:,} bytes instead of {size:,}" if isinstance(size, int) else "has another size"
        if now > LIMITS[path.suffix]:
            return too_large(path)
        return "" if files.sha256(path) == digest else "does not match its checksum"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def too_large(path: Path) -> str:
    """What is said of a file above its limit, as the end of a sentence; "" of one that is not."""
    limit = LIMITS[path.suffix]
    size = path.stat().st_size
    return f"has {size:,} bytes, and {limit:,} are the most that are read" if size > limit else ""


def _content(path: Path) -> bytes:
    try:
        if wrong := too_large(path):
            raise Broken(wrong)
        return path.read_bytes()
    except FileNotFoundError:
        raise Broken("is missing") from None
    except OSError as error:
        raise Broken(f"cannot be read ({error.strerror or error})") from None


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise Broken("is not valid JSON") from None
    if not isinstance(value, dict) or not value:
        raise Broken("is not a JSON object with anything in it")
    if depth(value) > DEPTH:
        raise Broken("is not a JSON object of reasonable depth")
    return value


def depth(value: Any) -> int:
    """How deep lists and objects are nested, without recursion: what follows recurses."""
    levels, level = 0, [value]
    while level:
        levels += 1
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return levels


def _expects_seal(folder: Path) -> bool:
    """Whether the run is of a version that seals, by its other files."""
    for name, key in (("config.json", "format"), ("provenance.json", _SELF)):
        try:
            if key in _object(_content(folder / name)):
                return True
        except Broken:
            continue
    return False
