"""MAE: the authors' loss recorded with torch, hidden patches alone, finite gradients, refusals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets
from lrn.check import InputError
from lrn.ssl.mae import MAEConfig, mae, mae_loss, patch_errors, standardize
from lrn.types import MaskedNet, Net

# The authors' formula (`forward_loss` of models_mae.py) by torch 2.13.0 on `tensors()`: the value, the sum of
# absolute gradients by the prediction, and the gradients at [0, :, 0], with and without normalization.
THEIRS = {
    True: (2.044363498687744, 2.330036163330078,
           [0, -0.04095878452062607, 0, -0.02596849761903286, 0, -0.019531385973095894, 0, -0.02384277991]),
    False: (1.5116556882858276, 2.0065393447875977,
            [0, -0.03649622201919556, 0, -0.016015544533729553, 0, -0.015173202380537987, 0, -0.02291106806]),
}  # fmt: skip


def tensors() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions and patches [3, 8, 12], one patch constant, and the mask [3, 8]."""
    rng = np.random.default_rng(0)
    prediction = rng.normal(size=(3, 8, 12)).astype(np.float32)
    patches = (0.5 + 0.2 * rng.normal(size=(3, 8, 12))).astype(np.float32)
    patches[0, 0] = 0.25
    return prediction, patches, rng.random((3, 8)) < 0.6


VALUE = jax.jit(jax.value_and_grad(mae_loss, (0, 1)), static_argnums=3)


@pytest.mark.parametrize("normalize", [True, False])
def test_the_loss_is_the_authors(normalize):
    value, (gradient, _) = VALUE(*tensors(), normalize)
    theirs, total, column = THEIRS[normalize]
    assert float(value) == pytest.approx(theirs, rel=1e-5)
    assert float(np.abs(gradient).sum()) == pytest.approx(total, rel=1e-5)
    np.testing.assert_allclose(gradient[0, :, 0], column, rtol=1e-5, atol=1e-7)


def test_visible_patches_have_no_part_and_hidden_ones_have():
    prediction, patches, mask = tensors()
    value, (by_prediction, by_patches) = VALUE(prediction, patches, mask, True)
    for planted in (7.0, np.nan):
        seen = np.where(mask[:, :, None], patches, planted)
        also = np.where(mask[:, :, None], prediction, planted)
        again, gradients = VALUE(also, seen, mask, True)
        assert float(again) == float(value)
        np.testing.assert_array_equal(gradients[0], by_prediction)
        np.testing.assert_array_equal(gradients[1], by_patches)
    assert (by_prediction[~mask] == 0).all()
    for i, j in zip(*np.nonzero(mask)):
        changed = patches.copy()
        changed[i, j, 0] += 1
        assert abs(float(VALUE(prediction, changed, mask, True)[0]) - float(value)) > 1e-4


def test_gradients_are_finite_for_constant_patches_and_in_bfloat16():
    prediction, patches, mask = tensors()
    mask[0, 0] = True
    patches[1] = 0.0
    _, gradients = VALUE(prediction, patches, mask, True)
    assert all(np.isfinite(g).all() for g in gradients)
    half = [jnp.asarray(x, jnp.bfloat16) for x in (prediction, patches)]
    rounded, gradients = VALUE(*half, mask, True)
    assert rounded.dtype == jnp.float32
    assert all(np.isfinite(np.asarray(g, np.float32)).all() for g in gradients)
    wide, _ = VALUE(*(np.asarray(x, np.float32) for x in half), mask, True)
    assert float(rounded) == pytest.approx(float(wide), rel=1e-5)


def test_standardized_patches():
    x = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    x[0] = 3.0
    wanted = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, ddof=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(standardize(jnp.asarray(x)), wanted, rtol=1e-5, atol=1e-6)


