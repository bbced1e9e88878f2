"""Arrows between the rooms of lrn point down only, read from the imports of every file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lrn

ROOT = Path(lrn.__file__).parent
AREAS = ("robust", "rl", "meta", "fair", "ssl", "representation", "bayes")
# From the ground up: a room imports only from itself and from rooms before it.
ORDER = (
    ("types", "config", "check", "arrays", "table", "files", "interrupt", "notebook", "stall"),
    ("stats", "xla", "nets", "data"),
    ("supervised", "train", "figures"),
    AREAS,
    ("study",),
    ("report",),
    ("cli", "__init__"),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
# Within a level: the allowed imports.
BESIDE = {("data", "xla"), ("nets", "xla"), ("meta", "rl")}


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def imported(path: Path) -> set[str]:
    """The modules of lrn that a file imports anywhere, except for those imported for type checkers only."""
    found = set()
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("lrn", "experiments")}


FILES = sorted(p for p in ROOT.rglob("*.py") if "templates" not in p.parts)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_from_below(path):
    room = room_of(path)
    assert room in LEVEL, f"{room} has no place in the order; give it one"
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] == "lrn", f"{path} imports {name}: the library knows no experiment"
        other = parts[1]
        if other in ("__version__", "load") or other == room:
            continue
        down = LEVEL[other] < LEVEL[room] or (LEVEL[other] == LEVEL[room] == 0) or (room, other) in BESIDE
        assert down, f"{path} imports {name}, which stands beside or above it"


def test_the_areas_know_no_driver():
    """`lrn.meta.rl` plays environments of `lrn.rl`; no other area imports another area or the driver."""
    for path in FILES:
        room = room_of(path)
        if room not in AREAS:
            continue
        names = imported(path)
        assert not [n for n in names if n.startswith(("lrn.train", "lrn.study"))], path
        others = {n.split(".")[1] for n in names} & set(AREAS) - {room}
        inside = path.relative_to(ROOT).parts
        assert not others or (inside[:2] == ("meta", "rl") and others == {"rl"}), (path, others)


def test_the_page_on_architecture_names_every_room():
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    block = page.split("```")[1]
    rooms = {p.name for p in ROOT.iterdir() if (p / "__init__.py").exists()}
    assert rooms
    for room in rooms:
        assert f"  {room}/" in block, room
