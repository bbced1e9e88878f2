"""Seals: checksums that show which files of a run folder were changed, cut or removed later.

While a run goes on, ``provenance.json`` holds the SHA-256 of ``config.json`` and its own SHA-256. When
the run ends, ``verdict.json`` holds the size and the SHA-256 of every other file of the run, and its own
SHA-256. (Checkpoints have manifests of their own, and may be removed from a finished run.) The own hash
of a JSON file is the hash of its canonical JSON without the entry of that hash; in addition the bytes of
the file must be those that lrn writes.

A seal shows damage and careless edits. A seal is no signature: anybody can compute a new one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrn import files

FORMAT = 2  # the format in config.json; runs of format 2 and above are sealed when they end
FIGURES = ("figure.png", "figure.svg", "figure-dark.png")
SEALED = ("config.json", "provenance.json", "metrics.parquet", *FIGURES)
LIMITS = {".json": 2**24, ".parquet": 2**32, ".png": 2**26, ".svg": 2**30}  # the most bytes that are read
DEPTH = 32  # the most levels of nested lists and objects in a JSON file

_SELF = "sha256"


class Broken(ValueError):
    """A file is not as it was written. The message ends a sentence about the file: "is missing"."""


@dataclass
class Sealed:
    """The state of a finished run's folder.

    verdict: the object in verdict.json; None if the file cannot be read.
    sealed: whether verdict.json has a seal; runs of format 1 have none.
    wrongs: from a file to its fault, as the end of a sentence whose subject is the file.
    """

    verdict: dict[str, Any] | None = None
    sealed: bool = False
    wrongs: dict[str, str] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """All faults, as one sentence without its full stop."""
        return "; ".join(f"{name} {wrong}" for name, wrong in self.wrongs.items())

    @property
    def only_figures(self) -> bool:
        """Whether only figures are faulty, which can be drawn again."""
        return bool(self.wrongs) and set(self.wrongs) <= set(FIGURES)


def stamped(value: Mapping[str, Any]) -> bytes:
    """The bytes of a JSON file with ``value`` and the hash of ``value``."""
    body = {k: v for k, v in value.items() if k != _SELF}
    return files.json_bytes({**body, _SELF: files.sha256_json(body)})


def read_stamped(path: Path) -> dict[str, Any]:
    """The object in a file whose bytes `stamped` made.

    Raises:
        Broken: the file is missing or not as it was written.
    """
    content = _content(path)
    value = _object(content)
    body = {k: v for k, v in value.items() if k != _SELF}
    if value.get(_SELF) != files.sha256_json(body) or files.json_bytes(value) != content:
        raise Broken("does not match its own checksum")
    return value


def sealed(verdict: Mapping[str, Any], folder: Path, without: Iterable[str] = ()) -> bytes:
    """The bytes of a verdict.json that seals the files now in ``folder``, except those in ``without``."""
    names = [n for n in SEALED if n not in set(without) and (folder / n).is_file()]
    seal = {"files": {n: [(folder / n).stat().st_size, files.sha256(folder / n)] for n in names}}
    body = {**{k: v for k, v in verdict.items() if k != "seal"}, "seal": seal}
    return files.json_bytes({**body, "seal": {**seal, _SELF: files.sha256_json(body)}})


def look(folder: Path) -> Sealed:
    """Check a finished run's folder against its seal; whatever the folder holds, this raises nothing."""
    state = Sealed()
    try:
        content = _content(folder / "verdict.json")
        verdict = state.verdict = _object(content)
    except Broken as broken:
        state.wrongs["verdict.json"] = str(broken)
        return state
    if "seal" not in verdict:
        if _expects_seal(folder):
            state.wrongs["verdict.json"] = "has lost its seal"
        return state
    state.sealed = True
    seal = verdict["seal"] if isinstance(verdict["seal"], dict) else {}
    body = {**verdict, "seal": {k: v for k, v in seal.items() if k != _SELF}}
    if seal.get(_SELF) != files.sha256_json(body) or files.json_bytes(verdict) != content:
        state.wrongs["verdict.json"] = "does not match its own checksum"
    listed = seal.get("files")
    if not isinstance(listed, dict):
        listed = {}
    if not set(SEALED) - set(FIGURES) <= set(listed) <= set(SEALED):
        state.wrongs.setdefault("verdict.json", "has a seal of another form")
    for name in sorted(set(listed) & set(SEALED)):
        size, digest = listed[name] if isinstance(listed[name], list) and len(listed[name]) == 2 else (0, "")
        if wrong := _wrong(folder / name, size, digest):
            state.wrongs[name] = wrong
    return state


def _wrong(path: Path, size: Any, digest: Any) -> str:
    """The fault of a sealed file, as the end of a sentence; "" for a file without a fault."""
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
    """The fault of a file above its limit of `LIMITS`, as the end of a sentence; "" for a smaller file."""
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
    """The number of levels of nested lists and objects, counted without recursion; later code recurses."""
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
    """Whether other files of the run show that lrn sealed it when it ended."""
    for name, key in (("config.json", "format"), ("provenance.json", _SELF)):
        try:
            if key in _object(_content(folder / name)):
                return True
        except Broken:
            continue
    return False
