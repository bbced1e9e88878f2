"""Two runs side by side, and the report from the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import run_folders
from report_pages import (
    Page,
    article,
    built,
    printed,
)
from scipy import stats as scipy_stats

from lrn import check, cli, report, table


@pytest.fixture
def two(tmp_path) -> tuple[Path, Path]:
    a = run_folders.write(tmp_path, results=run_folders.made_up(range(10), random=1))
    b = run_folders.write(
        tmp_path,
        results=run_folders.made_up(range(10), shift=0.75, random=2),
        config=run_folders.Config(eps=0.2),
    )
    return a, b


def test_same_seeds_are_compared_in_pairs(two):
    comparison = report.compare_runs(*two)
    tables = [table.read(path / "metrics.parquet") for path in two]
    assert [(r.arm, r.metric) for r in comparison.rows] == [(r[0], r[1]) for r in report.load(two[0]).finals]
    for row in comparison.rows:
        x, y = (t.final(row.arm, row.metric) for t in tables)
        assert row.paired
        assert row.n == 10
        assert row.a is not None
        assert row.difference is not None
        assert row.a.estimate == pytest.approx(x.mean())
        if np.ptp(y - x):
            interval = scipy_stats.ttest_rel(y, x).confidence_interval()
            assert row.difference[1:] == pytest.approx((interval.low, interval.high))
    assert not comparison.same_verdict
    assert ("config.eps", "0.1", "0.2") in comparison.changes
    shown = printed(comparison)
    assert ("one-step training", "holds", "fails") in comparison.regimes
    for words in ("supported", "mixed  (differs)", "config.eps", "fails, short", "accuracy_pgd of fgsm",
                  "paired by seed"):  # fmt: skip
        assert words in shown


def test_an_old_run_is_compared_with_a_new_one(tmp_path):
    old = run_folders.write(tmp_path, seeds=range(9))
    run_folders.age(old, "inconclusive", "One could not be decided.")
    new = run_folders.write(tmp_path, answer="It does so.")
    comparison = report.compare_runs(old, new)
    assert ("one-step training", "not predicted", "holds") in comparison.regimes
    assert all(judged.a and judged.b for judged in comparison.predictions)
    shown = printed(comparison, 200)
    assert "A is exploratory" in shown
    assert "B is exploratory" not in shown
    assert "It does so." in shown


def test_other_seeds_are_compared_as_independent(tmp_path):
    a = run_folders.write(tmp_path, results=run_folders.made_up(range(10), random=1))
    b = run_folders.write(tmp_path, results=run_folders.made_up(range(12), random=2), seeds=range(12))
    comparison = report.compare_runs(a, b)
    x, y = (table.read(p / "metrics.parquet").final("pgd", "accuracy_pgd") for p in (a, b))
    (row,) = [r for r in comparison.rows if (r.arm, r.metric) == ("pgd", "accuracy_pgd")]
    interval = scipy_stats.ttest_ind(y, x, equal_var=False).confidence_interval()
    assert row.difference is not None
    assert row.difference[1:] == pytest.approx((interval.low, interval.high))
    assert not row.paired
    assert "not paired" in printed(comparison)


def test_failed_seeds_are_left_out_of_their_pair(tmp_path):
    nan = table.rows("fgsm", [3], 2000, "accuracy_pgd", np.nan)
    a = run_folders.write(tmp_path, results=table.concat([run_folders.made_up(range(10)), nan]))
    b = run_folders.write(tmp_path, config=run_folders.Config(eps=0.2))
    comparison = report.compare_runs(a, b)
    (row,) = [r for r in comparison.rows if (r.arm, r.metric) == ("fgsm", "accuracy_pgd")]
    assert (row.n_a, row.n_b, row.n) == (9, 10, 9)
    assert "(9 of 10 seeds)" in printed(comparison)


def test_cells_of_one_run_only_and_names_that_look_like_markup(tmp_path):
    extra = table.rows("[red]new[/red]", np.arange(10), 0, "[bold]m", np.arange(10.0))
    a = run_folders.write(tmp_path)
    b = run_folders.write(
        tmp_path,
        results=table.concat([run_folders.made_up(range(10)), extra]),
        config=run_folders.Config(eps=0.2),
    )
    comparison = report.compare_runs(a, b)
    last = comparison.rows[-1]
    assert (last.a, last.difference, last.n_a, last.n_b) == (None, None, 0, 10)
    assert "[bold]m of [red]new[/red]" in printed(comparison, 200)
    printed(comparison, 40)


def test_what_cannot_be_compared(two, tmp_path):
    a, b = two
    unfinished = run_folders.write(tmp_path, preset="full", finished=None)
    other = run_folders.write(tmp_path, "made_up.criteria")
    damaged = run_folders.write(tmp_path, seeds=range(9))
    (damaged / "metrics.parquet").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for paths, sentence in (
        ((a, tmp_path / "nothing"), "there is no run folder .*nothing; give the path"),
        ((a / "config.json", b), "there is no run folder .*config.json"),
        ((tmp_path / "empty", b), "is not a run folder, it has no config.json"),
        ((unfinished, b), "is unfinished, it has no verdict.json; finish it with: python -m experiments run"),
        ((damaged, b), r"is damaged \(metrics.parquet cannot be read as a table of metrics\); run it again"),
        ((a, a), "are the same folder"),
        ((a, other), "two runs of one study, got made_up.attack_transfer and made_up.criteria"),
    ):
        with pytest.raises(check.InputError, match=sentence):
            report.compare_runs(*paths)
    (a / "figure.png").unlink()  # which no comparison needs
    assert "figure.png is missing" in printed(report.compare_runs(a, b))


def test_run_report_and_compare(tmp_path, capsys):
    study = tmp_path / "mine.py"
    shutil.copy(Path(__file__).parents[1] / "studies.py", study)
    out = str(tmp_path / "runs")
    for argv in (["--seeds", "8"], ["--seeds", "8", "--config.gap", "-1"]):
        with pytest.raises(SystemExit, match="0"):
            cli.main(["run", str(study), "--out", out, *argv])
    with pytest.raises(SystemExit, match="0"):
        cli.main(["report", "--out", out])
    page_path = tmp_path / "runs" / "report" / "index.html"
    assert str(page_path) in capsys.readouterr().out.replace("\n", "")
    part = Page(article(page_path.read_text(), "mine")).text
    assert "Arm a scores higher than arm b." in part
    assert "supported The claim holds." in part  # not the run with changed settings
    assert "changed settings" in part.split("Earlier and smaller runs (1)")[1]
    assert "deviated" not in part
    assert "damaged" not in part
    with pytest.raises(SystemExit, match="0"):
        cli.main(["compare", *map(str, report.find(tmp_path / "runs"))])
    compared = capsys.readouterr().out
    assert "config.gap" in compared
    assert "(differs)" in compared
    study.write_text(study.read_text().replace("gap: float = 1.0", "gap: float = 2.0"))
    assert "has been edited since this run" in built(tmp_path / "runs")
