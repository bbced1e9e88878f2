"""Parts of a run that ran apart make the run of one place, or are refused; jobs that are sent back resume."""

from __future__ import annotations

import concurrent.futures
import contextvars
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import run_folders
from test_cli import call

from lrn import check
from lrn import table as tables
from lrn.study import apart, discover, merge, parts, register, runner, seal, store
from lrn.study.select import made_by, select

STUDY = Path(__file__).parent / "study_split.py"
# submitit would log into the streams by which pytest captures one test, and keep them open.
LOGS = os.environ.pop("SUBMITIT_LOG_LEVEL", "INFO")
os.environ["SUBMITIT_LOG_LEVEL"] = "NOCONFIG"
COUNT = 3
COMMAND = [sys.executable, "-m", "experiments", "run", STUDY]


@pytest.fixture(scope="module")
def study():
    return discover.load(str(STUDY))


def settings(study, preset="quick", steps=0, seeds=9, mode="apart"):
    """The preset, the config and the seeds of a run; without steps nothing is trained."""
    config = type(study.study.presets[preset])(steps=steps, mode=mode)
    return preset, config, register.drawn_seeds(register.registration(study.study), preset, seeds)


def run_part(study, out, part, preset, config, seeds, patience=60.0):
    with parts.patient(patience):
        return runner.run(study, preset, config, seeds, out, progress=False, say=lambda _: None, part=part)


def run_parts(study, out, *args, count=COUNT):
    """Run all parts at once, since they wait for each other; returns their outcomes."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        runs = [
            pool.submit(contextvars.copy_context().run, run_part, study, out, part, *args)
            for part in parts.all_parts(count)
        ]
        return [run.result() for run in runs]


@pytest.fixture(scope="module")
def both(study, tmp_path_factory):
    """The folder of a run in one place, and the folders of the parts of the same run."""
    out = tmp_path_factory.mktemp("both")
    args = settings(study)
    one = runner.run(study, *args, out / "one", progress=False, say=lambda _: None)
    return one.folder, [made.folder for made in run_parts(study, out / "split", *args)]


@pytest.fixture
def split(both, tmp_path):
    """Copies of the parts, to be damaged."""
    folder = tmp_path / "runs" / "study_split" / "copy.parts"
    return [Path(shutil.copytree(path, folder / path.name)) for path in both[1]]


def lasting(folder):
    """What must be equal in a run in one place and in a merged run: without times and paths."""
    verdict = json.loads((folder / "verdict.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    for name in ("seconds", "seal"):
        del verdict[name]
    del config["study_where"]
    return (folder / "metrics.parquet").read_bytes(), verdict, config


def test_parts_make_the_run_of_one_place(both, tmp_path):
    one, split = both
    merged = merge.merge(split, tmp_path, say=lambda _: None)
    assert lasting(merged.folder) == lasting(one)
    assert seal.look(merged.folder).wrongs == {}
    assert (merged.folder / "figure.png").is_file()
    # The choice is that of all seeds. Parts that chose alone would have chosen otherwise.
    rates = [json.loads((p / "verdict.json").read_text())["choices"] for p in split]
    assert all(rates[0] == rate for rate in rates)
    provenance = json.loads((merged.folder / "provenance.json").read_text())
    assert [len(part["seeds"]) for part in provenance["parts"]] == [3, 3, 3]
    again = merge.merge([split[0].parent], tmp_path, say=lambda _: None)
    assert again.reused
    assert again.folder == merged.folder


def test_each_part_alone_would_choose_otherwise(study):
    """So that the test above means something."""
    _, _, seeds = settings(study)
    menus = [
        np.stack([np.random.default_rng(seed).normal(size=3) for seed in part.seeds(seeds)]).T
        for part in parts.all_parts(COUNT)
    ]
    whole = select({"chosen": np.concatenate(menus, -1)}, "higher")["chosen"].place
    assert any(select({"chosen": menu}, "higher")["chosen"].place != whole for menu in menus)


def test_the_command_merges(both, tmp_path, capsys):
    code, said, _ = call("merge", both[1][0].parent, "--out", tmp_path, capsys=capsys)
    assert (code, "supported" in said) == (0, True)
    code, said, _ = call("merge", *both[1], "--out", tmp_path, capsys=capsys)
    assert (code, "run before" in said) == (0, True)
    code, said, _ = call("merge", *both[1], "--out", tmp_path, "--fresh", capsys=capsys)
    assert (code, "run before" in said) == (0, False)


def edit(folder, name, **values):
    """Change fields of a part's JSON file, and seal the part again."""
    path = folder / f"{name}.json"
    content = json.loads(path.read_text()) | values
    path.write_bytes(seal.stamped(content) if name == "provenance" else run_folders.files.json_bytes(content))
    verdict = json.loads((folder / "verdict.json").read_text())
    (folder / "verdict.json").write_bytes(seal.sealed(verdict, folder))


