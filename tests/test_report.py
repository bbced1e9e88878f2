"""The report and the comparison, from run folders that are whole, hostile, unfinished or damaged."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
import shutil
import struct
import typing
import zlib
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import run_folders
from rich.console import Console
from scipy import stats as scipy_stats

from lrn import check, cli, files, report, table
from lrn.report import page, runs, text
from lrn.report.plot import WIDTH, interval_plot
from lrn.report.runs import last_values
from lrn.study import Above, Cell, Regime, Superiority, seal, source
from lrn.study.source import study_sha256
from lrn.study.verdict import Verdict

VOID = {"meta", "link", "img", "br", "hr", "col", "source", "input"}
VERDICTS = typing.get_args(Verdict)


class Page(HTMLParser):
    """A strict reading of the page: every element closed in order; text and attributes kept."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.headings: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"<{tag}> repeats an attribute"
        self.elements.append((tag, dict(attrs)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
        if tag in ("td", "th", "dt", "dd", "li", "p", "span"):
            self.words.append(" ")

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def article(html: str, study: str) -> str:
    """The part of the page about one study."""
    slug = "study-" + re.sub(r"[^a-z0-9]+", "-", study.lower())
    return re.search(rf'<article id="{slug}".*?</article>', html, re.DOTALL)[0]  # pyright: ignore


def built(root: Path) -> str:
    return report.build(root).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def gallery(tmp_path_factory) -> tuple[dict[str, Path], str]:
    root = tmp_path_factory.mktemp("gallery")
    folders = run_folders.write_gallery(root)
    return folders, built(root)


# The page


def test_is_one_well_formed_page_that_loads_nothing(gallery):
    html = gallery[1]
    parsed = Page(html)
    for tag, attributes in parsed.elements:
        for name, value in attributes.items():
            if name in ("src", "srcset", "href", "data", "action", "poster", "background"):
                assert re.match(r"#|data:(image/png;base64,[A-Za-z0-9+/]+=*$|,$)", value or ""), (
                    tag,
                    name,
                    value,
                )
            assert not name.startswith("on"), (tag, name)
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in parsed.elements}
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)[1]  # pyright: ignore
    assert "url(" not in style
    assert "@import" not in style
    assert "http:" not in html
    assert "https:" not in html
    policy = next(m for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in (policy["content"] or "")


def test_anchors_resolve_and_ids_are_unique(gallery):
    parsed = Page(gallery[1])
    ids = Counter(a["id"] for _, a in parsed.elements if "id" in a)
    assert max(ids.values()) == 1
    pointed = {a["href"] for tag in ("a", "use") for a in parsed.all(tag)}
    pointed |= {f"#{a[k]}" for _, a in parsed.elements for k in ("aria-labeledby",) if k in a}
    assert {p.removeprefix("#") for p in pointed if p} <= set(ids)


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
    # In the table of claims too.
    assert re.search(
        rf'<a href="#study-[a-z-]+">[^<]*{re.escape(run.title)}.*?{re.escape(badge)}', html, re.DOTALL
    )


def test_sections_and_claims_stand_in_the_order_of_the_notes(gallery):
    parsed = Page(gallery[1])
    order = ["Concepts", "Insights", "Failure modes", "Trade-offs", "Observations", "Open questions"]
    places = [parsed.text.index(f" {name} ") for name in order]
    assert places == sorted(places)
    ids = re.findall(r'data-label="Notes" class="id"><div>(\w+)', gallery[1])
    assert " ".join(ids) == "C1 C7 C8 I2 I3 I5 I6 I8 I9 F1 F2 T2 T3 T4 T5 O3 O6 Q6 Q7"


def test_a_study_tells_all_there_is_to_tell(gallery):
    folders, html = gallery
    part = article(html, "made_up.attack_transfer")
    said = Page(part).text
    verdict = json.loads((folders["supported"] / "verdict.json").read_text())
    assert said.index(verdict["answer"]) < said.index(verdict["reason"]) < said.index("Regimes")
    assert (
        part.index('class="answer"')
        < part.index("<figure")
        < part.index('class="regimes')
        < part.index("Gates")
    )
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
    assert part.count('class="plot"') == len(verdict["predictions"]) + len(verdict["controls"])
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


def test_the_list_shows_the_answer_or_the_reason(gallery):
    rows = Page(re.search('<section id="claims".*?</section>', gallery[1], re.DOTALL)[0]).text  # pyright: ignore
    assert "Trained on FGSM, accuracy falls 82 points [80, 84] from FGSM to PGD." in rows
    assert "answered The curvature is highest after FGSM training." in rows
    assert "flagged The claim holds (multi-step training) and fails (one-step training)." in rows
    assert "failed mnist/train was not found." in rows


def test_an_exploratory_run_and_a_caution_are_marked_with_their_reason(gallery):
    html = gallery[1]
    said = Page(article(html, "made_up.transfer")).text
    assert "exploratory Exploratory: its seeds were chosen on the command line." in said
    said = Page(article(html, "made_up.noise")).text
    assert "caution This is not shown to hold: Both learn clean images." in said
    said = Page(article(html, "made_up.attack_transfer")).text
    assert not re.search("exploratory|caution", said)


def test_a_registered_run_stands_before_an_exploratory_one(tmp_path):
    run_folders.write(tmp_path, preset="full", exploratory="its seeds were chosen")
    assert ranked(tmp_path).preset == "full"
    run_folders.write(tmp_path, preset="quick")
    assert ranked(tmp_path).preset == "quick"


def test_a_run_of_before_there_were_regimes_is_shown_and_not_judged_again(gallery):
    folders, html = gallery
    run = report.load(folders["old"])
    assert (run.state, run.verdict, run.sealed, run.damage, run.differs) == ("finished", "open", True, [], [])
    assert (run.exploratory, run.regimes) == (runs.OLD, [])
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


def test_many_controls_that_hold_are_folded_and_the_others_are_not(tmp_path):
    base = run_folders.controls()[0]
    many = [replace(base, check=replace(base.check, statement=f"Oracle {i} holds.")) for i in range(8)]
    study = replace(run_folders.STUDY, controls=(*many, run_folders.controls()[1]))
    run_folders.write(tmp_path, study=study, results=run_folders.made_up(range(10), shift=0.75))
    part = article(built(tmp_path), "made_up.attack_transfer")
    shown, folded = part.split("8 controls that held</summary>")
    assert "the black-box attack is no stronger than PGD" in shown.split("Controls</h4>")[1]
    assert "Oracle 3 holds." not in shown
    assert all(f"Oracle {i} holds." in folded for i in range(8))


def test_flags_name_the_control(gallery):
    said = Page(article(gallery[1], "made_up.linearity")).text
    assert "flagged This does not hold: On the FGSM-trained network the black-box attack" in said
    assert "flagged" not in Page(article(gallery[1], "made_up.rapid_adaptation")).text.split("Controls")[0]


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


def test_same_folders_give_the_same_bytes_wherever_they_lie(gallery, tmp_path):
    folders, html = gallery
    root = folders["supported"].parent.parent
    assert built(root) == html
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)  # other paths, other times of change
    assert built(copy) == html
    assert str(tmp_path) not in html
    assert report.build(tmp_path / "elsewhere", copy).read_text() == html


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


