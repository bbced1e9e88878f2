"""The library's first example of meta-learning learns: half of its steps, two seeds, one of its rates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from lrn import train

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()


def test_the_first_example_learns_and_does_not_diverge(monkeypatch):
    section = PAGE.split("## Meta-learning")[1]
    example = re.findall(r"```python\n(.*?)```", section, re.S)[0]
    fit = train.fit

    def half(learner: Any, configs: Any, *, seeds: Any, steps: int, **options: Any) -> Any:
        assert len(configs) == 4
        some = {"rate 0.01": configs["rate 0.01"]}
        return fit(learner, some, seeds=seeds[:2], steps=steps // 2, progress=False, **options)

    monkeypatch.setattr(train, "fit", half)
    names: dict[str, Any] = {}
    exec(compile(example, "docs/library.md", "exec", dont_inherit=True), names)
    table = names["result"].table
    # The errors are 3.2 without a step and 1.0 after five. Initial weights of twice the size give 2.3 to 3.3.
    assert table.final("rate 0.01", "loss@5").mean() < 1.6
    np.testing.assert_array_equal(table.final("rate 0.01", "diverged@10"), 0)
