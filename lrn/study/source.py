"""Hashes of a study's code: of its file and of every file of its own tree that it imports. No file is run.

A study is hashed in two parts. The first part is all code that training, predictions and controls could
use. The second part is the figure, the answer and the texts (titles, docstrings), with the functions and
constants that only they use; this part may be changed after a run, and the run's results stay valid. Code
that could belong to both parts counts as the first. Comments and layout count in neither part.

A study's own tree is all files that belong neither to lrn (which is hashed whole, see `lrn.study.store`),
nor to the standard library, nor to an installed package. Imports are read from the syntax tree, those
within functions too. An import whose name is computed at run time is not seen.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lrn import files
from lrn.study import home

_LRN = Path(__file__).resolve().parents[1]
_DRAWING = ("figure", "answer")  # arguments of Study that are called when all is trained
_TEXTS = ("title", "claim_id", "section", "tour", "exploratory")  # arguments of Study that are only shown
# A module that uses one of these names could read any part of itself.
_MIRRORS = {"globals", "locals", "vars", "eval", "exec", "inspect", "modules", "__doc__", "__dict__"}


class Code(NamedTuple):
    """The hashes of a study's code, in hex.

    sha256: the hash of the first part: all code that training, predictions and controls could use.
    text_sha256: the hash of the second part: the figure, the answer and the texts.
    files: from the name of a module to the hash of the module's share in the first part.
    paths: from the name of a module to its file; the study's own file comes first.
    """

    sha256: str
    text_sha256: str
    files: dict[str, str]
    paths: dict[str, Path]


def read(path: Path) -> Code:
    """Hash the study in the file ``path`` and the files of its own tree that it imports.

    Raises:
        OSError: a file cannot be read.
        SyntaxError: the study's file is no Python (ValueError where it holds null bytes).
    """
    path = Path(path).resolve()
    parse(path.read_bytes())
    finder = _Finder(path)
    study = _Module(finder.name, path, finder.package)
    training, drawing = _split(study.tree)
    used = finder.closure(training, study)
    if any(module.path == path for module in used.values()):
        # A file that the study imports imports the study in turn, and could use any part of it.
        training, drawing = study.tree.body, []
        used = finder.closure(training, study)
    used = {name: module for name, module in used.items() if module.path != path}
    drawn = finder.closure(drawing, study)
    texts = [module.text_sha256 for name, module in sorted(drawn.items()) if name not in used]
    hashes = {study.name: _sha256(training, study.texts_count)}
    hashes |= {name: module.sha256 for name, module in sorted(used.items())}
    return Code(
        sha256=files.sha256_json(hashes),
        text_sha256=files.sha256_json([_sha256(drawing, True), *_texts(study.tree), texts]),
        files=hashes,
        paths={study.name: path} | {name: module.path for name, module in sorted(used.items())},
    )


class _Module:
    """A file of Python, parsed once. A file that is no Python is hashed as bytes, and imports nothing."""

    def __init__(self, name: str, path: Path, package: str):
        self.name, self.path, self.package = name, path, package
        content = path.read_bytes()
        try:
            self.tree = parse(content)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self.tree = ast.Module([ast.Expr(ast.Constant(content))], [])
        self.texts_count = _looks_at_itself(self.tree)

    @functools.cached_property
    def sha256(self) -> str:
        """The hash of the module's code."""
        return _sha256(self.tree.body, self.texts_count)

    @functools.cached_property
    def text_sha256(self) -> str:
        """The hash of the module's code and docstrings."""
        return _sha256(self.tree.body, True)


