"""The command line as its users see it: exit codes, messages, folders and speed."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import run_folders
import studies
from toy import same

import lrn
from lrn import cli, report, table
from lrn.cli import words
from lrn.study import seal
from lrn.study.register import FIRST_DRAWN, drawn_seeds, registration

STUDY = str(Path(__file__).parent / "studies.py")
FIRST = "robust.attack_transfer"


def call(*argv: object, capsys=None) -> tuple[int, str, str]:
    """The exit code, output and errors of one command, run in this process."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(a) for a in argv])
    out, err = capsys.readouterr() if capsys else ("", "")
    return int(ended.value.code or 0), out, err


def only_folder(out: Path) -> Path:
    (folder,) = [p for p in (out / "studies").iterdir() if p.is_dir()]
    return folder


@pytest.fixture
def run(tmp_path, capsys):
    def run(*argv: object) -> tuple[int, str, str]:
        return call("run", STUDY, "--out", tmp_path, *argv, capsys=capsys)

    return run


def test_a_run_leaves_its_folder(run, tmp_path):
    code, out, _ = run()
    assert code == 0
    assert "supported" in out
    folder = only_folder(tmp_path)
    names = {p.name for p in folder.iterdir()}
    assert {"config.json", "provenance.json", "metrics.parquet", "verdict.json", "figure.png"} <= names
    verdict = json.loads((folder / "verdict.json").read_text())
    assert {"study", "preset", "seeds", "verdict", "predictions", "controls", "seconds"} <= set(verdict)
    (prediction,) = verdict["predictions"]
    assert {"effect", "interval", "p_holds", "p_fails", "outcome", "role", "regime"} <= set(prediction)
    assert prediction["outcome"] == "holds"
    assert prediction["p_holds"] == pytest.approx(2**-10)  # ten seeds that all agree
    written = table.read(folder / "metrics.parquet")
    assert written.arms == ["a", "b", "oracle"]
    assert tuple(written.seeds) == tuple(sorted(drawn_seeds(registration(studies.STUDY), "quick", 10)))
    assert "was not registered" in verdict["exploratory"]
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["packages"]["jax"]
    assert provenance["finished"] >= provenance["started"]
    config = json.loads((folder / "config.json").read_text())
    assert config["predictions_sha256"]
    assert "run" in config["command"]


def test_a_finished_run_is_not_run_again_and_fresh_runs_it(run, tmp_path):
    run()
    folder = only_folder(tmp_path)
    before = (folder / "verdict.json").stat().st_mtime_ns
    _, out, _ = run()
    assert "run before" in out
    assert (folder / "verdict.json").stat().st_mtime_ns == before
    first = table.read(folder / "metrics.parquet")
    _, out, _ = run("--fresh")
    assert "run before" not in out
    assert (folder / "verdict.json").stat().st_mtime_ns > before
    assert same(table.read(folder / "metrics.parquet"), first)


@pytest.mark.parametrize(
    ("argv", "verdict"),
    [
        (["--preset", "smoke"], "smoke"),
        (["--seeds", "7"], "underpowered"),
        (["--config.gap", "-1"], "refuted"),
        (["--config.gap", "-3", "--config.noise", "5"], "open"),
        (["--config.broken", "True"], "invalid"),
        (["--config.gap=2", "--seeds", "8"], "supported"),
    ],
)
def test_verdicts(run, tmp_path, argv, verdict):
    code, out, _ = run(*argv)
    assert code == 0
    assert verdict in out
    assert json.loads((only_folder(tmp_path) / "verdict.json").read_text())["verdict"] == verdict


def test_a_verdict_on_other_seeds(run, tmp_path):
    """Other seeds make another run, whose command names the seeds."""
    run()
    first = only_folder(tmp_path)
    assert run("--first-seed", "100", "--seeds", "9")[0] == 0
    (other,) = {path.parent for path in first.parent.glob("*/verdict.json")} - {first}
    assert min(json.loads((first / "verdict.json").read_text())["seeds"]) >= FIRST_DRAWN
    assert json.loads((other / "verdict.json").read_text())["seeds"] == list(range(100, 109))
    assert "--first-seed 100" in " ".join(path.read_text() for path in other.glob("*.json"))


