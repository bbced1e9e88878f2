"""A package of lrn imports only packages below it; the tests read the imports of every file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lrn

ROOT = Path(lrn.__file__).parent
AREAS = ("robust", "rl", "meta", "fair", "ssl", "representation", "bayes")
# The packages in levels, from the ground up. A package imports from lower levels and from itself.
ORDER = (
    ("types", "config", "check", "table", "files", "interrupt"),
    ("stats", "xla", "nets", "data"),
    ("supervised", "train", "figures"),
    AREAS,
    ("study",),
    ("report",),
    ("cli", "__init__"),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
# Pairs within a level of which the first may import the second.
BESIDE = {("data", "xla"), ("nets", "xla"), ("meta", "rl")}


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def imported(path: Path) -> set[str]:
    """The modules of lrn and of experiments that a file imports anywhere, except under TYPE_CHECKING."""
    imports = set()
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
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in imports if name.split(".")[0] in ("lrn", "experiments")}


FILES = sorted(p for p in ROOT.rglob("*.py") if "templates" not in p.parts)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_from_below(path):
    room = room_of(path)
    assert room in LEVEL, f"{room} has no place in ORDER; give it one"
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] == "lrn", f"{path} imports {name}: the library must not import experiments"
        imported_room = parts[1]
        if imported_room in ("__version__", "load") or imported_room == room:
            continue
        level = LEVEL[imported_room]
        down = level < LEVEL[room] or (level == LEVEL[room] == 0) or (room, imported_room) in BESIDE
        assert down, f"{path} imports {name}, which is not below it"


def test_the_areas_do_not_import_the_driver():
    """No area imports the driver, studies or another area, except that `lrn.meta.rl` imports `lrn.rl`."""
    for path in FILES:
        room = room_of(path)
        if room not in AREAS:
            continue
        names = imported(path)
        assert not [n for n in names if n.startswith(("lrn.train", "lrn.study"))], path
        other_areas = {n.split(".")[1] for n in names} & set(AREAS) - {room}
        inside = path.relative_to(ROOT).parts
        is_meta_rl = inside[:2] == ("meta", "rl")
        assert not other_areas or (is_meta_rl and other_areas == {"rl"}), (path, other_areas)


def test_the_readme_names_every_package():
    readme = (ROOT.parent / "README.md").read_text()
    block = readme.split("## Architecture")[1].split("```")[1]
    rooms = {p.name for p in ROOT.iterdir() if (p / "__init__.py").exists()}
    assert rooms
    for room in rooms:
        assert f"  {room}/" in block, room
