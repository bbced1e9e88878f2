"""Where the studies that come with lrn lie, and the name by which they import each other.

In lrn's repository they are the package ``experiments``. An installation has them as ``lrn_experiments``,
since other projects have a folder ``experiments`` too. Either way the studies import their own files as
``experiments.<area>.<file>``; `adopt` gives their package that name in the process that loads one of them.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from lrn import check

NAME = "experiments"
_INSTALLED = "lrn_experiments"
_BESIDE = Path(__file__).resolve().parents[2]  # the folder that holds lrn


def folder() -> Path | None:
    """The folder of the studies, beside that of lrn; None where lrn alone was copied."""
    places = (_BESIDE / name for name in (NAME, _INSTALLED))
    return next((place for place in places if (place / "claims.json").is_file()), None)


def command() -> str:
    """How the command line is called: ``python -m experiments`` in the repository, ``lrn`` elsewhere."""
    found = folder()
    return f"python -m {NAME}" if found is not None and found.name == NAME else "lrn"


def adopt() -> None:
    """Let ``import experiments`` mean the studies of lrn, wherever this process looks for modules.

    Raises:
        InputError: this process has imported another package of that name.
    """
    found = folder()
    assert found is not None
    path = found / "__init__.py"
    if (known := sys.modules.get(NAME)) is not None:
        other = getattr(known, "__file__", None)
        if other is None or Path(other).resolve() != path:
            raise check.InputError(
                f"this process has imported another package named {NAME} ({other or known}); run the studies "
                "of lrn in another process."
            )
        return
    spec = importlib.util.spec_from_file_location(NAME, path, submodule_search_locations=[str(found)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
