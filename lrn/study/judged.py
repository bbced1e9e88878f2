"""What an arm is judged on against what it was trained on, recorded for the controls that read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lrn.data.seeded import Parts
from lrn.study.controls import MISTAKEN, OVERLAP
from lrn.study.seen import drawn, shared_items


class Judged:
    """The part of `lrn.study.context.Context` that tells whether a judgement was fair.

    seeds: the seeds, ints. record: records a value for each seed, see `lrn.study.context.Context.record`.
    """

    seeds: tuple[int, ...]
    record: Callable[..., None]
    _trained_on: dict[str, list[Mapping[str, Any]]]  # from arm to the options of its fits

    def judged_on(
        self,
        arm: str,
        items: Any,
        *,
        trained_on: Any = None,
        trained_like: str = "",
        seen: Callable[[Any], Any] = lambda batch: batch,
        by_seed: bool = False,
    ) -> None:
        """Record how many of the items that an arm is judged on were also in its training data.

        `lrn.study.no_overlap` is the control that reads this metric.

        Args:
            arm: the arm.
            items: the judged items [items, ...], such as pictures, as the network sees them.
            trained_on: nested arrays [..., *item] of training items. By default these are some batches
                that the arm's `fit` would draw, or the data of a `fit` without a sampler.
            trained_like: the name under which the arm was trained, if it is another name.
            seen: a function from a drawn batch to the part that the network sees.
            by_seed: whether each seed has its own items; ``items`` is then [seeds, items, ...].

        Raises:
            ValueError: no training array has the shape of an item.
        """
        own_items = np.asarray(items) if by_seed else np.asarray(items)[None]
        fits = self._trained_on[trained_like or arm] if trained_on is None else []

        def overlap(own: np.ndarray, i: int) -> int:
            batches = [[seen(x) for x in drawn(options, i)] for options in fits]
            return shared_items(arm, own, batches if trained_on is None else trained_on)

        both = [overlap(own, i) for i, own in enumerate(own_items)]
        self.record(arm, OVERLAP, np.broadcast_to(np.asarray(both, float), len(self.seeds)))

    def judged_on_rows(self, arm: str, rows: Any, trained_on: Any) -> None:
        """Record the same metric as `judged_on`, where each seed takes its rows from one data set.

        Args:
            arm: the arm.
            rows: integers [seeds, n], the rows that the arm is judged on.
            trained_on: integers [seeds, m], the rows that the arm was trained on.
        """
        both = [np.isin(mine, seen).sum() for mine, seen in zip(np.asarray(rows), np.asarray(trained_on))]
        self.record(arm, OVERLAP, np.asarray(both, float))

    def judged_on_parts(self, arm: str, parts: Parts, column: str) -> None:
        """Record the same metric as `judged_on`, for the parts of `lrn.data.seeded.for_seeds`.

        Args:
            arm: the arm.
            parts: the training and test rows of each seed.
            column: the column of the data that the network sees, such as "image".
        """
        pictures = [np.asarray(x[column]) for x in (parts.train, parts.test)]
        if pictures[0] is pictures[1]:
            self.judged_on_rows(arm, parts.test_rows, parts.train_rows)
        else:  # the same rows for all seeds
            seen, judged = (x[rows[0]] for x, rows in zip(pictures, (parts.train_rows, parts.test_rows)))
            self.judged_on(arm, judged, trained_on=seen)

    def judged_state(self, arm: str, judged: Any, trained: Any) -> None:
        """Record how many judged arrays of an arm differ from the arrays that were trained under its name.

        `lrn.study.own_state` is the control that reads this metric.

        Args:
            arm: the arm.
            judged: arrays [seeds, ...] as the evaluation receives them.
            trained: the arrays [seeds, ...] that were trained under the arm's name, from `lrn.train.Fit.arm`.
        """
        import jax

        pairs = zip(jax.tree.leaves(judged), jax.tree.leaves(trained), strict=True)
        differ = [[not np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b)] for a, b in pairs]
        self.record(arm, MISTAKEN, np.sum(np.asarray(jax.device_get(differ), float), 0))
