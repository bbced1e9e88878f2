"""Real data sets as decisions about people: features, a favorable outcome, and a protected group.

`decisions` gives each set in the form in which the literature on fairness uses it. Label 1 is the favorable
outcome. Group 0 is the group that is protected, group 1 the other one. The features leave the group out, so a
model that gets only them is blind to it; ``with_group`` adds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lrn import check
from lrn.data.dataset import Dataset
from lrn.data.loader import load
from lrn.data.sets.compas import propublica_filter
from lrn.data.tabular import encoded


@dataclass(frozen=True)
class Decisions:
    """People, as arrays that all functions of `lrn.fair` take.

    x: features, float32 [rows, dim]. y: 1 for the favorable outcome, int32 [rows]. group: 0 for the protected
    group, int32 [rows]. names: the features, [dim]. groups: the names of the two groups.
    outcome: what label 1 means.
    """

    x: np.ndarray
    y: np.ndarray
    group: np.ndarray
    names: tuple[str, ...]
    groups: tuple[str, str]
    outcome: str


@dataclass(frozen=True)
class _Task:
    """How a set is used.

    label: the favorable outcome by row. column: the protected attribute. groups: its values, the protected
    one first; other rows are left out. outcome: the meaning of label 1. codes: numeric columns without order.
    dropped: columns that are no features. kept: if given, the only features.
    """

    label: Callable[[Dataset], np.ndarray]
    column: str
    groups: tuple[str, str]
    outcome: str
    codes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("train",)
    select: Callable[[Dataset], Dataset] = lambda data: data


_TASKS = {
    "adult": _Task(
        lambda d: d["income"] == ">50K",
        "sex",
        ("Female", "Male"),
        "an income above 50,000 dollars",
        dropped=("income", "fnlwgt"),
        splits=("train", "test"),
    ),
    "compas": _Task(
        lambda d: d["two_year_recid"] == 0,
        "race",
        ("African-American", "Caucasian"),
        "no new offense within two years",
        kept=("sex", "age", "juv_fel_count", "juv_misd_count", "juv_other_count", "priors_count",
              "c_charge_degree"),
        select=propublica_filter,
    ),
    "dutch_census": _Task(
        lambda d: d["occupation"] == 1,
        "sex",
        ("female", "male"),
        "a high-level occupation",
        codes=("household_position", "household_size", "prev_residence_place", "citizenship",
               "country_birth", "economic_status", "cur_eco_activity", "marital_status"),
        dropped=("occupation",),
    ),
    "german_credit": _Task(
        lambda d: d["class-label"] == 1, "sex", ("female", "male"), "a good credit risk",
        dropped=("class-label",),
    ),
    "law_school": _Task(
        lambda d: d["pass_bar"] == 1, "race", ("Non-White", "White"), "a passed bar exam",
        codes=("tier",), dropped=("pass_bar",),
    ),
}  # fmt: skip
NAMES = tuple(_TASKS)


def decisions(name: str, *, with_group: bool = False, without: Sequence[str] = ()) -> Decisions:
    """A real set in the form in which the literature on fairness uses it.

    - "adult": both splits, 48,842 people, by sex; without the census weight.
    - "compas": ProPublica's selection, African-American and Caucasian defendants only, 5,278 people, with the
      seven features that a court knew; label 1 is *no* new offense.
    - "dutch_census": 60,420 people, by sex. "german_credit": 1,000 loans, by sex. "law_school": 20,798
      students, by race, White or not.

    Args:
        name: a name in `NAMES`.
        with_group: whether the group is the last feature, standardized.
        without: further columns of the data set that are left out of the features.

    Raises:
        InputError: the name, or a column in ``without``, is unknown.
        DataNotFoundError: the set is not found and cannot be downloaded.
    """
    check.choice("the name of a set of decisions", name, NAMES)
    task = _TASKS[name]
    parts = [task.select(load(name, part)) for part in task.splits]
    kept = task.kept or tuple(c for c in parts[0].columns if c not in (task.column, *task.dropped))
    for column in without:
        check.choice("a column in without", column, kept)
    taken = [part.take(np.isin(part[task.column], task.groups)) for part in parts]
    join = lambda column: np.concatenate([part[column] for part in taken])  # noqa: E731
    group = (join(task.column) == task.groups[1]).astype(np.int32)
    features = {column: join(column) for column in kept if column not in without}
    if with_group:
        features[task.column] = group
    codes = [column for column in task.codes if column in features]
    table = encoded(features, codes)
    label = np.concatenate([task.label(part) for part in taken]).astype(np.int32)
    return Decisions(table.x, label, group, table.names, task.groups, task.outcome)
