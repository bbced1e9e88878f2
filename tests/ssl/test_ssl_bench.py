"""The benchmarks of self-supervised learning: verdicts, resumption, counts, and views of their own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import _ssl_costs as costs
from experiments.bench import _ssl_lines as lines
from experiments.bench import ssl, ssl_numbers
from experiments.bench._ssl_methods import flat_methods, image_methods
from experiments.bench._ssl_peer import Lightly
from lrn import nets
from lrn.check import InputError
from lrn.ssl.simclr import nt_xent
from lrn.supervised.learner import SupervisedState
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Learner


@pytest.mark.parametrize(
    ("main", "argv", "sentence"),
    [
        (ssl.main, ["--rounds", "0"], "rounds must be at least 1"),
        (ssl.main, ["memory", "--steps", "-1"], "steps must be at least 0"),
        (ssl_numbers.main, ["mnist1"], "did you mean mnist1d"),
        (ssl_numbers.main, ["cifar10"], "give --peers"),
        (ssl_numbers.main, ["hmm", "--budget", "0"], "budget must be"),
    ],
)
def test_bad_options(main, argv, sentence):
    with pytest.raises(InputError, match=sentence):
        main(argv)


def test_a_missing_peer_is_one_sentence():
    with pytest.raises(InputError, match=r"needs lightly, which .* lacks; give --peer-python"):
        Lightly(Path(sys.executable))


def test_slow_lines_and_the_peer_are_asked_for():
    cases = (False, False), (True, False), (False, True)
    asked = [set(ssl_numbers.chosen(ssl_numbers.Args(slow=s, peers=p))) for s, p in cases]
    assert asked[0] == {"mnist1d", "content", "hmm", "mnist", "fashion_mnist"}
    assert asked[2] - asked[0] == {"cifar10"}
    published = {name: next(iter(line.known.values()))[0] for name, line in ssl_numbers.SLOW.items()}
    assert asked[1] - asked[0] == set(published)
    # lightly's kNN accuracies and solo-learn's linear ones, less half a point.
    assert [round(v + 0.005, 3) for v in published.values()] == [
        0.848,
        0.868,
        0.819,
        0.907,
        0.926,
        0.921,
        0.921,
    ]


def test_verdicts():
    values = {
        "good": [0.80, 0.84],
        "bad": [0.78, 0.80],
        "free": [0.1, 0.2],
        "broken": [0.1, np.nan],
        "SimCLR": [0.9, 0.9],
        "SimCLR, invariance only": [0.95, 0.93],
        "near, difference": [-0.1, 0.12],
        "far, difference": [0.1, 0.11],
    }
    found = ssl_numbers.figures(values, {"good": (0.82, 1.0), "bad": (0.82, 1.0)})
    verdict = {name: row["reached"] for name, row in found.items()}
    assert verdict == {
        "good": True,
        "bad": False,
        "free": True,
        "broken": False,
        "SimCLR": True,
        "SimCLR, invariance only": False,
        "near, difference": True,
        "far, difference": False,
    }
    half = 12.7062 * np.std([0.80, 0.84], ddof=1) / np.sqrt(2)
    assert found["good"]["low"] == pytest.approx(0.82 - half, abs=1e-4)


def test_a_finished_line_is_read_again(monkeypatch, tmp_path, capsys):
    runs = []

    def values(run):
        runs.append((list(run.seeds), run.steps(100)))
        return {"figure": [float(seed) for seed in run.seeds]}

    easy, hard = ({"figure": (low, 1e4)} for low in (1.0, 2.0))
    made = {"easy": lines.Line(values, easy, 3), "hard": lines.Line(values, hard, 3)}
    monkeypatch.setattr(ssl_numbers, "LINES", made)
    monkeypatch.setattr(ssl_numbers, "enable_compilation_cache", lambda: None)
    options = ["--save", str(tmp_path), "--json", str(tmp_path / "all.json"), "--budget", "0.5"]
    assert ssl_numbers.main(["easy", *options]) == 0
    assert ssl_numbers.main(["easy", *options]) == 0
    assert ssl_numbers.main(["hard", *options]) == 1
    assert runs == [([0, 1, 2], 50)] * 2
    assert ssl_numbers.main(["easy", *options, "--seeds", "2", "--first-seed", "1000"]) == 0
    assert runs[2] == ([1000, 1001], 50)
    assert capsys.readouterr().out.count("outside of it") == 1
    rows = json.loads((tmp_path / "all.json").read_text())
    assert {name: row["figures"]["figure"]["mean"] for name, row in rows.items()} == {
        "easy": 1000.5,
        "hard": 1,
    }


def test_a_ratio_below_its_limit_is_short(capsys):
    def rounds(*lightly):
        return [{"lrn": {"cpu": 1.0, "wall": 1.0}, "lightly": {"cpu": c, "wall": 1.0}} for c in lightly]

    assert not ssl.report("simclr", rounds(1.4, 1.6, 9.0), 10)[1]
    figures, short = ssl.report("simclr", rounds(1.4, 1.45, 9.0), 10)
    assert short
    assert figures["lightly"]["ratio"] == pytest.approx(1.45)
    assert capsys.readouterr().out.count("short of its limit") == 1


def test_memory_tells_a_loss_of_all_differences():
    def spread(a: Array, b: Array) -> Array:
        z = jnp.concatenate([a, b])
        far = jnp.square(z[:, None] - z[None])
        return jnp.mean(jnp.sin(jax.lax.optimization_barrier(far)))

    assert 0 < costs.working_memory(lambda a, b: nt_xent(a, b, 0.5), 64, 32)[1] < costs.MEMORY_LIMIT
    assert costs.working_memory(spread, 64, 32)[1] > costs.MEMORY_LIMIT


def test_operations_of_a_gpu_are_those_of_the_products(capsys):
    encoder, head = nets.mlp(32, (64,)), nets.mlp(16, ())
    x = jnp.zeros((1, 10, 10, 1))
    params, states = {}, {}
    params["encoder"], states["encoder"] = encoder.init(jax.random.key(0), x)
    params["head"], states["head"] = head.init(jax.random.key(1), jnp.zeros((1, 32)))
    state = SupervisedState(params, states, (), (), jnp.int32(0))
    found = costs.on_gpu(encoder, head, state, x.shape, 1000.0)
    # Two views, three passes, two operations for each weight.
    assert found["flop"] == pytest.approx(2 * 3 * 2 * (100 * 64 + 64 * 32 + 32 * 16), rel=0.03)
    assert found["mfu"] is None  # a CPU has no known peak
    assert "1,000 examples a second" in capsys.readouterr().out


def test_a_tilt_adds_a_line():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 12, 1)), jnp.float32)
    line = np.asarray(lines.tilt(jax.random.key(0), x) - x)[:, :, 0]
    np.testing.assert_allclose(np.diff(line, 2), 0, atol=1e-6)
    np.testing.assert_allclose(line[:, 0], -line[:, -1], atol=1e-6)
    assert np.abs(line).max() <= 1.2
    assert np.unique(line[:, 0]).size == 5


def traced(learner: Learner, batch: dict[str, Array]) -> dict[str, jax.ShapeDtypeStruct]:
    key = jax.random.key(0)
    state = jax.eval_shape(learner.init, key, batch)
    return jax.eval_shape(learner.step, key, state, batch)[1]


IMAGES = image_methods("mnist", OptimizerConfig(), 10)


@pytest.mark.parametrize(
    "name", [n if n in ("MAE", "DINO") else pytest.param(n, marks=pytest.mark.slow) for n in IMAGES]
)
def test_every_method_for_images_fits_together(name):
    method = IMAGES[name]
    assert traced(method.learner(method.config), {"image": jnp.zeros((128, 28, 28, 1))})["loss"].shape == ()


@pytest.mark.slow
def test_every_method_for_content_fits_together():
    methods = flat_methods(lambda key, x: x, lambda rate: OptimizerConfig(learning_rate=rate))
    for method in methods.values():
        assert traced(method.learner(method.config), {"x": jnp.zeros((16, 64))})["loss"].shape == ()
    assert {*ssl_numbers.GUARDED, *ssl_numbers.CONTENT} <= set(methods)
