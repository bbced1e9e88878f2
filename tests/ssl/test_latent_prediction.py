"""Latent prediction: losses against torch, the target's schedule, the guard, refusals."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrn import nets
from lrn.check import InputError
from lrn.ssl.latent_prediction import (
    LatentPredictionConfig,
    decay_at,
    latent_prediction,
    layer_norm,
    smooth_l1,
)

# torch 2.13.0 on `tensors()`: the first row of layer_norm(b), then smooth_l1_loss(a, layer_norm(b)) with beta
# 1 and 2.
ROW = [-0.0616852231323719, -1.224019169807434, 0.7741047143936157, -1.2982902526855469, 0.36864158511161804,
       1.4412487745285034]  # fmt: skip
SMOOTH = {1.0: 1.3746014833450317, 2.0: 1.0339415073394775}
BLOCK = LatentPredictionConfig((2, 2), 6, 2)


def tensors() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    for shape in ((3, 8, 12), (3, 8, 12)):
        rng.normal(size=shape)
    rng.random((3, 8))
    a, b = (rng.normal(size=(4, 6)).astype(np.float32) for _ in range(2))
    return 2 * a, b


def test_losses_are_torchs():
    @jax.jit
    def found(a, b):
        target = layer_norm(b)
        losses = [jnp.mean(smooth_l1(a, target, beta)) for beta in SMOOTH]
        return target[0], losses, jax.grad(lambda x: layer_norm(x).sum())(jnp.ones((2, 3)))

    row, losses, constant = found(*tensors())
    np.testing.assert_allclose(row, ROW, rtol=1e-5)
    np.testing.assert_allclose(losses, list(SMOOTH.values()), rtol=1e-5)
    assert np.isfinite(constant).all()


def test_the_decay_follows_a_line():
    config = LatentPredictionConfig((2, 2), 6, decay=0.9, last_decay=1.0, decay_steps=4.0)
    steps = jnp.arange(1, 8)
    line, constant = jax.jit(lambda steps: (decay_at(config, steps), decay_at(BLOCK, steps)))(steps)
    np.testing.assert_allclose(line, [0.9, 0.925, 0.95, 0.975, 1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(constant, [0.996] * 7, rtol=1e-6)


BATCH = {"x": jnp.asarray(np.random.default_rng(0).random((4, 8, 8, 1)), jnp.float32)}
BASE = LatentPredictionConfig((2, 2), 6, 2, decay=0.5, decay_steps=2.0)


def learner(config: LatentPredictionConfig):
    encoder = nets.masked_vit(2, 8, 1, 2, hidden=16)
    predictor = nets.mask_decoder(8, 16, 8, 1, 2, hidden=16)
    return latent_prediction(encoder, predictor, lambda key, x: x, config)


@jax.jit
def step(config: LatentPredictionConfig, key, state):
    return learner(config).step(key, state, BATCH)


@pytest.fixture(scope="module")
def start():
    return jax.jit(learner(BASE).init)(jax.random.key(0), BATCH)


def test_the_target_is_the_average_of_the_encoder_s_weights(start):
    def leaves(*trees):
        return zip(*map(jax.tree.leaves, trees))

    assert all(np.array_equal(a, b) for a, b in leaves(start.memory, start.training.params["encoder"]))
    before = start
    for i, decay in enumerate((0.5, 0.75, 1.0)):
        after, _ = step(BASE, jax.random.key(i), before)
        for old, new, online in leaves(before.memory, after.memory, after.training.params["encoder"]):
            np.testing.assert_allclose(new, decay * old + (1 - decay) * online, rtol=1e-5, atol=1e-7)
        moved = max(np.abs(a - b).max() for a, b in leaves(before.memory, after.memory))
        assert moved == 0 if decay == 1 else moved > 1e-5
        before = after


def test_without_the_guard_the_target_has_a_gradient(start):
    """At the first step the target's weights are the encoder's, so that only the gradient differs."""
    (a, guarded), (b, free) = (
        step(dataclasses.replace(BASE, stop_gradient=guard), jax.random.key(0), start)
        for guard in (True, False)
    )
    assert float(guarded["loss"]) == pytest.approx(float(free["loss"]), rel=1e-6)
    assert float(guarded["target_std"]) > 0.01
    # Adam's first moments after one step are a tenth of the gradient.
    moments = [optax.tree.get(state.training.opt_state, "mu") for state in (a, b)]
    for name, least, most in (("encoder", 0.02, 10), ("predictor", 0, 1e-5)):
        ours, theirs = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(m[name])]) for m in moments)
        assert least <= np.linalg.norm(ours - theirs) / np.linalg.norm(ours) <= most


def test_smooth_l1_with_a_large_beta_is_the_squared_error(start):
    config = dataclasses.replace(BASE, loss="squared")
    # The loss alone, so that no gradient is compiled.
    squared = jax.jit(lambda state: learner(config).step(jax.random.key(0), state, BATCH)[1]["loss"])(start)
    _, smooth = step(dataclasses.replace(BASE, beta=1e6), jax.random.key(0), start)
    assert float(smooth["loss"]) * 2e6 == pytest.approx(float(squared), rel=1e-4)


def test_any_encoder_of_places_serves():
    for encoder, x in (
        (nets.sequence_transformer(2, 8, 1, 2), jnp.ones((2, 16, 3))),
        (nets.token_transformer(5, 8, 1, 2), jnp.ones((2, 8), jnp.int32)),
    ):
        predictor = nets.mask_decoder(8, 8, 8, 1, 2)
        config = LatentPredictionConfig((2,), 4, 2)
        made = latent_prediction(encoder, predictor, lambda key, x: x, config)
        state = jax.eval_shape(made.init, jax.random.key(0), {"x": x})
        after, metrics = jax.eval_shape(made.step, jax.random.key(0), state, {"x": x})
        assert jax.tree.structure(after) == jax.tree.structure(state)
        assert metrics["loss"].shape == ()


def test_wrong_input_is_refused():
    def begin(config, out=8):
        encoder, predictor = nets.masked_vit(2, 8, 1, 2), nets.mask_decoder(out, 16, 8, 1, 2)
        made = latent_prediction(encoder, predictor, lambda key, x: x, config)
        batch = {"image": jnp.ones((2, 8, 8, 1))}
        state = jax.eval_shape(made.init, jax.random.key(0), batch)
        jax.eval_shape(made.step, jax.random.key(0), state, batch)

    begin(BLOCK)
    with pytest.raises(InputError, match="may leave 8, fewer than visible=9"):
        begin(LatentPredictionConfig((2, 2), 9, 2))
    with pytest.raises(InputError, match="does not fit a grid"):
        begin(LatentPredictionConfig((5, 2), 2, 1))
    with pytest.raises(InputError, match="width of the encoder"):
        begin(BLOCK, out=7)
    for wrong in ({"block": 2}, {"block": ()}, {"visible": 0}, {"loss": "l1"}, {"beta": 0.0}, {"decay": 1.1},
                  {"decay_steps": 0.0}, {"decay_steps": -math.inf}, {"stop_gradient": 1}):  # fmt: skip
        with pytest.raises(InputError):
            LatentPredictionConfig(**{"block": (2, 2), "visible": 6, **wrong})
