"""The command line as people meet it: codes, sentences, folders, speed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import run_folders
from toy import same

from lrn import cli, table

STUDY = str(Path(__file__).parent / "studies.py")
FIRST = "robust.attack_transfer"


def call(*argv: object, capsys=None) -> tuple[int, str, str]:
    """Exit code, output and errors of one command, in this process."""
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
    assert {"effect", "interval", "p", "p_adjusted", "outcome"} <= set(prediction)
    assert prediction["outcome"] == "supported"
    assert prediction["p"] == pytest.approx(2**-10)  # ten seeds that all agree
    written = table.read(folder / "metrics.parquet")
    assert written.arms == ["a", "b", "oracle"]
    assert written.seeds == list(range(10))
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
        (["--config.gap", "-3", "--config.noise", "5"], "inconclusive"),
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
    """It is another run, whose command says which seeds."""
    run()
    first = only_folder(tmp_path)
    assert run("--first-seed", "100", "--seeds", "9")[0] == 0
    (other,) = {path.parent for path in first.parent.glob("*/verdict.json")} - {first}
    assert json.loads((first / "verdict.json").read_text())["seeds"][0] == 0
    assert json.loads((other / "verdict.json").read_text())["seeds"] == list(range(100, 109))
    assert "--first-seed 100" in " ".join(path.read_text() for path in other.glob("*.json"))


def test_a_failed_run_exits_1_and_leaves_no_verdict(run, tmp_path):
    code, _, err = run("--config.mode", "raise")
    assert code == 1
    assert "the study itself has a bug" in err
    assert not (only_folder(tmp_path) / "verdict.json").exists()
    code, _, err = run("--config.mode", "value_error")
    assert code == 1
    assert "Traceback" in err  # a bug in a study is shown where it is


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
    assert not list(tmp_path.iterdir())  # nothing half-written


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
    ],
)
def test_a_file_that_is_no_study(tmp_path, capsys, content, sentence):
    (tmp_path / "s.py").write_text(content)
    code, _, err = call("run", tmp_path / "s.py", capsys=capsys)
    assert code == 2
    assert sentence in err


def test_damaged_run_files_are_said(run, tmp_path):
    run()
    for damaged in ("{", "[]", "{}"):
        (only_folder(tmp_path) / "verdict.json").write_text(damaged)
        code, _, err = run()
        assert (code, "is damaged" in err) == (2, True)
    assert run("--fresh")[0] == 0


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
    "argv", [["list"], ["list", "--json"], ["describe", FIRST], ["--help"], ["run", FIRST, "--help"]]
)
def test_answers_at_once_without_jax(argv):
    script = (
        "import sys\nfrom lrn.cli import main\n"
        "try: main()\nfinally: print('jax' in sys.modules, file=sys.stderr)"
    )
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", script, *argv], capture_output=True, text=True, timeout=60
        )
        seconds.append(time.perf_counter() - begin)
        assert done.returncode == 0, done.stderr
        assert done.stderr.split()[-1] == "False"
    assert min(seconds) < 1.0
