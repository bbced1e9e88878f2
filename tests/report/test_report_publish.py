"""The pages of the results: every claim has a place, and says what came out, or that nothing ran."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import run_folders

from lrn import check
from lrn.report import Claim, publish, published, read_claims
from lrn.report.publish import _controls
from lrn.report.run import Result, Run
from lrn.study import discover, literals, source
from lrn.study.register import REPLICATION

ROOT = Path(__file__).parents[2]
CLAIMS = read_claims(discover.claims())
DOCS = ROOT / "docs" / "results"


def test_there_are_43_claims_and_every_study_decides_its_own():
    sections = [c.section for c in CLAIMS]
    assert [sections.count(s) for s in dict.fromkeys(sections)] == [8, 9, 6, 6, 8, 6]
    by_study = {c.study: c for c in CLAIMS}
    assert len(by_study) == len(CLAIMS) == 43
    for name, path in discover.find().items():
        listed = literals.read(path)
        assert listed is not None
        assert (listed["claim_id"], listed["section"]) == (by_study[name].id, by_study[name].section)


MADE = [
    Claim("I1", "Insights", "area.first", "The first claim | with a bar."),
    Claim("I2", "Insights", "area.open", "The claim that is open."),
    Claim("O1", "Observations", "area.second", "The second claim."),
    Claim("Q1", "Open questions", "rl.explore_exploit", "The third?"),
    Claim("Q2", "Open questions", "other.smoked", "The fourth?"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    answer = "It falls 82 points [80, 84], eps .1. Not much else does."
    run_folders.write(root, "area.first", answer=answer, study_sha256="1" * 64)
    of_open = replace(run_folders.STUDY, regimes=(run_folders.UNDECIDED,))
    run_folders.write(root, "area.open", study=of_open, exploratory="its seeds were seen")
    run_folders.write(root, "area.second", finished=None)
    run_folders.write(root, "other.smoked", preset="smoke", seeds=range(2))
    return root


@pytest.fixture
def docs(tmp_path, runs) -> Path:
    publish.publish(MADE, runs, tmp_path / "docs")
    return tmp_path / "docs"


def rows_of(page: str) -> dict[str, list[str]]:
    """The cells of the tables of claims, by the claim's id."""
    rows = [re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in page.splitlines() if line.startswith("| [")]
    return {re.findall(r"\[(\w+)\]", row[0])[0]: row for row in rows}


def test_every_claim_has_its_row_with_a_verdict_and_one_sentence(docs):
    rows = rows_of((docs / "README.md").read_text())
    assert list(rows) == [claim.id for claim in MADE]
    assert rows["I1"][1:] == [
        "The first claim \\| with a bar.",
        "supported",
        "It falls 82 points [80, 84], eps .1.",
    ]
    assert rows["I2"][2:] == ["open (exploratory)", "The claim is open."]
    for other in ("O1", "Q1", "Q2"):  # begun and not finished, never begun, and a mere smoke run
        assert rows[other][2:] == ["not run", ""]


