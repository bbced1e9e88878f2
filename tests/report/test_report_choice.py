"""Which run of a study counts, which study a run is of, and whether the study is still the one that ran."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import run_folders
from report_pages import (
    Page,
    article,
    built,
    ranked,
)

from lrn import check, report
from lrn.report import page
from lrn.study import source
from lrn.study.source import study_sha256


def test_full_counts_before_quick_before_smoke_then_the_newest(tmp_path):
    def write(name, preset, day, **options):
        return run_folders.write(
            tmp_path, name=name, preset=preset, finished=f"2026-03-{day:02}T00:00:00+00:00", **options
        )

    write("a" * 12, "smoke", 9, seeds=range(2))
    assert ranked(tmp_path).preset == "smoke"
    write("b" * 12, "quick", 8, command="python -m experiments run x --config.eps 1")
    assert ranked(tmp_path).name == "b" * 12  # better than none
    write("c" * 12, "quick", 1)
    assert ranked(tmp_path).name == "c" * 12  # the preset as it was registered
    write("d" * 12, "quick", 2)
    assert ranked(tmp_path).name == "d" * 12
    write("e" * 12, "full", 1)
    assert ranked(tmp_path).name == "e" * 12
    run_folders.write(tmp_path, name="f" * 12, preset="full", finished=None)
    damaged = write("0" * 12, "full", 20)
    (damaged / "verdict.json").write_text("")
    (entry,) = page.in_order(report.load(f) for f in report.find(tmp_path))
    assert entry.run.name == "e" * 12
    assert [s.run.name[0] for s in entry.older] == ["d", "c", "b", "a"]
    assert {s.run.name[0]: s.status for s in entry.other} == {"f": "unfinished", "0": "damaged"}


def test_a_registered_run_stands_before_an_exploratory_one(tmp_path):
    run_folders.write(tmp_path, preset="full", exploratory="its seeds were chosen")
    assert ranked(tmp_path).preset == "full"
    run_folders.write(tmp_path, preset="quick")
    assert ranked(tmp_path).preset == "quick"


def test_what_is_no_run_folder_is_left_alone(tmp_path):
    run_folders.write(tmp_path)
    built(tmp_path)
    (tmp_path / "made_up.attack_transfer" / ".0123456789ab.removed").mkdir()
    (tmp_path / "notes" / "drafts").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "x" / "0123456789ab").mkdir(parents=True)  # killed before its first file
    assert [f.parent.name for f in report.find(tmp_path)] == ["made_up.attack_transfer", "x"]
    assert "config.json is missing" in Page(article(built(tmp_path), "x")).text


def test_deviated_when_the_code_of_the_study_changed(tmp_path):
    study = tmp_path / "mine.py"
    study.write_text('"""Doc."""\nMARGIN = 0.1\n')
    run_folders.write(tmp_path / "runs", "mine", study_path=str(study), study_sha256=study_sha256(study))
    assert "deviated" not in article(built(tmp_path / "runs"), "mine")
    study.write_text('"""Other words."""\n\nMARGIN = 0.1  # and a comment\n')
    assert "deviated" not in article(built(tmp_path / "runs"), "mine")
    study.write_text('"""Doc."""\nMARGIN = 0.05\n')
    assert "has been edited since this run" in article(built(tmp_path / "runs"), "mine")
    for broken in ("def (:\n", "\0", "(" * 5000):
        study.write_text(broken)
        assert "can no longer be read as Python" in Page(article(built(tmp_path / "runs"), "mine")).text
    study.unlink()
    assert "deviated" not in article(built(tmp_path / "runs"), "mine")


def test_a_run_that_came_from_elsewhere_is_held_against_the_study_of_that_name(tmp_path, monkeypatch):
    study = tmp_path / "study.py"
    study.write_text("MARGIN = 0.1\n")
    monkeypatch.setattr("lrn.study.discover.find", lambda: {"area.name": study})
    run_folders.write(tmp_path / "runs", "area.name", study_path="/not/on/this/machine.py")
    assert "has been edited" in built(tmp_path / "runs")


def test_studies_of_one_file_name_are_told_apart(tmp_path):
    a, b = (tmp_path / name / "toy.py" for name in "ab")
    for path in (a, b):
        path.parent.mkdir()
        path.write_text("x = 1\n")
    runs = tmp_path / "runs"

    def write(path: Path, claim: str, seeds: int) -> Path:
        study = replace(run_folders.STUDY, claim=claim)
        where = f"../{path.parent.name}/toy.py"
        return run_folders.write(
            runs, "toy", study=study, seeds=range(seeds), study_path=str(path), study_where=where
        )

    folders = [write(a, "One.", 10), write(a, "One.", 9), write(b, "One.", 11), write(b, "Two.", 12)]
    html = built(runs)
    heads = re.findall(r"<code>([^<]*toy.py)</code> ·", html)
    assert heads == [str(a), str(b), str(b)]
    assert sum(f"Earlier and smaller runs ({n})" in html for n in (1, 2, 3)) == 1
    report.compare_runs(folders[0], folders[1])
    for other in folders[2:]:
        with pytest.raises(check.InputError, match="which only share a file's name"):
            report.compare_runs(folders[0], other)
    a.unlink()  # moved away: by its claim it may be the same study
    assert ("study_path", str(a), str(b)) in report.compare_runs(folders[0], folders[2]).changes
    with pytest.raises(check.InputError, match="which only share a file's name"):
        report.compare_runs(folders[0], folders[3])


def test_a_study_of_lrn_is_one_wherever_it_lies(tmp_path):
    for root, seeds in (("one", 10), ("two", 11)):
        path = f"/not/here/{root}/experiments/area/name.py"
        run_folders.write(tmp_path, "area.name", seeds=range(seeds), study_path=path)
    (entry,) = page.in_order(report.load(f) for f in report.find(tmp_path))
    assert len(entry.older) == 1


def test_deviated_when_a_helper_changed_and_not_when_only_the_figure_did(tmp_path):
    study, helper = tmp_path / "mine.py", tmp_path / "helper.py"
    text = "import helper\n\n\ndef run(c, x):\n    pass\n\n\ndef figure(t, c):\n    return 1\n\n\n"
    text += "STUDY = Study(run=run, figure=figure)\n"
    study.write_text(text)
    helper.write_text("x = 1\n")
    code = source.read(study)
    options = dict(study_path=str(study), study_where="../mine.py", study_files=code.files)
    run_folders.write(tmp_path / "runs", "mine", study_sha256=code.sha256, **options)  # pyright: ignore[reportArgumentType]

    def said() -> str:
        return Page(article(built(tmp_path / "runs"), "mine")).text

    assert "deviated" not in said()
    study.write_text(text.replace("return 1", "return 2"))
    assert "deviated" not in said()
    helper.write_text("x = 2\n")
    assert "deviated helper, which the study imports, has been edited since this run." in said()
    study.write_text(text.replace("pass", "return"))
    assert "deviated The study's file has been edited since this run" in said()
    study.write_text("(")
    assert "can no longer be read as Python" in said()
