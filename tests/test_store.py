"""Run folders and their files: complete or absent, owned by one process, named by a hash of their inputs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from lrn import files
from lrn.study import store


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.1


@dataclasses.dataclass(frozen=True)
class Config:
    steps: int = 3
    rates: tuple[float, ...] = (0.1, 0.2)
    inner: Inner = Inner()


def test_the_same_settings_are_the_same_run():
    given = ("area.study", "quick", Config(), (0, 1), "code")
    name = store.run_hash(*given)
    assert name == store.run_hash("area.study", "quick", Config(), (0, 1), "code")
    assert len(name) == 12
    others = [
        ("area.other", *given[1:]),
        ("area.study", "full", *given[2:]),
        (*given[:2], Config(inner=Inner(0.2)), *given[3:]),
        (*given[:2], Config(rates=(0.1,)), *given[3:]),
        (*given[:3], (0, 2), "code"),
        (*given[:4], "other code"),
    ]
    assert len({name, *(store.run_hash(*other) for other in others)}) == 7
    assert store.plain(Config()) == {"steps": 3, "rates": [0.1, 0.2], "inner": {"rate": 0.1}}


def test_a_folder_has_one_owner(tmp_path):
    folder = tmp_path / "study" / "abc"
    with store.owned(folder):
        with pytest.raises(store.Busy, match=r"another process is running .*abc; wait for it") as raised:  # noqa: SIM117
            with store.owned(folder):
                pass
        with store.owned(tmp_path / "study" / "abd"):
            pass
    assert "\n" not in str(raised.value)
    with store.owned(folder):
        pass


def test_the_owner_of_a_folder_may_be_killed(tmp_path):
    script = "import sys, time; from pathlib import Path; from lrn.study import store\n"
    script += "with store.owned(Path(sys.argv[1])): print('mine', flush=True); time.sleep(60)"
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(store.Busy), store.owned(folder):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait(timeout=30)
    with store.owned(folder):
        pass


def test_clean_removes_what_was_being_written_and_nothing_else(tmp_path):
    run = tmp_path / "run"
    for name in ("verdict.json", ".verdict.12.tmp.json", "checkpoints/a/metrics/.part_1.12.tmp.parquet"):
        files.write_bytes(run / name, b"x")
    (run / "checkpoints/a/.saving-3-12/arrays").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    files.write_bytes(outside / "kept", b"x")
    (run / ".link").symlink_to(outside)
    store.clean(run)
    left = sorted(str(p.relative_to(run)) for p in run.rglob("*") if not p.is_dir())
    assert left == ["verdict.json"]
    assert (outside / "kept").exists()


def test_fresh_takes_all_away_at_once(tmp_path, monkeypatch):
    """A process killed during the removal of files leaves no part of a run to resume from."""
    run = tmp_path / "run"
    for name in ("verdict.json", "checkpoints/a"):
        files.write_bytes(run / name, b"x")
    real = store.shutil.rmtree

    def killed(path: Path, **options: bool) -> None:
        if path.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(store.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        store.clean(run, fresh=True)
    assert not run.exists()
    monkeypatch.setattr(store.shutil, "rmtree", real)
    store.clean(run)
    assert list(tmp_path.iterdir()) == []


def test_a_clock_sums_over_resumes():
    first = store.Clock(None)
    before = first.cost()
    assert before["resumed"] == 0
    before["wall_seconds"] += 100
    second = store.Clock(before | {"peak_memory_bytes": 2**60})
    after = second.cost()
    assert after["started"] == before["started"]
    assert after["resumed"] == 1
    assert 100 < after["wall_seconds"] < 200
    assert after["cpu_seconds"] >= before["cpu_seconds"]
    assert after["peak_memory_bytes"] == 2**60


def test_provenance_names_what_results_depend_on():
    provenance = store.provenance()
    assert provenance["python"] == ".".join(map(str, sys.version_info[:3]))
    assert provenance["packages"]["numpy"] == np.__version__
    assert provenance["backend"] == "cpu"
    assert provenance["processes"] == 1
    assert len(provenance["lrn_sha256"]) == 64
    json.dumps(provenance)


def test_a_copy_outside_of_git_has_no_commit(monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    provenance = store.provenance()
    assert provenance["git_commit"] is None
    assert provenance["git_dirty"] is None


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a" / "file.json"
    files.write_json(path, {"x": 1})

    def half(temporary: Path) -> None:
        temporary.write_bytes(b"{")
        raise OSError(28, "No space left on device")

    with pytest.raises(
        files.WriteError, match=r"file.json could not be written \(No space left on device\)"
    ) as raised:
        files.write_with(path, half)
    assert "\n" not in str(raised.value)
    assert json.loads(path.read_bytes()) == {"x": 1}
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(files.WriteError, match="could not be written"):
        files.write_bytes(tmp_path / "file" / "below", b"x")


def test_readers_see_whole_files_only(tmp_path):
    """While a thread writes again and again, each read gives one of the versions."""
    path = tmp_path / "value.json"
    files.write_json(path, ["a"] * 2000)
    done = threading.Event()

    def write() -> None:
        for letter in "bcdefghij" * 5:
            files.write_json(path, [letter] * 2000)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        value = json.loads(path.read_bytes())
        assert len(value) == 2000
        assert len(set(value)) == 1
        seen.add(value[0])
    writer.join(timeout=30)
    assert len(seen) > 1


def test_json_has_no_nan(tmp_path):
    value = {"a": float("nan"), "b": [np.float32("inf"), np.int64(3), np.arange(2)], 4: (True, None, "x")}
    files.write_json(tmp_path / "v.json", value)
    assert json.loads((tmp_path / "v.json").read_bytes()) == {
        "a": None, "b": [None, 3, [0, 1]], "4": [True, None, "x"]
    }  # fmt: skip


def test_hashes(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "f").write_bytes(content)
    assert files.sha256(tmp_path / "f") == hashlib.sha256(content).hexdigest()
    assert files.sha256_json({"a": 1, "b": [2]}) == files.sha256_json({"b": (2,), "a": 1})
    assert files.sha256_json({"a": 1}) != files.sha256_json({"a": 2})


def test_files_that_vanish_do_not_stop_the_cleaning(tmp_path, monkeypatch):
    files.write_bytes(tmp_path / ".a.1.tmp", b"x")

    def gone(self: Path) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "unlink", gone)
    files.remove_temporary(tmp_path)
