"""The page: it is well formed, accessible and safe, and says all there is to say."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import shutil
import typing
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import run_folders
from report_pages import (
    OWN,
    Page,
    article,
    built,
    first,
)
from scipy import stats as scipy_stats

from lrn import check, files, report, table
from lrn.report import text
from lrn.study import SECTIONS, discover
from lrn.study.verdict import Verdict

VERDICTS = typing.get_args(Verdict)


def test_is_one_well_formed_page_that_loads_nothing(gallery):
    html = gallery[1]
    parsed = Page(html)
    for tag, attributes in parsed.elements:
        for name, value in attributes.items():
            if name in ("src", "srcset", "href", "data", "action", "poster", "background"):
                kinds = r"#|data:((image/png|application/gzip);base64,[A-Za-z0-9+/]+=*$|,$)"
                assert re.match(kinds, value or ""), (tag, name, value)
            assert not name.startswith("on"), (tag, name)
    assert not {"iframe", "object", "embed", "base", "form"} & {tag for tag, _ in parsed.elements}
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)[1]  # pyright: ignore
    assert "url(" not in style
    assert "@import" not in style
    assert "http:" not in html
    assert "https:" not in html
    policy = next(m for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in (policy["content"] or "")
    (script,) = re.findall("<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in (policy["content"] or "")
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|src\s*=", script)


def test_anchors_resolve_and_ids_are_unique(gallery):
    parsed = Page(gallery[1])
    ids = Counter(a["id"] for _, a in parsed.elements if "id" in a)
    assert max(ids.values()) == 1
    pointed = {a["href"] for tag in ("a", "use") for a in parsed.all(tag)}
    pointed |= {f"#{a[k]}" for _, a in parsed.elements for k in ("aria-labelledby",) if k in a}
    pointed |= {f"#{label['for']}" for label in parsed.all("label") if "for" in label}
    assert {p[1:] for p in pointed if p and p.startswith("#")} <= set(ids)


def test_is_accessible(gallery):
    parsed = Page(gallery[1])
    assert parsed.all("html")[0]["lang"] == "en"
    assert any("width=device-width" in (m.get("content") or "") for m in parsed.all("meta"))
    assert all(image["alt"] for image in parsed.all("img"))
    assert all(th.get("scope") for th in parsed.all("th"))
    assert all(s.get("aria-label") for s in parsed.all("svg") if s.get("role") == "img")
    levels = [int(h[1]) for h in parsed.headings]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    # Tables that are restacked on a phone keep their roles and name each cell.
    stacked = [a for a in parsed.all("td") if a.get("role") == "cell"]
    assert stacked
    assert all(a["data-label"] for a in stacked)
    assert all("tabindex" in a for a in parsed.all("div") if a.get("class") == "scroll")


def luminance(color: str) -> float:
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(gallery, theme):
    blocks = re.findall(r":root \{(.*?)\}", gallery[1], re.DOTALL)
    color = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", blocks[theme]))
    for ground in ("page", "card"):
        for ink in ("text", "muted", "link", "accent", "good", "bad", "mixed", "open"):
            assert contrast(color[ink], color[ground]) >= 4.5, (ink, ground)
    for name in ("good", "bad", "mixed", "open", "weak", "void"):
        assert contrast(color[name], color[f"{name}-bg"]) >= 4.5, name
    assert contrast(color["text"], color["band"]) >= 4.5
    assert contrast(color["text"], color["code"]) >= 4.5


@pytest.mark.parametrize("verdict", VERDICTS)
def test_each_verdict_is_said_in_words_and_by_an_icon(gallery, verdict):
    folders, html = gallery
    part = article(html, folders[verdict].parent.name)
    run = report.load(folders[verdict])
    assert (run.state, run.verdict, run.damage) == ("finished", verdict, [])
    name = verdict.replace(" ", "-")
    icon = f'<svg class="icon" aria-hidden="true" focusable="false"><use href="#i-{name}"></use></svg>'
    badge = f'<span class="badge {verdict}">{icon}{verdict}</span>'
    assert f'<div class="verdict {verdict}">\n{badge}' in part
    assert run.reason in Page(part).text
    # At a glance too, as a link.
    chip = rf'<a class="badge chip {verdict}" href="#study-[a-z-]+"[^>]*>{re.escape(icon)}'
    assert re.search(rf'{chip}{run.claim_id}<span class="hidden">: {verdict}</span>', html)


def test_sections_hold_all_claims_in_the_order_of_the_notes_and_then_the_other_studies(gallery, claims):
    html = gallery[1]
    names = [*SECTIONS, "Other studies"]
    assert re.findall(r'<h2 id="section-\d">([^<]+)</h2>', html) == names
    parts = re.split(r'<h2 id="section-\d">', html)[1:]
    for name, part in zip(names, parts):
        own = [claim for claim in claims if claim.section == name]
        shown = re.findall(r'<article [^>]*data-verdict="([^"]+)"', part)
        said = re.findall(r'<h3 id="[^"]+">([^<]+)</h3>', part)
        if name != "Other studies":
            assert said == [claim.claim for claim in own]
        else:
            assert len(shown) == len(OWN)
        counted = dict(re.findall(r'</svg>([a-z ]+)</span> <span class="count">(\d+)</span>', part))
        assert counted == {v: str(n) for v, n in Counter(shown).items()}


def test_a_claim_that_was_not_run_says_so_with_the_command_that_runs_it(gallery):
    part = Page(article(gallery[1], "rl.explore_exploit")).text
    assert "A claim whose study was not run." in part
    assert "not run This runs it: python -m experiments run rl.explore_exploit" in part
    part = Page(article(gallery[1], "made_up.none")).text
    assert "not run There is no study of this claim yet." in part


def test_all_43_claims_have_a_place_where_nothing_ran(tmp_path):
    html = report.build(tmp_path).read_text()
    listed = report.read_claims(discover.claims())
    articles = re.findall(r'<article id="([^"]+)"', html)
    assert len(articles) == len(set(articles)) == len(listed) == 43
    said = Page(html).text
    assert all(claim.claim in said for claim in listed)
    assert "not run 43" in said


def test_everything_is_shown_without_the_script(gallery):
    """The filter appears with the script, and nothing else is hidden."""
    parsed = Page(gallery[1])
    hidden = [a for _, a in parsed.elements if "hidden" in a]
    assert [a["id"] for a in hidden] == ["filter"]
    options = re.findall(r'<select id="filter-(\w+)">(.*?)</select>', gallery[1], re.DOTALL)
    values = {name: re.findall("<option>([^<]+)</option>", inner) for name, inner in options}
    for name, offered in values.items():
        used = {a[f"data-{name}"] for a in parsed.all("article")}
        assert set(offered) == used
        assert used == {a[f"data-{name}"] for a in parsed.all("li") if f"data-{name}" in a}


def test_the_answer_comes_first_then_figure_and_regimes_and_the_rest_is_folded(gallery):
    part = article(gallery[1], "made_up.attack_transfer")
    places = [part.index(x) for x in ('class="answer"', "<figure", 'class="regimes', "<details")]
    assert places == sorted(places)
    folded = part.split("<details", 1)[1]
    for summary in (
        "Tests",
        "Values by arm",
        "Design",
        "Settings",
        "Provenance",
    ):
        assert f"<summary>{summary}</summary>" in folded
    assert ">All 8 predictions and 2 controls</summary>" in folded


def test_nothing_has_a_fixed_width_that_a_phone_does_not_have(gallery):
    """What is wider than 390 px is in a box that scrolls or only asks for its width where there is room."""
    style = re.search("<style>(.*?)</style>", gallery[1], re.DOTALL)[1]  # pyright: ignore
    narrow = style[style.index("@media (max-width: 60rem)") :]
    assert ".stack td { display: grid" in narrow
    for rule in re.findall(r"([^{}]+)\{([^{}]*)\}", style[: style.index("@media (max-width: 60rem)")]):
        for width in re.findall(r"(?<![-\w])(?:min-)?width:\s*([\d.]+)(rem|px)", rule[1]):
            size = float(width[0]) * (16 if width[1] == "rem" else 1)
            assert size < 390 - 2 * 16, rule
    parsed = Page(gallery[1])
    assert all(int(svg["width"]) <= 358 for svg in parsed.all("svg") if svg.get("class") == "plot")  # pyright: ignore
    tables = re.findall(r'(<div class="scroll"[^>]*>\s*)?<table( class="[^"]*stack[^"]*")?', gallery[1])
    assert tables
    assert all(box or stacked for box, stacked in tables)


def test_a_study_tells_all_there_is_to_tell(gallery):
    folders, html = gallery
    part = article(html, "made_up.attack_transfer")
    said = Page(part).text
    verdict = json.loads((folders["supported"] / "verdict.json").read_text())
    assert said.index(verdict["answer"]) < said.index("Regimes") < said.index(verdict["reason"])
    for result in [*verdict["predictions"], *verdict["controls"]]:
        assert result["statement"] in said
        assert " ".join(text.effect(result["effect"], *result["interval"])) in said
        for key in ("p_holds", "p_fails"):
            assert text.p_value(result[key]) in said
        if result["hedges_g"] is not None:
            assert text.number(result["hedges_g"], 2) in said
    for regime in verdict["regimes"]:
        tested = f"{text.p_value(regime['adjusted_holds'])} {text.p_value(regime['adjusted_fails'])}"
        assert f"{regime['name']} over regimes {tested}" in re.sub(r" +", " ", said)
    for fact in (
        run_folders.STUDY.claim,
        run_folders.STUDY.regime,
        "preset quick, 10 seeds (0 to 9)",
        "1 min 13 s (2 min 11 s of CPU), 812 MiB at peak, on AMD EPYC 7B13",
        "3101e10f0c0ffee",
        "jax 0.10.2, numpy 2.2.1",
        "python -m experiments run made_up.attack_transfer --preset quick --seeds 10",
        "Four ways to train, four ways to attack.",
        "accuracy_fgsm of fgsm \N{MINUS SIGN} accuracy_pgd of fgsm; predicted above 0.3 (superiority, 10",
        "share of runs with above_0.9 of fgsm; predicted above 0.5 (share, 10 seeds) 9 of 10 runs",
        "accuracy_pgd of standard at 2000; predicted below 0.1 (below, 10 seeds)",
        "accuracy_clean of pgd; predicted above 0.5 (above, 10 seeds)",
        "holds one-step training Trained against FGSM, a network loses",
        "gate multi-step training holds",
        "widths [16, 32]",
    ):
        assert fact in said, fact
    headers = re.findall(r'<th role="columnheader"[^>]*>(.*?)</th>', part)
    assert headers[:3] == ["Regime", "What the claim says there", "Effect and 95% interval"]
    assert headers[3:7] == ["Prediction", "Effect and 95% interval", "Role", "Outcome"]
    assert headers[7:] == ["What must hold", "Effect and 95% interval", "If not", "Outcome"]
    primary = [p for p in verdict["predictions"] if p["role"] == "primary"]
    drawn = len(primary) + len(verdict["predictions"]) + len(verdict["controls"])
    assert part.count('class="plot"') == drawn  # those of the primaries twice
    assert 'media="(prefers-color-scheme: dark)"' in part


def test_a_regime_says_what_came_out_there(gallery):
    folders, html = gallery
    part = article(html, "made_up.base_rates")
    said = re.sub(r"\s+", " ", Page(part).text)
    assert "fails short of the margin one-step training Trained against FGSM" in said
    assert "holds multi-step training Training against PGD loses" in said
    rows = re.findall(r'rowspan="(\d)" data-label="Regime"', part)
    assert rows == ["1", "2"]  # a row for each primary prediction
    # Of what is open, how many seeds would decide and what these would have seen.
    said = Page(article(html, "made_up.sample_efficiency")).text
    (found,) = json.loads((folders["open"] / "verdict.json").read_text())["predictions"]
    assert f"An effect {text.number(found['detectable'])} from the margin would have been seen" in said
    seeds = "seeds would decide it with a chance of 80%"
    assert (seeds in said) == (found["seeds_needed"] is not None)
    tested = f"{found['statement']} primary {text.p_value(found['p_holds'])} {text.p_value(found['p_fails'])}"
    assert tested in said


def test_the_number_of_seeds_that_would_decide_is_said(tmp_path):
    folder = run_folders.write(tmp_path)
    first("outcome", "open")(folder)
    first("seeds_needed", 34)(folder)
    said = Page(article(built(tmp_path), "made_up.attack_transfer")).text
    assert "At this effect and spread 34 seeds would decide it with a chance of 80%." in said


def test_a_gate_that_is_not_shown_leaves_its_regime_not_applicable(tmp_path):
    one, two = run_folders.regimes()
    assert two.gate is not None
    shut = replace(two, gate=replace(two.gate, bound=0.99))
    run_folders.write(tmp_path, study=replace(run_folders.STUDY, regimes=(one, shut)))
    said = Page(article(built(tmp_path), "made_up.attack_transfer")).text
    assert "not applicable multi-step training" in said
    assert "gate multi-step training fails outside of the range" in said
    assert "partly supported" in said


def test_an_answer_of_its_own_or_sentences_made_from_the_regimes(gallery):
    html = gallery[1]

    def verdict(study: str) -> str:
        return Page(article(html, study)).text.split("Enlarge the figure")[0]

    assert "Trained on FGSM, accuracy falls 82 points [80, 84]" in verdict("made_up.attack_transfer")
    assert "answered The curvature is highest after FGSM training." in verdict("made_up.curvature")
    made = "mixed The claim holds in 1 of 2 regimes (multi-step training) and fails in 1 (one-step training)."
    assert made in verdict("made_up.base_rates")
    assert "failed It failed: mnist/train was not found." in Page(article(html, "made_up.no_data")).text
    # A verdict that is none says why, whatever the study answers.
    assert "underpowered Too few seeds: 5" in verdict("made_up.rapid_adaptation")


def test_an_exploratory_run_and_a_caution_are_marked_with_their_reason(gallery):
    html = gallery[1]
    said = Page(article(html, "made_up.transfer")).text
    assert "exploratory Exploratory: its seeds were chosen on the command line." in said
    said = Page(article(html, "made_up.noise")).text
    assert "caution This is not shown to hold: Both learn clean images." in said
    said = Page(article(html, "made_up.attack_transfer")).text
    assert not re.search("exploratory|caution", said)


def test_numbers_by_arm_are_t_intervals_of_the_last_values(gallery):
    folders, html = gallery
    values = table.read(folders["supported"] / "metrics.parquet").final("fgsm", "accuracy_pgd")
    low, high = scipy_stats.t.interval(0.95, 9, values.mean(), scipy_stats.sem(values))
    said = Page(article(html, "made_up.attack_transfer")).text
    assert f"fgsm {values.mean():.3f} [{low:.3f}, {high:.3f}] 10" in said


def test_failures_are_listed_with_arm_seed_and_step(gallery):
    said = Page(article(gallery[1], "made_up.certified_smoothing")).text
    assert "1 training became non-finite" in said
    assert "fgsm 3 1412 loss" in said
    assert "1 of 10 seeds failed" in said
    assert "open one-step training" in said
    assert "9 of 10" in said  # in the numbers by arm


def test_all_controls_are_folded_and_those_that_fail_are_named_outside(tmp_path):
    base = run_folders.controls()[0]
    many = [replace(base, check=replace(base.check, statement=f"Oracle {i} holds.")) for i in range(8)]
    study = replace(run_folders.STUDY, controls=(*many, run_folders.controls()[1]))
    run_folders.write(tmp_path, study=study, results=run_folders.made_up(range(10), shift=0.75))
    part = article(built(tmp_path), "made_up.attack_transfer")
    shown, folded = part.split("All 8 predictions and 9 controls</summary>")
    assert "the black-box attack is no stronger than PGD" in shown
    assert "Oracle 3 holds." not in shown
    assert all(f"Oracle {i} holds." in folded for i in range(8))


def test_flags_name_the_control(gallery):
    said = Page(article(gallery[1], "made_up.linearity")).text
    assert "flagged This does not hold: On the FGSM-trained network the black-box attack" in said
    assert "flagged" not in Page(article(gallery[1], "made_up.rapid_adaptation")).text.split("Regimes")[0]


def test_unfinished_and_damaged_runs_are_listed(gallery):
    html = gallery[1]
    said = Page(article(html, "made_up.deadly_triad")).text
    assert "unfinished Begun 2026-03-01 12:28 UTC and not finished" in said
    for regime in run_folders.regimes():
        for role, prediction in regime.all:
            assert prediction.statement in said
            assert f"{role.capitalize()} in: {regime.name}" in said
    assert (
        "No verdict can be shown: verdict.json is not valid JSON."
        in Page(article(html, "made_up.exploration")).text
    )
    other = Page(article(html, "made_up.attack_transfer")).text.split("Runs without a verdict")[1]
    assert "unfinished" in other


def test_same_folders_give_the_same_bytes_wherever_they_lie(gallery, claims, tmp_path):
    folders, html = gallery
    root = folders["supported"].parent.parent
    assert built(root, claims) == html
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)  # other paths, other times of change
    assert built(copy, claims) == html
    assert str(tmp_path) not in html
    assert report.build(tmp_path / "elsewhere", copy, claims=claims).read_text() == html


def test_a_page_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    run_folders.write(tmp_path)
    before = built(tmp_path)
    run_folders.write(tmp_path, seeds=range(9))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(files.WriteError, match="could not be written"):
        report.build(tmp_path)
    assert (tmp_path / "report" / "index.html").read_text() == before
    assert len(list((tmp_path / "report").iterdir())) == 1


def test_no_runs_and_no_folder(tmp_path):
    parsed = Page(built(tmp_path))
    assert "There are no runs here yet." in parsed.text
    with pytest.raises(check.InputError, match="there is no folder of runs"):
        report.build(tmp_path / "nothing")


def test_study_names_that_collide_as_anchors(tmp_path):
    for name in ("a.b", "a-b", "A_B"):
        run_folders.write(tmp_path, name)
    html = built(tmp_path)
    anchors = re.findall(r'<article id="([^"]+)"', html)
    assert sorted(anchors) == ["study-a-b", "study-a-b-2", "study-a-b-2-2"]
    Page(html)
