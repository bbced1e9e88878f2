"""After kill -9 at any moment the same command resumes the run, which ends with the same bytes."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from harness import Run

from lrn import report
from lrn.study import seal

# Moments that a random time would seldom hit, as a function and the number of its call. At smoke each
# training of the tiny study saves four times, and the `once` between the two trainings saves once.
IN_SAVES: dict[str, dict[str, Any]] = {
    "the first save, before its arrays": dict(at="lrn.train.checkpoint:_orbax_save", call=1),
    "the first save, in its arrays": dict(at="lrn.train.checkpoint:_orbax_save", call=1, delay=0.005),
    "a save, in its arrays": dict(at="lrn.train.checkpoint:_orbax_save", call=2, delay=0.01),
    "a save, between arrays and manifest": dict(at="lrn.train.checkpoint:_orbax_save", call=3, after=True),
    "a save, after its metrics": dict(at="lrn.train.log:Log.flush", call=2, after=True),
    "a save, before its manifest": dict(at="lrn.train.checkpoint:files.write_json", call=6),
    "a save, in the removal of an old one": dict(at="lrn.train.checkpoint:_remove", call=3, after=True),
    "the last save of a training": dict(at="lrn.train.checkpoint:_orbax_save", call=4, after=True),
    "the save of a once": dict(at="lrn.train.checkpoint:_orbax_save", call=5, after=True),
    "the last save of all": dict(at="lrn.train.log:Log.flush", call=8, after=True),
}
IN_FINISH: dict[str, dict[str, Any]] = {
    "the end, before the metrics": dict(at="lrn.study.runner:finish", call=1),
    "the end, in the metrics": dict(at="lrn.table:_write", call=9, after=True),
    "the end, before the figures": dict(at="lrn.figures:save", call=1),
    "the end, between two figures": dict(at="lrn.figures.output:files.write_bytes", call=15),
    "the end, before the verdict": dict(at="lrn.study.runner:Begun.write", call=2, after=True),
    "the end, after the verdict": dict(at="lrn.study.runner:finish", call=1, after=True),
}
FAST = (
    "a save, in its arrays",
    "a save, after its metrics",
    "the save of a once",
    "the end, between two figures",
)


def check_resumed(run: Run, expected: Any, options: Sequence[str] = ()) -> None:
    """Start the run again: its result is that of an uninterrupted run, and it leaves no temporary files."""
    ended = run.ended(*options)
    assert ended.code == 0, ended.said
    assert run.result() == expected
    assert run.litter() == []


def kill_at(run: Run, moment: dict[str, Any], expected: Any) -> None:
    """Kill a run at one moment and resume it."""
    killed = run.ended(faults=[moment | {"do": "kill"}])
    assert killed.code == -signal.SIGKILL, killed.said
    check_resumed(run, expected)


def kill_after(run: Run, seconds: float, expected: Any) -> str:
    """Kill a run after some seconds and resume it; return the phase of the kill, "done" if it had ended."""
    process = run.start()
    time.sleep(seconds)
    process.send(signal.SIGKILL)
    process.wait()
    phase = run.phase()
    check_resumed(run, expected)
    return phase


@pytest.mark.parametrize("moment", FAST)
def test_a_run_killed_at_a_chosen_moment_ends_the_same(moment, run, uninterrupted):
    kill_at(run, (IN_SAVES | IN_FINISH)[moment], uninterrupted("smoke")[0])


@pytest.mark.parametrize("part", [0.4, 0.7])
def test_a_run_killed_at_a_random_moment_ends_the_same(part, run, uninterrupted):
    expected, seconds = uninterrupted("smoke")
    kill_after(run, random.uniform(part - 0.1, part + 0.2) * seconds, expected)


@pytest.mark.slow
def test_thirty_kills(server, out, uninterrupted, capsys):
    """Sixteen chosen moments and fourteen random ones, in a run that lasts some seconds."""
    began = time.monotonic()
    expected, _ = uninterrupted("smoke")
    phases: Counter[str] = Counter()
    for number, (name, moment) in enumerate((IN_SAVES | IN_FINISH).items()):
        kill_at(Run(server, out / f"chosen-{number}"), moment, expected)
        phases["save" if name in IN_SAVES else "finish"] += 1
    expected, seconds = uninterrupted("quick")
    numbers = random.Random(0)
    tries = 0
    while phases.total() < 30:
        tries += 1
        assert tries < 60, "most random kills came after the end"
        moment = numbers.uniform(0.05, 1) * seconds
        phase = kill_after(Run(server, out / f"random-{tries}", "quick"), moment, expected)
        if phase != "done":
            phases[phase] += 1
    with capsys.disabled():
        print(f"\n30 kills in {time.monotonic() - began:.0f} s, by phase: {dict(phases)}")
    assert phases["save"] >= 8
    assert phases["finish"] >= 4
    assert phases["training"] >= 1


IN_DRAW: dict[str, dict[str, Any]] = {
    "while it is drawn": dict(at="lrn.figures:render", call=1),
    "before the first file": dict(at="os:replace", call=1),
    "after the first verdict": dict(at="os:replace", call=1, after=True),
    "between two files": dict(at="os:replace", call=2, after=True),
    "before the second verdict": dict(at="os:replace", call=5),
    "after the second verdict": dict(at="os:replace", call=5, after=True),
}


def test_a_killed_drawing_leaves_a_sealed_run(run, server, uninterrupted):
    """After a kill the run has its figure, or its verdict says that it has none; `draw` repairs it."""
    assert run.ended().code == 0
    draw = ("draw", run.folder)
    for name, moment in IN_DRAW.items():
        killed = server.start(*draw, faults=[moment | {"do": "kill"}]).wait()
        assert killed.code == -signal.SIGKILL, killed.said
        looked = seal.look(run.folder)
        assert (looked.sealed, looked.wrongs) == (True, {}), name
        whole = name in ("while it is drawn", "before the first file", "after the second verdict")
        assert looked.verdict is not None
        assert (looked.verdict["figure_failed"] is None) == whole, name
        loaded = report.load(run.folder)
        assert (loaded.state, loaded.damage, loaded.figure is not None) == ("finished", [], whole), name
    assert server.start(*draw).wait().code == 0
    assert run.result() == uninterrupted("smoke")[0]
    assert run.litter() == []


# Each moment, and whether the new page exists after a kill at this moment.
IN_REPORT: dict[str, tuple[dict[str, Any], bool]] = {
    "before it is drawn": (dict(at="lrn.report.page:render", call=1), False),
    "half written": (dict(at="lrn.files:sync", call=1), False),
    "before it gets its name": (dict(at="os:replace", call=1), False),
    "after it got its name": (dict(at="os:replace", call=1, after=True), True),
}


def test_a_killed_report_leaves_the_old_page_or_the_new(run, server):
    """`report` has made the page of one run, and is killed while it makes the page of two runs."""
    assert run.ended().code == 0
    report = ("report", "--out", run.out)
    page = run.out / "report" / "index.html"
    server.start(*report, faults=[IN_REPORT["half written"][0] | {"do": "kill"}]).wait()
    assert not page.exists()
    assert server.start(*report).wait().code == 0
    old = page.read_bytes()
    shutil.copytree(run.folder, run.folder.with_name("another"))
    pages = {}
    for name, (moment, _) in IN_REPORT.items():
        assert server.start(*report, faults=[moment | {"do": "kill"}]).wait().code == -signal.SIGKILL
        pages[name] = page.read_bytes()
    assert server.start(*report).wait().code == 0
    new = page.read_bytes()
    assert old != new
    assert pages == {name: new if is_new else old for name, (_, is_new) in IN_REPORT.items()}


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_the_same(server, out, uninterrupted):
    expected, seconds = uninterrupted("quick")
    run = Run(server, out, "quick")
    numbers = random.Random(1)
    killed = 0
    for _ in range(60):
        process = run.start()
        time.sleep(numbers.uniform(0.2, 0.7) * seconds)
        process.send(signal.SIGKILL)
        if process.wait().code == 0:
            break
        killed += 1
    assert killed >= 2
    check_resumed(run, expected)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_each_rename_leaves_a_run_that_resumes(after, server, out, uninterrupted):
    """Only renames change what the files mean, so these kills leave every state that a kill can leave."""
    expected, _ = uninterrupted("smoke")
    call = 0
    for call in range(1, 100):
        run = Run(server, out / str(call))
        if run.ended(faults=[dict(at="os:replace", call=call, after=after, do="kill")]).code == 0:
            break
        check_resumed(run, expected)
    assert 30 < call < 99, call
