"""The study of the deadly triad: it runs, Baird's cells are exact, and slow learning is no divergence."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from treatment import assert_treated_alike

from experiments.rl import deadly_triad as study
from lrn import check
from lrn.study import discover, runner

SMALL = dataclasses.replace(study.STUDY.presets["smoke"], tasks=("MountainCar",))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    file = discover.load("rl.deadly_triad")
    return runner.run(file, "smoke", SMALL, [0, 1], out, progress=False, say=lambda _: None)


@pytest.mark.slow
def test_smoke_runs_and_bairds_star_is_exact(finished):
    assert finished.verdict["verdict"] == "smoke"
    assert_treated_alike(finished.verdict)
    assert (finished.folder / "figure.png").is_file()
    exact = [p for p in finished.verdict["predictions"] if p["kind"] == "exact"]
    assert len(exact) == 2
    assert all(p["outcome"] == "holds" for p in exact)
    assert finished.verdict["predictions"][0]["effect"] == pytest.approx(np.log(1.0023925), rel=1e-4)
    growth = finished.verdict["controls"][0]
    assert growth["passed"]


def test_every_cell_of_the_grid_lacks_what_it_should():
    triad = [(kind, *study.TRIAD) for kind in study.KINDS[1:]]
    covered = [cell for group in study.WITHOUT.values() for cell in group]
    every = [(k, b, o) for k in study.KINDS for b in (True, False) for o in (True, False)]
    assert sorted([*covered, *triad]) == sorted(every)


@pytest.mark.parametrize("task", ["MountainCar", pytest.param("FourRooms", marks=pytest.mark.slow)])
def test_data_sets_differ_as_they_should_and_returns_are_returns(task):
    config = dataclasses.replace(SMALL, transitions=1024, rollouts=400)
    world = study._world(task)
    data = jax.jit(lambda seed: study._data(world, seed, config))(0)
    assert data["x"].shape == (2, 1024, 2)
    assert jnp.abs(data["x"]).max() <= 1.01
    assert jnp.abs(data["return"]).max() <= study.BOUND
    own, other = data["x"]
    assert own.std(0).min() > 0.05
    assert other.std(0).min() > own.std(0).min()
    ended = np.asarray(data["terminated"]) > 0
    np.testing.assert_allclose(np.asarray(data["return"])[ended], np.asarray(data["reward"])[ended])
    # In MountainCar every step costs 1, so that a return gives the length of its episode.
    if task == "MountainCar":
        steps = np.log1p(np.asarray(data["return"][0]) * (1 - study.DISCOUNT)) / np.log(study.DISCOUNT)
        np.testing.assert_allclose(steps, np.round(steps), atol=0.05)
        assert 60 < steps.max() < 300


@pytest.mark.parametrize("kind", study.KINDS)
def test_approximators(kind):
    init, q = study._approximator(kind, 3, SMALL)
    x = jnp.array([[-1.0, -1.0], [0.2, 0.9], [1.0, 1.0]])
    params = init(jax.random.key(0))
    assert q(params, x).shape == (3, 3)
    # A table does not generalize beyond a cell, the other approximators do.
    gradient = jax.grad(lambda p: q(p, x[:1])[0, 0])(params)
    moved = jax.tree.map(lambda p, g: p + g, params, gradient)
    change = np.abs(np.asarray(q(moved, x) - q(params, x)))
    assert change[0, 0] > 0.1
    assert (change[1:].max() == 0) == (kind == "table")


def test_bad_settings_are_refused():
    with pytest.raises(check.InputError, match="did you mean MountainCar"):
        study.Config(tasks=("MountainCart",))
    with pytest.raises(check.InputError, match="multiple of 256"):
        study.Config(transitions=300)