@pytest.fixture
def mine(tmp_path):
    """Writes a user's own study; ``mine(old, new)`` is the study of the tests with an edit."""
    path = tmp_path / "own" / "mine.py"
    path.parent.mkdir()

    def mine(*edits: tuple[str, str]) -> Path:
        text = Path(STUDY).read_text()
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)
        return path

    return mine


BAR = "ax.bar(table.arms"
BROKEN = (BAR, "ax.no_such_method(table.arms")


def test_a_figure_that_raises_costs_no_verdict_and_is_drawn_later(mine, tmp_path, capsys):
    path, out = mine(BROKEN), tmp_path / "runs"
    code, said, err = call("run", path, "--out", out, capsys=capsys)
    (folder,) = (p.parent for p in out.glob("mine/*/verdict.json"))
    line = 1 + path.read_text().split(BROKEN[1])[0].count("\n")
    assert (code, "supported" in said, "Traceback" in err) == (0, True, False)
    assert f"no_such_method' ({path}, line {line}, in figure)" in err
    assert f"python -m experiments draw {folder} draws it and trains nothing" in err
    assert not list(folder.glob("figure*"))
    assert seal.look(folder).wrongs == {}
    code, said, err = call("run", path, "--out", out, capsys=capsys)
    assert (code, "run before" in said, "there is no figure" in err) == (0, True, True)
    code, _, err = call("draw", folder, capsys=capsys)
    assert (code, f'"{path}", line {line}, in figure' in err) == (1, True)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.glob("*") if p.name != "verdict.json"}
    mine()
    code, said, _ = call("draw", folder, capsys=capsys)
    assert (code, str(folder / "figure.png") in said) == (0, True)
    assert before.items() <= {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.glob("*")}.items()
    assert seal.look(folder).wrongs == {}
    code, said, err = call("run", path, "--out", out, capsys=capsys)
    assert (code, "run before" in said, err) == (0, True, "")


@pytest.mark.parametrize("edit", [("fig, ax", "sys.exit(0); fig, ax"), ("return fig", "return 3")])
def test_a_figure_that_leaves_or_is_none_costs_no_verdict(edit, mine, tmp_path, capsys):
    path = mine(edit, ("from dataclasses", "import sys\nfrom dataclasses"))
    code, said, err = call("run", path, "--out", tmp_path / "runs", capsys=capsys)
    assert (code, "supported" in said, "there is no figure" in err) == (0, True, True)


def test_texts_and_figures_are_edited_for_nothing_and_other_code_is_not_drawn(mine, tmp_path, capsys):
    out = tmp_path / "runs"
    call("run", mine(), "--out", out, capsys=capsys)
    (folder,) = (p.parent for p in out.glob("mine/*/verdict.json"))
    path = mine((BAR, "ax.barh(table.arms"), ("a beats b", "a before b"), ("no training", "trains nothing"))
    _, said, _ = call("run", path, "--out", out, capsys=capsys)
    assert "run before" in said
    path = mine(("gap + noise", "gap + 2 * noise"))
    code, _, err = call("draw", folder, capsys=capsys)
    assert (code, "mine has changed since in more than its figure and texts" in err) == (2, True)
    _, said, _ = call("run", path, "--out", out, capsys=capsys)
    assert "run before" not in said


def test_an_answer_is_said_again_in_the_studys_present_words(mine, tmp_path, capsys):
    out, run = tmp_path / "runs", "    run=run,\n"
    call("run", mine((run, f'{run}    answer=lambda findings: "Old words.",\n')), "--out", out, capsys=capsys)
    (folder,) = (p.parent for p in out.glob("mine/*/verdict.json"))
    mine((run, f"{run}    answer=lambda findings: ' and '.join(findings),\n"))
    assert call("draw", folder, capsys=capsys)[0] == 0
    sealed = seal.look(folder)
    assert sealed.wrongs == {}
    assert sealed.verdict is not None
    assert sealed.verdict["answer"] == "gap"


