"""Choosing settings on validation data, by one rule for all studies.

Every arm has the same number of candidates. A candidate that diverged in more seeds is worse than any that
diverged in fewer. A choice at the edge of its menu is flagged, because a better setting may lie beyond.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from lrn import check
from lrn.study.controls import Control
from lrn.study.predictions import Cell, Exact

EDGE = "choices at the edge of the menu"


class Choice(NamedTuple):
    """The candidate that was chosen for one arm.

    place: the candidate's indices in the menu, one for each axis.
    score: its mean score over the seeds that did not diverge; NaN if all diverged.
    diverged: the number of seeds in which it diverged.
    edge: the number of axes, of three or more values, along which the candidate is the first or the last.
    """

    place: tuple[int, ...]
    score: float
    diverged: int
    edge: int

    @property
    def only(self) -> int:
        """The index of the candidate in a menu with one axis."""
        (place,) = self.place
        return place


Scores = Mapping[str, np.ndarray]  # from arm to scores [*menu, seeds]
Chooser = Callable[[Scores, Callable[[Scores], dict[str, Choice]]], dict[str, Choice]]
_chooser: contextvars.ContextVar[Chooser | None] = contextvars.ContextVar("chooser", default=None)


@contextlib.contextmanager
def made_by(chooser: Chooser | None) -> Iterator[None]:
    """Inside, `select` returns ``chooser(scores, choose)``, where ``choose(scores)`` applies its rule.

    With None, `select` applies its rule itself. A part of a run so chooses by the scores of all parts, see
    `lrn.study.parts`.
    """
    token = _chooser.set(chooser)
    try:
        yield
    finally:
        _chooser.reset(token)


def select(
    validation: Mapping[str, Any],
    better: Literal["higher", "lower"],
    free: Sequence[int] = (),
) -> dict[str, Choice]:
    """The candidate of each arm with the best mean over seeds of a validation score.

    Args:
        validation: from arm to scores [*menu, seeds]. The axes of a menu are ordered, as rates are. A score
            that is not finite marks a candidate that diverged in that seed.
        better: whether higher or lower scores are better.
        free: the axes along which an edge means nothing, such as an axis without an order.

    Returns:
        From arm to its choice. Among equal candidates the first is chosen.

    Raises:
        InputError: the arms have different numbers of candidates, or an arm has no candidates or no seeds.
    """
    check.choice("better", better, ("higher", "lower"))
    scores = {arm: np.asarray(values, float) for arm, values in validation.items()}
    sizes = {arm: math.prod(x.shape[:-1]) for arm, x in scores.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{arm}: {size}" for arm, size in sizes.items())
        raise check.InputError(
            f"the arms have different numbers of candidates ({told}); give every arm the same number."
        )
    for arm, x in scores.items():
        if x.ndim < 2 or x.size == 0:
            raise check.InputError(
                f"the scores of {arm!r} have shape {list(x.shape)}; give [*menu, seeds], nothing empty."
            )
    choose = functools.partial(_best_of_each, better=better, free=free)
    chooser = _chooser.get()
    return choose(scores) if chooser is None else chooser(scores, choose)


def _best_of_each(
    scores: Scores, better: Literal["higher", "lower"], free: Sequence[int]
) -> dict[str, Choice]:
    return {arm: _best(x if better == "higher" else -x, better, free) for arm, x in scores.items()}


def _best(scores: np.ndarray, better: str, free: Sequence[int]) -> Choice:
    fine = np.isfinite(scores)
    lost = (~fine).sum(-1)
    kept = np.where(fine, scores, 0.0).sum(-1) / np.maximum(fine.sum(-1), 1)
    # The number of lost seeds decides first, then the mean over the other seeds.
    order = np.lexsort((-kept.ravel(), lost.ravel()))
    place = tuple(int(i) for i in np.unravel_index(order[0], kept.shape))
    edge = sum(
        size > 2 and at in (0, size - 1)
        for axis, (at, size) in enumerate(zip(place, kept.shape))
        if axis not in free
    )
    sign = 1.0 if better == "higher" else -1.0
    score = sign * float(kept[place]) if lost[place] < scores.shape[-1] else math.nan
    return Choice(place, score, int(lost[place]), edge)


def interior_choice(arm: str) -> Control:
    """A control that flags an arm whose chosen setting lies at the edge of its menu; see `Context.chosen`."""
    statement = f"The setting chosen for {arm} lies inside of its menu."
    return Control(Exact(statement=statement, cell=Cell(arm, EDGE), value=0.0), "flag")
