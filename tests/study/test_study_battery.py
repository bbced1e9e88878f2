"""Every study that `discover` finds has the properties that studies promise."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from treatment import about_treatment, assert_treated_alike

import experiments
from lrn.study import discover, literals, register, runner, source
from lrn.study.satisfiable import unsatisfiable

STUDIES = discover.find()
REBUILT = [name for name in STUDIES if not discover.load(name).study.exploratory]
MOST_LINES = 280


@pytest.mark.parametrize("name", STUDIES)
def test_what_is_listed_is_what_is_imported(name):
    """`list` reads the literals of the source; they equal the values of the imported study."""
    listed = literals.read(STUDIES[name])
    assert listed is not None, "list would have to import the study: write its fields as literals"
    study = discover.load(name).study
    assert listed == {k: getattr(study, k) for k in literals.FIELDS} | {"presets": list(study.presets)}
    assert listed["claim_id"]
    assert listed["section"]


@pytest.mark.parametrize("name", STUDIES)
def test_the_hash_covers_every_file_of_the_experiments_that_is_imported(name):
    """Constants of a helper file beside a study are part of the hashed code."""
    study_file = discover.load(name)
    root = Path(inspect.getfile(experiments)).parent
    text = study_file.path.read_text()
    helpers = {p for p in root.rglob("_*.py") if p.stem != "__init__" and p.stem != "__main__"}
    imported = {
        p for p in helpers if f"{p.parent.name} import {p.stem}" in text or f".{p.stem} import" in text
    }
    assert imported <= set(source.read(study_file.path).paths.values())


@pytest.mark.parametrize("name", STUDIES)
def test_presets_controls_and_regimes(name):
    study = discover.load(name).study
    assert {"smoke", "quick", "full"} <= set(study.presets)
    for config in study.presets.values():
        controls = study.controlled(config)
        assert about_treatment(controls), "no control says what the arms were given"
        assert [c for c in controls if c.consequence == "invalid"]
        assert study.asked(config) or study.question


@pytest.mark.parametrize("name", REBUILT)
def test_every_prediction_can_come_out_either_way(name):
    study = discover.load(name).study
    for preset, config in study.presets.items():
        assert unsatisfiable(study, config) == [], preset


@pytest.mark.parametrize("name", REBUILT)
def test_a_rebuilt_study_is_short_registered_and_answers(name):
    study_file = discover.load(name)
    lines = len(study_file.path.read_text().splitlines())
    assert lines <= MOST_LINES
    assert study_file.study.answer is not None
    assert register.registered(study_file) == register.registration(study_file.study)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_smoke_runs_and_draws(name, tmp_path):
    study_file = discover.load(name)
    study = study_file.study
    seeds = tuple(range(study.seeds_for("smoke")))
    outcome = runner.run(
        study_file, "smoke", study.presets["smoke"], seeds, tmp_path, progress=False, say=lambda _: None
    )
    assert outcome.verdict["verdict"] == "smoke"
    assert_treated_alike(outcome.verdict)
    assert outcome.verdict["figure_failed"] is None
    assert list(outcome.folder.glob("figure*.png"))
