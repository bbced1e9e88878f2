"""The training and test rows of each seed of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lrn import check
from lrn.data.dataset import split
from lrn.data.loader import load


class Parts(NamedTuple):
    """A training and a test part of a data set.

    train, test: from column to array; all seeds share these arrays.
    train_rows, test_rows: integers [seeds, n], the rows of ``train`` and of ``test`` that each seed uses.
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
    """The training and test rows of each seed: the data set's own split, or a split drawn for each seed.

    Args:
        name: the name of the set, which has the splits "train" and "test", or "all" for drawn splits.
        seeds: the seeds of the study.
        columns: the columns to keep.
        drawn: whether each seed draws a split of its own. Draw splits of small sets, where the results would
            otherwise depend on the one test set.
        test_share: the share of test rows in a drawn split.
        most: the largest number of test rows; the first ones are taken.

    Raises:
        InputError: ``test_share`` is outside of (0, 1), or ``most`` is below 1.
        DataNotFoundError: the set is not found and cannot be downloaded.
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
