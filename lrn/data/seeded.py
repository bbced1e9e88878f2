"""The training and test set of each seed of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lrn import check
from lrn.data.dataset import split
from lrn.data.loader import load


class Parts(NamedTuple):
    """Two parts of a data set.

    train, test: arrays by name, shared by all seeds; train_rows, test_rows: integers [seeds, n], which of
    their rows a seed uses.
    """

    train: dict[str, Any]
    test: dict[str, Any]
    train_rows: np.ndarray
    test_rows: np.ndarray


def for_seeds(
    name: str,
    seeds: Sequence[int],
    columns: Sequence[str] = ("image", "label"),
    *,
    drawn: bool = False,
    test_share: float = 0.2,
    most: int | None = None,
) -> Parts:
    """A data set's own training and test split; or, where it is ``drawn``, a split of each seed's own.

    Args:
        name: of the set; it has the splits "train" and "test", or "all" where the split is drawn.
        seeds: of the study.
        columns: to keep.
        drawn: whether each seed draws its split: for small sets, whose one test set would decide.
        test_share: of rows, where the split is drawn.
        most: test rows, at most: the first ones.

    Raises:
        InputError: a share outside (0, 1), or ``most`` below 1.
        DataNotFoundError: the set is not here and cannot be fetched.
    """
    check.between("test_share", test_share, 1e-6, 1 - 1e-6)
    if most is not None:
        check.integer("most", most, 1)
    if drawn:
        whole = load(name, "all")
        own = [split(seed, whole.rows, (1 - test_share, test_share)) for seed in seeds]
        sets, rows = (whole, whole), [np.stack(part) for part in zip(*own)]
    else:
        sets = (load(name, "train"), load(name, "test"))
        rows = [np.tile(np.arange(part.rows), (len(seeds), 1)) for part in sets]
    arrays = {column: sets[0][column] for column in columns}
    test = arrays if drawn else {column: sets[1][column] for column in columns}
    return Parts(arrays, test, rows[0], rows[1][:, :most])
