"""A full disk: the run reports the failed save, earlier checkpoints stay, and with free space it resumes."""

from __future__ import annotations

import subprocess

import pytest
from harness import Run
from test_kill import check_resumed


@pytest.fixture
def small(server, out):
    """A run on a file system of 8 MB."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(out)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    yield Run(server, out)
    subprocess.run(["umount", "-l", str(out)], check=True, timeout=30)


def errors(said: str) -> list[str]:
    assert "Traceback" not in said, said
    return [line for line in said.splitlines() if line.startswith("error: ")]


def test_a_disk_that_fills_while_training(small, uninterrupted):
    filler = small.out / "filler"
    ended = small.ended(faults=[dict(at="lrn.train.checkpoint:save", call=3, do="fill", path=str(filler))])
    assert ended.code == 1
    told = [line for line in ended.said.splitlines() if line.startswith("slow+fast: ")]
    assert "could not be " in told[0]  # the save of step 30 failed, and the training went on
    (error,) = errors(ended.said)  # the last save, of step 40, failed too
    assert "free disk space" in error
    assert "run the same command again" in error
    assert small.checkpoints() == {"slow+fast": [10, 20]}
    filler.unlink()
    check_resumed(small, uninterrupted("smoke")[0])


@pytest.mark.slow
def test_a_disk_that_has_room_again_in_time(small, uninterrupted):
    filler = small.out / "filler"
    ended = small.ended(
        faults=[
            dict(at="lrn.train.checkpoint:save", call=2, do="fill", path=str(filler)),
            dict(at="lrn.train.checkpoint:save", call=2, do="free", path=str(filler), after=True),
        ]
    )
    assert ended.code == 0
    assert ended.said.count("could not be saved") == 1
    assert small.result() == uninterrupted("smoke")[0]


WRITES = {
    "at the start": dict(at="lrn.study.runner:preregister", call=1),
    "in a once": dict(at="lrn.train.checkpoint:save", call=5),
    "at the end": dict(at="lrn.study.runner:finish", call=1),
    "before the verdict": dict(at="lrn.study.runner:Begun.write", call=2, after=True),
}


@pytest.mark.parametrize(
    "moment", [m if m == "at the end" else pytest.param(m, marks=pytest.mark.slow) for m in WRITES]
)
def test_a_full_disk_outside_of_training_is_one_sentence(moment, small, uninterrupted):
    filler = small.out / "filler"
    ended = small.ended(faults=[WRITES[moment] | {"do": "fill", "path": str(filler)}])
    assert ended.code == 1
    (error,) = errors(ended.said)
    assert "could not be " in error
    assert "free disk space" in error
    filler.unlink()
    check_resumed(small, uninterrupted("smoke")[0])


@pytest.mark.slow
@pytest.mark.parametrize("size", [200, 1500])
def test_a_limit_on_the_size_of_files(size, run, uninterrupted):
    """The limit RLIMIT_FSIZE needs no rights, and makes a write fail in the middle of a file."""
    ended = run.ended(faults=[dict(at="lrn.train.checkpoint:save", call=3, do="limit", size=size)])
    assert ended.code == 1, ended.said
    assert run.checkpoints() == {"slow+fast": [10, 20]}
    check_resumed(run, uninterrupted("smoke")[0])
