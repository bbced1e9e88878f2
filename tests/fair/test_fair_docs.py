"""The code of docs/fair.md and its part of docs/library.md runs as it is printed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "fair.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)

pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/fair.md", "exec", dont_inherit=True), found)
    return found


def test_each_block_is_short():
    assert len(BLOCKS) == 5
    assert all(len([line for line in block.splitlines() if line]) < 15 for block in BLOCKS)


def test_the_audit(names):
    found, frame = names["found"], names["frame"]
    assert len(found) == 4 * 4
    inside = frame[(frame.sex == "f") & (frame.city == "north")]
    own = found[(found.sex == "f") & (found.city == "north") & (found.metric == "selection_rate")]
    assert float(own["rate"].iloc[0]) == pytest.approx(inside.hired.mean(), abs=1e-6)
    assert (found["joint_low"] < found["low"]).all()
    women = found[(found.sex == "f") & (found.metric == "selection_rate")]
    men = found[(found.sex == "m") & (found.metric == "selection_rate")]
    assert women["joint_high"].max() < men["joint_low"].min()


def test_the_front_and_the_threshold_rule(names):
    by_bound = names["by_bound"]
    gap, quality = by_bound["test_demographic_parity_difference"], by_bound["test_balanced_accuracy"]
    assert gap.loc[1.0] > 0.2 > 0.1 > gap.loc[0.0]
    assert quality.loc[1.0] > quality.loc[0.0] > 0.6
    assert np.shape(names["gap_of_choice"]) == (8,)
    assert np.nanmean(names["gap_of_choice"]) < 0.15
    assert float(names["gap"]) < 0.12
    assert float(names["accuracy"]) > 0.72


def test_the_counterfactual_is_that_of_the_model_that_made_the_people(names):
    frame, other = names["frame"], names["other"]
    sign = np.where(frame["sex"] == "f", -1, 1)
    np.testing.assert_allclose(other["test"], frame["test"] - 0.5 * sign, atol=1e-4)
    np.testing.assert_allclose(other["school"], frame["school"] - sign, atol=1e-4)
    assert 0.1 < float(names["flips"]) < 0.3


def test_the_worst_subgroup_is_an_intersection(names):
    worst, inside, frame = names["worst"], np.asarray(names["inside"]) == 1, names["frame"]
    assert float(worst.p_value) < 0.02
    for column in ("sex", "city"):
        rates = names["pd"].Series(names["favored"]).groupby(frame[column].to_numpy()).mean()
        assert abs(rates.iloc[0] - rates.iloc[1]) < 0.04
    kinds = set(zip(frame["sex"][inside], frame["city"][inside]))
    assert {("f", "south"), ("m", "north")} & kinds


def test_every_file_is_named():
    files = {path.stem for path in (ROOT / "lrn" / "fair").glob("*.py")} - {"__init__"}
    table = PAGE.split("## What is where")[1]
    missing = sorted(files - set(re.findall(r"`([a-z_]+)`", table)))
    assert not missing
    rows = "".join(re.findall(r"^\| .*", PAGE.replace("`lrn.fair`", ""), re.M))
    named = set(re.findall(r"`([a-z_]+)(?:\.[a-z_]+)?`", rows))
    allowed = {"equalized_odds_max", "equalized_odds_mean", "given_label"}
    assert not sorted(named - files - allowed)


def test_the_example_of_the_library(capsys):
    page = (ROOT / "docs" / "library.md").read_text()
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", page, re.S) if "lrn.fair" in b)
    assert len([line for line in block.splitlines() if line]) < 15
    found: dict[str, Any] = {}
    exec(compile(block, "docs/library.md", "exec", dont_inherit=True), found)
    printed = capsys.readouterr().out
    assert "joint_low" in printed
    by_bound = found["front_frame"](found["front"]).groupby("bound").mean()
    gap = by_bound["validation_demographic_parity_difference"]
    assert gap.loc[1.0] > 0.15 > 0.011 > gap.loc[0.0]