def parse(content: bytes) -> ast.Module:
    """The syntax tree of a file's content; warnings on its syntax are left to the import of the file.

    Raises:
        SyntaxError: the content is no Python (ValueError where it holds null bytes).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(content)


# The files of modules


class _Place(NamedTuple):
    """The place of a module: its file, if it has one, and the folders of its modules, if it is a package."""

    path: Path | None
    folders: tuple[Path, ...]


class _Finder:
    """Finds the modules of a study's own tree by the rules by which Python finds them when the study runs."""

    def __init__(self, study: Path):
        self._folder = study.parent
        packages: list[str] = []
        root = study.parent
        while (root / "__init__.py").is_file():
            packages.insert(0, root.name)
            root = root.parent
        self._root, self._top_folder = root, packages[0] if packages else ""
        if packages and root / packages[0] == home.folder():
            packages[0] = home.NAME  # as the studies import each other, and with one hash wherever lrn is
        self.package = ".".join(packages)
        self.name = ".".join([*packages, study.stem])
        self._places: dict[str, _Place | None] = {}
        self._modules: dict[str, _Module] = {}

    def closure(self, nodes: Iterable[ast.AST], module: _Module) -> dict[str, _Module]:
        """The modules of the tree that ``nodes`` of a module import, directly or through other modules."""
        reached: dict[str, _Module] = {}
        waiting = [*self._imported(nodes, module)]
        if self.package:  # Python imports the packages around the study before the study
            waiting += self._named(self.package)
        while waiting:
            other = waiting.pop()
            if other.name not in reached:
                reached[other.name] = other
                waiting += self._imported([other.tree], other)
        return reached

    def _imported(self, nodes: Iterable[ast.AST], module: _Module) -> Iterator[_Module]:
        for name in sorted(_import_names(nodes, module.package)):
            yield from self._named(name)

    def _named(self, name: str) -> Iterator[_Module]:
        """The module of a dotted name and the packages around it, as far as their files are in the tree."""
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            name = ".".join(parts[:count])
            place = self._place(name)
            if place is None:
                return
            if place.path is not None:
                if name not in self._modules:
                    package = name if place.folders else name.rpartition(".")[0]
                    self._modules[name] = _Module(name, place.path, package)
                yield self._modules[name]

    def _place(self, name: str) -> _Place | None:
        if name not in self._places:
            package, _, last = name.rpartition(".")
            if not package:
                self._places[name] = self._top(name)
            else:
                inside = self._places[package]
                assert inside is not None
                self._places[name] = _look(last, inside.folders) or _look(last, inside.folders, bare=True)
        return self._places[name]

    def _top(self, name: str) -> _Place | None:
        if name == _LRN.name or name in sys.builtin_module_names:
            return None
        ours = self.package.split(".")[0]
        if name == ours:
            return _look(self._top_folder, (self._root,))
        # Python looks in the study's folder first, as for a script.
        if (place := _look(name, (self._folder,))) is not None:
            return None if _installed(place) else place
        if name in sys.stdlib_module_names:
            return None
        try:
            spec = importlib.util.find_spec(name)  # imports nothing, because the name has no dot
        except (ImportError, ValueError, AttributeError):
            return None
        if spec is None:
            return _look(name, (self._folder,), bare=True)
        folders = tuple(Path(folder).resolve() for folder in spec.submodule_search_locations or ())
        path = Path(spec.origin).resolve() if spec.has_location and spec.origin else None
        place = _Place(path if path is None or path.suffix == ".py" else None, folders)
        return None if _installed(place) or (path is None and not folders) else place


def _look(name: str, folders: Iterable[Path], bare: bool = False) -> _Place | None:
    """The place of a module in one of the folders; with ``bare``, of a package without ``__init__.py``."""
    if bare:
        spaces = tuple(folder / name for folder in folders if (folder / name).is_dir())
        return _Place(None, spaces) if spaces else None
    for folder in folders:
        if (path := folder / name / "__init__.py").is_file():
            return _Place(path.resolve(), (folder / name,))
        if (path := folder / f"{name}.py").is_file():
            return _Place(path.resolve(), ())
    return None


@functools.cache
def _installed_roots() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple({Path(paths[k]).resolve() for k in ("stdlib", "platstdlib", "purelib", "platlib")})


def _installed(place: _Place) -> bool:
    return any(is_installed(path) for path in (*place.folders, *((place.path,) if place.path else ())))


def is_installed(path: Path) -> bool:
    """Whether a file belongs to Python's standard library or to an installed package."""
    return any(path.is_relative_to(root) for root in _installed_roots()) or not {
        "site-packages",
        "dist-packages",
    }.isdisjoint(path.parts)


def _import_names(nodes: Iterable[ast.AST], package: str) -> set[str]:
    """The dotted names of all modules that the code may import; ``package`` is the package of the code."""
    names: set[str] = set()
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [] if node.level == 0 else package.split(".")[: len(package.split(".")) - node.level + 1]
            start = ".".join(part for part in [*base, node.module] if part)
            names.update(f"{start}.{alias.name}" if start else alias.name for alias in node.names)
            names.update([start] if start else [])
        elif isinstance(node, ast.Call) and node.args:  # importlib.import_module("name"), __import__("name")
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                names.update([first.value] if isinstance(first.value, str) else [])
    return {
        name.removesuffix(".*") for name in names if name.replace(".", "").removesuffix("*").isidentifier()
    }


# The part of a study that its training can use


def _split(tree: ast.Module) -> tuple[list[Any], list[Any]]:
    """The statements that training, predictions and controls could use, and all others.

    Functions and assignments of constants do nothing when the module is imported. Such a statement goes
    to the second part if no statement of the first part mentions its name.
    """
    if _looks_at_itself(tree):
        return tree.body, []
    kept: list[Any] = []
    movable: list[tuple[set[str], Any]] = []
    drawing: list[Any] = []
    for statement in tree.body:
        names = _movable(statement)
        if names:
            movable.append((names, statement))
        elif (call := study_call(statement)) is not None:
            shown = [k for k in call.keywords if _is_shown(k)]
            drawing += shown
            rest = [k for k in call.keywords if k not in shown]
            kept.append(ast.Expr(ast.Call(func=call.func, args=call.args, keywords=rest)))
        else:
            kept.append(statement)
    used = _names(kept)
    waiting = list(movable)
    while needed := [entry for entry in waiting if entry[0] & used]:
        waiting = [entry for entry in waiting if not entry[0] & used]
        kept += [statement for _, statement in needed]
        used |= _names([statement for _, statement in needed])
    if "STUDY" in used:  # STUDY refers to all parts
        return tree.body, []
    places = {id(statement): place for place, statement in enumerate(tree.body)}
    kept.sort(key=lambda statement: places.get(id(statement), len(places)))
    return kept, drawing + [statement for _, statement in waiting]