OTHERS = {
    "a study": (
        "config",
        {"study": "robust.linearity"},
        "one is of study_split, the other of robust.linearity",
    ),
    "code": (
        "config",
        {"study_sha256": "x", "study_files": {"study_split": "x"}},
        "the code differs in study_split",
    ),
    "code of lrn": ("provenance", {"lrn_sha256": "x"}, r"the code differs \(that of lrn\)"),
    "packages": ("provenance", {"packages": {"jax": "1"}}, r"the code differs \(packages\)"),
    "a preset": ("config", {"preset": "full"}, "the presets are quick and full"),
    "settings": ("config", {"config": {"steps": 5}}, "the settings differ in steps"),
    "a registration": ("config", {"predictions_sha256": "x"}, "registered different predictions"),
    "seeds": ("config", {"seeds": [1, 2]}, "parts of different lists of seeds"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_parts_of_two_runs_are_refused(what, split, tmp_path):
    name, values, sentence = OTHERS[what]
    edit(split[1], name, **values)
    with pytest.raises(check.InputError, match=f"are not of one run: .*{sentence}"):
        merge.merge(split)
    assert not list((tmp_path / "runs" / "study_split").glob("*/verdict.json"))


def test_seeds_twice_or_missing_are_refused(split, tmp_path):
    with pytest.raises(check.InputError, match=r"3 of 9 seeds are in no part .*; give all parts"):
        merge.merge(split[:2])
    shutil.copytree(split[0], tmp_path / "again")
    with pytest.raises(check.InputError, match=r"seed \d+ is in .*1-of-3 and in .*again; give each"):
        merge.merge([*split, tmp_path / "again"])


def test_what_is_no_finished_part_is_refused(both, split, tmp_path, capsys):
    for path, sentence in (
        (both[0], "is a whole run and no part"),
        (tmp_path / "nothing", "holds no part of a run"),
    ):
        with pytest.raises(check.InputError, match=sentence):
            merge.merge([*split, path])
    assert call("merge", capsys=capsys)[0] == 2
    verdict = json.loads((split[2] / "verdict.json").read_text())
    verdict["choices"][next(iter(verdict["choices"]))]["chosen"] = [9]
    (split[2] / "verdict.json").write_bytes(seal.sealed(verdict, split[2]))
    with pytest.raises(check.InputError, match="chose other settings"):
        merge.merge(split)
    (split[1] / "metrics.parquet").write_bytes(b"")
    with pytest.raises(check.InputError, match=r"is damaged .metrics.parquet has 0 bytes"):
        merge.merge(split)
    (split[0] / "verdict.json").unlink()
    with pytest.raises(check.InputError, match="1-of-3 is unfinished"):
        merge.merge(split)


def test_a_merge_leaves_an_unfinished_run_alone(both, study, tmp_path):
    folder = runner.folder_of(study, *settings(study), tmp_path)
    (folder / "checkpoints").mkdir(parents=True)
    with pytest.raises(check.InputError, match="holds an unfinished run"):
        merge.merge(both[1], tmp_path)
    assert merge.merge(both[1], tmp_path, fresh=True).verdict["verdict"] == "supported"


@pytest.mark.parametrize("mode", ["by place", "by another seed", "first of the list"])
def test_a_study_whose_seeds_depend_on_each_other_is_refused(mode, study, tmp_path):
    planted = study._replace(
        study=type(study.study)(**{**vars(study.study), "presets": {
            "smoke": type(study.study.presets["smoke"])(steps=0, mode=mode)}})
    )  # fmt: skip
    sentence = "takes seeds out" if mode == "first of the list" else "score of a .* depends on which"
    with pytest.raises(check.InputError, match=sentence):
        apart.check_once(planted, tmp_path)
    assert not list(tmp_path.iterdir())


def test_only_trained_seeds_apart_are_accepted(study):
    assert apart.difference(study) == ""


def test_a_part_waits_and_gives_up(study, tmp_path):
    args = settings(study)
    with pytest.raises(parts.Waited, match=r"part 2 of 3 waited . s for part 1 of 3"):
        run_part(study, tmp_path, parts.Part(2, COUNT), *args, patience=0.0)
    assert {made.reused for made in run_parts(study, tmp_path, *args)} == {False}
    folder = parts.Part(1, COUNT).folder(runner.folder_of(study, *args, tmp_path))
    assert json.loads((folder.parent / "2-of-3" / "provenance.json").read_text())["resumed"] == 1


def test_a_part_learns_that_another_one_failed(tmp_path):
    part, folder = parts.Part(1, 2), tmp_path / "1-of-2"
    chooser = parts.Together(folder, part, 2, True, print)
    run_folders.files.write_bytes(
        tmp_path / "2-of-2" / "provenance.json", seal.stamped({"failed": "The study has a bug."})
    )
    with made_by(chooser), pytest.raises(check.InputError, match=r"part 2 of 2 failed, .*has a bug"):
        select({"a": np.ones((3, 2))}, "higher")
    chooser._counts.clear()
    with made_by(chooser), pytest.raises(check.InputError, match="has other scores than this part has now"):
        select({"a": np.zeros((3, 2))}, "higher")


def test_parts_share_the_seeds_out():
    whole = tuple(range(100, 110))
    for count in range(1, 11):
        own = [part.seeds(whole) for part in parts.all_parts(count)]
        assert sum((tuple(seeds) for seeds in own), ()) == whole
        assert max(map(len, own)) - min(map(len, own)) <= 1
    seeds = parts.Part(2, 2).seeds(whole)
    assert seeds[:2] == (100, 101)
    assert np.asarray(seeds).tolist() == [*seeds] == list(whole[5:])
    for index in (0, -1, slice(1, 2), slice(None)):
        with pytest.raises(check.InputError, match="takes seeds out of its list"):
            seeds[index]


def recorded(seeds, failed):
    """What a run in one place records: a training of two arms, as `lrn.train.log` orders it, and a metric."""
    rows = []
    for step in (5, 10):
        for metric in ("loss", "error"):
            for arm in ("a", "b"):
                kept = [s for s in seeds if not (metric == "error" and s in failed)]
                rows.append(tables.rows(arm, kept, step, metric, [hash((arm, s, step)) % 97 for s in kept]))
    failures = [
        {"arm": arm, "seed": s, "step": 5 + s % 2, "metric": "error"}
        for arm in "ab"
        for s in seeds
        if s in failed
    ]
    failures.sort(key=lambda failure: failure["step"])
    alone = tables.rows("c", seeds, 0, "score", np.arange(len(seeds)))._replace(value=np.array(seeds, float))
    return [parts.Block(tables.concat(rows), failures), parts.Block(alone, [])]


@pytest.mark.parametrize("failed", [(), (3, 8), (7, 8, 9), tuple(range(10))])
def test_rows_and_failures_come_in_the_order_of_one_place(failed):
    seeds = tuple(range(10))
    whole = recorded(seeds, failed)
    own = [recorded(tuple(part.seeds(seeds)), failed) for part in parts.all_parts(COUNT)]
    table, failures = parts.joined(own)
    expected = tables.concat([block.table for block in whole])
    assert all(a.tolist() == b.tolist() for a, b in zip(table, expected))
    assert failures == [failure for block in whole for failure in block.failures]
    assert [b.table.value.tolist() for b in parts.cut(table, failures, parts.sizes(whole))] == [
        block.table.value.tolist() for block in whole
    ]
    with pytest.raises(check.InputError, match=r"recorded 1 and 2 tables"):
        parts.joined([own[0][:1], *own[1:]])


BAD = {
    "no fraction": (["--part", "2"], "takes I/N"),
    "past the last": (["--part", "3/2"], "takes I/N"),
    "more parts than seeds": (["--part", "1/11"], "11 parts of 10 seeds"),
    "jobs without a cluster": (["--jobs", "2"], "go with --cluster"),
    "no jobs": (["--cluster", "local", "--jobs", "0"], "at least 1"),
    "more jobs than seeds": (["--cluster", "local", "--jobs", "11"], "11 parts of 10 seeds"),
    "a part of a cluster": (["--cluster", "local", "--part", "1/2"], "leave out --cluster"),
    "resources": (["--cluster", "local", "--resources", "gpus"], "takes KEY=VALUE"),
    "unknown resources": (["--cluster", "local", "--resources", "gpu=1"], "submitit refuses .*gpu"),
    "local jobs detached": (["--cluster", "local", "--detach"], "goes with --cluster slurm"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options(case, tmp_path, capsys):
    if case == "unknown resources":
        pytest.importorskip("submitit")
    argv, sentence = BAD[case]
    code, _, err = call("run", STUDY, "--out", tmp_path / "runs", *argv, capsys=capsys)
    assert code == 2
    check_match(sentence, err)
    assert not (tmp_path / "runs").exists()


def check_match(pattern, text):
    with pytest.raises(ValueError, match=pattern):
        raise ValueError(text)


def test_submitit_is_asked_for_where_it_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    code, _, err = call("run", STUDY, "--out", tmp_path, "--cluster", "local", capsys=capsys)
    assert (code, "needs the library submitit; pip install" in err) == (2, True)


# Jobs


@pytest.fixture
def jobs(tmp_path):
    """Starts ``run --cluster local`` in a process of its own, and ends it after the test."""
    pytest.importorskip("submitit")
    started: list[subprocess.Popen] = []

    def start(*argv):
        root = Path(__file__).parent.parent
        path = os.pathsep.join([str(root), str(root / "tests"), *sys.path])
        started.append(
            subprocess.Popen(
                [*COMMAND, "--out", tmp_path / "runs", *argv],
                cwd=root, env={**os.environ, "PYTHONPATH": path, "SUBMITIT_LOG_LEVEL": LOGS}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=60)


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(condition, seconds=300.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)
    return found


def send_back(out: Path, name: str, ready, process) -> str:
    """Tell a job in its training to leave, as submitit does before SLURM takes its place; returns its log."""
    until(lambda: ready() or process.poll() is not None)
    (note,) = out.glob(f"study_split/*.jobs/{name}")
    (task,) = children(int(note.read_text()))
    os.kill(task, signal.SIGUSR2)
    _, said = process.communicate(timeout=500)
    assert process.returncode == 0, said
    return (note.parent / f"{note.read_text()}_0_log.out").read_text()


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads children from /proc")


@needs_proc
def test_a_job_that_is_sent_back_resumes(study, jobs, tmp_path):
    out = tmp_path / "runs"
    argv = ("--seeds", "8", "--config.steps", "300", "--config.chunk", "2", "--save-seconds", "0.2")
    process = jobs("--cluster", "local", *argv)
    ready = lambda: list(out.glob("study_split/*/checkpoints/rate*/step_*"))  # noqa: E731
    log = send_back(out, "*.job", ready, process)
    assert "Requeued job" in log
    (folder,) = (path.parent for path in out.glob("study_split/*/verdict.json"))
    assert json.loads((folder / "provenance.json").read_text())["resumed"] == 1
    preset, config, seeds = settings(study, steps=300, seeds=8)
    config = type(config)(steps=300, chunk=2)
    one = runner.run(study, preset, config, seeds, tmp_path / "one", progress=False, say=lambda _: None)
    assert lasting(folder)[:2] == lasting(one.folder)[:2]


@pytest.mark.slow
@needs_proc
def test_two_jobs_of_which_one_is_sent_back_equal_one_place(jobs, tmp_path):
    """One place with two devices has as many lanes on each device as the two jobs had."""
    out = tmp_path / "runs"
    argv = ("--seeds", "8", "--config.steps", "300", "--config.chunk", "2")
    process = jobs("--cluster", "local", "--jobs", "2", "--save-seconds", "0.2", *argv)
    ready = lambda: list(out.glob("study_split/*.parts/2-of-2/checkpoints/rate*/step_*"))  # noqa: E731
    assert "Requeued job" in send_back(out, "2-of-2.job", ready, process)
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    one = subprocess.run(
        [*COMMAND, "--out", tmp_path / "one", "--no-progress", *argv],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XLA_FLAGS": flags},
    )  # fmt: skip
    assert one.returncode == 0, one.stderr
    (folder,) = (path.parent for path in tmp_path.glob("one/*/*/verdict.json"))
    (whole,) = (path.parent for path in out.glob("study_split/*/verdict.json"))
    assert lasting(whole) == lasting(folder)


def test_a_job_that_fails_is_told(jobs):
    process = jobs("--cluster", "local", "--seeds", "8", "--config.steps", "0", "--config.mode", "raise")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    check_match("study_split/[0-9a-f]{12} ended with 1: .*the study itself has a bug", said)


def test_fresh_is_not_said_to_the_jobs(tmp_path, monkeypatch):
    """A job that resumes would begin again, and a long one would never end."""
    from lrn.cli import cluster
    from lrn.cli.commands import Run

    whole = tmp_path / "study" / "abc"
    (whole / "checkpoints").mkdir(parents=True)
    submitted = []

    class Executor:
        cluster = "slurm"

        def submit(self, job):
            submitted.append(job._words)
            paths = type("Paths", (), {"stderr": "log"})
            return type("Submitted", (), {"job_id": "7", "paths": paths})

    monkeypatch.setattr(cluster, "_executor", lambda *_: Executor())
    command = Run(
        ("an.id",), out=tmp_path, cluster="slurm", jobs=2, fresh=True, detach=True, sinks=("wandb",)
    )
    words = ["an.id", "--preset", "full", "--config.steps", "3"]
    assert cluster.run({whole: words}, command, lambda _: None) == set()
    assert not whole.exists()
    assert [w[-7:] for w in submitted] == [["--part", f"{i}/2", *words] for i in (1, 2)]
    assert all("--fresh" not in w and "wandb" in w for w in submitted)
    with store.owned(whole), pytest.raises(store.Busy):
        cluster.run({whole: words}, command, lambda _: None)
