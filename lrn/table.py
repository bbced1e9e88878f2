"""The tidy table that every run yields: one row, with one value, for each (arm, seed, step, metric)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrn import check, files

COLUMNS = ("arm", "seed", "step", "metric", "value")


class Table(NamedTuple):
    """Five columns of equal length [rows]; `rows` builds a table, `concat` joins tables.

    arm: the name of a treatment. metric: the name of a measured quantity. seed, step: int64.
    value: float64, in the metric's unit; NaN where the training of that arm and seed failed.
    """

    arm: np.ndarray
    seed: np.ndarray
    step: np.ndarray
    metric: np.ndarray
    value: np.ndarray

    @property
    def arms(self) -> list[str]:
        """The arms, in order of first appearance."""
        return list(dict.fromkeys(self.arm.tolist()))

    @property
    def seeds(self) -> list[int]:
        """The seeds, sorted."""
        return sorted({int(s) for s in self.seed})

    @property
    def metrics(self) -> list[str]:
        """The metrics, in order of first appearance."""
        return list(dict.fromkeys(self.metric.tolist()))

    def final(self, arm: str, metric: str) -> np.ndarray:
        """The last value of a metric for each seed that has one, ordered by seed: [seeds].

        Raises:
            ValueError: the arm or the metric is not in the table.
        """
        return self.final_by_seed(arm, metric)[1]

    def final_by_seed(self, arm: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """The sorted seeds [seeds] of a metric of an arm, and the last value [seeds] of each seed.

        Raises:
            ValueError: the arm or the metric is not in the table.
        """
        mine = self._rows(arm, metric)
        order = np.lexsort((self.step[mine], self.seed[mine]))
        seeds, values = self.seed[mine][order], self.value[mine][order]
        last = np.append(np.diff(seeds) != 0, True)
        return seeds[last], values[last]

    def by_seed(self, arm: str, metric: str, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The sorted seeds [seeds] of a metric of an arm at one step, and their values [seeds].

        Raises:
            ValueError: the arm, the metric or the step is not in the table.
        """
        mine = self._rows(arm, metric)
        at_step = mine & (self.step == step)
        if not at_step.any():
            known = ", ".join(map(str, sorted(set(self.step[mine].tolist()))[:20]))
            raise check.InputError(f"{metric} of {arm} was not recorded at step {step}; choose from {known}.")
        order = np.argsort(self.seed[at_step], kind="stable")
        return self.seed[at_step][order], self.value[at_step][order]

    def curve(self, arm: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """The steps [steps] of a metric and its values [seeds, steps], NaN where a seed has none.

        Raises:
            ValueError: the arm or the metric is not in the table.
        """
        mine = self._rows(arm, metric)
        steps, column = np.unique(self.step[mine], return_inverse=True)
        seeds, row = np.unique(self.seed[mine], return_inverse=True)
        values = np.full((len(seeds), len(steps)), np.nan)
        values[row, column] = self.value[mine]
        return steps, values

    def _rows(self, arm: str, metric: str) -> np.ndarray:
        """The mask [rows] of a metric of an arm.

        Raises:
            InputError: the arm or the metric is not in the table.
        """
        mine = (self.arm == arm) & (self.metric == metric)
        if not mine.any():
            check.choice("arm", arm, self.arms)
            check.choice("metric", metric, sorted(set(self.metric[self.arm == arm].tolist())))
        return mine

    def write(self, path: Path | str) -> None:
        """Write the table as parquet, atomically; the same rows give the same bytes.

        Raises:
            lrn.files.WriteError: the file cannot be written.
        """
        files.write_with(path, lambda temporary: _write(temporary, self))


def rows(arm: Any, seed: Any, step: Any, metric: Any, value: Any) -> Table:
    """A table from five columns [rows] or scalars, which are broadcast against each other.

    Raises:
        ValueError: the shapes cannot be broadcast, or a seed, step or value is no number.
    """
    value = np.asarray(value, np.float64)
    columns = np.broadcast_arrays(
        np.asarray(arm, object),
        np.asarray(seed, np.int64),
        np.asarray(step, np.int64),
        np.asarray(metric, object),
        value,
    )
    return Table(*(np.array(c).reshape(-1) for c in columns))


def concat(tables: Iterable[Table]) -> Table:
    """The rows of all tables, in the order of the tables."""
    tables = list(tables)
    if not tables:
        return rows([], [], [], [], [])
    return Table(*(np.concatenate(columns) for columns in zip(*tables)))


def read(path: Path | str) -> Table:
    """Read a table from parquet.

    Raises:
        ValueError: the file is missing, damaged, or has other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; run the study again with --fresh.") from None
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0][:120]
        raise ValueError(f"{path} is damaged ({reason}); run the study again with --fresh.") from None
    if tuple(table.column_names) != COLUMNS:
        raise ValueError(
            f"{path} has the columns {', '.join(table.column_names)} and a metrics table has "
            f"{', '.join(COLUMNS)}; give the metrics.parquet of a run."
        )
    return Table(*(table[name].to_numpy() for name in COLUMNS))


def _write(path: Path, table: Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types: Sequence[Any] = (pa.string(), pa.int64(), pa.int64(), pa.string(), pa.float64())
    arrays = [pa.array(column, kind) for column, kind in zip(table, types)]
    pq.write_table(
        pa.Table.from_arrays(arrays, names=list(COLUMNS)), path, compression="zstd", write_page_checksum=True
    )