# Text from outside

HOSTILE = (
    "<script>alert(1)</script></style><img src=x onerror=alert(2)> \" onmouseover='x' "
    "{{ 7*7 }} {% raw %} &lt; \u202e \ud800"
)


def test_hostile_text_is_text(tmp_path):
    folder = run_folders.write(tmp_path)
    config, verdict, provenance = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("config", "verdict", "provenance")
    )
    for key in ("title", "claim", "claim_id", "section", "regime", "doc", "command"):
        config[key] = HOSTILE
    config["config"] = {HOSTILE: HOSTILE}
    verdict["reason"] = verdict["answer"] = verdict["exploratory"] = HOSTILE
    verdict["regimes"][0] |= {"name": HOSTILE, "outcome": HOSTILE, "how": [HOSTILE]}
    config["regimes"][0] |= {"name": HOSTILE}
    for result in [*verdict["predictions"], *verdict["controls"]]:
        result |= {
            "statement": HOSTILE,
            "regime": HOSTILE,
            "role": HOSTILE,
            "how": HOSTILE,
            "metric": HOSTILE,
            "detail": HOSTILE,
            "kind": HOSTILE,
        }
    verdict["failures"] = [{"arm": HOSTILE, "seed": HOSTILE, "step": 3, "metric": HOSTILE}]
    provenance |= dict.fromkeys(provenance, HOSTILE) | {"packages": {HOSTILE: HOSTILE}}
    for name, value in (("config", config), ("verdict", verdict), ("provenance", provenance)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    named = "<b onclick=x>"
    table.concat(
        [run_folders.made_up(range(10)), table.rows(named, np.arange(10), 0, named, np.arange(10.0))]
    ).write(folder / "metrics.parquet")
    run_folders.reseal(folder)  # who is hostile can compute seals
    html = built(tmp_path)
    parsed = Page(html)
    assert {tag for tag, _ in parsed.elements} & {"script", "b"} == set()
    assert all(image["src"].startswith("data:image/png") for image in parsed.all("img") if image["src"])
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    assert "<script>alert(1)</script></style>" in parsed.text
    assert "{{ 7*7 }} {% raw %} &lt;" in parsed.text
    assert named in parsed.text


@pytest.mark.parametrize(
    "odd", [None, True, -3, 10**400, "", [[1]], {"a": [None]}], ids=lambda v: repr(v)[:12]
)
def test_values_of_odd_types_are_shown_or_named_but_break_nothing(tmp_path, odd):
    folder = run_folders.write(tmp_path)
    for slow in ("metrics.parquet", "figure.png", "figure-dark.png"):
        (folder / slow).unlink()
    for name in ("config.json", "verdict.json", "provenance.json"):
        whole = (folder / name).read_text()
        for key in json.loads(whole):
            put(name, key, odd)(folder)
            Page(page.render([report.load(folder)]))
            (folder / name).write_text(whole)
    path = folder / "verdict.json"
    whole = path.read_text()
    for list_of, keys in json.loads(whole).items():
        for key in keys[0] if list_of in ("regimes", "predictions", "controls") else ():
            edit(path.name, lambda v, of=list_of, k=key: v[of][0].update({k: odd}))(folder)
            Page(page.render([report.load(folder)]))
            path.write_text(whole)
    path = folder / "config.json"
    whole = path.read_text()
    for key in json.loads(whole)["regimes"][1]:
        edit(path.name, lambda v, k=key: v["regimes"][1].update({k: odd}))(folder)
        Page(page.render([report.load(folder)]))
        path.write_text(whole)
    run_folders.age(run_folders.write(tmp_path / "old"), "mixed", "It was so.")
    (folder,) = report.find(tmp_path / "old")
    path = folder / "verdict.json"
    whole = path.read_text()
    for key in json.loads(whole)["predictions"][0]:
        first(key, odd)(folder)
        Page(page.render([report.load(folder)]))
        path.write_text(whole)


def test_study_names_that_collide_as_anchors(tmp_path):
    for name in ("a.b", "a-b", "A_B"):
        run_folders.write(tmp_path, name)
    html = built(tmp_path)
    anchors = re.findall(r'<article id="([^"]+)"', html)
    assert sorted(anchors) == ["study-a-b", "study-a-b-2", "study-a-b-2-2"]
    Page(html)


# Which run counts


def ranked(tmp_path) -> report.Run:
    (entry,) = page.in_order(report.load(f) for f in report.find(tmp_path))
    return entry.run


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


# Damage


def edit(name: str, change):
    """A change of the JSON object in a file."""

    def damage(folder: Path) -> None:
        path = folder / name
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return damage


def put(name: str, key: str, value):
    return edit(name, lambda v: v.update({key: value}))


def first(key: str, value):
    return edit("verdict.json", lambda v: v["predictions"][0].update({key: value}))


def overwrite(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def truncate(name: str):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-20])


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def other_columns(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({c: [1.5] for c in table.COLUMNS}), folder / "metrics.parquet")


