"""Data frames at the edge: a frame of people in, a frame of figures out.

The functions name columns, check them, and call the functions on arrays. pandas is needed here only.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from lrn import check
from lrn.data.tabular import encoded
from lrn.fair import gaps, inputs
from lrn.fair.by_group import GroupRates, rates_by_group
from lrn.fair.front import Front, overall_accuracy, overall_balanced_accuracy
from lrn.fair.inputs import check_groups
from lrn.fair.people import People, people
from lrn.fair.rate_sample import check_level
from lrn.fair.rates import RATES

if TYPE_CHECKING:
    import pandas as pd

AUDITED = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy")


@dataclass(frozen=True)
class Table:
    """A frame as arrays. people: the rows. groups: the groups' names, in the order of their numbers.

    names: the names of the features, [dim].
    """

    people: People
    groups: tuple[str, ...]
    names: tuple[str, ...]


def audit(
    frame: pd.DataFrame,
    label: str,
    decision: str,
    by: str | Sequence[str],
    *,
    favorable: Any = 1,
    rates: Sequence[str] = AUDITED,
    weight: str | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Rates of decisions in every group, or intersection of groups, with intervals.

    Args:
        frame: one row a person. label, decision: columns with the true outcome and with the decision.
        by: a column of groups, or several, whose intersections are the groups.
        favorable: the value of both columns that is the favorable outcome; all other values are the other
            one. A decision may also be a chance between 0 and 1.
        rates: names of `lrn.fair.rates.RATES`. weight: a column of weights.
        level: the chance of each interval, and of all intervals of one rate together.

    Returns:
        A row for each rate and group: the groups' columns, "metric", "rate", "trials" (rows behind the rate),
        "low" and "high" of the group by itself, "joint_low" and "joint_high" of the intervals that hold in
        all groups at once, and "note", which says where a rate has fewer than two rows behind it. A rate
        without rows is NaN.

    Raises:
        InputError: a column is not in the frame, a value is missing, a label has more than two values, a
            decision or a weight is out of range, or a rate or the level is unknown or out of range.
    """
    import pandas as pd

    columns = [by] if isinstance(by, str) else list(by)
    if not columns or not len(rates):
        raise check.InputError("by and rates must name at least one column and one rate; name them.")
    for name in rates:
        check.choice("a rate", name, RATES)
    check_level(level)
    for column in (label, decision, *columns, *([weight] if weight else [])):
        _known(frame, column)
        _complete(frame, column)
    y = _binary(frame, label, favorable)
    d = _decision(frame, decision, favorable)
    weights = None if weight is None else frame[weight].to_numpy()
    weights, _ = inputs.weights(weights, len(frame), name=f"column {weight!r}")
    coded = [_coded(frame, column) for column in columns]
    group, sizes = tuple(codes for codes, _ in coded), tuple(len(values) for _, values in coded)
    index = pd.MultiIndex.from_product([values for _, values in coded], names=columns)
    parts = []
    for name, found in zip(rates, _rates(tuple(rates), sizes, y, d, group, weights, level)):
        part = pd.DataFrame({k: np.asarray(v).reshape(-1) for k, v in found._asdict().items()}, index)
        part.insert(0, "metric", name)
        part["note"] = [_note(name, trials) for trials in part["trials"]]
        parts.append(part.reset_index())
    return pd.concat(parts, ignore_index=True)


def table(
    frame: pd.DataFrame,
    label: str,
    group: str,
    *,
    favorable: Any = 1,
    features: Sequence[str] | None = None,
    weight: str | None = None,
) -> Table:
    """The frame as rows that fair training takes; numbers standardized, categories coded by indicators.

    Args:
        frame: one row a person. label: the column with the outcome. group: the column of groups.
        favorable: the value of the label that is the favorable outcome.
        features: the columns of features; by default all but the label, the group and the weight. Leave out
            what is known only after the decision.
        weight: a column of weights.

    Raises:
        InputError: a column is not in the frame, a value is missing, the label has more than two values or
            is among the features, or a group has fewer than two rows or one label only.
    """
    for column in (label, group, *([weight] if weight else [])):
        _known(frame, column)
        _complete(frame, column)
    others = [c for c in frame.columns if c not in (label, group, weight)]
    taken = others if features is None else list(features)
    if label in taken:
        raise check.InputError(f"the label {label!r} is among the features; leave it out of them.")
    y = _binary(frame, label, favorable)
    codes, values = _coded(frame, group)
    check_groups(y, codes, len(values), [str(v) for v in values])
    for column in taken:
        _known(frame, column)
        _complete(frame, column)
    found = encoded({str(column): frame[column].to_numpy() for column in taken})
    weights = None if weight is None else frame[weight].to_numpy()
    rows = people(found.x, y, codes, len(values), weights)
    return Table(rows, tuple(map(str, values)), found.names)


