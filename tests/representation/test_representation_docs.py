"""The code of docs/representation.md runs as it is printed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from lrn.representation.metrics import NAMES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "representation.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    there: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/representation.md", "exec", dont_inherit=True), there)
    return there


def test_the_library_prints_three_blocks():
    page = (ROOT / "docs" / "library.md").read_text()
    for block in (BLOCKS[0], BLOCKS[1], BLOCKS[3]):
        assert f"```python\n{block}```" in page


def test_each_block_is_short():
    assert len(BLOCKS) == 5
    assert all(len([line for line in block.splitlines() if line]) < 15 for block in BLOCKS)


def test_scores_are_those_that_the_page_names(names):
    assert set(names["scores"]) == set(NAMES)
    assert "the 15 numbers" in PAGE
    assert all(0 <= float(value) <= 1.001 for value in names["scores"].values())
    assert float(names["scores"]["explicitness"]) > 0.99


def test_a_larger_beta_costs_fewer_nats(names):
    rates = [np.mean(names["fit"].table.final(f"beta={beta}", "rate")) for beta in ("0.1", "1", "4")]
    assert rates[0] > rates[1] > rates[2]


def test_interventions_are_swaps_of_single_codes(names):
    """By loops over codes, with other partners than those of the function, and scipy's matching."""
    found, codes = names["found"], np.asarray(names["encode"](names["sprites"]["image"]))
    read = jax.jit(lambda codes: names["read"](names["decode"](codes)))
    before, others = np.asarray(read(codes)), np.random.default_rng(0).permutation(codes)

    def change(swapped):
        return np.abs(read(np.where(swapped[None], others, codes)) - before).mean(0)

    response = np.stack([change(np.arange(6) == j) for j in range(6)]) / change(np.ones(6, bool))
    np.testing.assert_allclose(found.response, response, atol=0.06)
    own = np.asarray(found.response, np.float64)
    gain = own - (own.sum(1, keepdims=True) - own) / 2
    code, factor = linear_sum_assignment(gain, maximize=True)
    assert float(found.score) == pytest.approx(gain[code, factor].mean(), abs=1e-6)
    assert own[code, factor].min() > 0.15, "a code moves each factor"


def test_irm_holds_elsewhere_and_erm_does_not(names):
    assert names["elsewhere"]["ERM"] < 0.35
    assert names["elsewhere"]["IRM"] > 0.6


def test_every_method_is_named():
    for path in sorted((ROOT / "lrn" / "representation").glob("*.py")):
        if "-> Learner:" in path.read_text():
            assert f"`{path.stem}`" in PAGE, path.stem
