"""How long studies will take: by earlier runs of the same folder, else by the published ones."""

import json

import pytest

from lrn.cli import estimate, named
from lrn.study import discover


def finished(folder, preset, seeds, seconds):
    folder.mkdir(parents=True)
    value = {"preset": preset, "seeds": list(range(seeds)), "seconds": seconds}
    (folder / "verdict.json").write_text(json.dumps(value))


def test_a_run_takes_what_earlier_seeds_took(tmp_path):
    finished(tmp_path / "a.b" / "one", "full", 10, 300.0)
    finished(tmp_path / "a.b" / "two", "quick", 10, 5.0)
    new = tmp_path / "a.b" / "new"
    assert estimate.expected("a.b", "full", 20, new) == ("a.b", False, False, 600.0)
    new.mkdir()
    (new / "provenance.json").write_text(json.dumps({"wall_seconds": 400.0}))
    assert estimate.expected("a.b", "full", 20, new) == ("a.b", False, True, 200.0)
    assert estimate.expected("a.b", "full", 10, tmp_path / "a.b" / "one") == ("a.b", True, False, 0.0)
    (tmp_path / "a.b" / "two" / "verdict.json").write_text("{")  # damaged
    assert estimate.expected("a.b", "quick", 10, new).seconds is None


def test_published_runs_tell_where_the_folder_does_not(tmp_path):
    index = json.loads((discover.claims().parent.parent / "docs" / "results" / "index.json").read_text())
    study, facts = next((name, own) for name, own in index.items() if own["preset"] == "full")
    found = estimate.expected(study, "full", 2 * facts["seeds"], tmp_path / study / "new")
    assert found.seconds == pytest.approx(2 * facts["seconds"])
    assert estimate.expected(study, "smoke", 2, tmp_path / study / "new").seconds is None


def test_what_is_left_follows_the_speed_of_the_machine(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(estimate.time, "monotonic", lambda: now[0])
    runs = [
        estimate.Expected("a.one", True, False, 0.0),
        estimate.Expected("a.two", False, False, 600.0),
        estimate.Expected("a.three", False, True, 1200.0),
        estimate.Expected("a.four", False, False, None),
    ]
    pace = estimate.Pace(runs)
    assert pace.all("full") == (
        "4 studies at full: about 30 min, by earlier runs (1 finished before, 1 begun before, 1 never timed)."
    )
    assert pace.begin(0) == "[1/4] a.one: under a minute; about 30 min for all that is left"
    now[0] += 50.0  # reading a finished run tells nothing of the machine
    pace.end(0)
    assert pace.begin(1) == "[2/4] a.two: about 10 min; about 30 min for all that is left"
    now[0] += 1200.0  # twice as long as expected
    pace.end(1)
    assert pace.begin(2) == "[3/4] a.three: about 40 min; about 40 min for all that is left"
    pace.end(2)
    assert pace.begin(3) == "[4/4] a.four: no earlier run tells how long"


def test_an_area_names_all_its_studies():
    ids = named.of_areas(["rl", "fair"])
    assert ids == [name for name in discover.find() if name.split(".")[0] in ("rl", "fair")]
    assert len(ids) > 10