def front_frame(front: Front) -> pd.DataFrame:
    """A front as a frame: a row for each seed (its place) and bound, with measures on both parts."""
    import pandas as pd

    measures = {
        "accuracy": overall_accuracy,
        "balanced_accuracy": overall_balanced_accuracy,
        "demographic_parity_difference": gaps.demographic_parity_difference,
        "equalized_odds_max": gaps.equalized_odds_max,
    }
    parts = {"validation": front.validation, "test": front.test}
    shape = np.shape(front.test.tp)[:2]
    columns: dict[str, Any] = {
        "seed": np.repeat(np.arange(shape[0]), shape[1]),
        "bound": np.tile(np.asarray(front.bounds), shape[0]),
    }
    for part, counts in parts.items():
        for name, measure in measures.items():
            columns[f"{part}_{name}"] = np.asarray(measure(counts)).reshape(-1)
    return pd.DataFrame(columns)


@functools.partial(jax.jit, static_argnames=("names", "sizes"))
def _rates(
    names: tuple[str, ...], sizes: tuple[int, ...], y: Any, d: Any, group: Any, weights: Any, level: Any
) -> list[GroupRates]:
    """All rates in one program, for arguments that were checked."""
    return [rates_by_group(name, y, d, group, sizes, weights, level) for name in names]


def _note(rate: str, trials: float) -> str:
    """What to know of a rate with so many rows behind it."""
    if trials >= 2:
        return ""
    if trials > 0:
        return f"fewer than two rows are behind {rate}, so it says almost nothing; merge groups"
    return f"no row is behind {rate}, so it is unknown; merge groups"


def _decision(frame: pd.DataFrame, column: str, favorable: Any) -> np.ndarray:
    """The decisions as 0 and 1, or as chances."""
    chance = frame[column].to_numpy()
    if chance.dtype.kind == "f" and not np.isin(chance, (0, 1)).all():
        return np.asarray(inputs.shares(f"column {column!r}", chance, len(chance))[0])
    return _binary(frame, column, favorable)


def _known(frame: pd.DataFrame, column: str) -> None:
    if not hasattr(frame, "columns"):
        raise check.InputError(f"frame must be a pandas DataFrame, got {type(frame).__name__}; make it one.")
    if column not in frame.columns:
        hint = check.nearest(str(column), map(str, frame.columns))
        raise check.InputError(f"the frame has no column {column!r}; {hint}")


def _complete(frame: pd.DataFrame, column: str) -> None:
    missing = int(np.sum(frame[column].isna().to_numpy()))
    if missing:
        raise check.InputError(
            f"column {column!r} is missing in {missing} of {len(frame)} rows; fill the values in, or leave "
            "those rows out."
        )


def _binary(frame: pd.DataFrame, column: str, favorable: Any) -> np.ndarray:
    """1 where the column has the favorable value, else 0."""
    values = frame[column].unique()
    if len(values) > 2 or favorable not in list(values):
        shown = ", ".join(repr(v) for v in sorted(map(str, values))[:5])
        raise check.InputError(
            f"column {column!r} must have two values, one of them favorable={favorable!r}, got {shown}; name "
            "the favorable value, and map the others to one."
        )
    return (frame[column] == favorable).to_numpy().astype(np.float32)


def _coded(frame: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Each row's group as a number, and the groups' names."""
    values, codes = np.unique(frame[column].to_numpy().astype(str), return_inverse=True)
    return codes.astype(np.int32), values
