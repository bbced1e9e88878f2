"""SIGTERM and SIGINT: the run saves, its exit code names the signal, and the same command resumes it."""

from __future__ import annotations

import json
import signal
import time

import pytest
from harness import STUDY
from test_kill import check_resumed

SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=SLOW)]
)
def test_a_signal_in_training_saves_and_ends_with_its_code(number, code, run, uninterrupted):
    process = run.start()
    process.wait_until(run.saved)
    process.send(number)
    ended = process.wait()
    assert ended.code == code
    assert f"stopped by {number.name}; run the same command again to resume." in ended.said
    assert "Traceback" not in ended.said
    check_resumed(run, uninterrupted("smoke")[0])


@pytest.mark.slow
def test_a_signal_in_the_first_chunk_saves_before_a_save_is_due(run, uninterrupted):
    """Without the signal the run would save nothing for 20 s."""
    ended = run.ended("--save-seconds", 20, faults=[dict(at="lrn.train.log:Log.stream", call=1, do="term")])
    assert ended.code == 143
    assert run.checkpoints() == {"slow+fast": [10]}
    check_resumed(run, uninterrupted("smoke")[0])


MOMENTS = {
    "in a save": dict(at="lrn.train.checkpoint:_orbax_save", call=2),
    "in the last save of a training": dict(at="lrn.train.checkpoint:_orbax_save", call=4),
    "in the save of a once": dict(at="lrn.train.checkpoint:_orbax_save", call=5),
    "in the figures": dict(at="lrn.figures.output:files.write_bytes", call=15),
}
FAST = ("in the last save of a training",)


@pytest.mark.parametrize("moment", [m if m in FAST else pytest.param(m, marks=SLOW) for m in MOMENTS])
def test_a_signal_at_any_moment_stops_the_run(moment, run, uninterrupted):
    ended = run.ended(faults=[MOMENTS[moment] | {"do": "term"}])
    assert ended.code == 143, ended.said
    assert "could not be saved" not in ended.said  # a signal is no failed save
    assert not (run.folder / "verdict.json").exists()
    check_resumed(run, uninterrupted("smoke")[0])


def test_a_second_signal_ends_a_run_at_once(run, uninterrupted):
    """The chunk takes a minute; the first signal waits for its end, the second does not."""
    process = run.start(faults=[dict(at="lrn.train.log:Log.stream", call=3, do="sleep", seconds=60)])
    process.wait_until(lambda: run.saved(20))
    time.sleep(0.5)
    process.send(signal.SIGTERM)
    with pytest.raises(TimeoutError):
        process.wait_until(lambda: "stopped" in process.said, seconds=1)
    process.send(signal.SIGTERM)
    ended = process.wait(20)
    assert ended.code == 143
    assert run.checkpoints() == {"slow+fast": [10, 20]}
    check_resumed(run, uninterrupted("smoke")[0])


def test_a_signal_stops_all_studies_of_a_command(run, uninterrupted):
    other = run.out.parent / f"{run.out.name}-other.py"
    other.write_bytes(STUDY.read_bytes())
    try:
        ended = run.ended(also=[other], faults=[dict(at="lrn.train.log:Log.stream", call=2, do="term")])
        assert ended.code == 143
        assert sorted(p.name for p in run.out.iterdir()) == ["study_tiny"]  # the other study did not begin
    finally:
        other.unlink()
    check_resumed(run, uninterrupted("smoke")[0])


@pytest.mark.slow
def test_a_resumed_run_adds_to_the_cost_of_the_interrupted_run(run):
    run.ended(faults=[dict(at="lrn.train.log:Log.stream", call=3, do="term")])
    before = json.loads((run.folder / "provenance.json").read_bytes())
    assert before["wall_seconds"] > 0.05
    assert before["finished"] is None
    run.ended()
    after = json.loads((run.folder / "provenance.json").read_bytes())
    assert after["resumed"] == 1
    assert after["started"] == before["started"]
    for cost in ("wall_seconds", "cpu_seconds"):
        assert after[cost] > before[cost]
    verdict = json.loads((run.folder / "verdict.json").read_bytes())
    assert verdict["seconds"] == after["wall_seconds"]
