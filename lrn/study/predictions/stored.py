"""Predictions read back from the JSON of a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from lrn.study.predictions.base import Cell, Prediction
from lrn.study.predictions.exact import Exact, Same
from lrn.study.predictions.means import Above, Below, Equivalence, Superiority, Within
from lrn.study.predictions.shares import Share
from lrn.study.predictions.trends import Trend

_KINDS = (Superiority, Above, Below, Equivalence, Within, Share, Trend, Exact, Same)


def restored(spec: Mapping[str, Any]) -> Prediction:
    """The prediction whose `Prediction.spec` is ``spec``.

    Raises:
        ValueError: lrn does not know the kind of the prediction.
    """
    kind = {kind.kind: kind for kind in _KINDS}.get(spec["kind"])
    if kind is None:
        raise ValueError(f"predictions of the kind {spec['kind']!r} cannot be judged without their study.")
    types = {f.name: str(f.type) for f in dataclasses.fields(kind)}
    params = {k: _read(v, types[k]) for k, v in spec["params"].items()}
    return kind(statement=spec["statement"], key=spec["key"], **params)


def _read(value: Any, kind: str) -> Any:
    """A parameter from its JSON form, by the name of the field's type."""
    if kind in ("Cell", "Side"):
        return Cell(*value) if isinstance(value, Sequence) and not isinstance(value, str) else float(value)
    if "Cell" in kind:
        return tuple(Cell(*v) for v in value)
    if isinstance(value, list):
        return tuple(_read(v, kind) for v in value)
    if value in ("inf", "-inf", "nan") and "float" in kind:
        return float(value)
    return value
