"""The optional sinks with stand-ins for their packages: the rows they write, and the names of these."""

from __future__ import annotations

import sys
import types

import pytest
from toy import ToyConfig, toy, toy_data, toy_sampler

from lrn import train
from lrn.train import sinks


@pytest.fixture
def tensorboard(monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            written.append((self.folder.split("tensorboard/")[1], name, step, value))

        def close(self):
            written.append((self.folder.split("tensorboard/")[1], "closed"))

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    return written


def test_tensorboard_gets_every_row(tensorboard, tmp_path):
    (sink,) = sinks.open_sinks(["tensorboard"], tmp_path)
    result = train.fit(
        toy, {"a": ToyConfig()}, [4, 6], steps=6, log_every=2, chunk=2, data=toy_data(), sampler=toy_sampler,
        sinks=[sink], progress=False,
    )  # fmt: skip
    sink.close()
    rows = [w for w in tensorboard if len(w) == 4]
    assert len(rows) == len(result.table.value)
    loss = [(folder, step) for folder, name, step, _ in rows if name == "loss"]
    assert loss == [(f"a/seed-{s}", t) for t in (2, 4, 6) for s in (4, 6)]
    assert ("a/seed-4", "closed") in tensorboard


def test_weights_and_biases_gets_every_row(monkeypatch, tmp_path):
    logged = []
    run = types.SimpleNamespace(log=logged.append, finish=lambda: logged.append("finished"))
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=lambda **_: run))
    (sink,) = sinks.open_sinks(["wandb"], tmp_path)
    train.fit(
        toy, {"a": ToyConfig()}, [0], steps=2, log_every=1, data=toy_data(), sampler=toy_sampler,
        sinks=[sink], progress=False,
    )  # fmt: skip
    sink.close()
    assert [entry["a/step"] for entry in logged if "a/loss/0" in entry] == [1, 2]
    assert logged[-1] == "finished"


def test_names_and_packages_are_checked(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="did you mean wandb"):
        sinks.open_sinks(["wandbb"], None)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ValueError, match=r"needs the package tensorboardX; pip install 'lrn\[sinks\]'"):
        sinks.open_sinks(["tensorboard"], tmp_path)
