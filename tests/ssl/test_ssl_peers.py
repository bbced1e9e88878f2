"""The losses of joint embedding on the tensors of peers: equal values, finite gradients, O(n^2) memory.

The peers' values were recorded in float64 on the tensors of `tensors`, with torch 2.13.0: VICReg, Barlow
Twins and SimSiam by lightly 1.6.0 (whose Barlow Twins equals the authors' code), the others by the formulas
of the authors' code: BYOL (regression_loss of both directions), MoCo, Wang and Isola's functions, W-MSE
(Whitening2d and norm_mse_loss) and LeJEPA's MINIMAL.md.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.ssl.alignment_uniformity import alignment, uniformity
from lrn.ssl.barlow_twins import barlow_twins_loss
from lrn.ssl.byol import byol_loss
from lrn.ssl.info_nce import info_nce
from lrn.ssl.moco import moco_loss
from lrn.ssl.nce import nce_loss
from lrn.ssl.sigreg import sigreg
from lrn.ssl.simclr import nt_xent
from lrn.ssl.similarity import products, unit
from lrn.ssl.simsiam import simsiam_loss
from lrn.ssl.vicreg import vicreg_loss
from lrn.ssl.w_mse import w_mse_loss

N, DIM = 12, 5


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(N, DIM))
    b = a + 0.5 * rng.normal(size=(N, DIM))
    queue, p_a, p_b = rng.normal(size=(20, DIM)), rng.normal(size=(N, DIM)), rng.normal(size=(N, DIM))
    along = np.random.default_rng(1).normal(size=(DIM, 7)).astype(np.float32).T
    along = along / np.linalg.norm(along.astype(np.float64), axis=1, keepdims=True)
    given = dict(a=a, b=b, queue=queue, p_a=p_a, p_b=p_b, along=along)
    return {name: x.astype(np.float32) for name, x in given.items()}


RECORDED = {
    "vicreg": 10.520110392132878,
    "vicreg, other weights": 6.9714980338124235,
    "barlow_twins": 0.094517323142956,
    "barlow_twins, other weight": 0.5646226451150623,
    "simsiam": 0.03204022027949025,
    "byol": 4.128160881117961,
    "moco": 0.6770187331294076,
    "moco, warmer": 1.0443682428497882,
    "alignment": 0.2779874477227852,
    "alignment, alpha 1": 0.4912868314099623,
    "uniformity": -2.863928847067901,
    "uniformity, t 3": -3.619976698551023,
    "w_mse": 0.3207315612488031,
    "w_mse, shrunk": 0.27255454276767765,
    "sigreg": 0.582167172168338,
}


@jax.jit
def values(t: dict[str, jax.Array]) -> dict[str, jax.Array]:
    a, b, predictions = t["a"], t["b"], (t["p_a"], t["p_b"])
    return {
        "vicreg": vicreg_loss(a, b),
        "vicreg, other weights": vicreg_loss(a, b, 10.0, 3.0, 7.0),
        "barlow_twins": barlow_twins_loss(a, b),
        "barlow_twins, other weight": barlow_twins_loss(a, b, 0.3),
        "simsiam": simsiam_loss(*predictions, a, b),
        "byol": byol_loss(*predictions, a, b),
        "moco": moco_loss(a, b, t["queue"], 0.07),
        "moco, warmer": moco_loss(a, b, t["queue"], 0.2),
        "alignment": alignment(a, b),
        "alignment, alpha 1": alignment(a, b, 1.0),
        "uniformity": uniformity(a),
        "uniformity, t 3": uniformity(a, 3.0),
        "w_mse": w_mse_loss(a, b),
        "w_mse, shrunk": w_mse_loss(a, b, 0.1),
        "sigreg": 0.5 * (sigreg(a, t["along"]) + sigreg(b, t["along"])),
    }


def test_losses_equal_those_of_peers():
    ours = values(tensors())
    assert set(ours) == set(RECORDED)
    for name, expected in RECORDED.items():
        assert float(ours[name]) == pytest.approx(expected, rel=1e-5, abs=1e-6), name


ALONG = jnp.asarray(tensors()["along"])
# Losses of two views [n, dim], at a temperature of .05.
LOSSES = {
    "nt_xent": lambda a, b: nt_xent(a, b, 0.05),
    "info_nce": lambda a, b: info_nce(products(unit(a), unit(b)) / 0.05, symmetric=True).loss,
    "nce": lambda a, b: nce_loss(jnp.sum(unit(a) * unit(b), -1) / 0.05, (unit(a) @ unit(b)[0]) / 0.05, 11.0),
    "moco": lambda a, b: moco_loss(a, b, b[::-1], 0.05),
    "simsiam": lambda a, b: simsiam_loss(b, a, a, b),
    "byol": lambda a, b: byol_loss(a, b, b[::-1], a[::-1]),
    "barlow_twins": barlow_twins_loss,
    "vicreg": vicreg_loss,
    "w_mse": lambda a, b: w_mse_loss(a, b, 1e-3),
    "sigreg": lambda a, b: sigreg(a, ALONG) + jnp.mean((a - b) ** 2),
    "alignment and uniformity": lambda a, b: alignment(a, b) + uniformity(a) + alignment(a, b, 1.0),
}


@jax.jit
def gradients(a, b):
    return {name: jax.grad(loss, argnums=(0, 1))(a, b) for name, loss in LOSSES.items()}


def test_gradients_are_finite_where_embeddings_are_zero_or_equal():
    t = tensors()
    row = t["a"].copy()
    row[0] = 0
    cases = {"one row": (row, t["b"]), "all": (0 * row, 0 * row), "equal": (t["a"], t["a"])}
    for case, given in cases.items():
        for name, slopes in gradients(*given).items():
            assert np.isfinite(slopes).all(), (case, name)
            # One zero row may not outweigh the batch.
            assert case == "all" or np.abs(slopes).max() < 1e3, (case, name)


def test_bfloat16_loses_no_more_than_its_inputs_digits():
    t = tensors()
    half = [t[name].astype(jnp.bfloat16) for name in "ab"]
    exact = gradients(*(x.astype(np.float32) for x in half))
    for name, slopes in gradients(*half).items():
        for ours, theirs in zip(slopes, exact[name]):
            assert ours.dtype == jnp.bfloat16
            scale = np.abs(theirs).max()
            np.testing.assert_allclose(
                ours.astype(np.float32), theirs, rtol=0.02, atol=0.02 * scale, err_msg=name
            )


@pytest.mark.parametrize(
    "loss", [lambda a, b: nt_xent(a, b, 0.1), lambda a, b: uniformity(a) + uniformity(b)]
)
def test_memory_is_that_of_the_similarities_not_of_pairs_of_vectors(loss):
    n, dim = 128, 256
    given = jax.ShapeDtypeStruct((n, dim), jnp.float32)
    memory = jax.jit(jax.grad(loss)).lower(given, given).compile().memory_analysis()
    similarities, vectors = 4 * (2 * n) ** 2, 4 * 2 * n * dim
    assert memory is not None
    assert memory.temp_size_in_bytes < 8 * (similarities + vectors)  # 1/30 of n^2 dim
    assert memory.temp_size_in_bytes < 4 * (2 * n) ** 2 * dim / 10


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a: vicreg_loss(a[:1], a[:1]), "n of 2 or more"),
        (lambda a: barlow_twins_loss(a, a[:4]), "of one shape"),
        (lambda a: byol_loss(a, a, a[:, :2], a), "of one shape"),
        (lambda a: w_mse_loss(a[:5], a[:5]), "5 examples cannot be whitened in 5 dimensions"),
        (lambda a: moco_loss(a, a, a, 0.0), "temperature"),
        (lambda a: alignment(a, a, 0.0), "alpha"),
        (lambda a: sigreg(a, a[:, :3]), "directions"),
    ],
)
def test_wrong_tensors_are_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(jnp.asarray(tensors()["a"]))
