"""The code of docs/ssl.md runs as it is printed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ssl.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    there: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/ssl.md", "exec", dont_inherit=True), there)
    return there


def test_the_library_prints_the_first_two_blocks():
    assert f"```python\n{BLOCKS[0]}{BLOCKS[1]}```" in (ROOT / "docs" / "library.md").read_text()


def test_each_block_is_short():
    assert len(BLOCKS) == 5
    assert all(len([line for line in block.splitlines() if line]) < 15 for block in BLOCKS)


def test_the_probe_beats_chance_by_far(names):
    assert names["accuracy"] > 0.85


def test_the_sweep_has_all_arms(names):
    assert len(names["losses"]) == 4
    assert all(np.isfinite(losses).all() and losses.shape == (2,) for losses in names["losses"].values())


def test_without_variance_embeddings_shrink(names):
    before, after = names["spread"]
    assert after < 0.5 * before


def test_the_bound_is_near_its_expectation(names):
    assert names["bound"] == pytest.approx(3.56, abs=0.3)


def test_every_method_is_named():
    for path in sorted((ROOT / "lrn" / "ssl").glob("*.py")):
        if "-> Learner:" in path.read_text() and path.stem != "pretraining":
            assert f"`{path.stem}`" in PAGE, path.stem
