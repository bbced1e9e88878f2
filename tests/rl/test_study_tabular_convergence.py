"""The study of tabular convergence: it runs, its laws are those of theory, and it detects wrong laws."""

import dataclasses

import numpy as np
import pytest
from treatment import assert_treated_alike, way

from experiments.rl import tabular_convergence as study
from lrn import check
from lrn.study import discover, runner
from lrn.table import concat, rows

CONFIG = study.Config()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    config = dataclasses.replace(study.STUDY.presets["smoke"], steps=1000, solved_states=8)
    file = discover.load("rl.tabular_convergence")
    return runner.run(file, "smoke", config, [0, 1], out, progress=False, say=lambda _: None)


@pytest.mark.slow
def test_smoke_runs_and_exact_parts_hold(finished):
    assert finished.verdict["verdict"] == "smoke"
    assert_treated_alike(finished.verdict)
    assert (finished.folder / "figure.png").is_file()
    exact = [p for p in finished.verdict["predictions"] if p["kind"] == "exact"]
    assert len(exact) == 3
    assert all(p["outcome"] == "holds" for p in exact)
    oracle = finished.verdict["controls"][:2]
    assert all(c["passed"] for c in oracle)


def test_laws_are_those_of_theory_and_differ():
    mid = {s: np.mean(study.law(CONFIG, "TD(0)", s)) for s in study.STEPS}
    assert mid["1/n"] == pytest.approx(-0.2)
    assert np.mean(study.law(CONFIG, "TD(lambda)", "1/n")) == pytest.approx(-1 / 3)
    assert mid["n^-0.6"] == pytest.approx(-0.3)
    # With a small discount the initial error falls fast even with 1/n, and noise decides the slope.
    fast = dataclasses.replace(CONFIG, discount=0.3)
    assert study.law(fast, "TD(0)", "1/n") == study.law(fast, "TD(0)", "rescaled linear")


@pytest.mark.parametrize(("slope", "outcome"), [(-0.2, "holds"), (-0.5, "fails")])
def test_a_wrong_slope_fails(slope, outcome):
    prediction = next(p for p in study.predictions(CONFIG) if "TD(0) with 1/n" in p.statement)
    seeds = range(10)
    noise = np.random.default_rng(0).normal(size=10) * 0.01
    table = concat([rows("TD(0), 1/n", seeds, 0, "slope", slope + noise)])
    assert way(prediction.find(table)) == outcome


def test_bad_settings_are_refused():
    with pytest.raises(check.InputError, match="multiple of 100"):
        study.Config(steps=150)
    with pytest.raises(check.InputError, match="discount must lie"):
        study.Config(discount=1.0)
