"""CLIP and its form with few pairs: the loss against loops and open_clip's formula, the scale, the parts."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets
from lrn.check import InputError
from lrn.ssl import cross_modal, semi_paired
from lrn.ssl.cross_modal import CLIPConfig, Modality, clip, clip_loss
from lrn.ssl.pretraining import encode
from lrn.ssl.semi_paired import SemiPairedConfig, semi_paired_batch
from lrn.ssl.simclr import nt_xent
from lrn.supervised.optimizers import OptimizerConfig

HASTY = {"xla_backend_optimization_level": 0}


def embeddings() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    for shape in ((3, 6, 5), (4, 5), (2, 8, 5), (2, 6, 4), (3, 6, 4), (4,)):  # what the peer draws first
        rng.normal(size=shape)
    return rng.normal(size=(6, 5)).astype(np.float32), rng.normal(size=(6, 5)).astype(np.float32)


COMPILED = jax.jit(jax.value_and_grad(clip_loss, argnums=(0, 1)))


def test_the_loss_equals_loops_and_open_clips_formula():
    a, b = embeddings()
    x, y = (z.astype(np.float64) / np.linalg.norm(z, axis=1, keepdims=True) for z in (a, b))
    total = 0.0
    for i in range(6):
        own = np.exp(x[i] @ y[i] / 0.07)
        total -= np.log(own / sum(np.exp(x[i] @ y[j] / 0.07) for j in range(6))) / 12
        total -= np.log(own / sum(np.exp(x[j] @ y[i] / 0.07) for j in range(6))) / 12
    value = COMPILED(a, b, 1 / 0.07)[0]
    assert value == pytest.approx(float(total), rel=1e-5)
    # torch 2.13.0, float64: the mean of F.cross_entropy(logits, labels) and of the same of logits.T, which is
    # open_clip's ClipLoss.
    assert value == pytest.approx(8.922436834340264, rel=1e-5)


def test_gradients_are_finite_at_zero_and_in_bfloat16():
    a, b = embeddings()
    assert all(np.isfinite(g).all() for g in COMPILED(0 * a, 0 * b, 20.0)[1])
    rough = [z.astype(jnp.bfloat16) for z in (a, b)]
    half, full = COMPILED(*rough, 20.0)[1][0], COMPILED(*(z.astype(np.float32) for z in rough), 20.0)[1][0]
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), full, atol=0.01 * float(np.abs(full).max()))


def trained(module, steps: int, **changed):
    """The learner, the last state and the metrics of each step of an example with other settings."""
    made = module.example()
    learner = made.factory(dataclasses.replace(made.config, **changed))
    data = jax.tree.map(jnp.asarray, dict(made.data))

    def one(state, key):
        return learner.step(key, state, made.sampler.draw(jax.random.fold_in(key, 1), data))

    def run(key):
        begin = learner.init(key, made.sampler.draw(key, data))
        return jax.lax.scan(one, begin, jax.random.split(jax.random.fold_in(key, 1), steps))

    return learner, *jax.jit(run, compiler_options=HASTY)(jax.random.key(0))


def test_halves_of_digits_find_each_other_and_the_scale_is_clipped():
    _, state, metrics = trained(cross_modal, 300, largest_scale=8.0)
    assert metrics["scale"][0] == pytest.approx(5)  # 1 / the temperature of .2
    assert metrics["scale"][-1] == pytest.approx(8)
    assert float(metrics["scale"].max()) <= 8.0001
    assert float(metrics["loss"][-20:].mean()) < float(metrics["loss"][0]) - 1
    made = cross_modal.example()
    texts = encode(nets.mlp(16, (32,)), state, jnp.asarray(made.data["text"][:5]), name="text_encoder")
    assert texts.shape == (5, 16)


def test_few_pairs_and_examples_alone():
    """The loss is the weighted sum of its parts, and a modality alone has the gradient of SimCLR."""
    made = semi_paired.example()
    _, state, metrics = trained(semi_paired, 20, alone_weight=0.5)
    parts = metrics["pairs_loss"] + 0.5 * (metrics["image_loss"] + metrics["text_loss"])
    np.testing.assert_allclose(metrics["loss"], parts, rtol=1e-5)
    learner = made.factory(made.config)
    one, other = np.random.default_rng(1).normal(size=(2, 8, 4, 8, 1)).astype(np.float32)
    batch = {"image_alone": one, "text_alone": other}

    def measured(state, batch):
        """The metrics but the norm of the gradient, without which the compiler leaves the gradient out."""
        found = learner.step(jax.random.key(2), state, batch)[1]
        return {name: value for name, value in found.items() if name != "gradient_norm"}

    alone = jax.jit(measured, compiler_options=HASTY)(state, batch)
    assert set(alone) == {"loss", "image_loss", "text_loss", "scale"}
    np.testing.assert_allclose(alone["loss"], alone["image_loss"] + alone["text_loss"], rtol=1e-5)

    @jax.jit
    def simclr_alone(x):  # heads and encoders that change nothing, and views that are the same
        same = nets.from_function(lambda key, x: (), lambda params, x: x)
        both = Modality(same, same, lambda key, x: x + 0)
        objective = semi_paired.semi_paired(
            both, both, SemiPairedConfig(alone_temperature=0.3, learned=False)
        )
        begin = objective.init(jax.random.key(0), {"image_alone": x, "text_alone": x})
        found = objective.step(jax.random.key(0), begin, {"image_alone": x, "text_alone": x})[1]
        return found["image_loss"], nt_xent(x, x, 0.3)

    ours, expected = simclr_alone(one.reshape(8, -1))
    assert ours == pytest.approx(float(expected), rel=1e-5)


def test_the_sampler_keeps_pairs_together_and_draws_each_once():
    rows = np.arange(20)
    data = {
        "image": np.stack([rows, rows], 1).astype(np.float32),
        "text": np.stack([rows, rows], 1).astype(np.int32),
        "paired": np.arange(5),
        "image_rows": np.arange(5, 12),
        "text_rows": np.arange(12, 20),
    }
    sampler = semi_paired_batch(5, 6)
    batch = jax.jit(sampler.draw)(jax.random.key(0), data)
    assert sorted(np.asarray(batch["text"][:, 0])) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(batch["image"], batch["text"])
    assert set(np.asarray(batch["image_alone"][:, 0]).tolist()) <= set(range(5, 12))
    assert set(np.asarray(batch["text_alone"][:, 0]).tolist()) <= set(range(12, 20))
    assert set(jax.eval_shape(semi_paired_batch(0, 6).draw, jax.random.key(0), data)) == {
        "image_alone", "text_alone",
    }  # fmt: skip


def on_digits(module, **changed):
    made = module.example()
    return made.factory(dataclasses.replace(made.config, **changed))


def different():
    return clip(Modality(nets.mlp(4), nets.mlp(3)), Modality(nets.mlp(4), nets.mlp(2)), CLIPConfig())


def unseen():
    whole = Modality(nets.mlp(4, (4,)), nets.mlp(3, ()))
    learner = semi_paired.semi_paired(whole, whole, SemiPairedConfig(OptimizerConfig()))
    batch = {"image_alone": jnp.ones((4, 3)), "text_alone": jnp.ones((4, 3))}
    state = jax.eval_shape(learner.init, jax.random.key(1), batch)
    return jax.eval_shape(learner.step, jax.random.key(0), state, batch)


def begin(learner, batch):
    return jax.eval_shape(learner.init, jax.random.key(0), batch)


X = jnp.ones((4, 3))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: clip_loss(X[:1], X[:1], 1.0), "n of 2 or more"),
        (lambda: clip_loss(X, X, 0.0), "scale"),
        (lambda: CLIPConfig(temperature=0.0), "temperature"),
        (lambda: CLIPConfig(largest_scale=0.5), "largest_scale"),
        (lambda: begin(on_digits(cross_modal), {"image": X}), "entries 'image' and 'text'"),
        (lambda: begin(on_digits(cross_modal), {"image": X, "text": X[:2]}), "one batch size"),
        (lambda: begin(on_digits(cross_modal), {"image": X[:1], "text": X[:1]}), "has 1 pairs"),
        (lambda: begin(different(), {"image": X, "text": X}), "one dim, got 3 and 2"),
        (lambda: begin(on_digits(semi_paired), {"label": X}), "'image' with 'text'"),
        (lambda: begin(on_digits(semi_paired), {"image_alone": X}), "and 'text_alone'"),
        (lambda: begin(on_digits(semi_paired), {"image_alone": X[:1], "text_alone": X}), "2 examples"),
        (lambda: unseen(), "give its view"),
        (lambda: semi_paired_batch(0, 0), "0 of both"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
