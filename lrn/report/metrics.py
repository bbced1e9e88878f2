"""The table of a run: its rows in batches, the last value of each seed, and the values at a step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrn import table as tables
from lrn.report.run import Final
from lrn.study import seal
from lrn.table import Table

# What a folder from anywhere may hold. The runs of lrn stay far below.
ROWS = 20_000_000  # of metrics
CELLS = 5_000  # pairs of arm and metric
NAME = 1_000  # characters of an arm or a metric
TEXT_BYTES, NUMBER_BYTES = 2**27, 2**30  # of the columns of metrics, unpacked
SEEDS = 10_000  # as many as the command line allows


class Batch(NamedTuple):
    """Rows of a table; arms and metrics by their place in a list of names."""

    arms: list[Any]
    metrics: list[Any]
    arm: np.ndarray
    metric: np.ndarray
    seed: np.ndarray
    step: np.ndarray
    value: np.ndarray


def batches(path: Path) -> Iterator[Batch]:
    """The rows of a table of metrics, some at a time.

    Raises:
        seal.Broken: it is larger than any that lrn writes; told from its metadata.
        Exception: whatever is wrong with its bytes.
    """
    import pyarrow.parquet as pq

    names = ["arm", "metric"]  # read as codes: a name of a megabyte may stand in each of a million rows
    with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=names) as file:
        meta = file.metadata
        if file.schema_arrow.names != list(tables.COLUMNS):
            raise ValueError("it has other columns")
        if meta.num_rows > ROWS:
            raise seal.Broken(f"has {meta.num_rows:,} rows, and {ROWS:,} are the most that are read")
        chunks = [meta.row_group(i).column(j) for i in range(meta.num_row_groups) for j in range(5)]
        for limit, of in ((TEXT_BYTES, (0, 3)), (NUMBER_BYTES, (1, 2, 4))):
            size = sum(c.total_uncompressed_size for i, c in enumerate(chunks) if i % 5 in of)
            if size > limit:
                raise seal.Broken(f"unpacks to {size:,} bytes, and {limit:,} are the most that are read")
        for batch in file.iter_batches(batch_size=2**20):
            arm, seed, step, metric, value = batch.columns
            columns = [c.to_numpy(zero_copy_only=False) for c in (seed, step, value)]
            if [c.dtype.kind for c in columns] != ["i", "i", "f"]:
                raise ValueError("its columns have other types than a metrics table")
            coded = [c.indices.to_numpy(zero_copy_only=False) for c in (arm, metric)]
            yield Batch(arm.dictionary.to_pylist(), metric.dictionary.to_pylist(), *coded, *columns)


def row_count(path: Path) -> int:
    """How many rows a table has, from its metadata."""
    import pyarrow.parquet as pq

    return pq.read_metadata(path).num_rows


def last_values(parts: Iterable[Batch]) -> dict[tuple[str, str], Final]:
    """The last value of each seed in each cell: metrics, and arms within them, in order of appearance."""
    arms: dict[str, int] = {}
    metrics: dict[str, int] = {}
    cells: dict[tuple[int, int], int] = {}
    kept = tuple(np.zeros(0, kind) for kind in (np.int64, np.int64, np.int64, np.float64))
    for batch in parts:
        arm = _codes(arms, batch.arms)[batch.arm]
        metric = _codes(metrics, batch.metrics)[batch.metric]
        # Numbers of cells by first appearance, found from the different pairs alone.
        pairs, first, place = np.unique(arm * 2**32 + metric, return_index=True, return_inverse=True)
        numbers = np.zeros(len(pairs), np.int64)
        for i in np.argsort(first):
            numbers[i] = cells.setdefault(divmod(int(pairs[i]), 2**32), len(cells))
        if len(cells) > CELLS:
            raise seal.Broken(f"has more than {CELLS:,} pairs of arm and metric, the most that are shown")
        rows = (numbers[place.reshape(-1)], batch.seed, batch.step, batch.value)
        kept = _last_rows(*(np.concatenate(columns) for columns in zip(kept, rows)))
    cell, seed, _, value = kept
    ends = np.searchsorted(cell, np.arange(len(cells) + 1))
    names, kinds = list(arms), list(metrics)
    order = sorted(cells.items(), key=lambda item: (item[0][1], item[0][0]))
    return {
        (names[a], kinds[m]): Final(seed[ends[i] : ends[i + 1]], value[ends[i] : ends[i + 1]])
        for (a, m), i in order
    }


def _last_rows(
    cell: np.ndarray, seed: np.ndarray, step: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The last row of each cell and seed, sorted by both."""
    order = np.lexsort((step, seed, cell))
    last = np.ones(len(cell), bool)
    last[:-1] = (np.diff(cell[order]) != 0) | (np.diff(seed[order]) != 0)
    order = order[last]
    return cell[order], seed[order], step[order], value[order]


def _codes(known: dict[str, int], names: list[Any]) -> np.ndarray:
    """The numbers of names, new ones added to those known."""
    if not all(isinstance(name, str) for name in names):
        raise ValueError("its columns have other types than a metrics table")
    if any(len(name) > NAME for name in names):
        raise seal.Broken(f"has an arm or a metric whose name has more than {NAME:,} characters")
    if len(names) > 2 * CELLS:
        raise seal.Broken(f"has {len(names):,} arms or metrics, and {CELLS:,} are the most that are shown")
    return np.array([known.setdefault(name, len(known)) for name in names], np.int64)


def at_steps(path: Path, cells: set[tuple[str, str, int]]) -> Iterator[Table]:
    """The rows of those cells, which the last values do not tell.

    Raises:
        ValueError: there are more of them than seeds.
    """
    steps = np.array(sorted({step for _, _, step in cells}), np.int64)
    count = 0
    for batch in batches(path) if cells else ():
        place = np.searchsorted(steps, batch.step)
        there = np.take(steps, place, mode="clip") == batch.step
        arms, metrics = ({name: i for i, name in enumerate(names)} for names in (batch.arms, batch.metrics))
        wanted = [
            (arms[a] * len(metrics) + metrics[m]) * len(steps) + np.searchsorted(steps, step)
            for a, m, step in cells
            if a in arms and m in metrics
        ]
        code = (batch.arm.astype(np.int64) * len(metrics) + batch.metric) * len(steps) + place
        there &= np.isin(code, wanted)
        count += there.sum()
        if count > SEEDS * len(cells):
            raise ValueError("the table has more rows at a step than seeds")
        arm, metric = (
            np.array(names, object)[codes[there]]
            for names, codes in ((batch.arms, batch.arm), (batch.metrics, batch.metric))
        )
        yield Table(arm, batch.seed[there], batch.step[there], metric, batch.value[there])
