"""The example in docs/supervised.md runs, is short, and learns."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from lrn import train

DOCS = (Path(__file__).parents[2] / "docs" / "supervised.md").read_text()


def test_the_example_runs(monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", DOCS, re.S)
    assert len(block.splitlines()) < 16
    fit = train.fit

    def quiet(*args, **options):
        return fit(*args, **options, progress=False)

    monkeypatch.setattr(train, "fit", quiet)
    names: dict[str, Any] = {}
    *lines, last = block.strip().splitlines()
    exec(compile("\n".join(lines), "supervised.md", "exec", dont_inherit=True), names)
    assert eval(last, names) > 0.95
    assert names["result"].table.final("learning_rate=0.001", "accuracy").shape == (4,)


def test_every_file_named_there_exists():
    rows = re.findall(r"^\| (`.*?) \|", DOCS, re.M)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(named) == 10
    for name in named:
        importlib.import_module(f"lrn.supervised.{name}")