MARGIN = edit("config.json", lambda v: v["regimes"][0]["primary"][0]["params"].update(margin=0.01))
DAMAGE = {
    "no config": (remove("config.json"), "config.json is missing"),
    "half a config": (truncate("config.json"), "config.json is not valid JSON"),
    "a config that is a list": (overwrite("config.json", b"[]"), "config.json is not a JSON object"),
    "a config of bytes": (overwrite("config.json", b"\xff\xfe\x00"), "config.json is not valid JSON"),
    "a config without claim": (put("config.json", "claim", None), "config.json: claim is missing"),
    "a title that is a number": (put("config.json", "title", 3), "config.json: title is not text"),
    "seeds of text": (
        put("config.json", "seeds", ["a"]),
        "config.json: seeds is not a list of whole numbers",
    ),
    "a margin moved after the run": (MARGIN, "the predictions are not those that were hashed"),
    "a prediction dropped": (
        edit("verdict.json", lambda v: v["predictions"].pop()),
        "the predictions of verdict.json are not those of config.json",
    ),
    "a margin moved in the verdict": (
        edit("verdict.json", lambda v: v["predictions"][0]["params"].update(margin=0.01)),
        "the predictions of verdict.json are not those of config.json",
    ),
    "a primary made secondary": (
        first("role", "secondary"),
        "the predictions of verdict.json are not those of config.json",
    ),
    "regimes of text": (put("config.json", "regimes", "x"), "regimes is not a list of objects"),
    "a regime without primaries": (
        edit("config.json", lambda v: v["regimes"][0].pop("primary")),
        "regime 1: primary is not a list of objects",
    ),
    "an unknown outcome of a regime": (
        edit("verdict.json", lambda v: v["regimes"][0].update(outcome="yes")),
        "regime 1: outcome is 'yes'",
    ),
    "an unknown role": (first("role", "main"), "prediction 1: role is 'main'"),
    "an unknown way to fail": (first("how", "badly"), "prediction 1: how is 'badly'"),
    "an unknown judge": (put("verdict.json", "judge", 3), "verdict.json: judge is not 2, the only one"),
    "no provenance": (remove("provenance.json"), "provenance.json is missing"),
    "half a provenance": (truncate("provenance.json"), "provenance.json is not valid JSON"),
    "an empty verdict": (overwrite("verdict.json", b""), "verdict.json is not valid JSON"),
    "a verdict nested deep": (overwrite("verdict.json", b"[" * 100_000), "verdict.json is not valid JSON"),
    "a verdict nested": (put("verdict.json", "x", json.loads("[" * 90 + "]" * 90)), "of reasonable depth"),
    "no verdict in it": (put("verdict.json", "verdict", None), "verdict.json: verdict is missing"),
    "an unknown verdict": (put("verdict.json", "verdict", "proven"), "verdict.json: verdict is 'proven'"),
    "predictions of text": (put("verdict.json", "predictions", "x"), "predictions is not a list of objects"),
    "an effect of NaN": (first("effect", math.nan), "verdict.json holds NaN, which is no number"),
    "an effect of null": (
        first("effect", None),
        "prediction 1: outcome is 'holds', but effect or interval",
    ),
    "an interval of null": (
        first("interval", [None, None]),
        "prediction 1: outcome is 'holds', but effect",
    ),
    "an effect of text": (first("effect", "big"), "prediction 1: effect is not a finite number"),
    "an effect too large": (first("effect", 10**400), "prediction 1: effect is not a finite number"),
    "half an interval": (first("interval", [0.1]), "prediction 1: interval is not a pair of numbers"),
    "an interval swapped": (first("interval", [2, 1]), "prediction 1: interval has its ends swapped"),
    "an unknown outcome": (first("outcome", "yes"), "prediction 1: outcome is 'yes'"),
    "no metrics": (remove("metrics.parquet"), "metrics.parquet is missing"),
    "half the metrics": (truncate("metrics.parquet"), "metrics.parquet cannot be read"),
    "metrics of text": (overwrite("metrics.parquet", b"PAR1 nothing PAR1"), "metrics.parquet cannot be read"),
    "metrics of other types": (other_columns, "metrics.parquet cannot be read"),
    "metrics of other seeds": (
        lambda folder: run_folders.made_up(range(5)).write(folder / "metrics.parquet"),
        "metrics.parquet has 5 seeds that are not the 10",
    ),
    "no figure": (remove("figure.png"), "figure.png is missing"),
    "half a figure": (truncate("figure.png"), "figure.png is not a whole PNG"),
    "a figure that is text": (overwrite("figure.png", b"<svg onload=x>"), "figure.png is not a whole PNG"),
    "half a dark figure": (truncate("figure-dark.png"), "figure-dark.png is not a whole PNG"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named_and_hides_nothing_else(case, tmp_path):
    damage, sentence = DAMAGE[case]
    run_folders.write(tmp_path, "another.study")
    damage(run_folders.write(tmp_path))
    html = built(tmp_path)
    said = Page(html).text
    assert "damaged" in article(html, "made_up.attack_transfer")
    assert sentence in said
    part = Page(article(html, "made_up.attack_transfer")).text.replace(sentence, "")
    assert not re.search(r"\b(nan|inf|null|None)\b", part)
    whole = Page(article(html, "another.study")).text
    assert "The claim holds in every regime." in whole
    assert "damaged" not in whole


def test_numbers_that_do_not_apply_are_no_damage(tmp_path):
    folder = run_folders.write(tmp_path, seeds=range(1))
    assert report.load(folder).damage == []
    assert "null" not in Page(article(built(tmp_path), "made_up.attack_transfer")).text


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def test_pictures_that_are_no_plain_png_are_refused(tmp_path):
    import PIL.Image

    folder = run_folders.write(tmp_path)
    whole = (folder / "figure.png").read_bytes()
    jpeg, gif = io.BytesIO(), io.BytesIO()
    small = PIL.Image.new("RGB", (4, 4))
    small.save(jpeg, "JPEG")
    small.save(gif, "GIF")
    head = b"\x89PNG\r\n\x1a\n"
    huge = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    large = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0))
    rest = chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 2**24))
    cases = {
        "a jpeg": jpeg.getvalue(),
        "a gif": gif.getvalue(),
        "no picture in it": head + chunk(b"IEND", b""),
        "of 900 million pixels": head + huge + rest,
        "of 100 million pixels": head + large + rest,
        "a text that unpacks to 16 MB": whole[:33] + bomb + whole[33:],
        "a script after its end": whole + b"<script>alert(1)</script>",
        "a broken end": whole[:-1] + b"x",
    }
    for case, content in cases.items():
        (folder / "figure.png").write_bytes(content)
        run = report.load(folder)
        assert run.figure is None, case
        assert run.damage == ["figure.png is not a whole PNG image"], case