def test_what_cannot_be_drawn(mine, tmp_path, capsys):
    out = tmp_path / "runs"
    call("run", mine(), "--out", out, "--config.gap", "2", capsys=capsys)
    (folder,) = (p.parent for p in out.glob("mine/*/verdict.json"))
    for name in ("figure.png", "figure.svg"):
        (folder / name).write_bytes(b"")
    # `draw` uses the run's changed settings, and repairs the figures.
    assert call("draw", folder, capsys=capsys)[0] == 0
    assert seal.look(folder).wrongs == {}
    for paths, sentence in (
        ([], "draw needs the path"),
        ([out / "none"], "is no finished run"),
        ([folder / "config.json"], "is no finished run"),
    ):
        code, _, err = call("draw", *paths, capsys=capsys)
        assert (code, sentence in err, "Traceback" in err) == (2, True, False)
    (folder / "metrics.parquet").write_bytes(b"")
    code, _, err = call("draw", folder, capsys=capsys)
    assert (code, "is damaged (metrics.parquet has 0 bytes" in err) == (2, True)


def test_a_helper_file_counts(mine, tmp_path, capsys):
    path, out = (
        mine(
            ("base + config.gap", "base + helper.gap(config)"),
            ("import numpy as np", "import numpy as np\n\n    import helper"),
        ),
        tmp_path / "runs",
    )
    helper = path.with_name("helper.py")
    helper.write_text("def gap(config):\n    return config.gap\n")
    run = ("run", path, "--out", out)
    assert "supported" in call(*run, capsys=capsys)[1]
    assert "run before" in call(*run, capsys=capsys)[1]
    helper.write_text('"""Doc."""\n\ndef gap(config):\n    return config.gap  # as it was\n')
    assert "run before" in call(*run, capsys=capsys)[1]
    helper.write_text("def gap(config):\n    return 2 * config.gap\n")
    del sys.modules["helper"]
    assert "run before" not in call(*run, capsys=capsys)[1]
    assert len(list(out.glob("mine/*/verdict.json"))) == 2
    del sys.modules["helper"]


def test_two_studies_of_one_file_name_are_two(tmp_path, capsys):
    """Two files make two runs, even with equal code, because files beside them may differ."""
    paths, out = [tmp_path / name / "toy.py" for name in "ab"], tmp_path / "runs"
    for path in paths:
        path.parent.mkdir()
        path.write_text(Path(STUDY).read_text())
    code, said, err = call("run", *paths, "--out", out, capsys=capsys)
    assert code == 0
    assert "2 studies at quick: under a minute, by earlier runs (2 never timed)." in err
    assert "[2/2] toy: no earlier run tells how long" in err
    assert "run before" not in said
    assert all(str(path) in said for path in paths)
    folders = [p.parent for p in out.glob("toy/*/verdict.json")]
    assert len(folders) == 2
    code, _, err = call("compare", *folders, capsys=capsys)
    assert (code, "which only share a file's name" in err) == (2, True)
    for path in paths:
        assert "run before" in call("run", path, "--out", out, capsys=capsys)[1]


def test_two_studies_with_other_helpers_of_one_name_are_refused(tmp_path, capsys):
    paths = [tmp_path / name / "toy.py" for name in "ab"]
    for path in paths:
        path.parent.mkdir()
        late = "\n\ndef late():\n    import lrn_test_helper\n\n\nprint(late)\n"
        path.write_text(Path(STUDY).read_text() + late)
        path.with_name("lrn_test_helper.py").write_text("x = 1\n")
    code, _, err = call("run", *paths, "--out", tmp_path / "runs", capsys=capsys)
    assert (code, "run them by two commands" in err) == (2, True)
    assert not (tmp_path / "runs").exists()


def test_a_moved_project_keeps_its_runs(mine, tmp_path, capsys):
    path = mine()
    path.rename(path.parent.parent / path.name)
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "mine.py").rename(project / "mine.py")
    call("run", project / "mine.py", "--out", project / "runs", capsys=capsys)
    project.rename(tmp_path / "moved")
    out = tmp_path / "moved" / "runs"
    assert "run before" in call("run", tmp_path / "moved" / "mine.py", "--out", out, capsys=capsys)[1]
    (folder,) = (p.parent for p in out.glob("mine/*/verdict.json"))
    assert call("draw", folder, capsys=capsys)[0] == 0


