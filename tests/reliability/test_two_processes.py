"""Two processes are started on one run folder: one runs, and the other ends with an error that says so."""

from __future__ import annotations

import signal

import pytest
from harness import Run
from test_kill import check_resumed


def test_one_runs_and_the_other_says_so(server, run, uninterrupted):
    first = run.start(faults=[dict(at="lrn.train.log:Log.stream", call=2, do="sleep", seconds=60)])
    first.wait_until(run.saved)
    for options in ((), ("--fresh",)):
        second = Run(server, run.out).ended(*options)
        assert second.code == 1
        assert second.said.splitlines() == [
            f"error: another process is running {run.folder}; wait for it, or choose another --out."
        ]
    first.send(signal.SIGKILL)  # the end of the process frees the folder at once
    first.wait()
    check_resumed(run, uninterrupted("smoke")[0])


@pytest.mark.slow
def test_started_at_the_same_moment(run, uninterrupted):
    both = [run.start(), run.start()]
    ended = [p.wait() for p in both]
    assert sorted(e.code for e in ended) == [0, 1], [e.said for e in ended]
    assert run.result() == uninterrupted("smoke")[0]


@pytest.mark.slow
def test_a_finished_run_is_not_run_again(run, uninterrupted):
    run.ended()
    before = {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in run.folder.rglob("*") if f.is_file()}
    again = run.ended()
    assert again.code == 0
    assert "(run before)" in again.said
    assert before == {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in run.folder.rglob("*") if f.is_file()}