def test_any_flipped_bit_of_a_figure_is_found(tmp_path):
    folder = run_folders.write(tmp_path)
    path = folder / "figure.png"
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        content = bytearray(whole)
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        assert report.load(folder).damage == ["figure.png is not a whole PNG image"]


def test_no_bytes_break_the_page(tmp_path):
    folder = run_folders.write(tmp_path)
    whole = {p: p.read_bytes() for p in folder.iterdir()}
    rng = np.random.default_rng(0)
    for _ in range(60):
        for path, content in whole.items():
            changed = bytearray(content)
            for _ in range(int(rng.integers(0, 4))):
                changed[rng.integers(len(changed))] = rng.integers(256)
            path.write_bytes(changed[: rng.integers(len(changed))] if rng.random() < 0.1 else changed)
        Page(page.render([report.load(folder)]))


# Seals


def run_of(root: Path) -> report.Run:
    (folder,) = report.find(root)
    return report.load(folder)


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
    assert "supported The claim holds in every regime. unsealed Made before runs were sealed" in part


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
        runs._judge_again(found, config, verdict)
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
    found = table.concat(runs._at_steps(folder / "metrics.parquet", {tuple(cell)}))  # pyright: ignore[reportArgumentType]
    rows = table.read(folder / "metrics.parquet")
    for x, y in zip(found.by_seed(*cell), rows.by_seed(*cell)):  # pyright: ignore[reportArgumentType]
        np.testing.assert_array_equal(x, y)
    assert len(found.seed) == 10
    monkeypatch.setattr(runs, "SEEDS", 9)
    with pytest.raises(ValueError, match="more rows at a step than seeds"):
        table.concat(runs._at_steps(folder / "metrics.parquet", {tuple(cell)}))  # pyright: ignore[reportArgumentType]


