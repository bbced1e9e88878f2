"""Seals, and what comes out when a run is judged again from its table."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import run_folders
from report_pages import (
    Page,
    article,
    built,
    edit,
    first,
    printed,
    put,
    run_of,
)

from lrn import check, report, table
from lrn.report import metrics, rejudge
from lrn.report.run import OLD
from lrn.study import Above, Cell, Regime, seal


def test_a_sealed_run_has_no_mark_and_an_old_one_has(gallery):
    folders, html = gallery
    run = report.load(folders["supported"])
    assert (run.sealed, run.differs, run.judged_again) == (True, [], "")
    part = Page(article(html, "made_up.attack_transfer")).text
    assert "Sealed yes" in part
    assert "Judged again the same" in part
    assert "unsealed" not in part.split("Runs without")[0]
    old = report.load(folders["unsealed"])
    assert (old.state, old.verdict, old.sealed, old.damage, old.differs) == (
        "finished",
        "supported",
        False,
        [],
        [],
    )
    part = Page(article(html, "made_up.old")).text
    assert " unsealed Made before runs were sealed" in part


@pytest.mark.parametrize(
    "name", ["config.json", "verdict.json", "provenance.json", "metrics.parquet", "figure.png"]
)
def test_a_flipped_bit_anywhere_is_marked(name, tmp_path):
    path = run_folders.write(tmp_path) / name
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    for _ in range(12):
        content = bytearray(whole)
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        run = run_of(tmp_path)
        assert any(name in d for d in run.damage), run.damage
        assert (run.state == "damaged") == (name in ("config.json", "verdict.json"))
        assert (run.figure is None) == (name == "figure.png")
        assert (run.finals == {}) == (name == "metrics.parquet")
    part = Page(article(built(tmp_path), "made_up.attack_transfer")).text
    assert "damaged" in part
    if name == "figure.png":
        assert "draw RUNS/made_up.attack_transfer/" in part
    with pytest.raises(check.InputError, match=r"are the same folder|is damaged"):
        report.compare_runs(path.parent, path.parent)


EDITS = {
    "the verdict": (
        put("verdict.json", "verdict", "refuted"),
        "the verdict is mixed; verdict.json says refuted",
    ),
    "an outcome": (
        edit("verdict.json", lambda v: v["predictions"][0].update(outcome="holds")),
        "the outcome of prediction 1 is fails; verdict.json says holds",
    ),
    "how it fails": (
        first("how", "opposite"),
        "the how of prediction 1 is short; verdict.json says opposite",
    ),
    "a regime": (
        edit("verdict.json", lambda v: v["regimes"][0].update(outcome="open")),
        "the outcome of regime 1 is fails; verdict.json says open",
    ),
    "a regime's p-value": (
        edit("verdict.json", lambda v: v["regimes"][1].update(adjusted_holds=0.5)),
        "the adjusted holds of regime 2 is .*; verdict.json says 0.5",
    ),
    "a regime left out": (
        edit("verdict.json", lambda v: v["regimes"].pop()),
        "the outcome of regime 2 is holds; verdict.json says nothing",
    ),
    "a regime added": (
        edit("verdict.json", lambda v: v["regimes"].append({"name": "mine", "outcome": "holds"})),
        "the name of regime 3 is nothing; verdict.json says mine",
    ),
    "a prediction at a step": (
        edit("verdict.json", lambda v: v["predictions"][2].update(effect=0.5)),
        "the effect of prediction 3 is .*; verdict.json says 0.5",
    ),
    "an effect": (first("effect", 0.5), "the effect of prediction 1 is .*; verdict.json says 0.5"),
    "an interval": (first("interval", [0.4, 0.6]), "the low end of the interval of prediction 1 is"),
    "a p-value": (first("p_holds", 1e-9), "the p holds of prediction 1 is .*; verdict.json says 1e-09"),
    "a control": (
        edit("verdict.json", lambda v: v["controls"][0].update(effect=0.2)),
        "the effect of control 1 is 0; verdict.json says 0.2",
    ),
    "the metrics": (
        lambda folder: run_folders.made_up(range(10), shift=0.5).write(folder / "metrics.parquet"),
        "the effect of prediction 1",
    ),
}


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("case", EDITS)
def test_what_comes_out_otherwise_from_the_table_is_said(case, sealed, tmp_path):
    """Of runs without a seal, and of runs whose seal was made again."""
    change, sentence = EDITS[case]
    results = run_folders.made_up(range(10), shift=0.75)
    folder = run_folders.write(tmp_path, results=results, sealed=sealed)
    assert report.load(folder).differs == []
    change(folder)
    if sealed:
        run_folders.reseal(folder)
    run = report.load(folder)
    assert run.state == "finished"
    assert re.search(sentence, "; ".join(run.differs)), run.differs
    part = Page(article(built(tmp_path), "made_up.attack_transfer")).text
    assert "judged otherwise" in part
    assert re.search(sentence, part) or len(run.differs) > 3
    other = run_folders.write(tmp_path / "b", seeds=range(9))
    assert "A judged again" in printed(report.compare_runs(folder, other))


def test_rounding_is_no_difference(tmp_path):
    folder = run_folders.write(tmp_path)
    effect = json.loads((folder / "verdict.json").read_text())["predictions"][0]["effect"]
    first("effect", effect * (1 + 1e-12))(folder)
    run_folders.reseal(folder)
    assert report.load(folder).differs == []


def test_predictions_of_odd_types_are_judged_again_or_not_and_break_nothing(tmp_path):
    folder = run_folders.write(tmp_path)
    whole, verdict = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "verdict"))
    run = report.load(folder)

    def of(config, at: tuple[int, str, int]) -> dict:
        return config["regimes"][at[0]][at[1]][at[2]]

    def judged(change) -> report.Run:
        config = json.loads(json.dumps(whole))
        change(config)
        found = replace(run, differs=[], judged_again="")
        rejudge.judge_again(found, config, verdict)
        return found

    for odd in (None, -3, 10**400, "", "nan", [[1]], {"a": [None]}):
        for key in ("regimes", "controls", "alpha", "preset", "question"):
            judged(lambda v, k=key, o=odd: v.update({k: o}))
        for place, regime in enumerate(whole["regimes"]):
            for key in regime:
                judged(lambda v, i=place, k=key, o=odd: v["regimes"][i].update({k: o}))
            for role in ("primary", "secondary"):
                for number, prediction in enumerate(regime[role]):
                    for key in prediction["params"]:
                        if key != "failed_as":  # no seed failed
                            at = (place, role, number)
                            judged(lambda v, at=at, k=key, o=odd: of(v, at)["params"].update({k: o}))
    mine = judged(lambda v: v["regimes"][0]["primary"][0].update(kind="mine"))
    assert "the kind 'mine' cannot be judged without their study" in mine.judged_again


def test_values_at_a_step_are_judged_again_and_too_many_are_not(tmp_path, monkeypatch):
    cell = Cell("pgd", "loss", 1000)
    early = Above(statement="The loss is above 0.5 at first.", cell=cell, bound=0.5)
    study = replace(run_folders.STUDY, regimes=(Regime(name="early", primary=(early,)),))
    folder = run_folders.write(tmp_path, study=study)
    run = report.load(folder)
    assert (run.judged_again, run.differs, run.predictions[0].outcome) == ("", [], "holds")
    first("effect", 0.0)(folder)
    run_folders.reseal(folder)
    assert "the effect of prediction 1" in report.load(folder).differs[0]
    found = table.concat(metrics.at_steps(folder / "metrics.parquet", {tuple(cell)}))  # pyright: ignore[reportArgumentType]
    rows = table.read(folder / "metrics.parquet")
    for x, y in zip(found.by_seed(*cell), rows.by_seed(*cell)):  # pyright: ignore[reportArgumentType]
        np.testing.assert_array_equal(x, y)
    assert len(found.seed) == 10
    monkeypatch.setattr(metrics, "SEEDS", 9)
    with pytest.raises(ValueError, match="more rows at a step than seeds"):
        table.concat(metrics.at_steps(folder / "metrics.parquet", {tuple(cell)}))  # pyright: ignore[reportArgumentType]


def test_a_failed_run_and_a_lost_verdict(gallery, tmp_path):
    folders, html = gallery
    run = report.load(folders["error"])
    assert (run.state, run.failed, run.damage) == ("failed", "mnist/train was not found.", [])
    part = Page(article(html, "made_up.no_data")).text
    assert "failed It failed: mnist/train was not found. Its command goes on with it." in part
    folder = run_folders.write(tmp_path)
    (folder / "verdict.json").unlink()
    assert report.load(folder).damage == [
        "verdict.json is missing, though the run had ended; its command writes it again"
    ]
    assert "damaged" in Page(article(built(tmp_path), "made_up.attack_transfer")).text


def test_the_registration_of_an_unfinished_run_is_checked(tmp_path):
    folder = run_folders.write(tmp_path, finished=None)
    assert report.load(folder).damage == []
    put("config.json", "claim", "Another claim.")(folder)
    run = report.load(folder)
    assert run.state == "damaged"
    assert "config.json does not match the checksum in provenance.json" in run.damage


def test_a_run_whose_figure_failed(tmp_path):
    folder = run_folders.write(tmp_path)
    for name in seal.FIGURES:
        (folder / name).unlink()
    put("verdict.json", "figure_failed", "KeyError: 'a' (mine.py, line 3, in figure).")(folder)
    run_folders.reseal(folder)
    run = report.load(folder)
    assert (run.state, run.damage) == ("finished", [])
    part = Page(article(built(tmp_path), "made_up.attack_transfer")).text
    assert "no figure There is no figure: KeyError: 'a' (mine.py, line 3, in figure)." in part
    assert f"draw RUNS/made_up.attack_transfer/{folder.name}" in part
    (folder / "figure.png").write_bytes(run_folders.drawn()["figure.png"])  # which no seal covers
    assert report.load(folder).figure is None


def test_a_run_of_before_there_were_regimes_is_shown_and_not_judged_again(gallery):
    folders, html = gallery
    run = report.load(folders["old"])
    assert (run.state, run.verdict, run.sealed, run.damage, run.differs) == ("finished", "open", True, [], [])
    assert (run.exploratory, run.regimes) == (OLD, [])
    new = report.load(folders["supported"])
    for then, now in zip(run.predictions, new.predictions):
        same = ("statement", "region", "compared", "effect", "low", "outcome", "p_holds", "p_fails")
        assert [getattr(then, k) for k in same] == [getattr(now, k) for k in same]
        assert then.role == "primary"
    said = Page(article(html, "made_up.older")).text
    assert "open 1 of 7 predictions could not be decided with 10 seeds." in said
    assert "exploratory Exploratory: made before verdicts were reached over regimes." in said
    assert "Judged again no: it was judged by earlier rules" in said
    assert "judged otherwise" not in said
    for result in run.predictions:
        assert result.statement in said


def test_words_of_either_judge_are_not_those_of_the_other(tmp_path):
    folder = run_folders.write(tmp_path)
    first("outcome", "supported")(folder)
    assert "verdict.json: prediction 1: outcome is 'supported', which is none" in report.load(folder).damage
    folder = run_folders.write(tmp_path)
    put("verdict.json", "verdict", "inconclusive")(folder)
    assert "verdict.json: verdict is 'inconclusive', which is none" in report.load(folder).damage
    run_folders.age(run_folders.write(tmp_path), "refuted", "It was so.")
    assert report.load(folder).verdict == "refuted"
    edit("config.json", lambda v: v["predictions"][0]["params"].update(margin=0.01))(folder)
    assert "the predictions are not those that were hashed" in "; ".join(report.load(folder).damage)