def test_counts_go_between_the_marks_of_the_readme(runs, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("\n".join(["# Mine", publish.MARKS[0], "old", publish.MARKS[1], "The end."]))
    publish.publish(MADE, runs, tmp_path / "docs", readme)
    first, again = readme.read_text(), publish.publish(MADE, runs, tmp_path / "docs", readme)
    assert readme in again
    assert first == readme.read_text()
    assert first.startswith("# Mine\n")
    assert first.endswith("\nThe end.")
    assert "old" not in first
    assert "| Insights |" in first
    assert "[docs](docs/README.md)" in first
    readme.write_text("# Mine")
    with pytest.raises(check.InputError, match="lacks the lines"):
        publish.publish(MADE, runs, tmp_path / "docs", readme)


def test_what_has_no_run_here_stays_published_unless_dropped(docs, tmp_path):
    before = {name: (docs / name).read_text() for name in ("README.md", "area.md", "index.json")}
    (tmp_path / "none").mkdir()
    publish.publish(MADE, tmp_path / "none", docs)
    assert {name: (docs / name).read_text() for name in before} == before
    run_folders.write(tmp_path / "few", "area.open", study_sha256="1" * 64, answer="A new answer.")
    publish.publish(MADE, tmp_path / "few", docs)
    assert rows_of((docs / "README.md").read_text())["I1"][2] == "supported"
    assert "A new answer." in (docs / "area.md").read_text()
    publish.publish(MADE, tmp_path / "few", docs, drop=True)
    assert rows_of((docs / "README.md").read_text())["I1"][2] == "not run"


def test_the_index_names_a_page_on_the_method_where_there_is_one(runs, tmp_path):
    publish.publish(MADE, runs, tmp_path)
    assert "method.md" not in (tmp_path / "README.md").read_text()
    (tmp_path / "method.md").write_text("How verdicts are reached.")
    publish.publish(MADE, runs, tmp_path)
    assert "[method.md](method.md)" in (tmp_path / "README.md").read_text()


def test_published_facts_of_an_older_form_are_refused(docs, tmp_path):
    facts = json.loads((docs / "index.json").read_text())
    del facts["area.first"]["page"]
    (docs / "index.json").write_text(json.dumps(facts))
    (tmp_path / "none").mkdir()
    with pytest.raises(check.InputError, match=r"lacks page of area\.first; run the study again"):
        publish.publish(MADE, tmp_path / "none", docs)


def second_run(root, shift, sha256="1" * 64):
    seeds, results = range(20, 30), run_folders.made_up(range(20, 30), shift=shift)
    run_folders.write(root, "area.first", seeds=seeds, results=results, study_sha256=sha256,
                      exploratory=REPLICATION)  # fmt: skip


@pytest.mark.parametrize(
    ("shift", "verdict", "told"),
    [(0.0, "supported", "All regimes came out alike."), (0.75, "mixed", "came out otherwise: read")],
)
def test_second_seeds_stand_beside_the_first(shift, verdict, told, tmp_path):
    run_folders.write(tmp_path, "area.first", results=run_folders.made_up(range(10), shift=0.0),
                      study_sha256="1" * 64)  # fmt: skip
    second_run(tmp_path, shift)
    docs = tmp_path / "docs"
    publish.publish(MADE, tmp_path, docs)
    page, index = (docs / "area.md").read_text(), (docs / "README.md").read_text()
    assert page.index("**supported.**") < page.index(f"the verdict is *{verdict}*")
    assert told in page
    assert ("all regimes agree" in index) == (shift == 0)
    (tmp_path / "none").mkdir()
    publish.publish(MADE, tmp_path / "none", docs)  # the facts keep the second run
    assert (docs / "area.md").read_text() == page


def test_second_seeds_of_other_code_or_without_first_ones_are_not_published(tmp_path):
    second_run(tmp_path, 0.0)
    publish.publish(MADE, tmp_path, tmp_path / "docs")
    assert rows_of((tmp_path / "docs" / "README.md").read_text())["I1"][2] == "not run"
    run_folders.write(tmp_path, "area.first", study_sha256="2" * 64)
    publish.publish(MADE, tmp_path, tmp_path / "docs")
    assert "second set" not in (tmp_path / "docs" / "area.md").read_text()


def test_a_smaller_registered_run_is_told_too(tmp_path):
    run_folders.write(tmp_path, "area.first", preset="full", answer="Much falls.", study_sha256="1" * 64)
    run_folders.write(tmp_path, "area.first", preset="quick", answer="Little falls.", study_sha256="1" * 64)
    publish.publish(MADE, tmp_path, tmp_path / "docs")
    page = (tmp_path / "docs" / "area.md").read_text()
    assert page.index("**supported.** Much falls.") < page.index("**supported.** Little falls.")
    assert "In a smaller setting (preset quick," in page


def test_counts_by_section_and_facts_of_each_run(docs):
    page = (docs / "README.md").read_text()
    counts, rest = page.split("## Insights")
    assert counts.strip().endswith(
        "| section | supported | open | not run |\n|---|---|---|---|\n| Insights | 1 | 1 |  |\n"
        "| Observations |  |  | 1 |\n| Open questions |  |  | 2 |\n| all | 1 | 1 | 3 |"
    )
    facts = rest.split("## Runs")[1]
    assert (
        "| I1 | [area.first](area.md#i1-areafirst) | quick | 10 | 1 min 13 s | 3101e10f0c0f | registered |"
        in facts
    )
    assert (
        "| I2 | [area.open](area.md#i2-areaopen) | quick | 10 | 1 min 13 s | 3101e10f0c0f | exploratory |"
        in facts
    )
    assert list(published.published(docs)) == ["area.first", "area.open"]
    assert published.published(docs)["area.first"]["study_sha256"] == "1" * 64


def test_an_area_shows_answer_regimes_and_figure(docs):
    page = (docs / "area.md").read_text()
    first = page.split("## I1. area.first")[1].split("\n## ")[0]
    places = [
        first.index(said)
        for said in (
            "**supported.** It falls 82 points",
            "figures/area.first-dark.png",
            "| one-step training: holds |",
            "All 2 controls hold.",
            "| quick | 10 | 1 min 13 s |",
            "`python -m experiments run area.first",
        )
    ]
    assert places == sorted(places)
    for theme in ("", "-dark"):
        assert (docs / "figures" / f"area.first{theme}.png").read_bytes()[:4] == b"\x89PNG"
    assert page.split("## O1. area.second")[1].strip() == (
        "*The second claim.*\n\nNot run. There is no study of this claim yet."
    )
    assert (
        "Not run. This runs it: `python -m experiments run rl.explore_exploit`"
        in (docs / "rl.md").read_text()
    )
    for claim in MADE:  # every link of the index leads to a heading
        heading = f"{claim.id}. {claim.study}".lower().replace(".", "").replace(" ", "-")
        assert f"{claim.area}.md#{heading})" in (docs / "README.md").read_text()
        assert f"## {claim.id}. {claim.study}\n" in (docs / f"{claim.area}.md").read_text()


def test_controls_that_do_not_hold_are_listed(tmp_path):
    held, flag, guard = (
        Result(f"Control\n{i}.", "above", "", "", "", None, consequence, outcome=outcome)
        for i, (consequence, outcome) in enumerate(
            (("flag", "holds"), ("flag", "fails"), ("invalid", "open"))
        )
    )
    said = _controls(Run(folder=tmp_path, study="area.first", controls=[held, flag, guard]))
    assert said[0] == "<details><summary>Of 3 controls, 2 do not hold</summary>"
    assert said[2:4] == ["- flag, fails: Control 1.", "- guard, open: Control 2."]
    assert _controls(Run(folder=tmp_path, study="area.first")) == []


def test_the_same_runs_give_the_same_pages(docs, runs):
    before = {p: p.read_bytes() for p in docs.rglob("*") if p.is_file()}
    publish.publish(MADE, runs, docs)
    assert before == {p: p.read_bytes() for p in docs.rglob("*") if p.is_file()}


def test_bad_input(tmp_path):
    with pytest.raises(check.InputError, match="there is no folder of runs"):
        publish.publish(MADE, tmp_path / "none", tmp_path)
    (tmp_path / "claims.json").write_text(json.dumps([{"id": "X"}]))
    with pytest.raises(check.InputError, match="is no list of claims"):
        read_claims(tmp_path / "claims.json")
    (tmp_path / "claims.json").write_text(json.dumps([c._asdict() for c in (MADE[0], MADE[0])]))
    with pytest.raises(check.InputError, match="two claims of one id"):
        read_claims(tmp_path / "claims.json")
    (tmp_path / "claims.json").write_text(
        json.dumps([c._asdict() for c in (MADE[0], MADE[0]._replace(id="I9"))])
    )
    with pytest.raises(check.InputError, match="two claims of one study"):
        read_claims(tmp_path / "claims.json")
    with pytest.raises(check.InputError, match="holds no published results"):
        published.published(tmp_path)


def test_a_result_is_old_when_what_trains_changed_and_not_when_the_figure_did(tmp_path):
    study = tmp_path / "first.py"
    text = "def run(c, x):\n    pass\n\n\ndef figure(t, c):\n    return 1\n\n\n"
    text += 'STUDY = Study(run=run, figure=figure, title="A title")\n'
    study.write_text(text)
    run_folders.write(tmp_path / "runs", "area.first", study_sha256=source.read(study).sha256)
    publish.publish(MADE, tmp_path / "runs", tmp_path / "docs")
    studies = {"area.first": study}
    assert published.outdated(tmp_path / "docs", studies) == []
    study.write_text(text.replace("return 1", "return 2").replace("A title", "Another title"))
    assert published.outdated(tmp_path / "docs", studies) == []
    study.write_text(text.replace("pass", "return"))
    (said,) = published.outdated(tmp_path / "docs", studies)
    assert "area.first was changed after its published run; run it again (python -m experiments run" in said
    assert "--preset quick), then python -m experiments publish" in said
    (said,) = published.outdated(tmp_path / "docs", {})
    assert "area.first is gone" in said


def test_the_published_results_are_those_of_the_studies_as_they_are():
    old = published.outdated(DOCS, discover.find())
    assert not old, "docs/results is older than its studies: " + " ".join(old)
