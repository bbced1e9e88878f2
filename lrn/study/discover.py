"""Finding and loading studies: ``experiments/<area>/<name>.py`` with a ``STUDY``, or any other file.

`lrn.study.home` says where ``experiments`` is.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lrn import check, interrupt
from lrn.study import Study, home, literals, source


class StudyFile(NamedTuple):
    """A loaded study with its file.

    id: ``<area>.<name>``, or the file's name for a study outside of ``experiments``.
    path: the file. study: its ``STUDY``. doc: the module's docstring.
    code: the hashes of the study's code at the time of loading; None before `hashed` reads them.
    """

    id: str
    path: Path
    study: Study
    doc: str
    code: source.Code | None = None

    def hashed(self) -> StudyFile:
        """The same study file with ``code``."""
        return self if self.code else self._replace(code=source.read(self.path))

    @property
    def is_ours(self) -> bool:
        """Whether the study comes with lrn, so that its id is unique among studies."""
        known = find().get(self.id)
        return known is not None and known.resolve() == self.path.resolve()


def find() -> dict[str, Path]:
    """The studies that come with lrn, from id to file. Nothing is imported."""
    root = home.folder()
    return {
        f"{path.parent.name}.{path.stem}": path
        for path in (sorted(root.glob("*/*.py")) if root else ())
        if not path.name.startswith("_") and path.parent.name != "bench"
    }


def claims() -> Path:
    """The file that lists the claims of the notes.

    Raises:
        InputError: there are no studies beside lrn.
    """
    if (root := home.folder()) is None:
        raise check.InputError("there are no experiments here; run this in lrn's own repository.")
    return root / "claims.json"


def described(name: str, path: Path) -> dict[str, Any]:
    """The fields of a study that `list` shows: those of `literals.FIELDS`, and the names of its presets.

    The study is imported only where its fields are computed.

    Raises:
        ValueError: the file does not define a study.
    """
    try:
        said = literals.read(path)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        said = None
    if said is None:
        study = load(name).study
        said = {k: getattr(study, k) for k in literals.FIELDS} | {"presets": list(study.presets)}
    return said


def load(name: str) -> StudyFile:
    """Load a study by id, or by the path of its file.

    Raises:
        ValueError: there is no such study, or the file does not define one.
    """
    if name.endswith(".py") or "/" in name:
        path = Path(name).resolve()
        if not path.is_file():
            raise ValueError(
                f"there is no study file {name}; give the path of a .py file, or an id from `list`."
            )
        known = {p.resolve(): i for i, p in find().items()}
        if path in known:
            return load(known[path])
        study_file = _study_file(path.stem, path, _import_path(path)).hashed()
        prepare(study_file)
        return study_file
    studies = find()
    if name not in studies:
        raise ValueError(f"there is no study {name!r}; {check.nearest(name, studies)}")
    home.adopt()
    module = _imported(f"the study {name}", lambda: importlib.import_module(f"{home.NAME}.{name}"))
    return _study_file(name, studies[name], module)


def _import_path(path: Path) -> object:
    """Import a file outside of ``experiments``. Its folder becomes importable, as for a script."""
    _importable(path.parent)
    name = f"_lrn_study_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module here
    try:
        _imported(f"the study file {path}", lambda: spec.loader.exec_module(module))  # pyright: ignore
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _imported(what: str, run: Callable[[], Any]) -> Any:
    """The result of ``run``, which executes a study's file.

    Raises:
        ValueError: the file raised an error, SystemExit, or a KeyboardInterrupt that no signal caused.
    """
    with interrupt.noticed() as typed:
        try:
            return run()
        except BaseException as error:
            if typed() or isinstance(error, interrupt.Interrupted):
                raise
            said = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
            where = source.line(error)
            raise ValueError(f"{what} cannot be imported ({said}{f'; {where}' if where else ''}).") from error


def apart(studies: Sequence[StudyFile]) -> None:
    """Check that studies to be run in one process do not import different files by the same name.

    Raises:
        InputError: two studies do so. Python would give both of them the file imported first.
    """
    seen: dict[str, Path] = {}
    for study_file in studies:
        for name, path in _helpers(study_file).items():
            if seen.setdefault(name, path) != path:
                raise check.InputError(
                    f"{study_file.path} imports {name} from {path} and another study imports it from "
                    f"{seen[name]}; run them by two commands."
                )


def prepare(found: StudyFile) -> None:
    """Make the files beside a study importable, before it runs.

    Raises:
        InputError: this process has already imported another file by the name of such a file.
    """
    if not found.is_ours:
        _importable(found.path.parent)
    for name, path in _helpers(found).items():
        loaded = getattr(sys.modules.get(name), "__file__", None)
        if loaded and Path(loaded).resolve() != path and not source.is_installed(Path(loaded)):
            raise check.InputError(
                f"{found.path} imports {name} from {path}, and in this process {loaded} has that name; "
                "run the study in another process."
            )


def _helpers(study_file: StudyFile) -> dict[str, Path]:
    """From the names of the modules of its own tree that a study imports to their files."""
    code = study_file.hashed().code
    assert code is not None
    return {name: path for name, path in code.paths.items() if path != study_file.path.resolve()}


def _importable(folder: Path) -> None:
    """Put a folder first on Python's search path, as for a script."""
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry != str(folder))]


def _study_file(name: str, path: Path, module: object) -> StudyFile:
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise ValueError(f"{path} defines no study; end it with STUDY = lrn.study.Study(...).")
    return StudyFile(name, path, study, (getattr(module, "__doc__", None) or "").strip())