def test_a_run_without_its_data_exits_2_and_says_so_later(mine, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LRN_DATA_DIR", str(tmp_path / "nowhere"))
    path, out = (
        mine(
            ("import numpy as np", "import numpy as np\n\n    from lrn import data\n\n    data.load('mnist')")
        ),
        tmp_path / "runs",
    )
    code, _, err = call("run", path, "--out", out, capsys=capsys)
    assert (code, "Traceback" in err) == (2, False)
    assert "nowhere, which is not a folder" in err
    assert f"{path}, line " in err
    (folder,) = (p.parent for p in out.glob("mine/*/config.json"))
    run_report = report.load(folder)
    assert (run_report.state, run_report.damage) == ("failed", [])
    assert "LRN_DATA_DIR is" in run_report.failed
    assert "It failed: LRN_DATA_DIR is" in report.build(out).read_text()
    code, _, err = call("compare", folder, folder, capsys=capsys)
    assert (code, "has no verdict, for it failed: LRN_DATA_DIR is" in err) == (2, True)


def test_list_says_which_last_runs_failed(tmp_path, capsys):
    failed = run_folders.write(tmp_path, FIRST, finished=None, failed="mnist/train was not found.")
    said = call("list", "--out", tmp_path, capsys=capsys)[1]
    assert f"{FIRST}: its last run in {tmp_path} failed: mnist/train was not found." in said
    listed = json.loads(call("list", "--json", "--out", tmp_path, capsys=capsys)[1])
    assert [row["failed"] for row in listed if "failed" in row] == ["mnist/train was not found."]
    run_folders.stamp(failed, failed=None)
    assert "failed" not in call("list", "--out", tmp_path, capsys=capsys)[1]


def test_an_error_in_a_study_names_its_line(mine, tmp_path, capsys, monkeypatch):
    path = mine(("import numpy as np", "check.positive('rate', -1)\n    import numpy as np"))
    line = 1 + path.read_text().split("check.positive")[0].count("\n")
    code, _, err = call("run", path, "--out", tmp_path / "runs", capsys=capsys)
    assert code == 2
    assert err.splitlines()[-1].endswith(f"({path}, line {line}, in run)")
    assert "Traceback" not in err
    monkeypatch.setenv("LRN_DEBUG", "1")
    assert "Traceback" in call("run", path, "--out", tmp_path / "runs", capsys=capsys)[2]


def test_a_study_that_leaves_its_run_is_a_failed_run(mine, tmp_path, capsys):
    path = mine(("import numpy as np", "raise SystemExit(0)"))
    code, _, err = call("run", path, "--out", tmp_path / "runs", capsys=capsys)
    assert (code, "left its run by sys.exit(0)" in err) == (1, True)


def test_a_failed_run_exits_1_and_leaves_no_verdict(run, tmp_path):
    code, _, err = run("--config.mode", "raise")
    assert code == 1
    assert "the study itself has a bug" in err
    assert not (only_folder(tmp_path) / "verdict.json").exists()
    code, _, err = run("--config.mode", "value_error")
    assert code == 1
    assert "Traceback" in err  # a bug in a study shows the place of the bug


def test_one_failed_study_does_not_stop_the_next(tmp_path, capsys):
    other = tmp_path / "other.py"
    source = Path(STUDY).read_text()
    other.write_text(source.replace("    noise = np", '    raise RuntimeError("first")\n    noise = np'))
    code, out, err = call("run", other, STUDY, "--out", tmp_path / "runs", capsys=capsys)
    assert code == 1
    assert "first" in err
    assert "supported" in out


BAD = {
    "no command": ([], "subcommand|usage"),
    "unknown command": (["rum"], "rum"),
    "unknown option": (["run", STUDY, "--sedes", "3"], "seeds"),
    "no study": (["run"], "needs the id of a study"),
    "second seeds of a smoke run": (["run", STUDY, "--preset", "smoke", "--replicate"], "such as full"),
    "unknown area": (["run", "--area", "robst"], "did you mean robust"),
    "unknown study": (["run", "robust.atack_transfer"], "did you mean robust.attack_transfer"),
    "unknown study to describe": (["describe", "nothing"], "no study 'nothing'"),
    "missing study file": (["run", "no/such/file.py"], "no study file"),
    "unknown preset": (["run", STUDY, "--preset", "qick"], "did you mean quick"),
    "no seeds": (["run", STUDY, "--seeds", "0"], "at least 1"),
    "negative seeds": (["run", STUDY, "--seeds", "-3"], "at least 1|invalid|-3"),
    "seeds that are no number": (["run", STUDY, "--seeds", "ten"], "ten"),
    "too many seeds": (["run", STUDY, "--seeds", "1000000"], "between 1 and 10000"),
    "a first seed below zero": (["run", STUDY, "--first-seed", "-1"], "between 0 and"),
    "a first seed too large": (["run", STUDY, "--first-seed", "4294967295"], "between 0 and"),
    "unknown field": (["run", STUDY, "--config.gpa", "1"], "gap"),
    "a field of another type": (["run", STUDY, "--config.gap", "wide"], "wide"),
    "a field out of range": (["run", STUDY, "--config.noise", "-1"], "noise must be"),
    "a choice that is none": (["run", STUDY, "--config.mode", "normall"], "did you mean normal"),
    "a field without its value": (["run", STUDY, "--config.gap"], "gap"),
    "save_seconds of zero": (["run", STUDY, "--save-seconds", "0"], "save-seconds"),
    "an unknown sink": (["run", STUDY, "--sinks", "tensorbord"], "did you mean tensorboard"),
    "an override without run": (["list", "--config.gap", "1"], "only goes with run"),
    "a report of nothing": (["report", "--out", "no/such/folder"], "no folder"),
    "a comparison with nothing": (["compare", "no/such/run", "nor/this"], "no/such/run"),
    "a comparison of one": (["compare", "a"], "required|missing|B"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_exits_2_with_a_sentence(case, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv, sentence = BAD[case]
    code, out, err = call(*argv, capsys=capsys)
    assert code == 2
    import re

    assert re.search(sentence, out + err), out + err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())  # no file is half written


def test_out_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, _, err = call("run", STUDY, "--out", tmp_path / "file", capsys=capsys)
    assert (code, "is a file" in err) == (2, True)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("x = 1\n", "defines no study"),
        ("def (:\n", "cannot be imported"),
        ("import no_such_module\n", "no_such_module"),
        ("STUDY = 3\n", "defines no study"),
        ("import sys\nsys.exit(0)\n", "(SystemExit: 0; {}, line 2)"),
        ("raise SystemExit\n", "(SystemExit; {}, line 1)"),
        ("raise KeyboardInterrupt\n", "(KeyboardInterrupt; {}, line 1)"),
        ("x = 1\n\n\ny = x.z\n", "has no attribute 'z'; {}, line 4)"),
        ("from lrn import check\ncheck.positive('x', -1)\n", "{}, line 2)"),
    ],
)
def test_a_file_that_is_no_study(tmp_path, capsys, content, sentence):
    (tmp_path / "s.py").write_text(content)
    code, _, err = call("run", tmp_path / "s.py", capsys=capsys)
    assert (code, "Traceback" in err) == (2, False)
    assert sentence.format(tmp_path / "s.py") in err


def test_one_broken_study_hides_no_other(tmp_path, capsys, monkeypatch):
    import experiments

    path_of_id = cli.discover.find()
    broken = {
        "leaves": "import sys\nsys.exit(0)\n",
        "raises": "raise KeyboardInterrupt\n",
        "errs": "raise OSError('two\\nlines')",
    }
    for name, text in broken.items():
        path = tmp_path / "area" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path / "area" / "__init__.py").write_text("")
    monkeypatch.setattr(experiments, "__path__", [str(tmp_path), *experiments.__path__])
    monkeypatch.setattr(
        cli.discover,
        "find",
        lambda: {f"area.{n}": tmp_path / "area" / f"{n}.py" for n in broken} | path_of_id,
    )
    code, said, _ = call("list", capsys=capsys)
    assert code == 0
    for name in broken:
        assert f"area.{name}  " in said
        assert f"the study area.{name} cannot be imported (" in said
    assert all(name in said for name in path_of_id)
    listed = json.loads(call("list", "--json", capsys=capsys)[1])
    assert ["error" in row for row in listed] == [True] * 3 + [False] * len(path_of_id)


