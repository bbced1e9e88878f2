"""The benchmark of metrics: options, its rows, and verdicts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.bench import representation as bench
from lrn.check import InputError


@pytest.mark.parametrize(
    ("argv", "said"),
    [(["--models", "1"], "models must be at least 2"), (["--rounds", "0"], "rounds must be at least 1")],
)
def test_bad_options(argv, said):
    with pytest.raises(InputError, match=said):
        bench.main(argv)


def test_a_missing_peer_is_one_sentence():
    with pytest.raises(InputError, match=r"needs disentanglement_lib, which .* lacks; give --peer-python"):
        bench.peer(bench.made(100), Path(sys.executable))


def test_rows_are_mixtures_of_all_factors():
    rows = bench.made(2000)
    assert rows["codes"].shape == (2000, bench.DIM)
    assert rows["test_codes"].shape == (1000, bench.DIM)
    assert tuple(rows["factors"].max(0) + 1) == bench.SIZES
    scaled = 2 * rows["factors"] / (np.array(bench.SIZES) - 1) - 1
    rest = rows["codes"] - scaled @ rows["mixture"]
    assert rest.std() == pytest.approx(bench.NOISE, rel=0.02)


def test_verdicts(monkeypatch, capsys):
    found = {name: np.float32(0.5) for name in ("mig", "sap", "dci_disentanglement")}
    spent = {"first": 20.0, "first_wall": 20.0, "again": 2.0, "again_wall": 2.0}
    monkeypatch.setattr(bench, "timed", lambda *args, **kwargs: (found, spent))
    monkeypatch.setattr(bench, "few_rounds", lambda rows: 0.1)
    args = bench.Args(peers=True)

    def judged(**values):
        given = {"mig": (1.0, 0.5), "sap": (3.0, 0.5), "dci_disentanglement": (100.0, 0.1)} | values
        monkeypatch.setattr(bench, "peer", lambda rows, python: given)
        figures, short = bench.one_model({}, args)
        return figures["ratios"]["all"], short, capsys.readouterr().out

    ratio, short, said = judged()
    assert ratio == 52
    assert not short
    for wrong in ({"mig": (1.0, 0.51)}, {"mig": (1.0, float("nan"))}, {"dci_disentanglement": (100.0, 0.13)}):
        _, short, said = judged(**wrong)
        assert short
        assert "another value" in said
    ratio, short, said = judged(dci_disentanglement=(20.0, 0.1))
    assert ratio == 12
    assert short
    assert "short of its limit" in said
    many = {"first": 18 + 64 * 2.0}
    monkeypatch.setattr(bench, "timed", lambda rows, rounds, n, **k: (found, spent if n == 1 else many))
    figures, short = bench.several({}, args)
    assert figures["all"]["with_compilation"] == pytest.approx(7.3)
    assert figures["all"]["without"] == pytest.approx(64)
    assert not short
