"""What a study file says of itself in literals, read without an import: so `list` needs no jax."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from lrn.study.source import parse, study_call

FIELDS = {"title": "", "claim": "", "claim_id": "", "section": "", "tour": False}


def read(path: Path) -> dict[str, Any] | None:
    """The fields of `FIELDS` and the presets' names in ``STUDY = Study(...)``; None where they are computed.

    Raises:
        OSError: the file cannot be read.
        SyntaxError: it is no Python (ValueError where it holds null bytes).
    """
    calls = [call for s in parse(path.read_bytes()).body if (call := study_call(s)) is not None]
    if not calls:
        return None
    call = calls[-1]
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
