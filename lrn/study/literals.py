"""What a study file says of itself in literals, read without an import: so `list` needs no jax."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from lrn.study.source import parse

FIELDS = {"title": "", "claim": "", "claim_id": "", "section": "", "tour": False}


def read(path: Path) -> dict[str, Any] | None:
    """The fields of `FIELDS` and the presets' names in ``STUDY = Study(...)``; None where they are computed.

    Raises:
        OSError: the file cannot be read.
        SyntaxError: it is no Python (ValueError where it holds null bytes).
    """
    call = _study_call(parse(path.read_bytes()))
    if call is None:
        return None
    given = {k.arg: k.value for k in call.keywords}
    try:
        found = {k: ast.literal_eval(given[k]) if k in given else default for k, default in FIELDS.items()}
        presets = given["presets"]
        if not isinstance(presets, ast.Dict) or any(k is None for k in presets.keys):
            return None
        names = [ast.literal_eval(k) for k in presets.keys if k is not None]
    except (KeyError, ValueError):  # something is computed
        return None
    return {**found, "presets": names}


def _study_call(tree: ast.Module) -> ast.Call | None:
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            names = [t.id for t in statement.targets if isinstance(t, ast.Name)]
            called = statement.value.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            if names == ["STUDY"] and name == "Study":
                return statement.value
    return None