def test_a_typed_interrupt_stops_while_a_study_is_imported(tmp_path, capsys):
    (tmp_path / "s.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n"
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores SIGINT
    try:
        assert call("run", tmp_path / "s.py", capsys=capsys)[0] == 130
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("columns", ["20", "80"])
def test_ids_are_never_cut(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    said = call("list", capsys=capsys)[1]
    assert {line.split("  ")[0] for line in said.splitlines()} >= set(cli.discover.find())
    assert "\N{HORIZONTAL ELLIPSIS}" not in said


def test_sinks_do_not_take_the_study_for_one(capsys):
    code, _, err = call("run", "--sinks", "tensorboard", "robust.atack_transfer", capsys=capsys)
    assert (code, "no study 'robust.atack_transfer'" in err) == (2, True)
    for names in (["tensorboard", "wandb"], ["tensorboard", "--sinks", "wandb"]):
        given = words.repeat_sinks(["run", "--sinks", *names, "an.id", "--preset", "x"])
        assert given == ["run", "--sinks", "tensorboard", "--sinks", "wandb", "an.id", "--preset", "x"]
    code, _, err = call("run", STUDY, "--sinks", "wandbb", capsys=capsys)
    assert (code, "sink 'wandbb' is not known" in err) == (2, True)


def test_version_and_module(capsys):
    assert call("--version", capsys=capsys)[:2] == (0, f"lrn {lrn.__version__}\n")
    done = subprocess.run(
        [sys.executable, "-m", "lrn", "--version"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, f"lrn {lrn.__version__}\n")
    _, said, _ = call("--help", capsys=capsys)
    assert all(word in said for word in ("--version", "LRN_DEBUG", "LRN_DATA_DIR", "draw"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_completion_offers_ids(tmp_path, capsys):
    code, script, _ = call("--tyro-print-completion", "bash", capsys=capsys)
    assert code == 0
    (tmp_path / "completion").write_text(script)

    def offered(*words: str) -> list[str]:
        typed = " ".join(f"'{w}'" for w in ("lrn", *words))
        at = f"COMP_WORDS=({typed}); COMP_CWORD={len(words)}"
        ask = f"source completion; {at}; _tyro_lrn; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        return done.stdout.split()

    assert offered("run", "robust.at") == [FIRST]
    assert offered("describe", "robust.at") == [FIRST]
    assert offered("run", "--preset", "smoke", "robust.at") == [FIRST]
    assert offered("run", FIRST, "--pres") == ["--preset"]
    assert offered("run", "--pres") == ["--preset"]
    code, _, err = call("--tyro-print-completion", "tcsh", capsys=capsys)
    assert (code, "the shell 'tcsh' is not known" in err) == (2, True)


def test_every_damaged_file_of_a_finished_run_is_said(run, tmp_path):
    run()
    folder = only_folder(tmp_path)
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        whole = path.read_bytes()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :]
        for content in (b"{", b"[]", b"{}", flipped, whole[:-1], None):
            if path.name == "verdict.json" and content is None:
                continue  # without a verdict the run is unfinished
            path.unlink() if content is None else path.write_bytes(content)
            code, out, err = run()
            assert (code, "run before" in out, "Traceback" in err) == (2, False, False)
            (line,) = err.splitlines()
            assert line.startswith(f"error: the finished run {folder} is damaged ({path.name} ")
            redraw = f"python -m experiments draw {folder} draws it again, or "
            assert line.endswith(f"{redraw if 'figure' in path.name else ''}use --fresh to run it again.")
            path.write_bytes(whole)
    assert run()[0] == 0
    (folder / "metrics.parquet").write_bytes(b"")
    code, out, _ = run("--fresh")
    assert (code, "supported" in out) == (0, True)
    assert seal.look(folder).wrongs == {}


def test_an_edited_verdict_is_said(run, tmp_path):
    run()
    path = only_folder(tmp_path) / "verdict.json"
    whole = json.loads(path.read_text())
    for change in ({"verdict": "refuted"}, {"seconds": 1.0}, {"seal": None}):
        path.write_text(json.dumps(whole | change, indent=1) + "\n")
        code, out, err = run()
        assert (code, "(verdict.json " in err, "run before" in out) == (2, True, False)
    del whole["seal"]
    path.write_text(json.dumps(whole))
    code, _, err = run()
    assert (code, "verdict.json has lost its seal" in err) == (2, True)


def test_json_without_a_field_or_with_another_type_is_said(run, tmp_path):
    """The message also comes for runs without a seal, as old runs are."""
    run()
    folder = only_folder(tmp_path)
    values = {n: json.loads((folder / f"{n}.json").read_text()) for n in ("config", "provenance", "verdict")}
    del values["verdict"]["seal"]
    del values["config"]["format"]
    del values["provenance"]["sha256"]
    for name, value in values.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    code, out, err = run()
    assert (code, "run before" in out, "before runs were sealed" in err) == (0, True, True)
    for key in ("verdict", "seeds", "reason", "seconds"):
        for odd in (None, {}, 3 if key != "seconds" else "x"):
            (folder / "verdict.json").write_text(json.dumps(values["verdict"] | {key: odd}))
            code, _, err = run()
            assert (code, "verdict.json is damaged" in err, "Traceback" in err) == (2, True, False)


def test_a_lost_verdict_is_made_again(run, tmp_path):
    run()
    folder = only_folder(tmp_path)
    before = json.loads((folder / "verdict.json").read_text())
    (folder / "verdict.json").unlink()
    code, out, err = run()
    assert (code, "run before" in out) == (0, False)
    assert "it had ended, and lacks its verdict.json" in err
    after = json.loads((folder / "verdict.json").read_text())
    assert after["regimes"] == before["regimes"]
    assert seal.look(folder).wrongs == {}


@pytest.mark.parametrize("name", ["config.json", "provenance.json"])
def test_the_registration_of_an_unfinished_run_is_never_written_again(name, run, tmp_path):
    assert run("--config.mode", "raise")[0] == 1
    folder = only_folder(tmp_path)
    (folder / "checkpoints" / "a").mkdir(parents=True)
    path = folder / name
    whole = path.read_bytes()
    changed = whole.replace(b"a scores above b.", b"b scores above a.").replace(
        b'"resumed": 0', b'"resumed": 7'
    )
    for content in (whole[: len(whole) // 2], b"", changed, None):
        assert content != whole
        path.unlink() if content is None else path.write_bytes(content)
        before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
        code, _, err = run("--config.mode", "raise")
        assert (code, "Traceback" in err) == (2, False)
        assert f"the unfinished run {folder} is damaged ({name} " in err
        assert "--fresh" in err
        assert before == {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    assert run("--config.mode", "raise", "--fresh")[0] == 1
    assert json.loads((folder / "config.json").read_text())["regimes"]


def test_a_resume_keeps_the_registration(run, tmp_path):
    run("--config.mode", "raise")
    path = only_folder(tmp_path) / "config.json"
    before = path.read_bytes(), path.stat().st_mtime_ns
    _, _, err = run("--config.mode", "raise", "--no-progress")
    assert "resuming" in err
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_other_code_does_not_resume_a_run(run, tmp_path):
    run("--config.mode", "raise")
    run_folders.stamp(only_folder(tmp_path), lrn_sha256="other")
    code, _, err = run("--config.mode", "raise")
    assert (code, "begun with other code" in err) == (2, True)


def test_a_finished_run_of_other_code_is_said(run, tmp_path):
    run()
    run_folders.reseal(only_folder(tmp_path), lrn_sha256="other")
    code, out, err = run()
    assert (code, "run before" in out, "made by other code" in err) == (0, True, True)


def test_an_out_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, _, err = call("run", STUDY, "--out", tmp_path / "file" / "runs", capsys=capsys)
    assert (code, "cannot be made" in err, "Traceback" in err) == (2, True, False)


def test_list_and_describe(capsys):
    code, out, _ = call("list", "--json", capsys=capsys)
    assert code == 0
    listed = json.loads(out)
    assert all("error" not in row for row in listed)
    code, out, _ = call("describe", STUDY, capsys=capsys)
    assert code == 0
    assert "a scores above b." in out
    assert "The oracle scores 1." in out
    described = json.loads(call("describe", STUDY, "--json", capsys=capsys)[1])
    assert described["presets"]["quick"]["config"]["gap"] == 1.0


def test_help_shows_the_fields_of_a_study(capsys):
    code, out, _ = call("run", STUDY, "--help", capsys=capsys)
    assert code == 0
    assert "--config.gap" in out


@pytest.mark.parametrize(
    "argv", [["list"], ["list", "--json"], ["--help"], ["run", "--help"], ["report", "--help"]]
)
def test_answers_at_once_without_jax(argv):
    script = (
        "import sys\nfrom lrn.cli import main\n"
        "try: main()\nfinally: print('jax' in sys.modules, file=sys.stderr)"
    )
    seconds = []
    for _ in range(3):
        # Processor time is measured, because other programs may be running.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", script, *argv], capture_output=True, text=True, timeout=60
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0, done.stderr
        assert done.stderr.split()[-1] == "False"
    assert min(seconds) < 1.0
