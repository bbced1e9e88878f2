"""Literals of a study file, read from its syntax tree without an import, so that `list` needs no jax."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from lrn.study.source import parse, study_call

FIELDS: dict[str, str | bool] = {"title": "", "claim": "", "claim_id": "", "section": "", "tour": False}


def read(path: Path) -> dict[str, Any] | None:
    """The fields of `FIELDS` and the names of the presets in ``STUDY = Study(...)``.

    Returns:
        From field to value, and from "presets" to a list of names; None where the file has no such call or
        computes one of these values.

    Raises:
        OSError: the file cannot be read.
        SyntaxError: the file is no Python (ValueError where it holds null bytes).
    """
    calls = [call for s in parse(path.read_bytes()).body if (call := study_call(s)) is not None]
    if not calls:
        return None
    call = calls[-1]
    given = {k.arg: k.value for k in call.keywords}
    try:
        fields = {k: ast.literal_eval(given[k]) if k in given else default for k, default in FIELDS.items()}
        presets = given["presets"]
        if not isinstance(presets, ast.Dict) or any(k is None for k in presets.keys):
            return None
        names = [ast.literal_eval(k) for k in presets.keys if k is not None]
    except (KeyError, ValueError):  # no presets, or a value that is no literal
        return None
    return {**fields, "presets": names}
