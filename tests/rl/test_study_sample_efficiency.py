"""The study of sample efficiency: its exact parts hold, its predictions can fail, and it runs."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from treatment import assert_treated_alike, judge

from experiments.rl import sample_efficiency as study
from lrn.rl import env as envs
from lrn.study import discover, runner
from lrn.study.context import Context
from lrn.table import Table, concat, rows

CONFIG = study.Config()


def table_of(**changed: float) -> Table:
    """A table of ten seeds for which all predictions and controls hold, except for the changed cells."""
    few, many, most = study.at(800), study.at(2400), study.at(8000)
    means = {
        ("Q-learning", "log10 steps"): 4.0,
        ("Dyna-Q", "log10 steps"): 3.0,
        ("PETS", few): -150.0,
        ("MBPO", few): -160.0,
        ("SAC", few): -900.0,
        ("SAC", many): -150.0,
        ("DQN", many): -160.0,
        ("PPO", most): -1000.0,
        ("PETS in the simulator", few): -140.0,
        ("random play", few): -1200.0,
        ("estimated model", "predicted at 0.95"): 0.8,
        ("estimated model", "true at 0.95"): 0.7,
        ("simulator", "largest error"): 0.0,
        **{("estimated model", f"bias at {g:g}"): 0.02 * i for i, g in enumerate(study.DISCOUNTS)},
        **{("lumped model", f"error with {k} states"): 0.1 * (20 - k) for k in study.GROUPS},
        **{
            (size, f"error over {h}"): 0.1 * (h - 10 * i)
            for i, size in enumerate(study.SIZES)
            for h in study.HORIZONS
        },
    }
    noise = np.random.default_rng(0).normal(size=10)
    means |= {next(k for k in means if f"{k[0]}, {k[1]}" == name): value for name, value in changed.items()}
    exact = {("simulator", "largest error"), ("lumped model", "error with 20 states")}
    return concat(
        rows(arm, np.arange(10), 0, metric, mean + (0 if (arm, metric) in exact else 1e-3) * noise)
        for (arm, metric), mean in means.items()
    )


def verdict_of(**changed: float) -> dict:
    return judge(study.STUDY, CONFIG, "quick", table_of(**changed))


def test_what_the_claim_says_is_supported_when_it_is_so():
    assert verdict_of()["verdict"] == "supported"


@pytest.mark.parametrize(
    ("cell", "value", "regime"),
    [
        ("Dyna-Q, log10 steps", 3.9, "maze"),
        ("SAC, return after 800", -200.0, "Pendulum, same steps"),
        ("PETS, return after 800", -400.0, "Pendulum, PETS against SAC"),
        ("MBPO, return after 800", -400.0, "Pendulum, MBPO against SAC"),
        ("estimated model, predicted at 0.95", 0.7, "exact bias"),
        ("estimated model, bias at 0.5", 0.5, "exact bias, horizon"),
        ("lumped model, error with 2 states", -9.0, "exact bias, capacity"),
        ("64-64 units, error over 1", 99.0, "networks, horizon"),
        ("linear, error over 20", -9.0, "networks, capacity"),
    ],
)
def test_every_prediction_can_fail(cell, value, regime):
    outcomes = {r["name"]: r["outcome"] for r in verdict_of(**{cell: value})["regimes"]}
    # One changed cell removes the support of a trend; with eleven regimes it does not reverse it.
    trend = regime in ("exact bias, horizon", "exact bias, capacity") or regime.startswith("networks")
    assert outcomes[regime] == ("open" if trend else "fails")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("PETS in the simulator, return after 800", -600.0),
        ("random play, return after 800", -300.0),
        ("SAC, return after 2400", -700.0),
        ("lumped model, error with 20 states", 0.1),
        ("simulator, largest error", 0.1),
    ],
)
def test_every_control_can_void_the_verdict(cell, value):
    assert verdict_of(**{cell: value})["verdict"] == "invalid"


def test_the_simulator_is_the_environment():
    env = envs.make("Pendulum-v1")
    observation, state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 50))
    torque = jax.random.uniform(jax.random.key(1), (50, 1), minval=-2.5, maxval=2.5)
    _, _, step = jax.vmap(env.step)(jax.random.split(jax.random.key(2), 50), state, torque)
    after, reward = study._simulate(observation, torque)
    np.testing.assert_allclose(after, step.final_observation, atol=1e-5)
    np.testing.assert_allclose(reward, step.reward, rtol=1e-4, atol=1e-5)
    assert float(jnp.abs(after - observation).max()) > 0.1


def test_the_exact_part(tmp_path: Path):
    context = Context(tmp_path, "quick", (0, 1), say=lambda _: None, progress=False)
    study._exact(study.Config(mdps=3), context)
    table = context.table()
    np.testing.assert_allclose(table.final("lumped model", f"error with {study.STATES} states"), 0, atol=1e-5)
    assert (table.final("lumped model", "error with 2 states") > 1e-3).all()
    said, true = (table.final("estimated model", f"{m} at 0.95") for m in ("predicted", "true"))
    np.testing.assert_allclose(said - true, table.final("estimated model", "bias at 0.95"), atol=1e-6)


def test_settings():
    with pytest.raises(ValueError, match="budget must be a multiple of 400, got 500"):
        study.Config(budget=500)


@pytest.mark.slow
def test_smoke_runs(tmp_path: Path):
    file, config = discover.load("rl.sample_efficiency"), study.STUDY.presets["smoke"]
    done = runner.run(file, "smoke", config, [0, 1], tmp_path, progress=False, say=lambda _: None)
    assert done.verdict["verdict"] == "smoke"
    assert_treated_alike(done.verdict)
    assert (done.folder / "figure.png").is_file()
    exact = {c["statement"]: c["outcome"] for c in done.verdict["controls"] if c["kind"] == "exact"}
    assert set(exact.values()) == {"holds"}