def planted(hidden: int, answer) -> tuple[MaskedNet, Net, MAEConfig]:
    """Networks without parameters, to see what the method gives to which.

    An example has 6 places; the patch of place i is (i, i). A token is the number of its place. The decoder's
    output is ``answer(tokens [b, k], kept [b, k], hidden [b, h]) -> [b, h]``, twice.
    """

    def seen(params, given):
        x, kept = given
        return jnp.take_along_axis(x, kept[:, :, None], axis=1)[:, :, :1]

    encoder = MaskedNet(
        nets.from_function(lambda key, x: {"w": jnp.zeros(())}, lambda params, x: x.mean(1)),
        nets.from_function(lambda key, x: {"w": jnp.zeros(())}, seen),
        lambda x: x,
    )

    def decode(params, given):
        tokens, kept, hidden = given
        out = answer(tokens[:, :, 0], kept, hidden) + params["w"]
        return jnp.repeat(out[:, :, None], 2, axis=2)

    decoder = nets.from_function(lambda key, x: {"w": jnp.zeros(())}, decode)
    return encoder, decoder, MAEConfig(hidden, normalize=False)


def loss_of(hidden: int, answer) -> float:
    x = jnp.tile(jnp.arange(6.0)[None, :, None], (5, 1, 2))
    learner = mae(*planted(hidden, answer)[:2], lambda key, x: x, planted(hidden, answer)[2])

    @jax.jit
    def both(key):
        a, b = jax.random.split(key)
        return learner.step(b, learner.init(a, {"x": x}), {"x": x})[1]["loss"]

    return float(both(jax.random.key(0)))


def test_the_encoder_sees_visible_patches_and_the_target_is_of_hidden_ones():
    def true_place(tokens, kept, hidden):
        """The right answer, if the tokens are those of the kept places and no hidden place is among these."""
        right = jnp.all(tokens == kept) & ~jnp.any(kept[:, :, None] == hidden[:, None])
        return jnp.where(right, hidden, jnp.nan).astype(jnp.float32)

    assert loss_of(4, true_place) == 0
    assert loss_of(4, lambda tokens, kept, hidden: true_place(tokens, kept, hidden) + 2) == 4
    # One visible place: its number and those of the hidden ones sum to 15 in each example.
    assert loss_of(5, lambda tokens, kept, hidden: 15 - tokens - hidden.sum(1, keepdims=True) + hidden) == 0


def test_a_step_on_constant_images_in_bfloat16_is_finite():
    learner = mae(
        nets.masked_vit(2, 8, 1, 2, hidden=8),
        nets.mask_decoder(4, 16, 8, 1, 2, hidden=8),
        lambda key, x: x,
        MAEConfig(12),
    )
    zeros = {"image": np.zeros((2, 8, 8, 1), np.float32)}
    state = jax.jit(learner.init)(jax.random.key(0), zeros)
    half = {"image": zeros["image"].astype(jnp.bfloat16)}
    after, metrics = jax.jit(learner.step)(jax.random.key(1), state, half)
    assert float(metrics["loss"]) >= 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after.training.params, metrics)))


def test_real_valued_sequences_serve_too():
    encoder, decoder = nets.sequence_transformer(4, 8, 1, 2), nets.mask_decoder(8, 10, 8, 1, 2)
    learner = mae(encoder, decoder, lambda key, x: x[:, :40], MAEConfig(6))  # a crop as the view
    batch = {"x": jnp.ones((2, 44, 2))}
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    after, metrics = jax.eval_shape(learner.step, jax.random.key(0), state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert metrics["loss"].shape == ()


def test_wrong_input_is_refused():
    def begin(hidden: int, values: int = 4):
        encoder, decoder = nets.masked_vit(2, 8, 1, 2), nets.mask_decoder(values, 16, 8, 1, 2)
        learner = mae(encoder, decoder, lambda key, x: x, MAEConfig(hidden))
        batch = {"image": jnp.ones((2, 8, 8, 1))}
        state = jax.eval_shape(learner.init, jax.random.key(0), batch)
        jax.eval_shape(learner.step, jax.random.key(0), state, batch)

    for hidden in (16, 20):
        with pytest.raises(InputError, match="hide some of the 16 places"):
            begin(hidden)
    with pytest.raises(InputError, match="set the decoder's number of outputs"):
        begin(12, values=5)
    with pytest.raises(InputError, match="hidden"):
        MAEConfig(0)
    with pytest.raises(InputError, match="no variance"):
        patch_errors(jnp.ones((2, 3, 1)), jnp.ones((2, 3, 1)))
