"""Every notebook runs top to bottom, at preset smoke, in a kernel of its own."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
EXPECTED = {
    "quickstart": ["verdict: smoke"],
    "fair": ["over 50, south", "p-value: 0.05", "thresholds by group: accuracy 0.", "would be another one"],
    "ssl": ["raw inputs: 0.", "random encoder: 0.", "temperature .1: 0.", "no negatives: 0."],
    "representation": [
        "perfect  rotated",
        "nats of code",
        "intervention",
        "IRM: accuracy in the new environment",
    ],
    "rl": ["a longer pole: ", "with Rainbow's parts: largest error"],
    "meta": ["MAML {'loss@0'", "pooled {'loss@0'", "inner rate 0.1: loss"],
    "robust": ["(2, 10)", "the gradient is zero", "certified at 0.0", "average certified radius"],
}


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
@pytest.mark.filterwarnings("default")  # of the client and its event loop, not of ours
def test_it_runs(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("LRN_PRESET", "smoke")
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    printed = "".join(o.get("text", "") for o in outputs)
    for words in EXPECTED[path.stem]:
        assert words in printed
    assert any("image/png" in o.get("data", {}) for o in outputs)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_it_is_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    assert f"blob/main/notebooks/{path.name}" in notebook.cells[0].source  # its Colab badge
