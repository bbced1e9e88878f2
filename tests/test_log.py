"""The rows, failures and parts of a log, without a training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy import same

from lrn import files, table
from lrn.train.log import Failure, Log

ARMS, SEEDS = ("a", "b"), (7, 5, 6)
LANES = [("a", 7), ("a", 5), ("a", 6), ("b", 7), ("b", 5), ("b", 6)]
NAN = float("nan")


class Sink:
    def __init__(self):
        self.tables: list[table.Table] = []

    def write(self, table):
        self.tables.append(table)

    def close(self):
        pass


def make_log(folder: Any = None, **options: Any) -> tuple[Log, list[str]]:
    said: list[str] = []
    return Log("it", ARMS, SEEDS, folder, options.pop("sinks", ()), said.append, **options), said


def rows(log: Log) -> list[tuple[Any, ...]]:
    return list(zip(*(column.tolist() for column in log.table())))


def test_a_row_for_each_lane_in_order():
    log, _ = make_log()
    log.add(3, "m", np.arange(6.0))
    log.add(4, "n", np.arange(6.0), np.array([False, True, False, False, True, True]))
    log.add(5, "none", np.arange(6.0), np.zeros(6, bool))
    assert rows(log) == [
        *((arm, seed, 3, "m", float(i)) for i, (arm, seed) in enumerate(LANES)),
        ("a", 5, 4, "n", 1.0), ("b", 5, 4, "n", 4.0), ("b", 6, 4, "n", 5.0),
    ]  # fmt: skip
    assert log.latest == {"m": 2.5, "n": 10 / 3}


def test_latest_is_the_mean_over_finite_values():
    log, _ = make_log()
    log.add(1, "m", np.array([1.0, NAN, 3.0, np.inf, 2.0, 2.0]))
    log.add(1, "n", np.full(6, NAN))
    assert log.latest["m"] == 2.0
    assert np.isnan(log.latest["n"])


def test_lanes_that_are_not_kept_are_not_reported():
    log, said = make_log(kept=np.array([False, True, False, False, True, False]))
    log.add(1, "m", np.arange(6.0))
    log.add(2, "n", np.arange(6.0), np.array([True, True, False, False, False, False]))
    log.failed({"m": np.array([1, 1, 1, -1, -1, -1])})
    assert rows(log) == [("a", 5, 1, "m", 1.0), ("b", 5, 1, "m", 4.0), ("a", 5, 2, "n", 1.0)]
    assert log.failures == [Failure("a", 5, 1, "m")]
    assert len(said) == 1
    assert log.latest["m"] == 2.5


@pytest.mark.parametrize(
    ("start", "stop", "end", "closed"),
    [
        (0, 3, 11, []),
        (0, 4, 11, [(4, 0)]),
        (0, 9, 11, [(4, 0), (8, 1)]),
        (3, 4, 11, [(4, 0)]),
        (4, 8, 11, [(8, 0)]),
        (5, 11, 11, [(8, 0), (11, 1)]),
        (8, 11, 11, [(11, 0)]),
        (8, 11, 20, []),
        (7, 8, 8, [(8, 0)]),
        (8, 9, 9, [(9, 0)]),
    ],
)
def test_windows_that_a_chunk_closes(start, stop, end, closed):
    """Windows have four steps; the last window of a training may be shorter."""
    log, _ = make_log()
    mean = np.arange(6 * 8.0).reshape(6, 8)
    count = np.ones((6, 8))
    count[2] = count[:, 3:] = 0  # lane 2 measured nothing, and no chunk here closes a fourth window
    log.windows({"m": mean, "n": -mean}, {"m": count, "n": count}, start, stop, 4, end)
    expected = [
        (arm, seed, step, metric, sign * mean[lane, column])
        for step, column in closed
        for metric, sign in (("m", 1), ("n", -1))
        for lane, (arm, seed) in enumerate(LANES)
        if lane != 2
    ]
    assert rows(log) == expected


def test_the_first_failure_of_a_lane_counts():
    log, said = make_log()
    log.failed({"m": np.array([-1, 0, 9, -1, -1, 4]), "n": np.array([-1, 3, 2, -1, -1, 4])})
    log.failed({"state": np.array([12, 12, -1, -1, -1, 12])})
    assert log.failures == [
        Failure("a", 5, 0, "m"), Failure("a", 6, 2, "n"), Failure("b", 6, 4, "m, n"),
        Failure("a", 7, 12, "state"),
    ]  # fmt: skip
    assert said[0] == (
        "it: arm a, seed 5 became non-finite at step 0 (m); it is recorded as failed and the others go on."
    )
    assert len(said) == 4


def test_sinks_get_new_rows_once():
    sinks = [Sink(), Sink()]
    log, _ = make_log(sinks=sinks)
    log.stream()
    log.add(1, "m", np.arange(6.0))
    log.add(1, "n", np.arange(6.0))
    log.stream()
    log.stream()
    log.add(2, "m", np.arange(6.0))
    log.stream()
    for sink in sinks:
        assert [len(t.value) for t in sink.tables] == [12, 6]
        assert same(table.concat(sink.tables), log.table())


def test_rows_go_to_parts_and_come_back(tmp_path):
    log, _ = make_log(tmp_path)
    log.flush(1)
    assert not (tmp_path / "metrics").exists()
    log.add(1, "m", np.arange(6.0))
    log.flush(2)
    log.flush(3)
    log.add(4, "m", np.arange(6.0))
    log.failed({"m": np.array([4, -1, -1, -1, -1, -1])})
    log.flush(4)
    log.add(5, "m", np.arange(6.0))
    meta = log.meta()
    names = ["part_000000000002.parquet", "part_000000000004.parquet"]
    assert [name for name, _ in meta["parts"]] == names
    assert [digest for _, digest in meta["parts"]] == [files.sha256(tmp_path / "metrics" / n) for n in names]
    assert meta["failures"] == [["a", 7, 4, "m"]]
    assert log.table().step.tolist() == [1] * 6 + [4] * 6 + [5] * 6
    stale = tmp_path / "metrics" / "part_000000000005.parquet"
    stale.write_bytes(b"of a checkpoint that never came")
    restored, said = make_log(tmp_path)
    assert restored.damage(meta) is None
    restored.restore(meta)
    assert restored.table().step.tolist() == [1] * 6 + [4] * 6
    assert restored.failures == log.failures
    restored.failed({"m": np.array([9, -1, -1, -1, -1, -1])})
    assert (said, len(restored.failures)) == ([], 1)
    assert not stale.exists()
    assert restored.meta() == meta


def test_a_process_that_does_not_write_changes_no_file(tmp_path):
    main, _ = make_log(tmp_path)
    main.add(1, "m", np.arange(6.0))
    main.flush(1)
    reader, _ = make_log(tmp_path, writes=False)
    (tmp_path / "metrics" / "other.parquet").touch()
    reader.restore(main.meta())
    reader.add(2, "m", np.arange(6.0))
    reader.flush(2)
    assert sorted(f.name for f in (tmp_path / "metrics").iterdir()) == [
        "other.parquet",
        "part_000000000001.parquet",
    ]
    assert reader.table().step.tolist() == [1] * 6 + [2] * 6


def test_a_training_from_the_start_removes_old_parts(tmp_path):
    log, _ = make_log(tmp_path)
    log.add(1, "m", np.arange(6.0))
    log.flush(1)
    log, _ = make_log(tmp_path)
    log.restore(None)
    assert list((tmp_path / "metrics").iterdir()) == []
    assert rows(log) == []


def test_damaged_parts_are_found(tmp_path):
    log, _ = make_log(tmp_path)
    log.add(1, "m", np.arange(6.0))
    log.flush(1)
    part, meta = tmp_path / "metrics" / "part_000000000001.parquet", log.meta()
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert log.damage(meta) == f"metrics/{part.name} does not match its checksum"
    part.unlink()
    assert log.damage(meta) == f"metrics/{part.name} is missing"