def test_an_open_end_is_shown_as_one():
    for params in ({"low": 0.5, "high": "inf"}, {"low": 0.5, "high": None}):
        assert runs._region("interval", runs._Fields(params, "", [])) == (0.5, math.inf)


def test_a_failed_run_and_a_lost_verdict(gallery, tmp_path):
    folders, html = gallery
    run = report.load(folders["error"])
    assert (run.state, run.failed, run.damage) == ("failed", "mnist/train was not found.", [])
    part = Page(article(html, "made_up.no_data")).text
    assert "failed It failed: mnist/train was not found. The command below goes on with it." in part
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


# Studies that share a file's name


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
    heads = re.findall(r"<code>([^<]*toy.py)</code></p>", html)
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


# Folders of no reasonable size


def of_size(folder: Path, **columns) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({name: columns[name] for name in table.COLUMNS}), folder / "metrics.parquet")


def test_what_is_too_large_is_one_sentence(tmp_path, monkeypatch):
    import pyarrow as pa

    folder = run_folders.write(tmp_path)
    n = 30_000

    def same(value, kind) -> pa.Array:
        return pa.DictionaryArray.from_arrays(
            np.zeros(n, np.int32), pa.array([value], kind)
        ).dictionary_decode()

    arm, metric = same("a", pa.string()), same("m", pa.string())
    zeros, value = np.zeros(n, np.int64), np.zeros(n)
    plain = dict(arm=arm, seed=zeros, step=zeros, metric=metric, value=value)
    many = [f"arm{i}" for i in range(n)]
    cases = {
        "has more than 5,000 pairs of arm and metric|30,000 arms or metrics": plain | {"arm": many},
        "whose name has more than 1,000 characters": plain | {"metric": same("m" * 2000, pa.string())},
    }
    for sentence, columns in cases.items():
        of_size(folder, **columns)
        assert re.search(sentence, "; ".join(report.load(folder).damage))
        assert re.search(sentence, built(tmp_path))
    of_size(folder, **plain)
    for limit, least, sentence in (
        ("ROWS", n - 1, "has 30,000 rows, and 29,999 are the most that are read"),
        ("TEXT_BYTES", 10, "unpacks to .* bytes, and 10 are the most"),
        ("NUMBER_BYTES", 100, "unpacks to .* bytes, and 100 are the most"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(runs, limit, least)
            patch.setattr(
                "pyarrow.parquet.ParquetFile.iter_batches", lambda *_, **__: pytest.fail("it was read")
            )
            assert re.search(sentence, "; ".join(report.load(folder).damage))
    with open(folder / "verdict.json", "r+b") as file:
        file.truncate(268_000_000)
    with open(folder / "figure.png", "r+b") as file:
        file.truncate(268_000_000)
    damage = "; ".join(report.load(folder).damage)
    for name in ("verdict.json", "figure.png"):
        assert f"{name} has 268,000,000 bytes, and" in damage


def test_long_texts_and_lists_are_cut_and_that_is_said(tmp_path):
    folder = run_folders.write(tmp_path)
    edit("config.json", lambda v: v.update(doc="x" * 200_000))(folder)
    edit("config.json", lambda v: v["regimes"][0].update(secondary=v["regimes"][0]["secondary"] * 2000))(
        folder
    )
    put("verdict.json", "failures", [{"arm": "a", "seed": i, "step": 1, "metric": "m"} for i in range(5000)])(
        folder
    )
    run_folders.reseal(folder)
    run = report.load(folder)
    assert len(run.doc) == 100_000
    assert len(run.failures) == 1000
    assert "config.json: regime 1: secondary has 4,000 entries, and the first 1,000 are shown" in run.damage
    assert "config.json: doc has 200,000 characters, and the first 100,000 are shown" in run.damage
    assert "verdict.json: failures has 5,000 entries, and the first 1,000 are shown" in run.damage


def test_batches_of_rows_give_what_all_rows_give(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    n = 3000
    rows = table.Table(
        rng.choice(["a", "b", "c"], n).astype(object), rng.integers(0, 5, n), rng.integers(0, 9, n),
        rng.choice(["m", "n"], n).astype(object), rng.random(n),
    )  # fmt: skip
    rows.write(tmp_path / "t.parquet")
    whole = last_values(rows)
    real = runs._batches

    def small(path: Path):
        for batch in real(path):
            for start in range(0, n, 700):
                yield runs._Batch(*batch[:2], *(c[start : start + 700] for c in batch[2:]))

    found = runs._last(small(tmp_path / "t.parquet"))
    assert list(found) == list(whole)
    for cell, final in found.items():
        np.testing.assert_array_equal(final.seeds, whole[cell].seeds)
        np.testing.assert_array_equal(final.values, whole[cell].values)
        np.testing.assert_array_equal(final.values, rows.final(*cell))


# Pieces

TIMES, MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"


def test_last_values_are_those_that_predictions_are_judged_by():
    rng = np.random.default_rng(0)
    rows = table.concat(
        [
            table.rows(
                f"arm{rng.integers(3)}", rng.integers(4), rng.integers(5), f"m{rng.integers(2)}", rng.random()
            )
            for _ in range(300)
        ]
    )
    finals = last_values(rows)
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
    few = runs._Fields({"bound": 0.5, "side": "below"}, "", [])
    assert runs._region("share", few) == (-inf, 0.5)
    assert report.load(gallery[0]["supported"]).controls[0].region == (-0.001, 0.001)


def test_a_number_may_be_a_side_of_a_comparison():
    better = Superiority(statement="s.", better=Cell("a", "m", 3), worse=0.25, margin=0.1)
    spec = better.spec()
    assert runs._compared(spec["kind"], spec["params"], spec) == f"m of a at 3 {MINUS} 0.25"
    assert runs._region(spec["kind"], runs._Fields(spec["params"], "", [])) == (0.1, math.inf)


# Two runs


@pytest.fixture
def two(tmp_path) -> tuple[Path, Path]:
    a = run_folders.write(tmp_path, results=run_folders.made_up(range(10), random=1))
    b = run_folders.write(
        tmp_path,
        results=run_folders.made_up(range(10), shift=0.75, random=2),
        config=run_folders.Config(eps=0.2),
    )
    return a, b


def printed(comparison, width: int = 120) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(comparison)
    return out.getvalue()


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


# From the command line


def test_run_report_and_compare(tmp_path, capsys):
    study = tmp_path / "mine.py"
    shutil.copy(Path(__file__).parent / "studies.py", study)
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
