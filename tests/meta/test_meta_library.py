"""The examples of meta-learning in docs/library.md and in docs/meta.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from lrn import train

ROOT = Path(__file__).parents[2]
PAGE, DOCS = (ROOT / "docs" / "library.md").read_text(), (ROOT / "docs" / "meta.md").read_text()


def test_the_examples_of_the_library(monkeypatch):
    section = re.split(r"\n##+ ", PAGE.split("## Meta-learning")[1])[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.S)
    assert len(blocks) == 2
    fit, seen = train.fit, []

    def short(learner, configs, seeds, *, steps, **options):
        result = fit(learner, configs, list(seeds)[:2], steps=2, progress=False, **options)
        seen.append((result, len(seeds)))
        return result

    monkeypatch.setattr(train, "fit", short)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/library.md", "exec", dont_inherit=True), names)
    ((result, seeds),) = seen
    assert seeds == 10
    assert len(result.arms) == 4
    assert result.table.final("rate 0.01", "loss@10").shape == (2,)
    # One step of rate .1 on the mean of three squares shrinks each error by 1 - .2 / 3.
    shrink = (1 - 0.2 / 3) ** 10
    np.testing.assert_allclose(names["meta_gradient"], -2 / 3 * shrink * np.arange(3), rtol=1e-5)


def test_docs():
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", DOCS, re.S):
        exec(compile(block, "docs/meta.md", "exec", dont_inherit=True), names)
    assert names["episode"].query["x"].shape == (25, 15, 1)
    assert np.isfinite(np.asarray(names["meta_gradient"]["w"])).all()
