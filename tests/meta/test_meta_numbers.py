"""The benchmark of published numbers: its verdicts, its resumption, and the consistency of its lines."""

from __future__ import annotations

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import meta_numbers
from lrn import nets
from lrn.meta.episode import TaskFamily, draw
from lrn.meta.evaluate import per_task
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import regression

LINES = {**meta_numbers.OMNIGLOT, **meta_numbers.SLOW}


def small(*known: float) -> meta_numbers.Line:
    """A line on sinusoids with one evaluation after 1 step for each published loss."""
    problem = regression(nets.mlp(None, (4,)))
    made = functools.partial(maml, problem)
    judged = {
        f"test {i}": meta_numbers.Judged({1: value}, made, problem, sinusoid(noise=float(i)))
        for i, value in enumerate(known)
    }
    return meta_numbers.Line(made, MAMLConfig(), sinusoid(), 2, 4, judged)


def made(family: meta_numbers.Tasks, data: Any) -> TaskFamily:
    assert not isinstance(family, TaskFamily)
    return family(data)


def test_a_line_that_falls_short_is_an_error_and_a_saved_one_is_found_again(monkeypatch, tmp_path, capsys):
    lines = {"easy": lambda: small(1e6, 1e6), "hard": lambda: small(1e6, 0.0)}
    monkeypatch.setattr(meta_numbers, "SINUSOID", lines)
    monkeypatch.setattr(meta_numbers, "device_per_processor", lambda: None)  # is for a process of its own
    file = tmp_path / "numbers.json"
    options = ["--seeds", "2", "--tasks", "4", "--json", str(file), "--save", str(tmp_path / "saved")]
    assert meta_numbers.main(["--only", "easy", *options]) == 0
    assert meta_numbers.main(["--only", "hard", *options]) == 1
    assert capsys.readouterr().out.count("short of it") == 1
    rows = json.loads(file.read_text())
    assert [f["reached"] for row in rows.values() for f in row["at"].values()] == [True, True, True, False]
    assert rows["hard"]["at"]["test 0 1"]["mean"] < rows["hard"]["at"]["test 1 1"]["mean"]  # less noise
    # The second call finds the finished training and gives the same figures.
    assert meta_numbers.main(["--only", "easy", *options]) == 0
    again = json.loads(file.read_text())["easy"]
    assert again["at"] == rows["easy"]["at"]
    assert again["seconds"] == rows["easy"]["seconds"] > 0


@pytest.mark.parametrize(
    "name", [n if "5w1s" in n and "++" not in n else pytest.param(n, marks=pytest.mark.slow) for n in LINES]
)
def test_every_line_on_omniglot_fits_together(name):
    line = LINES[name]()
    images = jax.ShapeDtypeStruct((70, 20, 28, 28, 1), jnp.float32)
    data = {"training": images, "testing": images}
    key = jax.eval_shape(lambda: jax.random.key(0))
    given = jax.eval_shape(lambda k, d: draw(made(line.family, d), k, line.tasks), key, data)
    learner = line.learner(line.config)
    state = jax.eval_shape(learner.init, key, given)
    assert jax.eval_shape(learner.step, key, state, given)[1].keys() == {"loss", "accuracy"}
    for test in line.judged.values():
        some = jax.eval_shape(lambda k, d, f=test.family: draw(made(f, d), k, 2), key, data)
        steps = max(test.known)
        scores = jax.eval_shape(
            lambda s, e, t=test, n=steps: per_task(t.learner(line.config), t.problem, s, e, n), state, some
        )
        assert scores["accuracy"].shape == (2, steps + 1)


def test_the_published_figures_are_those_of_the_papers():
    known = {
        (name.split(",")[0], test): next(iter(judged.known.values()))
        for name, make in meta_numbers.SLOW.items()
        for test, judged in make().judged.items()
    }
    settings = ("5w1s", "5w5s", "20w1s", "20w5s")
    measured = {
        "MAML": [known[f"omniglot MAML {s}", ""] for s in settings],
        "MAML++": [known[f"omniglot MAML++ {s}", ""] for s in settings],
        "prototypes": [known[f"omniglot prototypes {s[-2:]}", s] for s in settings],
    }
    np.testing.assert_allclose(measured["MAML"], [0.987, 0.999, 0.958, 0.989])
    np.testing.assert_allclose(measured["MAML++"], [0.994, 0.998, 0.976, 0.993])
    np.testing.assert_allclose(measured["prototypes"], [0.988, 0.997, 0.960, 0.989])
