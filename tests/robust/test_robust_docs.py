"""The code of docs/robust.md runs as it is printed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from lrn import train
from lrn.robust.audit import CHECKS

PAGE = (Path(__file__).parents[2] / "docs" / "robust.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_the_page(monkeypatch):
    """AutoAttack, its share of each device, a curve, an audit and a certificate, each in under 15 lines."""
    assert len(BLOCKS) == 5
    assert all(len([line for line in block.splitlines() if line]) < 15 for block in BLOCKS)
    fit = train.fit
    monkeypatch.setattr(train, "fit", lambda *args, **options: fit(*args, progress=False, **options))
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/robust.md", "exec", dont_inherit=True), names)

    by_attack = {name: float(value) for name, value in names["by_attack"].items()}
    assert by_attack["clean"] > 0.9 > by_attack["apgd_ce"] >= by_attack["square"] > 0.3
    assert np.isclose(by_attack["square"], names["robust_accuracy"])
    assert 0.3 < float(names["shared"].robust.mean()) <= by_attack["clean"]
    accuracy_at = np.asarray(names["accuracy_at"])
    assert (np.diff(accuracy_at) <= 0).all()
    assert accuracy_at[0] == np.float32(by_attack["clean"])
    assert abs(accuracy_at[2] - by_attack["square"]) <= 0.03
    assert not any(names["checks"].flags.values())
    assert 0 < names["certified"] <= 1
    assert 0 < names["average"] < 0.25 * 3.2


def test_every_check_and_file_is_explained():
    for name in CHECKS:
        assert f"| {name} |" in PAGE
    folder = Path(__file__).parents[2] / "lrn" / "robust"
    named = set(re.findall(r"`([a-z_0-9]+)`", PAGE))
    assert {"pgd", "auto_attack", "oracle"} <= named
    missing = [f for f in ("apgd", "fab", "square", "audit", "crown", "smoothing") if f not in named]
    assert not missing
    assert all(
        (folder / f"{f}.py").exists() for f in ("curve", "cascade", "spatial", "transfer", "expectation")
    )


def test_the_examples_of_the_library(capsys):
    page = (Path(__file__).parents[2] / "docs" / "library.md").read_text()
    blocks = [b for b in re.findall(r"```python\n(.*?)```", page, re.S) if "attack_all" in b]
    assert len(blocks) == 1
    assert len([line for line in blocks[0].splitlines() if line]) < 15
    names: dict[str, Any] = {}
    exec(compile(blocks[0], "docs/library.md", "exec", dont_inherit=True), names)
    found = names["found"]
    assert 0.85 < found.after["clean"].mean() < 0.95
    assert 0.75 < found.robust.mean() < found.after["clean"].mean()
    assert "[]" in capsys.readouterr().out
