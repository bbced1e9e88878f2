"""Noise-contrastive estimation against exact frequencies, a double loop and a known normalizer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from lrn import nets
from lrn.check import InputError
from lrn.ssl.nce import NCEConfig, nce, nce_loss

loss = jax.jit(nce_loss)


def by_loops(data, noise, ratio):
    """Gutmann and Hyvarinen (2012), equation 8, one example at a time: h(u) = 1 / (1 + ratio exp(-G(u)))."""
    total = 0.0
    for g in data:
        total -= np.log(1 / (1 + ratio * np.exp(-g))) / len(data)
    for g in noise:
        total -= ratio * np.log(1 - 1 / (1 + ratio * np.exp(-g))) / len(noise)
    return total


def test_the_loss_equals_a_loop_over_examples():
    rng = np.random.default_rng(0)
    data, noise = rng.normal(size=5).astype(np.float32), rng.normal(size=15).astype(np.float32)
    for ratio in (1.0, 3.0):
        assert loss(data, noise, ratio) == pytest.approx(by_loops(data, noise, ratio), rel=1e-5)
    far = loss(np.full(5, -200.0, np.float32), np.full(15, 200.0, np.float32), 3.0)
    assert far == pytest.approx(200 + np.log(3) + 3 * (200 - np.log(3)), rel=1e-5)  # no overflow


def test_the_learned_normalizer_is_that_of_the_density():
    """Exact frequencies of four states: the minimum is at the data's density, whatever the scale of f."""
    p, q = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.25, 0.25, 0.25, 0.25])
    data, noise = np.repeat(np.arange(4), (p * 20).astype(int)), np.repeat(np.arange(4), 10)
    unnormalized = np.log(7.0 * p)  # so the normalizer is -log 7

    @jax.jit
    def value(c):
        ratio = jnp.asarray(unnormalized - np.log(q), jnp.float32) + c
        return jax.value_and_grad(lambda r, c: nce_loss(r[data] + c, r[noise] + c, 2.0), argnums=1)(
            ratio - c, c
        )

    def numbers(c):
        loss, slope = value(jnp.float32(c[0]))
        return float(loss), np.array([float(slope)])

    found = minimize(numbers, np.zeros(1), jac=True, method="L-BFGS-B", options={"ftol": 1e-12})
    assert found.x[0] == pytest.approx(-np.log(7.0), abs=1e-3)


def identity():
    return nets.from_function(lambda key, x: (), lambda params, x: x)


def test_the_method_tells_pairs_from_other_pairs():
    """The loss of the first step, of embeddings that are the inputs and a normalizer of 0."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 3)).astype(np.float32)
    learner = nce(identity(), identity(), lambda key, x: x, NCEConfig(temperature=0.5))

    @jax.jit
    def first(x):
        state = learner.init(jax.random.key(0), {"x": x})
        after, metrics = learner.step(jax.random.key(1), state, {"x": x})
        return state.training.params["normalizer"], metrics, after.training.params["normalizer"]

    before, metrics, after = first(x)
    z = x / np.linalg.norm(x, axis=1, keepdims=True)
    scores = (z @ z.T) / 0.5
    others = scores[~np.eye(6, dtype=bool)]
    assert metrics["loss"] == pytest.approx(by_loops(np.diag(scores), others, 5.0), rel=1e-5)
    assert before == metrics["normalizer"] == 0
    # More pairs are taken for data than are data, so the normalizer falls; AdamW's first step is its rate.
    assert after == pytest.approx(-1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nce_loss(jnp.ones((2, 2)), jnp.ones(2)), "vectors of log ratios"),
        (lambda: nce_loss(jnp.ones(2), jnp.ones(0)), "vectors of log ratios"),
        (lambda: nce_loss(jnp.ones(2), jnp.ones(2), 0.0), "ratio"),
        (lambda: NCEConfig(temperature=0.0), "temperature"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
