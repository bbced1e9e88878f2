"""The pages of results: every claim has a place, with its result or the statement that nothing ran."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import run_folders

from lrn import check
from lrn.report import publish
from lrn.report.publish import Claim
from lrn.study import discover, literals

ROOT = Path(__file__).parent.parent
CLAIMS = publish.read_claims(discover.claims())
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
    Claim("O1", "Observations", "area.second", "The second claim."),
    Claim("Q1", "Open questions", "other.third", "The third?"),
]


@pytest.fixture
def docs(tmp_path):
    run_folders.write(tmp_path / "runs", "area.first")
    run_folders.write(tmp_path / "runs", "area.second", finished=None)
    publish.publish(MADE, tmp_path / "runs", tmp_path / "docs")
    return tmp_path / "docs"


def test_every_claim_has_its_row_and_what_did_not_run_says_so(docs):
    index = (docs / "README.md").read_text()
    rows = {c.id: next(line for line in index.splitlines() if f"[{c.id}]" in line) for c in MADE}
    facts = publish.published(docs)
    assert list(facts) == ["area.first"]
    assert facts["area.first"]["verdict"] in rows["I1"]
    assert "The first claim \\| with a bar." in rows["I1"]
    for other in ("O1", "Q1"):  # a run that began and did not finish, and a study without a run
        assert publish.NOT_RUN in rows[other]
    assert all(line.count(" | ") == rows["Q1"].count(" | ") for line in rows.values())


def test_an_area_shows_answer_regimes_and_figure(docs):
    page = (docs / "area.md").read_text()
    assert "## I1. area.first" in page
    assert "![area.first](figures/area.first.png)" in page
    assert (docs / "figures" / "area.first.png").read_bytes()[:4] == b"\x89PNG"
    second = page.split("## O1. area.second")[1]
    assert second.strip().endswith("Not run.")
    assert (docs / "other.md").read_text().endswith("Not run.\n")
    # Every link of the index leads to a heading.
    for claim in MADE:
        heading = f"{claim.id}. {claim.study}".lower().replace(".", "").replace(" ", "-")
        assert f"{claim.area}.md#{heading})" in (docs / "README.md").read_text()


def test_the_same_runs_give_the_same_pages(docs, tmp_path):
    before = {p: p.read_bytes() for p in docs.rglob("*") if p.is_file()}
    publish.publish(MADE, tmp_path / "runs", docs)
    assert before == {p: p.read_bytes() for p in docs.rglob("*") if p.is_file()}


def test_bad_input(tmp_path):
    with pytest.raises(check.InputError, match="there is no folder of runs"):
        publish.publish(MADE, tmp_path / "none", tmp_path)
    (tmp_path / "claims.json").write_text(json.dumps([{"id": "X"}]))
    with pytest.raises(check.InputError, match="is no list of claims"):
        publish.read_claims(tmp_path / "claims.json")
    (tmp_path / "claims.json").write_text(json.dumps([c._asdict() for c in (MADE[0], MADE[0])]))
    with pytest.raises(check.InputError, match="two claims of one id"):
        publish.read_claims(tmp_path / "claims.json")
    with pytest.raises(check.InputError, match="holds no published results"):
        publish.published(tmp_path)


def test_the_results_are_those_of_the_studies_as_they_are():
    """A page older than its study says so, until the study has run and is published again."""
    if not DOCS.exists():
        pytest.skip("nothing is published yet")
    older = []
    for name, facts in publish.published(DOCS).items():
        code = discover.load(name).hashed().code
        assert code is not None
        if code.sha256 != facts["study_sha256"]:
            older.append(name)
    if older:
        pytest.skip(f"older than their studies: {', '.join(older)}")
