"""The benchmark of the variational bottleneck: its schedule, and its figures on a tiny stand-in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import representation_numbers_vib as bench
from lrn import nets
from lrn.check import InputError
from lrn.representation.vib import predict, vib
from lrn.supervised.optimizers import learning_rate


def test_the_rate_falls_a_hundred_times_over_any_training():
    config = bench.settings(1200, 1e-3, 1e-4)
    rate = learning_rate(config.optimizer)
    values = np.array([float(rate(step)) for step in (0, 11, 12, 1199)])
    np.testing.assert_allclose(values, 1e-4 * 0.97 ** np.array([0, 0, 1, 99]), rtol=1e-4)
    assert len(config.optimizer.drops) == 99


def test_figures_are_errors_of_both_kinds_of_weights(monkeypatch):
    networks = nets.mlp(4, (3,)), nets.mlp(10, ())
    monkeypatch.setattr(bench, "NETWORKS", networks)
    config = bench.settings(200, 1e-3, 1e-2)
    images = np.random.default_rng(0).integers(0, 256, (40, 2, 2, 1), dtype=np.uint8)
    labels = np.arange(40) % 10
    batch = {"image": jnp.asarray(images, jnp.float32) / 255, "label": jnp.asarray(labels)}
    learner = vib(*networks, config)

    @jax.jit
    def trained(key):
        state = learner.init(key, batch)
        return jax.lax.fori_loop(
            0, 5, lambda i, s: learner.step(jax.random.fold_in(key, i), s, batch)[0], state
        )

    state = trained(jax.random.key(0))
    found = bench.figures(state, config, {"image": images, "label": labels}, 3)
    for kind, own in (("last", state._replace(average=())), ("averaged", state)):
        log_p = predict(networks, own, batch["image"], config)
        wrong = np.mean(np.asarray(log_p).argmax(1) != labels)
        assert found[f"error, mean code, {kind}"] == pytest.approx(wrong, abs=1e-6)
    assert found["rate, last"] != found["rate, averaged"]


def test_an_unknown_line_is_refused():
    with pytest.raises(InputError, match="line"):
        bench.main(["nonsense"])
