"""N-FGSM against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_layers import WEIGHTS, WEIGHTS32, X, Y, cross_entropy, logits, slope

from lrn.config import stack
from lrn.robust.n_fgsm import NFGSMConfig, n_fgsm

EDGES = np.clip(X * 1.6 - 0.3, 0, 1)  # pixels at both faces of the box


def attacked(net, config, x=EDGES, dtype=jnp.float32, key=0):
    def run(key, config, x):
        return n_fgsm(config)(key, lambda z: net.apply(WEIGHTS32, (), z)[0], x, jnp.asarray(Y))

    return jax.jit(run)(jax.random.key(key), config, jnp.asarray(x, dtype))


def test_noise_then_one_step_without_a_projection(mlp):
    with jax.debug_key_reuse(False):  # the test repeats the draw
        noise = np.asarray(jax.random.uniform(jax.random.key(0), X.shape, jnp.float32, -1, 1), np.float64)
    begin = np.clip(EDGES + 2 * 0.1 * noise, 0, 1)
    gradient = slope(lambda z: cross_entropy(logits(WEIGHTS, z)), begin)
    expected = np.clip(begin + 0.1 * np.sign(gradient), 0, 1)
    x_adv = attacked(mlp(6, 4), NFGSMConfig(eps=0.1))
    np.testing.assert_allclose(x_adv, expected, atol=1e-6)
    far = np.abs(x_adv - EDGES).max()
    assert 0.2 < far <= 0.3 + 1e-6  # outside of the ball, within 3 eps


def test_without_noise_it_is_fgsm_and_with_eps_of_zero_nothing(mlp):
    gradient = slope(lambda z: cross_entropy(logits(WEIGHTS, z)), EDGES)
    plainly = attacked(mlp(6, 4), NFGSMConfig(eps=0.1, noise=0.0, step_ratio=0.5))
    np.testing.assert_allclose(plainly, np.clip(EDGES + 0.05 * np.sign(gradient), 0, 1), atol=1e-6)
    np.testing.assert_array_equal(attacked(mlp(6, 4), NFGSMConfig(eps=0.0)), EDGES.astype(np.float32))


def test_eps_sweeps_and_one_eps_an_example(mlp):
    net = mlp(6, 4)
    alone = [attacked(net, NFGSMConfig(eps=e)) for e in (0.05, 0.2)]
    swept = jax.vmap(lambda config: attacked(net, config))(stack([NFGSMConfig(eps=e) for e in (0.05, 0.2)]))
    np.testing.assert_allclose(swept, alone, atol=1e-6)
    each = attacked(net, NFGSMConfig(eps=jnp.array([0.05, 0.2, 0.05, 0.2, 0.2])))  # pyright: ignore
    np.testing.assert_allclose(each[1], alone[1][1], atol=1e-6)
    np.testing.assert_allclose(each[2], alone[0][2], atol=1e-6)


def test_half_precision_stays_in_the_box(mlp):
    x_adv = attacked(mlp(6, 4), NFGSMConfig(eps=0.1), dtype=jnp.bfloat16)
    assert x_adv.dtype == jnp.bfloat16
    assert ((x_adv >= 0) & (x_adv <= 1)).all()


def test_refused(mlp):
    with pytest.raises(ValueError, match="noise must be a finite number, 0 or more"):
        NFGSMConfig(noise=-1.0)
    with pytest.raises(ValueError, match="eps must lie between 0 and 1"):
        NFGSMConfig(eps=8.0)
    assert jnp.isnan(attacked(mlp(6, 4), NFGSMConfig(), X + 1)).all()
