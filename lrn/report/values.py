"""The numbers of a run: the mean of each arm for people, and every value for programs."""

from __future__ import annotations

import base64
import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from lrn import stats
from lrn.report import text
from lrn.report.metrics import Batch, batches, row_count
from lrn.report.run import Final, Run

CSV_ROWS = 200_000  # a larger table is given by its last values


class Number(NamedTuple):
    """A row of the table of last values."""

    arm: str
    mean: str
    interval: str
    seeds: str


class Download(NamedTuple):
    """A gzipped CSV as a data: URI, its file's name, and what it holds in words."""

    uri: str
    name: str
    holds: str


def numbers(run: Run) -> list[tuple[str, list[Number]]]:
    """Mean and t interval of each arm's last values, grouped by metric."""
    groups: dict[str, list[Number]] = {}
    for (arm, metric), final in run.finals.items():
        groups.setdefault(metric, []).append(_number(arm, final))
    return list(groups.items())


def _number(arm: str, final: Final) -> Number:
    n, finite = len(final.values), int(np.isfinite(final.values).sum())
    return Number(
        arm, *text.effect(*stats.mean_interval(final.values)), str(n) if finite == n else f"{finite} of {n}"
    )


def download(run: Run) -> Download | None:
    """The run's table as a file to download; None where it has none that can be read.

    A table of more than `CSV_ROWS` rows is given by the last value of each seed.
    """
    if not run.finals:
        return None
    path = run.folder / "metrics.parquet"
    name = f"{run.study.replace('/', '-')}-{run.name}.csv"
    rows = row_count(path)
    if rows <= CSV_ROWS:
        said = f"all {rows:,} values, by arm, seed, step and metric"
        return Download(_uri(_all_rows(batches(path))), name, said)
    last = sum(len(final.seeds) for final in run.finals.values())
    said = (
        f"the last value of each arm, seed and metric, {last:,} of {rows:,} values; all are in "
        "metrics.parquet of the run's folder"
    )
    return Download(_uri(_last_rows(run)), name, said)


def _all_rows(parts: Iterable[Batch]) -> Iterator[tuple]:
    yield "arm", "seed", "step", "metric", "value"
    for part in parts:
        columns = (part.arm, part.seed, part.step, part.metric, part.value)
        for arm, seed, step, metric, value in zip(*(column.tolist() for column in columns)):
            yield part.arms[arm], seed, step, part.metrics[metric], value


def _last_rows(run: Run) -> Iterator[tuple]:
    yield "arm", "seed", "metric", "last value"
    for (arm, metric), final in run.finals.items():
        for seed, value in zip(final.seeds.tolist(), final.values.tolist()):
            yield arm, seed, metric, value


def _uri(rows: Iterable[tuple]) -> str:
    """Rows as a gzipped CSV in a data: URI; the same rows give the same bytes."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    packed = gzip.compress(written.getvalue().encode("utf-8", "replace"), mtime=0)
    return f"data:application/gzip;base64,{base64.b64encode(packed).decode()}"
