"""The study of reward hacking: it runs, its exact part holds, and its predictions can fail."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from treatment import assert_treated_alike, way

from experiments.rl import reward_hacking as study
from lrn import check
from lrn.rl import mdp
from lrn.rl.hacking import hackable
from lrn.study import discover, runner
from lrn.study.context import Context
from lrn.table import concat, rows

CONFIG = study.Config()


@pytest.mark.slow
def test_smoke_runs(tmp_path):
    file, config = discover.load("rl.reward_hacking"), study.STUDY.presets["smoke"]
    finished = runner.run(file, "smoke", config, [0, 1], tmp_path, progress=False, say=lambda _: None)
    assert finished.verdict["verdict"] == "smoke"
    assert_treated_alike(finished.verdict)
    assert (finished.folder / "figure.png").is_file()
    exact = [
        p for p in (*finished.verdict["predictions"], *finished.verdict["controls"]) if p["kind"] == "exact"
    ]
    assert len(exact) == 4
    assert all(p["outcome"] == "holds" for p in exact)


def test_the_exact_part(tmp_path):
    context = Context(tmp_path, "quick", (0, 1), say=lambda _: None, progress=False)
    study._finite(study.Config(pairs=5, states=3), context)
    table = context.table()
    assert (table.final("independent rewards", "hackable") == 1).all()
    assert (table.final("independent rewards", "witnesses that hold") == 1).all()
    assert (table.final("equivalent rewards", "hackable") == 0).all()
    small, large = (table.final(f"errors of {e:g}", "ordered oppositely").mean() for e in (0.01, 1.0))
    assert small < 0.05 < large < 0.5


def test_a_witness_that_does_not_hold_is_noticed():
    world = mdp.garnet(jax.random.key(0), 4, 2, 2, 0.9)
    one, two = np.random.default_rng(0).normal(size=(2, 4, 2))
    witness = hackable(world, one, two).witness
    assert witness is not None
    assert study._holds(world, one, two, witness)
    assert not study._holds(world, one, two, witness[::-1])
    assert not study._holds(world, one, two, None)


def test_units_that_are_not_in_use_do_nothing():
    x = jax.random.normal(jax.random.key(0), (7, 2))
    net = study._masked(3, 8.0)
    params, state = net.init(jax.random.key(1), x)
    out = net.apply(params, state, x)[0]
    cut = [{"weights": p["weights"][: (2 if i == 0 else 8)], "bias": p["bias"]} for i, p in enumerate(params)]
    first = {"weights": cut[0]["weights"][:, :8], "bias": cut[0]["bias"][:8]}
    second = {"weights": cut[1]["weights"][:, :8], "bias": cut[1]["bias"][:8]}
    scaled = (x - np.array([[-0.4, 0.0]])) * np.array([[2.0, 30.0]])
    hidden = np.tanh(np.tanh(scaled @ first["weights"] + first["bias"][None]) @ second["weights"])
    np.testing.assert_allclose(out, hidden @ cut[2]["weights"], rtol=1e-4, atol=1e-6)


def outcomes(true_return, proxy_return, lit):
    """Outcomes of capacity, time and television for given returns by width and successes when lit."""
    noise, seeds = np.random.default_rng(0).normal(size=10) * 0.1, range(10)
    table = []
    for i, width in enumerate(study.WIDTHS):
        table.append(rows(study.proxied(width), seeds, 9, "true_return", true_return[i] + noise))
        table.append(rows(study.proxied(width), seeds, 9, "proxy_return", proxy_return[i] + noise))
    table.append(rows(study.CAPABLE, seeds, 1, "true return, early", -130.0 + noise))
    table.append(rows(study.CAPABLE, seeds, 1, "proxy return, early", 50.0 + noise))
    for bonus in study.TRAPPED:
        table.append(rows(study.corridor(bonus, True), seeds, 9, "true_return", lit + 0.01 * noise))
        table.append(rows(study.corridor(bonus, False), seeds, 9, "true_return", 1.0 - 0.01 * noise))
    judgments = [p.find(concat(table)) for p in study.predictions(CONFIG)[:7]]
    return [way(f) for f in judgments]


def test_the_predictions_can_come_out_either_way():
    assert outcomes((-125, -120, -200), (10, 60, 145), 0.1) == ["holds"] * 7
    assert outcomes((-125, -120, -110), (60, 40, 20), 0.9) == ["fails"] * 7


def test_bad_settings_are_refused():
    with pytest.raises(check.InputError, match="pairs must be at least 1"):
        study.Config(pairs=0)
    with pytest.raises(check.InputError, match="states must be at least 2"):
        study.Config(states=1)
