"""SimCLR against optax, a double loop and its limits."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrn import nets
from lrn.check import InputError
from lrn.ssl import simclr as module
from lrn.ssl.alignment_uniformity import alignment, uniformity
from lrn.ssl.barlow_twins import barlow_twins_loss
from lrn.ssl.cross_modal import CLIPConfig, clip_loss, scale_of
from lrn.ssl.dino import dino_loss
from lrn.ssl.information.smile import smile
from lrn.ssl.latent_prediction import smooth_l1
from lrn.ssl.matching import distances, gromov_wasserstein
from lrn.ssl.moco import moco_loss
from lrn.ssl.nce import nce_loss
from lrn.ssl.pretraining import encode
from lrn.ssl.simclr import SimCLRConfig, nt_xent, simclr
from lrn.ssl.similarity import products, unit
from lrn.ssl.sinkhorn import assignments
from lrn.ssl.vicreg import vicreg_loss
from lrn.ssl.w_mse import w_mse_loss

N, DIM = 6, 5


def embeddings() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(N, DIM))
    return a.astype(np.float32), (a + 0.5 * rng.normal(size=(N, DIM))).astype(np.float32)


def by_loops(a: np.ndarray, b: np.ndarray, temperature: float) -> float:
    """Equation 1 of the paper, one pair at a time, in float64."""
    z = np.concatenate([a, b]).astype(np.float64)
    count, total = len(z), 0.0

    def score(i: int, j: int) -> float:
        return z[i] @ z[j] / np.linalg.norm(z[i]) / np.linalg.norm(z[j]) / temperature

    for i in range(count):
        others = [np.exp(score(i, j)) for j in range(count) if j != i]
        total -= np.log(np.exp(score(i, (i + count // 2) % count)) / sum(others))
    return total / count


def test_nt_xent_equals_loops_and_optax():
    a, b = embeddings()
    value = jax.jit(nt_xent)
    for temperature in (0.05, 0.5):
        assert value(a, b, temperature) == pytest.approx(by_loops(a, b, temperature), rel=1e-5, abs=1e-6)
    labels = jnp.tile(jnp.arange(N), 2)
    theirs = optax.losses.ntxent(jnp.concatenate([a, b]), labels, temperature=0.5)
    assert value(a, b, 0.5) == pytest.approx(float(theirs), rel=1e-5, abs=1e-6)


def test_gradients_are_finite_at_zero_and_in_bfloat16():
    a, b = embeddings()
    gradient = jax.jit(jax.grad(lambda x, y: nt_xent(x, y, 0.05)))
    assert np.isfinite(gradient(np.zeros_like(a), b)).all()
    full, half = gradient(a, b), gradient(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16))
    rounded = gradient(*(x.astype(jnp.bfloat16).astype(np.float32) for x in (a, b)))
    assert half.dtype == jnp.bfloat16
    assert np.isfinite(full).all()
    np.testing.assert_allclose(half.astype(np.float32), rounded, rtol=0.01, atol=0.01 * np.abs(rounded).max())


def test_features_are_those_of_the_encoder():
    example = module.example()
    encoder = nets.mlp(16, (32,))
    learner = simclr(encoder, nets.mlp(8, (16,)), lambda key, x: x, SimCLRConfig())

    @jax.jit
    def both(x):
        state = learner.init(jax.random.key(0), {"x": x})
        params, net_state = state.training.params["encoder"], state.training.net_state["encoder"]
        return encode(encoder, state, x, chunk=3), encoder.apply(params, net_state, x)[0]

    encoded, applied = both(np.asarray(example.data["image"][:7], np.float32) / 255)
    np.testing.assert_allclose(encoded, applied, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a: nt_xent(a[:1], a[:1], 0.1), "n of 2 or more"),
        (lambda a: nt_xent(a, a, 0.0), "temperature"),
        (lambda a: SimCLRConfig(temperature=-1.0), "temperature"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(jnp.ones((4, 3)))


def test_an_encoder_of_maps_is_refused():
    keep = nets.from_function(lambda key, x: (), lambda params, x: x)
    learner = simclr(keep, nets.mlp(8, (16,)), lambda key, x: x, SimCLRConfig())
    with pytest.raises(InputError, match="must give features"):
        learner.init(jax.random.key(0), {"x": jnp.ones((4, 3, 3))})


def test_a_vector_whose_norm_overflows_is_nan_and_not_zero():
    a, _ = embeddings()
    large = np.where(np.arange(N)[:, None] == 1, np.float32(1e25), a)
    value, gradient = jax.jit(lambda x: (unit(x), jax.grad(lambda x: jnp.sum(unit(x)))(x)))(large)
    for found in (value, gradient):
        assert np.isnan(found).all(axis=1).tolist() == [i == 1 for i in range(N)]


def losses(a: jax.Array, b: jax.Array, value: jax.Array) -> dict[str, jax.Array]:
    """The losses that a temperature, or another number above 0, sharpens; scalars."""
    return {
        "nt_xent": nt_xent(a, b, value),
        "moco": moco_loss(a, b, b, value),
        "nce": nce_loss(a[:, 0], b[:, 0], value),
        "clip": clip_loss(a, b, value),
        "dino": dino_loss(jnp.stack([a, b]), jnp.stack([a, b]), jnp.zeros(DIM), value, 0.04),
        "dino's teacher": dino_loss(jnp.stack([a, b]), jnp.stack([a, b]), jnp.zeros(DIM), 0.1, value),
        "alignment": alignment(a, b, value),
        "uniformity": uniformity(a, value),
        "sinkhorn": jnp.sum(jnp.square(assignments(a, value))),
        "smooth_l1": jnp.mean(smooth_l1(a, b, value)),
        "smile": smile(products(a, b), value),
        "matching": gromov_wasserstein(distances(a), distances(b), value, iterations=2, inner=2).loss,
    }


def weighted(a: jax.Array, b: jax.Array, value: Any) -> dict[str, jax.Array]:
    """What a weight, or a share between 0 and 1, may make 0; scalars."""
    clip = CLIPConfig(temperature=value, learned=False)
    return {
        "vicreg": vicreg_loss(a, b, variance=value),
        "barlow": barlow_twins_loss(a, b, value),
        "w_mse": w_mse_loss(a[:, :3], b[:, :3], value),
        "clip": clip_loss(a, b, scale_of(clip, {})),
    }


def test_a_traced_temperature_of_0_or_below_gives_nan_in_value_and_gradient():
    a, b = (jnp.asarray(x) for x in embeddings())
    swept = jnp.asarray([0.5, 0.0, -0.5, jnp.inf])

    def both(value: jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        return losses(a, b, value), jax.jacrev(losses)(a, b, value)

    values, gradients = jax.jit(jax.vmap(both))(swept)
    for name, value in values.items():
        assert np.isnan(value).tolist() == [False, True, True, True], name
        gradient = np.asarray(gradients[name])
        assert np.isfinite(gradient[0]).all(), name
        if name != "matching":  # no gradient passes
            assert np.isnan(gradient[1:]).any(axis=(1, 2)).all(), name


def test_a_traced_weight_out_of_its_range_gives_nan_in_value_and_gradient():
    a, b = (jnp.asarray(x) for x in embeddings())

    def both(value: jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        # One gradient after the other: that of a loss of NaN would be a part of all.
        slopes = {n: jax.grad(lambda a, n=n: weighted(a, b, value)[n])(a) for n in weighted(a, b, value)}
        return weighted(a, b, value), slopes

    values, gradients = jax.jit(jax.vmap(both))(jnp.asarray([0.5, 0.0, -0.5, 1.5, jnp.inf]))
    for name, value in values.items():
        wrong = [False, name == "clip", True, name in ("w_mse", "clip"), True]
        assert np.isnan(value).tolist() == wrong, name
        assert np.isnan(gradients[name]).any(axis=(1, 2)).tolist() == wrong, name
