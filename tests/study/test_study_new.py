"""`lrn new` writes a study that runs and can hold or fail; `lrn status` lists the runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lrn import cli
from lrn.study import discover, register
from lrn.study.satisfiable import unsatisfiable


def call(*argv, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(a) for a in argv])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


@pytest.fixture
def mine(tmp_path, capsys):
    path = tmp_path / "my_study.py"
    assert call("new", path, capsys=capsys)[0] == 0
    return path


def test_the_new_study_runs_and_is_judged(mine, tmp_path, capsys):
    assert call("register", mine, capsys=capsys)[0] == 0
    code, out, _ = call("run", mine, "--out", tmp_path / "runs", "--no-progress", capsys=capsys)
    assert code == 0
    assert "The claim holds (10% outliers) and fails (0% outliers)." in out
    (path,) = (tmp_path / "runs" / "my_study").glob("*/verdict.json")
    verdict = json.loads(path.read_text())
    assert verdict["exploratory"] == ""
    assert all(control["passed"] for control in verdict["controls"])
    assert verdict["answer"].startswith("The median's error is smaller than the mean's by -0.0")
    assert verdict["figure_failed"] is None
    code, out, _ = call("status", "--out", tmp_path / "runs", capsys=capsys)
    assert (code, "my_study" in out, "mixed" in out, verdict["answer"] in out) == (0, True, True, True)


def test_its_predictions_can_come_out_either_way(mine):
    study = discover.load(str(mine)).study
    assert all(unsatisfiable(study, config) == [] for config in study.presets.values())
    assert register.registered(discover.load(str(mine))) is None


def test_status_says_why_a_run_failed(mine, tmp_path, capsys):
    broken = "    raise OSError('no data here')\n\n    def errors(seed, shared):"
    mine.write_text(mine.read_text().replace("    def errors(seed, shared):", broken))
    assert call("run", mine, "--out", tmp_path / "runs", "--no-progress", capsys=capsys)[0] == 1
    out = call("status", "--out", tmp_path / "runs", capsys=capsys)[1]
    assert "failed" in out
    assert "no data here" in out


def test_bad_input(mine, tmp_path, capsys):
    for argv, sentence in (
        (("new", mine), "exists already"),
        (("new", tmp_path / "my study.txt"), "a study is a file of Python"),
        (("status", "--out", tmp_path / "none"), "there is no folder of runs"),
    ):
        code, _, err = call(*argv, capsys=capsys)
        assert (code, sentence in err) == (2, True)


def test_the_study_of_the_documentation(tmp_path, capsys):
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(code.splitlines()) <= 65
    path = tmp_path / "halves.py"
    path.write_text(code)
    study = discover.load(str(path)).study
    assert unsatisfiable(study, study.presets["quick"]) == []
    code, out, err = call("run", path, "--out", tmp_path / "runs", "--no-progress", capsys=capsys)
    assert code == 0, err
    assert "supported" in out
    said = re.search(r"The error is halved ([\d.]+)", out)
    assert said is not None
    assert 1.5 < float(said[1]) < 1.85  # log2 of the root of ten is 1.66