def _movable(statement: ast.stmt) -> set[str]:
    """The names that a statement gives to a function or a constant; empty for any other statement."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        a = statement.args
        annotations = [x.annotation for x in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if x]
        header = [*a.defaults, *a.kw_defaults, *annotations, statement.returns]
        runs = any(
            isinstance(inner, (ast.Call, ast.NamedExpr))
            for part in header
            if part is not None
            for inner in ast.walk(part)
        )
        hook = statement.name.startswith("__")  # Python calls a module's __getattr__ without naming it
        return set() if runs or hook or statement.decorator_list else {statement.name}
    if isinstance(statement, ast.Assign):
        targets, value = statement.targets, statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets, value = [statement.target], statement.value
    else:
        return set()
    plain = all(isinstance(t, ast.Name) and not t.id.startswith("__") for t in targets)
    return {t.id for t in targets if isinstance(t, ast.Name)} if plain and _is_constant(value) else set()


_CONSTANT = (
    ast.Constant, ast.Name, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.UnaryOp, ast.BinOp,
    ast.operator, ast.unaryop, ast.expr_context,
)  # fmt: skip


def _is_constant(value: ast.expr) -> bool:
    return all(isinstance(node, _CONSTANT) for node in ast.walk(value))


def study_call(statement: ast.stmt) -> ast.Call | None:
    """The call in ``STUDY = Study(...)``."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, value = statement.targets[0], statement.value
    elif isinstance(statement, ast.AnnAssign):
        target, value = statement.target, statement.value
    else:
        return None
    if not isinstance(target, ast.Name) or target.id != "STUDY" or not isinstance(value, ast.Call):
        return None
    called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
    return value if called == "Study" else None


def _is_shown(keyword: ast.keyword) -> bool:
    """Whether an argument of Study is used only after the training; a call could act before, so it is not."""
    if keyword.arg in _DRAWING:
        return isinstance(keyword.value, (ast.Name, ast.Attribute, ast.Lambda))
    return keyword.arg in _TEXTS and _is_constant(keyword.value)


def _names(nodes: Iterable[ast.AST]) -> set[str]:
    """Every name that the code mentions."""
    names: set[str] = set()
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Global):
            names.update(node.names)
    return names


def _looks_at_itself(tree: ast.Module) -> bool:
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {
        a.name for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names
    }
    return not _MIRRORS.isdisjoint(_names([tree]) | attributes | imported)


# Hashes of syntax trees


def _sha256(nodes: Iterable[Any], texts: bool) -> str:
    return hashlib.sha256(dump(list(nodes), texts).encode("utf-8", "surrogatepass")).hexdigest()


def dump(node: Any, texts: bool = True) -> str:
    """A syntax tree as text, the same for every Python: empty fields come and go with its version.

    Args:
        node: a node, or a list of them.
        texts: whether to include strings that are statements, such as docstrings.
    """
    if isinstance(node, ast.AST):
        fields = [(k, v) for k, v in ast.iter_fields(node) if v is not None and v != []]
        return f"{type(node).__name__}({','.join(f'{k}={dump(v, texts)}' for k, v in fields)})"
    if isinstance(node, list):
        return f"[{','.join(dump(n, texts) for n in node if texts or not _is_text(n))}]"
    return repr(node)


def _is_text(node: Any) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _texts(tree: ast.Module) -> list[str]:
    return [node.value.value for node in ast.walk(tree) if _is_text(node)]  # pyright: ignore


# The line of an error


def line(error: BaseException) -> str:
    """The line of a user's code that raised an error, as ``FILE, line N, in FUNCTION``.

    The line is the innermost one that is neither lrn's nor of an installed package; "" if there is none.
    """
    if isinstance(error, SyntaxError) and error.filename and _is_users(error.filename):
        return f"{error.filename}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_users(frame.filename):
            inside = "" if frame.name == "<module>" else f", in {frame.name}"
            return f"{frame.filename}, line {frame.lineno}{inside}"
    return ""


def _is_users(name: str) -> bool:
    path = Path(name)
    if name.startswith("<") or not path.is_absolute():
        return False
    return not path.is_relative_to(_LRN) and not is_installed(path)


def study_sha256(path: Path) -> str:
    """The hash of a study file's code without docstrings, by which old runs name their study.

    Raises:
        OSError: the file cannot be read.
        SyntaxError: the file is no Python.
    """
    tree = parse(Path(path).read_bytes())
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return hashlib.sha256(dump(tree).encode()).hexdigest()
