"""The code of the tutorials runs as a reader would paste it, from the top of its page to the bottom."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrn import train

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def pasted(tmp_path, monkeypatch):
    """Run a page in an empty folder, without progress bars, and return its names."""

    def paste(page: str) -> dict[str, Any]:
        monkeypatch.chdir(tmp_path)
        fit = train.fit
        monkeypatch.setattr(train, "fit", lambda *args, **options: fit(*args, progress=False, **options))
        names: dict[str, Any] = {"__name__": "__main__"}
        for block in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.S):
            exec(compile(block, page, "exec", dont_inherit=True), names)
        return names

    return paste


def test_train(pasted):
    names = pasted("train.md")
    assert names["result"].table.final("rate=0.1, penalty=0", "loss").shape == (4,)
    np.testing.assert_allclose(names["weights"], np.arange(5), atol=0.1)
    np.testing.assert_array_equal(names["whole"].lane("rate=0.1, penalty=0", 3), names["weights"])
    assert names["half"].table.final("rate=0.01, penalty=0", "loss").mean() > 0.05  # at half of the steps
    assert names["steps"].tolist() == [0, 50, 100, 150, 200]
    assert names["errors"].shape == (4, 5)
    assert (names["errors"][:, -1] < 0.1 * names["errors"][:, 0]).all()
    assert names["attacked"].shape == (3, 8, 4, 4, 1)
    np.testing.assert_allclose(abs(names["attacked"] - 0.5).max((1, 2, 3, 4)), [0.1, 0.2, 0.3], atol=1e-6)


def test_the_readme(pasted):
    """Its ten lines are also the first of docs/library.md."""
    names = pasted("../README.md")
    assert names["result"].table.final("learning_rate=0.1", "loss").shape == (8,)
    (block,) = re.findall(r"```python\n.*?```", (DOCS.parent / "README.md").read_text(), re.S)
    assert block in (DOCS / "library.md").read_text()


def test_cluster(pasted, tmp_path):
    """The parts of the page run, each in a process, and are merged."""
    (block,) = re.findall(r"```sh\n(python -m lrn new.*?)```", (DOCS / "cluster.md").read_text(), re.S)
    block = block.replace("python ", f"{shlex.quote(sys.executable)} ")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(DOCS.parent), *sys.path])}
    done = subprocess.run(["bash", "-ec", block], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder,) = (path.parent for path in tmp_path.glob("runs/my_study/*/verdict.json"))
    assert (folder.parent / f"{folder.name}.parts" / "2-of-2" / "verdict.json").is_file()
    assert pasted("cluster.md")["difference"] == ""


def test_run(pasted):
    assert pasted("run.md")["metrics"].final("pgd", "accuracy").tolist() == [0.8, 0.9]
