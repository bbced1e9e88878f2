"""Numbers of the report: last values, digits, small plots, regions, answers, and tables to download."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import run_folders
from report_pages import article

from lrn import report, table
from lrn.report import answers, metrics, predictions, text, values
from lrn.report.fields import Fields
from lrn.report.plot import WIDTH, interval_plot
from lrn.report.run import Place
from lrn.study import Cell, Superiority


def test_batches_of_rows_give_what_all_rows_give(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    n = 3000
    rows = table.Table(
        rng.choice(["a", "b", "c"], n).astype(object), rng.integers(0, 5, n), rng.integers(0, 9, n),
        rng.choice(["m", "n"], n).astype(object), rng.random(n),
    )  # fmt: skip
    rows.write(tmp_path / "t.parquet")
    real = metrics.batches
    whole = metrics.last_values(real(tmp_path / "t.parquet"))

    def small(path: Path):
        for batch in real(path):
            for start in range(0, n, 700):
                yield metrics.Batch(*batch[:2], *(c[start : start + 700] for c in batch[2:]))

    found = metrics.last_values(small(tmp_path / "t.parquet"))
    assert list(found) == list(whole)
    for cell, final in found.items():
        np.testing.assert_array_equal(final.seeds, whole[cell].seeds)
        np.testing.assert_array_equal(final.values, whole[cell].values)
        np.testing.assert_array_equal(final.values, rows.final(*cell))


TIMES, MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"


def test_last_values_are_those_that_predictions_are_judged_by(tmp_path):
    rng = np.random.default_rng(0)
    rows = table.concat(
        [
            table.rows(
                f"arm{rng.integers(3)}", rng.integers(4), rng.integers(5), f"m{rng.integers(2)}", rng.random()
            )
            for _ in range(300)
        ]
    )
    rows.write(tmp_path / "t.parquet")
    finals = metrics.last_values(metrics.batches(tmp_path / "t.parquet"))
    assert set(finals) == {(a, m) for a, m in zip(rows.arm, rows.metric)}
    for (arm, metric), final in finals.items():
        np.testing.assert_array_equal(final.values, rows.final(arm, metric))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ((0.31234, 0.28, 0.344), ("0.312", "[0.280, 0.344]")),
        ((12.3456, 8.0, 16.0), ("12.3", "[8.0, 16.0]")),
        ((1234.5, 1000.0, 1500.0), ("1234", "[1000, 1500]")),
        ((-0.5, -0.52, -0.48), ("\N{MINUS SIGN}0.500", "[\N{MINUS SIGN}0.520, \N{MINUS SIGN}0.480]")),
        ((-0.00001, -0.5, 0.5), ("0.00", "[\N{MINUS SIGN}0.50, 0.50]")),
        ((2e7, 1e7, 3e7), (f"2.00{TIMES}10⁷", f"[1.00{TIMES}10⁷, 3.00{TIMES}10⁷]")),
        ((0.25, None, None), ("0.250", "")),
        ((None, None, None), (text.NONE, "")),
        (
            (-5e-8, -6e-8, -4e-8),
            (f"{MINUS}5.00{TIMES}10⁻⁸", f"[{MINUS}6.00{TIMES}10⁻⁸, {MINUS}4.00{TIMES}10⁻⁸]"),
        ),
        ((1.0, 1.0, 1.0), ("1.00", "[1.00, 1.00]")),
        ((0.0, 0.0, 0.0), ("0", "[0, 0]")),
    ],
)
def test_numbers_have_the_digits_their_interval_justifies(given, shown):
    assert text.effect(*given) == shown


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (2**-10, "0.00098"),
        (0.0312, "0.031"),
        (0.25, "0.25"),
        (1.0, "1.00"),
        (3e-6, "< 0.0001"),
        (0.0, "< 0.0001"),
        (None, text.NONE),
    ],
)
def test_p_values(p, shown):
    assert text.p_value(p) == shown


def test_other_texts():
    assert text.duration(8.24) == "8.2 s"
    assert text.duration(59.97) == "1 min 0 s"
    assert text.duration(7500) == "2 h 5 min"
    assert (
        text.duration(None)
        == text.duration(-1)
        == text.duration(math.nan)
        == text.duration(10**400)
        == text.NONE
    )
    assert text.memory(3.1 * 2**30) == "3.1 GiB"
    assert text.moment("2026-03-01T14:30:00+02:00") == "2026-03-01 12:30 UTC"
    assert text.moment("yesterday") == "yesterday"
    assert text.seeds([0, 1, 2]) == "3 seeds (0 to 2)"
    assert text.seeds([7]) == "1 seed (7)"
    assert text.seeds([3, 1]) == "2 seeds (3, 1)"
    assert text.region((0.05, math.inf)) == "above 0.05"
    assert text.region((-math.inf, -2)) == "below \N{MINUS SIGN}2"
    assert text.region((-0.1, 0.1)) == "within ±0.1"
    assert text.region((0.9, 1.1)) == "0.9 to 1.1"
    assert text.region((0.0, 0.0)) == "exactly 0"


def test_the_plot_puts_effect_interval_and_region_where_they_are(gallery):
    run = report.load(gallery[0]["mixed"])
    assert {r.kind for r in run.predictions} >= {"above", "below", "share", "interval", "trend"}
    for result in [*run.predictions, *run.controls]:
        plot = interval_plot(result)
        assert plot is not None
        assert result.region is not None
        assert plot.band is not None
        assert result.effect is not None
        assert 0 < plot.low <= plot.effect <= plot.high < WIDTH
        assert 0 < plot.band[0] < sum(plot.band) < WIDTH
        inside = plot.band[0] <= plot.effect <= plot.band[0] + plot.band[1]
        assert inside == (result.region[0] <= result.effect <= result.region[1])
        labels = [t for t in plot.ticks if t.label]
        assert labels
        for one, other in itertools.pairwise(labels):
            assert abs(one.x - other.x) > 12
    huge = run.predictions[0]._replace(effect=0.0, low=-1.7e308, high=1.7e308)
    assert interval_plot(huge) is None


def test_regions_follow_from_kind_and_parameters(gallery):
    inf = math.inf
    regions = [r.region for r in report.load(gallery[0]["supported"]).predictions]
    assert regions[:3] == [(0.3, inf), (0.5, inf), (-inf, 0.1)]
    assert regions[3:] == [(0.5, inf), (-0.2, inf), (-0.05, 0.05), (0.85, 1.0), (0.0, inf)]
    few = Fields({"bound": 0.5, "side": "below"}, "", [])
    assert predictions.region("share", few) == (-inf, 0.5)
    assert report.load(gallery[0]["supported"]).controls[0].region == (-0.001, 0.001)


def test_an_open_end_is_shown_as_one():
    for params in ({"low": 0.5, "high": "inf"}, {"low": 0.5, "high": None}):
        assert predictions.region("interval", Fields(params, "", [])) == (0.5, math.inf)


def test_a_number_may_be_a_side_of_a_comparison():
    better = Superiority(statement="s.", better=Cell("a", "m", 3), worse=0.25, margin=0.1)
    spec = better.spec()
    assert predictions.compared(spec["kind"], spec["params"], spec) == f"m of a at 3 {MINUS} 0.25"
    assert predictions.region(spec["kind"], Fields(spec["params"], "", [])) == (0.1, math.inf)


# Answers


def answered(tmp_path, **changes):
    study = replace(run_folders.STUDY, **changes.pop("study", {}))
    return answers.answer_of(report.load(run_folders.write(tmp_path, study=study, **changes)))


def test_an_answer_counts_regimes_and_gives_the_clearest_effects(tmp_path):
    one, two = run_folders.regimes()
    mixed = answered(tmp_path, results=run_folders.made_up(range(10), shift=0.75))
    holds = report.load(next(iter(report.find(tmp_path)))).predictions
    effects = {r.statement.rstrip("."): " ".join(text.effect(r.effect, r.low, r.high)) for r in holds}
    first, second, third = re.split(r"(?<=\.) (?=Clearest|What)", mixed)
    assert (
        first == "The claim holds in 1 of 2 regimes (multi-step training) and fails in 1 (one-step training)."
    )
    clear = "Training against PGD loses at most 0.2 to FGSM training on FGSM itself"
    assert second in (
        f"Clearest of what holds: “{clear}” ({effects[clear]}).",
        f"What holds: “{clear}” ({effects[clear]}).",
    )
    drop = "Trained against FGSM, a network loses 0.3 accuracy or more from FGSM to PGD"
    assert third == f"What fails, short of the margin: “{drop}” ({effects[drop]})."
    both = answered(tmp_path / "both", results=run_folders.made_up(range(10)))
    assert both.startswith("The claim holds in both regimes. Clearest of what holds: “")
    single = answered(tmp_path / "single", study={"regimes": (one,)})
    assert single.startswith(f"The claim holds. What holds: “{drop}” (")
    assert answered(tmp_path / "open", study={"regimes": (run_folders.UNDECIDED,)}) == "The claim is open."
    shut = replace(two, gate=replace(two.gate, bound=0.99))  # pyright: ignore[reportArgumentType]
    said = answered(tmp_path / "shut", study={"regimes": (one, shut)})
    assert said.startswith(
        "The claim holds in 1 of 2 regimes (one-step training) and does not arise in 1 (multi-step"
    )


def test_the_clearest_effect_is_farthest_from_its_margin_in_half_widths():
    near = report.Result(
        "a", "above", "r", "primary", "", (0.5, math.inf), "", 0.9, 0.7, 1.1, outcome="holds"
    )
    clear = near._replace(statement="b", effect=0.7, low=0.68, high=0.72)
    sure = near._replace(statement="c", effect=0.6, low=0.6, high=0.6)  # no spread is no infinite clearness
    ranked = sorted((near, clear, sure), key=answers._clear)
    assert [r.statement for r in ranked] == ["a", "b", "c"]
    assert answers._clear(sure) == pytest.approx(0.1 / 0.006)


def test_an_answer_of_the_study_comes_before_one_that_is_made_and_a_reason_before_both(tmp_path):
    assert answered(tmp_path, answer="It does.") == "It does."
    few = answered(tmp_path / "few", seeds=range(5))
    assert few.startswith("Too few seeds: 5")
    assert answered(tmp_path / "unfinished", finished=None) == ""


def test_the_first_sentence_does_not_end_at_a_decimal():
    assert (
        answers.first_sentence("It is .5 at eps 0.1, and more. Then it ends.")
        == "It is .5 at eps 0.1, and more."
    )
    assert answers.first_sentence("Is it so? “Yes.” No") == "Is it so?"
    assert answers.first_sentence("One") == "One"


# Tables to download


def unpacked(file: values.Download | None) -> list[list[str]]:
    assert file is not None
    kind, content = file.uri.split(",")
    assert kind == "data:application/gzip;base64"
    return list(csv.reader(io.StringIO(gzip.decompress(base64.b64decode(content)).decode())))


def test_the_table_to_download_has_every_value(gallery):
    folder = gallery[0]["supported"]
    run = report.load(folder)
    file = values.download(run)
    assert file is not None
    head, *rows = unpacked(file)
    assert head == ["arm", "seed", "step", "metric", "value"]
    rows_of = table.read(folder / "metrics.parquet")
    assert [(r[0], int(r[1]), int(r[2]), r[3]) for r in rows] == list(
        zip(rows_of.arm, rows_of.seed, rows_of.step, rows_of.metric)
    )
    np.testing.assert_array_equal([float(r[4]) for r in rows], rows_of.value)  # to the last bit
    assert file.name == f"made_up.attack_transfer-{folder.name}.csv"
    assert file.holds == f"all {len(rows)} values, by arm, seed, step and metric"
    assert values.download(run) == file
    part = article(gallery[1], "made_up.attack_transfer")
    assert f'href="{file.uri}" download="{file.name}.gz" data-csv="{file.name}"' in part


def test_of_a_large_table_the_last_values_can_be_downloaded(gallery, monkeypatch):
    monkeypatch.setattr(values, "CSV_ROWS", 100)
    run = report.load(gallery[0]["supported"])
    file = values.download(run)
    head, *rows = unpacked(file)
    assert head == ["arm", "seed", "metric", "last value"]
    found = {(r[0], r[2], int(r[1])): float(r[3]) for r in rows}
    for (arm, metric), final in run.finals.items():
        assert [found[arm, metric, seed] for seed in final.seeds.tolist()] == final.values.tolist()
    assert len(found) == sum(len(final.seeds) for final in run.finals.values())
    assert file is not None
    assert file.holds.startswith(f"the last value of each arm, seed and metric, {len(rows)} of ")


def test_a_table_that_is_not_as_it_was_sealed_cannot_be_downloaded(tmp_path):
    folder = run_folders.write(tmp_path)
    run_folders.made_up(range(10), shift=0.5).write(folder / "metrics.parquet")
    assert values.download(report.load(folder)) is None


# A far bound


def test_a_far_bound_does_not_squeeze_the_interval_to_a_dot():
    given = report.Result(
        "s", "interval", "r", "primary", "", (-5.0, 0.25), "", 0.03, 0.016, 0.045, outcome="holds"
    )
    plot = interval_plot(given)
    assert plot is not None
    assert plot.high - plot.low > 20
    assert [t.label for t in plot.ticks] == ["0.25"]
    assert plot.band is not None
    assert plot.band[0] <= 10  # which the band goes beyond
    near = interval_plot(given._replace(region=(-0.1, 0.25)))
    assert near is not None
    assert [t.label for t in near.ticks] == [f"{MINUS}0.1", "0.25"]


def test_regimes_are_named_in_an_answer_where_they_are_few(tmp_path):
    run = report.load(run_folders.write(tmp_path))
    run.answer, run.predictions = "", []
    run.regimes = [Place(f"r{i}", "holds") for i in range(3)] + [Place("last", "fails")]
    assert answers.answer_of(run) == "The claim holds in 3 of 4 regimes and fails in 1 (last)."
    run.regimes = [Place("a", "open"), Place("b", "open"), Place("c", "fails")]
    assert answers.answer_of(run) == "The claim fails in 1 of 3 regimes (c) and is open in 2 (a; b)."
    run.regimes = [Place(name, "holds") for name in "abc"]
    assert answers.answer_of(run) == "The claim holds in all 3 regimes."
