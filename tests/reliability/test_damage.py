"""A damaged checkpoint on the command line: the run uses the one before it, or ends with an error.

test_checkpoint.py damages each file of a checkpoint in every way.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from harness import Run, Server
from test_kill import check_resumed


@pytest.fixture(scope="module")
def stopped(server, scratch):
    """The folder of a run that was killed after three saves of its first training."""
    run = Run(server, scratch / "stopped")
    run.ended(faults=[dict(at="lrn.train.log:Log.flush", call=4, do="kill")])
    assert run.checkpoints() == {"slow+fast": [20, 30]}
    return run


@pytest.fixture
def copy(stopped, run):
    """A copy of the run ``stopped``, which a test may damage."""
    shutil.copytree(stopped.out, run.out, dirs_exist_ok=True)
    return run


def flip(path: Path, position: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[min(int(position * len(content)), len(content) - 1)] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def contents(folder: Path) -> dict[Path, bytes]:
    """The contents of all files but the lock that a killed process left."""
    files = (f for f in folder.rglob("*") if f.is_file() and not f.name.startswith("."))
    return {f: f.read_bytes() for f in files}


def training(run: Run) -> Path:
    return run.folder / "checkpoints" / "slow+fast"


def files_of(run: Run, step: int) -> list[Path]:
    """The files that only the checkpoint of ``step`` needs."""
    part = training(run) / "metrics" / f"part_{step:012d}.parquet"
    return [f for f in sorted((training(run) / f"step_{step:012d}").rglob("*")) if f.is_file()] + [part]


def check_recovered(run: Run, expected) -> None:
    ended = run.ended()
    assert ended.code == 0, ended.said
    assert "step_000000000030" in ended.said
    assert "is damaged (" in ended.said
    assert "the one before it is used." in ended.said
    assert run.result() == expected
    assert run.litter() == []


CASES = {
    "a bit of an array": lambda run: flip(max(files_of(run, 30)[:-2], key=lambda f: f.stat().st_size)),
    "half the manifest": lambda run: truncate(training(run) / "step_000000000030" / "manifest.json"),
    "the newest metrics": lambda run: files_of(run, 30)[-1].unlink(),
}


FAST = ("a bit of an array", "the newest metrics")


@pytest.mark.parametrize("case", [c if c in FAST else pytest.param(c, marks=pytest.mark.slow) for c in CASES])
def test_the_checkpoint_before_a_damaged_one_is_used(case, copy, uninterrupted):
    CASES[case](copy)
    check_recovered(copy, uninterrupted("smoke")[0])


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_each_file_of_a_checkpoint_can_be_damaged(damage, stopped, server, out, uninterrupted):
    expected, _ = uninterrupted("smoke")
    for number in range(len(files_of(stopped, 30))):
        run = Run(server, out / str(number))
        shutil.copytree(stopped.out, run.out)
        damage(files_of(run, 30)[number])
        check_recovered(run, expected)


def test_damage_of_all_checkpoints_ends_the_run_and_changes_nothing(copy, uninterrupted):
    for step in (20, 30):
        flip(training(copy) / f"step_{step:012d}" / "manifest.json", 0.9)
    before = contents(training(copy))
    ended = copy.ended()
    assert ended.code == 2
    (error,) = (line for line in ended.said.splitlines() if line.startswith("error: "))
    assert "every checkpoint in" in error
    assert re.search("step_000000000030: manifest.json (does not match its own|cannot be read)", error)
    assert "step_000000000020: " in error
    assert "--fresh" in error
    assert "Traceback" not in ended.said
    assert before == contents(training(copy))
    check_resumed(copy, uninterrupted("smoke")[0], options=("--fresh",))


@pytest.mark.slow
def test_old_metrics_are_part_of_every_checkpoint(copy):
    oldest = min((training(copy) / "metrics").iterdir())
    flip(oldest)
    before = oldest.read_bytes()
    ended = copy.ended()
    assert ended.code == 2
    assert ended.said.count(f"metrics/{oldest.name} does not match its checksum") == 2
    assert oldest.read_bytes() == before


@pytest.mark.slow
def test_a_damaged_part_of_a_run_can_be_done_again_alone(run, uninterrupted):
    run.ended(faults=[dict(at="lrn.train.log:Log.flush", call=6, do="kill")])
    part = run.folder / "checkpoints" / "teach"
    flip(part / "step_000000000000" / "manifest.json")
    ended = run.ended()
    assert ended.code == 2
    assert f"every checkpoint in {part} is damaged" in ended.said
    assert "remove it to do this part again" in ended.said
    shutil.rmtree(part)
    check_resumed(run, uninterrupted("smoke")[0])


@pytest.mark.slow
def test_a_damaged_compilation_cache_costs_time_only(scratch, out, uninterrupted):
    """jax does not write compiled programs atomically, so a kill can leave half of one in the cache."""
    server = Server(scratch / "other")
    try:
        assert Run(server, out / "first").ended().code == 0
        entries = sorted((scratch / "other" / "cache").glob("*-cache"))
        for number, entry in enumerate(entries):
            (truncate if number % 2 else flip)(entry)
        assert len(entries) > 5
        run = Run(server, out / "second")
        assert run.ended().code == 0
        assert run.result() == uninterrupted("smoke")[0]
    finally:
        server.close()


@pytest.mark.parametrize("name", ["config.json", "provenance.json"])
@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_a_damaged_registration_is_reported_and_never_written_again(damage, name, copy):
    """The command changes nothing, so that somebody can put the file back and resume the run."""
    path = copy.folder / name
    whole = path.read_bytes()
    damage(path)
    before = contents(copy.folder)
    ended = copy.ended()
    assert ended.code == 2
    (line,) = ended.said.splitlines()
    assert line.startswith(f"error: the unfinished run {copy.folder} is damaged ({name} ")
    assert before == contents(copy.folder)
    path.write_bytes(whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config.json", "provenance.json"])
def test_a_run_resumes_with_a_registration_that_was_put_back(name, copy, uninterrupted):
    path = copy.folder / name
    whole = path.read_bytes()
    flip(path)
    assert copy.ended().code == 2
    path.write_bytes(whole)
    check_resumed(copy, uninterrupted("smoke")[0])
    assert (copy.folder / "config.json").read_bytes() == uninterrupted("smoke")[0]["config.json"]


def test_a_damaged_finished_run_is_reported_until_it_is_repaired(run, server, uninterrupted):
    """`draw` repairs a figure; other files need a new run (test_cli.py damages each file in each way)."""
    assert run.ended().code == 0
    for path in sorted(f for f in run.folder.iterdir() if f.is_file()):
        whole = path.read_bytes()
        flip(path)
        ended = run.ended()
        assert ended.code == 2
        assert f"is damaged ({path.name} " in ended.said
        assert "(run before)" not in ended.said
        path.write_bytes(whole)
    for name in ("figure.png", "figure.svg"):
        flip(run.folder / name)
    assert server.start("draw", run.folder).wait().code == 0
    assert run.result() == uninterrupted("smoke")[0]
    flip(run.folder / "metrics.parquet")
    check_resumed(run, uninterrupted("smoke")[0], options=("--fresh",))


@pytest.mark.slow
def test_a_lost_verdict_is_made_again(run, uninterrupted):
    assert run.ended().code == 0
    (run.folder / "verdict.json").unlink()
    ended = run.ended()
    assert ended.code == 0
    assert "it had ended, and lacks its verdict.json" in ended.said
    assert run.result() == uninterrupted("smoke")[0]
