"""The study of invariance: its places, its trainings side by side, and the benchmark's comparison."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from experiments.bench import representation_numbers_colored as bench
from experiments.representation import _environments as worlds
from experiments.representation import _turned as turned
from lrn.check import InputError
from lrn.representation.environments import without
from lrn.representation.erm import ERMConfig, erm
from lrn.supervised.losses import cross_entropy
from lrn.supervised.optimizers import OptimizerConfig
from tests import plain


@pytest.fixture(scope="module")
def mnist(monkeypatch_module):
    """MNIST's two splits, as small random images whose mean brightness is their digit."""

    def load(name, split):
        assert name == "mnist"
        rows = {"train": 60_000, "test": 10_000}[split]
        digit = np.arange(rows) % 10
        image = np.broadcast_to((digit * 20 + 1).astype(np.uint8)[:, None, None, None], (rows, 12, 12, 1))
        return {"image": np.ascontiguousarray(image), "label": digit}

    monkeypatch_module.setattr(turned.data, "load", load)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize("redrawn", [False, True])
def test_the_colored_place(mnist, redrawn):
    place = turned.colored_place(redrawn, [3, 4], 2000, 150, 600, 4)
    rows = {part: place.per_seed[f"{part} rows"] for part in ("training", "validation", "test")}
    assert {part: own.shape for part, own in rows.items()} == {
        "training": (2, 3, 1000), "validation": (2, 3, 150), "test": (2, 1, 300),
    }  # fmt: skip
    limits = {"training": (0, 2000), "validation": (50_000, 60_000), "test": (60_000, 70_000)}
    for part, (low, high) in limits.items():
        assert rows[part].min() >= low
        assert rows[part].max() < high
    assert not np.isin(rows["training"][0, 0], rows["training"][0, 1]).any()

    own = {name: value[0] for name, value in place.per_seed.items()}
    draw = jax.jit(lambda key, given: place.sampler.draw(key, given))
    batches = [jax.device_get(draw(jax.random.key(i), {**place.shared, **own})) for i in range(4)]
    sets = jax.device_get(jax.jit(place.sets)(own, place.shared))
    drawn = {k: np.concatenate([batch[k] for batch in batches], 1) for k in ("x", "invariant", "y")}
    for batch, flips in (
        (drawn, (0.2, 0.1, 0.9)),
        (sets["validation"], (0.2, 0.1, 0.9)),
        (sets["test"], (0.9,)),
    ):
        color = batch["x"][..., 1].any((-1, -2))
        wrong, n = (color != batch["y"]).mean(1), batch["y"].shape[1]
        np.testing.assert_allclose(wrong, flips, atol=4 * np.sqrt(0.16 / n))
        np.testing.assert_allclose(batch["invariant"][..., 0], batch["x"].sum(-1), rtol=1e-6)
        low = np.rint(batch["invariant"][..., 0, 0, 0] * 255 - 1) / 20 < 5
        np.testing.assert_allclose((low != batch["y"]).mean(1), 0.25, atol=4 * np.sqrt(0.19 / n))


@pytest.mark.slow
def test_trainings_side_by_side_are_those_of_the_cores():
    place = turned.gaussian_place(3, [5], 2, 60, 20, 30, 3)
    own = {name: value[0] for name, value in place.per_seed.items()}
    assert place.per_seed["test x"].shape == (1, 1, 40, 4)
    learner = worlds.everything(place, 2)
    candidate, fold = 5, 1  # the second rate, the second decay
    config = ERMConfig(OptimizerConfig("adam", place.rates[1]), l2=worlds.STRENGTHS[worlds.ERM][1])
    alone = erm(place.nets[0], cross_entropy, config)

    @jax.jit
    def both(own):
        batch = place.sampler.draw(jax.random.key(0), own)
        keys = jax.random.split(jax.random.key(1), 2)
        known = {"x": batch["x"][:3], "y": batch["y"][:3]}
        state, whole, left = (
            x.init(keys[0], b) for x, b in ((learner, batch), (alone, known), (alone, without(known, fold)))
        )
        state, metrics = learner.step(keys[1], state, batch)
        whole, _ = alone.step(keys[1], whole, known)
        left, _ = alone.step(keys[1], left, without(known, fold))
        return state, metrics, whole, left, worlds.judged(place, 2, (state, own), {})

    state, metrics, whole, left, found = jax.device_get(both(own))
    pick = jax.tree.map(lambda x: x[candidate], state[worlds.ERM].params)
    plain.assert_trees_close(pick, whole.params, 1e-4, 1e-6)
    pick = jax.tree.map(lambda x: x[fold, candidate], state[worlds.ERM + worlds.LEFT_OUT].params)
    plain.assert_trees_close(pick, left.params, 1e-4, 1e-6)
    assert np.isfinite(metrics["loss"])

    head = whole.params["head"]
    hits = ((own["validation x"] @ head["kernel"] + head["bias"])[..., 0] > 0) == own["validation y"]
    np.testing.assert_allclose(found["ERM validation"][candidate], hits.mean(1)[:3], rtol=1e-5)
    head = left.params["head"]
    hits = ((own["validation x"] @ head["kernel"] + head["bias"])[..., 0] > 0) == own["validation y"]
    assert found["ERM left out"][candidate, fold] == pytest.approx(hits.mean(1)[fold])
    head = whole.params["head"]
    hits = (((own["test x"] @ head["kernel"] + head["bias"])[..., 0] > 0) == own["test y"])[0]
    assert found["ERM chosen on"][candidate] == pytest.approx(hits[:20].mean())
    assert found["ERM test"][candidate] == pytest.approx(hits[20:].mean())
    table = worlds.scores({name: np.asarray(x)[None] for name, x in found.items()}, worlds.IRM)
    for scores in (table.left_out, table.validation):
        assert np.asarray(scores).shape == (1, 8, 3)


def test_the_benchmark_compares_and_reads_what_it_saved(tmp_path, capsys, monkeypatch):
    near, far = np.array([0.87, 0.88, 0.89]), np.array([0.5, 0.51, 0.52])
    assert bench.compared(near, (0.874, 0.01), 50_000)[1]
    assert not bench.compared(far, (0.874, 0.01), 50_000)[1]
    assert bench.compared(far, None, 50_000) == ("", True)
    assert [bench.compared(x, (0.5, 0.6), 5000)[1] for x in (near, far)] == [False, True]
    calls = []

    def figures(line, seed, left_out, folder):
        calls.append((seed, left_out))
        return {"train": 0.874 + 0.001 * seed, "test": 0.17 + 0.01 * seed}

    monkeypatch.setattr(bench, "figures", figures)
    monkeypatch.setattr(bench, "enable_compilation_cache", lambda: None)
    asked = ["published ERM", "--seeds", "2", "--save", str(tmp_path), "--json", str(tmp_path / "all.json")]
    assert bench.main(asked) == 0
    assert bench.main(asked) == 0
    assert calls == [(0, False), (1, False)]
    assert "0.874 (sd 0.002)" in capsys.readouterr().out
    monkeypatch.setattr(bench, "figures", lambda *given: {"test": 0.9})
    assert bench.main(["redrawn ERM", "--seeds", "1"]) == 1
    with pytest.raises(InputError, match="there is no line 'published IRN'; did you mean"):
        bench.main(["published IRN"])
