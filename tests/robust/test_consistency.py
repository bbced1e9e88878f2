"""Consistency regularization against NumPy and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noisy_steps import PLAIN_SGD, X, Y, check_loss, check_step, net, noise, softmax

from lrn.check import InputError
from lrn.robust.consistency import ConsistencyConfig, consistency, divergence, mean_entropy


def divergence_of(z):
    p = softmax(z)
    mean = p.mean(1, keepdims=True)
    return (mean * np.log(mean / p)).sum(2).mean(1)


def entropy_of(z):
    mean = softmax(z).mean(1)
    return -(mean * np.log(mean)).sum(1)


def test_a_step_is_that_of_numpy():
    def terms(z):
        cross_entropy = -np.log(softmax(z)[np.arange(5), :, Y])
        return {
            "cross_entropy": cross_entropy.mean(),
            "divergence": 7 * divergence_of(z).mean(),
            "entropy": 0.3 * entropy_of(z).mean(),
        }

    config = ConsistencyConfig(PLAIN_SGD, sigma=0.5, samples=2, penalty=7.0, eta=0.3)
    check_step(consistency(net(), config), terms, lambda key, w: X[:, None] + noise(key, 0.5, 2))


def test_terms_are_those_of_numpy():
    check_loss(divergence, divergence_of)
    check_loss(mean_entropy, entropy_of)


def test_equal_copies_do_not_diverge_and_certain_ones_have_no_entropy():
    z = jnp.asarray([[[300.0, 0, -300]] * 2])
    run = jax.jit(jax.value_and_grad(lambda z: (divergence(z) + mean_entropy(z)).sum()))
    value, gradient = run(z)
    assert value == 0
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("changes", [{"samples": 1}, {"penalty": -1.0}, {"eta": -1.0}])
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(InputError):
        ConsistencyConfig(**changes)
