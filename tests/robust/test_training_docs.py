"""The code of docs/adversarial_training.md runs as it is printed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from lrn import train

PAGE = (Path(__file__).parents[2] / "docs" / "adversarial_training.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_the_page(monkeypatch):
    """TRADES over eps x beta x seeds in one call; a training under watch; early stopping."""
    assert len(BLOCKS) == 3
    assert len([line for line in BLOCKS[0].splitlines() if line]) < 15
    fit = train.fit
    monkeypatch.setattr(train, "fit", lambda *args, **options: fit(*args, progress=False, **options))
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/adversarial_training.md", "exec", dont_inherit=True), names)

    result = names["result"]
    assert result.arms == ("eps=0.05, beta=1", "eps=0.05, beta=6", "eps=0.1, beta=1", "eps=0.1, beta=6")
    final = {arm: result.table.final(arm, "clean_accuracy").mean() for arm in result.arms}
    robust = {arm: result.table.final(arm, "robust_accuracy").mean() for arm in result.arms}
    assert min(final.values()) > 0.85
    # A larger beta makes predictions change less under attack, a larger eps more.
    change = {arm: result.table.final(arm, "divergence").mean() for arm in result.arms}
    assert change["eps=0.1, beta=6"] < 0.7 * change["eps=0.1, beta=1"]
    assert change["eps=0.05, beta=1"] < change["eps=0.1, beta=1"]
    assert robust["eps=0.1, beta=6"] < robust["eps=0.05, beta=6"]

    watched = names["watched"].table
    gap, single, strong = (
        watched.final("default", name) for name in ("gap", "single_step_accuracy", "strong_accuracy")
    )
    np.testing.assert_allclose(gap, single - strong, atol=1e-6)
    assert (strong > 0.2).all()
    assert ((watched.final("default", "alignment") > 0) & (watched.final("default", "alignment") <= 1)).all()

    stop, accuracies = names["stop"], np.asarray(names["accuracies"])
    seen = accuracies[: int(stop.evaluations)]
    assert stop.metric == seen.max()
    assert stop.at == seen.argmax() + 1
