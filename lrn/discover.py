"""Studies are found by their files: ``experiments/<area>/<name>.py`` with a ``STUDY``, or any path."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import NamedTuple

from lrn import check
from lrn.study import Study


class StudyFile(NamedTuple):
    """A study and where it stands.

    id: ``<area>.<name>``, or the file's name for a study outside the package. doc: the module's docstring.
    """

    id: str
    path: Path
    study: Study
    doc: str


def find() -> dict[str, Path]:
    """The studies that come with lrn, from id to file; nothing is imported."""
    spec = importlib.util.find_spec("experiments")
    roots = [Path(p) for p in (spec.submodule_search_locations or ())] if spec else []
    return {
        f"{path.parent.name}.{path.stem}": path
        for root in roots
        for path in sorted(root.glob("*/*.py"))
        if not path.name.startswith("_") and path.parent.name != "bench"
    }


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
        return _study_file(path.stem, path, _import_path(path))
    studies = find()
    if name not in studies:
        raise ValueError(f"there is no study {name!r}; {check.nearest(name, studies)}")
    try:
        module = importlib.import_module(f"experiments.{name}")
    except Exception as error:
        raise ValueError(f"the study {name} cannot be imported ({type(error).__name__}: {error}).") from error
    return _study_file(name, studies[name], module)


def _import_path(path: Path) -> object:
    """Import a file outside the package; its folder is importable, as for a script."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    name = f"_lrn_study_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(
            f"the study file {path} cannot be imported ({type(error).__name__}: {error})."
        ) from error
    return module


def _study_file(name: str, path: Path, module: object) -> StudyFile:
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise ValueError(f"{path} defines no study; end it with STUDY = lrn.study.Study(...).")
    return StudyFile(name, path, study, (getattr(module, "__doc__", None) or "").strip())
