"""What a run folder says of its predictions and controls: as registered, and as judged."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from typing import Any

from lrn.report.fields import ENTRIES, Fields, list_of, short_number, text_of
from lrn.report.run import Result
from lrn.study.predictions import How
from lrn.study.verdict import Outcome

OUTCOMES = typing.get_args(Outcome)
HOWS = typing.get_args(How)
ROLES = ("gate", "primary", "secondary")
OLD_WORDS = {"supported": "holds", "refuted": "fails", "inconclusive": "open"}  # of what was judged before


def specs(fields: Fields) -> list[Fields]:
    """The registered predictions, each with its regime and role; of runs judged before, a flat list."""
    if "regimes" not in fields.values:
        return fields.objects("predictions", "prediction")
    flat: list[Any] = []
    for regime in fields.objects("regimes", "regime"):
        gate = [g for g in [regime.values.get("gate")] if g is not None]
        of = Fields({**regime.values, "gate": gate}, regime.where, fields.damage)
        for role in ROLES:
            stated = of.objects(role, f"{role} prediction")
            flat += [{**spec.values, "regime": regime.values.get("name"), "role": role} for spec in stated]
        if len(flat) > ENTRIES:
            break
    return Fields({"predictions": flat}, fields.where, fields.damage).objects("predictions", "prediction")


def registered(fields: Fields, role: str = "") -> Result:
    """A prediction or control as it was stated, without findings; ``role``: where none is said."""
    params = fields.mapping("params")
    kind = fields.text("kind", required=True)
    return Result(
        statement=fields.text("statement", required=True),
        kind=kind,
        regime=fields.text("regime"),
        role=fields.one_of("role", ROLES) or role,
        compared=compared(kind, params, fields.values),
        region=region(kind, Fields(params, fields.where, [])),
        consequence=fields.text("consequence"),
    )


def judged(fields: Fields, old: bool, role: str = "") -> Result:
    """A prediction or control with what was found; ``old``: by earlier rules, in their words."""
    if old:
        named = {"p_holds": "p", "p_fails": "p_against"}
        values = {**fields.values, **{k: fields.values.get(v) for k, v in named.items()}}
        values["outcome"] = OLD_WORDS.get(str(values.get("outcome")), values.get("outcome"))
        fields = Fields(values, fields.where, fields.damage)
    outcome = fields.one_of("outcome", OUTCOMES, required=True)
    low, high = fields.pair("interval")
    names = ("effect", "p_holds", "p_fails", "hedges_g", "probability_of_improvement", "detectable")
    numbers = {name: fields.number(name) for name in names}
    # A number may be missing where it does not apply, but not where something was decided by it.
    if outcome in ("holds", "fails") and None in (numbers["effect"], low, high):
        fields.wrong("outcome", f"is {outcome!r}, but effect or interval is missing")
    n, needed = (None if x is None else int(x) for x in map(fields.number, ("n", "seeds_needed")))
    return registered(fields, role)._replace(
        **numbers,
        low=low,
        high=high,
        n=n,
        seeds_needed=needed,
        outcome=outcome,
        how=fields.one_of("how", HOWS),
        detail=fields.text("detail"),
    )


def region(kind: str, params: Fields) -> tuple[float, float] | None:
    """The effects that a prediction calls for. JSON has no infinity: a missing bound is an open end."""
    margin, value, bound = map(params.number, ("margin", "value", "bound"))
    open_ends = [k for k in ("low", "high") if params.values.get(k) in ("inf", "-inf")]
    low, high = (None if k in open_ends else params.number(k) for k in ("low", "high"))
    side = params.values.get("side") if kind == "share" else kind
    if kind == "superiority" and margin is not None:
        return margin, math.inf
    if kind == "equivalence" and margin is not None:
        return -margin, margin
    if kind == "interval" and not (low is None and high is None):
        return -math.inf if low is None else low, math.inf if high is None else high
    if side in ("above", "below") and bound is not None:
        return (bound, math.inf) if side == "above" else (-math.inf, bound)
    if kind == "trend":
        return (-math.inf, 0.0) if params.values.get("direction") == "decreasing" else (0.0, math.inf)
    if kind == "exact" and value is not None:
        atol = params.number("atol") or 0.0
        return value - atol, value + atol
    return None


_COMPARED = {  # what is looked at, by the names of its parameters
    "superiority": "{better} \N{MINUS SIGN} {worse}",
    "equivalence": "{one} \N{MINUS SIGN} {other}",
    "share": "share of runs with {cell}",
    **dict.fromkeys(("above", "below", "interval", "exact"), "{cell}"),
}


def compared(kind: str, params: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """Which cells of the table are looked at, and how."""
    sides = {name: side for name, value in params.items() if (side := _side(value))}
    try:
        return _COMPARED[kind].format_map(sides)
    except KeyError:
        metric, arms = text_of(spec.get("metric")), ", ".join(text_of(a) for a in list_of(spec.get("arms")))
        return f"slope of {metric} over {arms}" if kind == "trend" else f"{metric} of {arms}"


def _side(value: Any) -> str:
    """A number, or a cell: an arm, a metric and perhaps a step; "" of anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return short_number(value)
    if (
        not isinstance(value, list)
        or len(value) not in (2, 3)
        or not all(isinstance(v, str) for v in value[:2])
    ):
        return ""
    return f"{value[1]} of {value[0]}" + (f" at {text_of(value[2])}" if len(value) == 3 else "")
