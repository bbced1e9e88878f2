"""The first cell of a notebook: the device, a warning where jax fell back to the CPU, the folder of runs."""

from __future__ import annotations

import jax
import pytest

from lrn import notebook


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without accelerator, Drive or wishes."""
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    for name in ("COLAB_TPU_ADDR", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(notebook.shutil, "which", lambda name: None)
    monkeypatch.setattr(notebook.os.path, "exists", lambda path: False)
    monkeypatch.setattr(notebook, "DRIVE", tmp_path / "drive")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_plain_machine(bare, capsys):
    assert notebook.start() == bare / "lrn-runs"
    said = capsys.readouterr().out
    assert f"jax {jax.__version__} on {jax.device_count()} x cpu (cpu)" in said
    assert "Warning" not in said


def test_runs_are_kept_on_drive_where_it_is_mounted(bare):
    (bare / "drive").mkdir()
    assert notebook.start("mine") == bare / "drive" / "mine"


@pytest.mark.parametrize("kind", ["GPU", "TPU"])
def test_an_accelerator_that_is_not_used_is_named(bare, capsys, monkeypatch, kind):
    if kind == "GPU":
        monkeypatch.setattr(notebook.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    else:
        monkeypatch.setenv("TPU_NAME", "here")
    notebook.start()
    said = capsys.readouterr().out
    assert f"this machine has a {kind}, but jax computes on the CPU; install `jax[" in said
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # asked for
    notebook.start()
    assert "Warning" not in capsys.readouterr().out
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(notebook.jax, "default_backend", lambda: kind.lower())
    notebook.start()
    assert "Warning" not in capsys.readouterr().out
