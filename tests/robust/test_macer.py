"""MACER against NumPy, SciPy and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noisy_steps import LOGITS, PLAIN_SGD, X, Y, check_loss, check_step, net, noise, softmax
from scipy.stats import norm

from lrn.check import InputError
from lrn.robust.macer import MACERConfig, macer, robustness_loss

RIGHT = LOGITS.mean(1).argmax(1)  # labels for which most inputs count
RIGHT[1] = (RIGHT[1] + 1) % 4


def robust(z, y, sigma, gamma, beta):
    """The robustness loss by a loop over inputs, after the public program."""
    losses = []
    for copies, label in zip(z, y):
        p = softmax(beta * copies).mean(0)
        order = np.argsort(p)[::-1]
        margin = norm.ppf(p[order[0]]) - norm.ppf(p[order[1]])
        counts = order[0] == label and np.isfinite(margin) and margin <= gamma
        losses.append(sigma / 2 * (gamma - margin) if counts else 0.0)
    return np.array(losses)


def test_a_step_is_that_of_numpy():
    def terms(z):
        cross_entropy = -np.log(softmax(z).mean(1)[np.arange(5), Y])
        robustness = robust(z, Y, 0.4, 3.0, 2.0)
        assert (robustness > 0).any()
        assert (robustness == 0).any()
        return {"cross_entropy": cross_entropy.mean(), "robustness": 1.5 * robustness.mean()}

    config = MACERConfig(PLAIN_SGD, sigma=0.4, samples=3, penalty=1.5, gamma=3.0, beta=2.0)
    check_step(macer(net(), config), terms, lambda key, w: X[:, None] + noise(key, 0.4, 3))


@pytest.mark.parametrize(("gamma", "beta"), [(8.0, 1.0), (1.0, 1.0), (8.0, 3.0)])
def test_the_robustness_loss_is_that_of_numpy(gamma, beta):
    wanted = robust(LOGITS, RIGHT, 0.5, gamma, beta)
    assert wanted[1] == 0
    assert (wanted > 0).sum() >= 2
    check_loss(
        lambda z: robustness_loss(z, RIGHT, 0.5, gamma, beta), lambda z: robust(z, RIGHT, 0.5, gamma, beta)
    )


def test_certain_predictions_and_unknown_labels():
    # 16 times a gap of 8 makes every other class's probability 0 in float32; a gap of .5 stays accurate.
    z = jnp.asarray([[[8.0, 0, 0]], [[0.5, 0, 0]], [[0.5, 0, 0]]])
    run = jax.jit(jax.value_and_grad(lambda z, y: robustness_loss(z, y, 1.0, 40.0).sum()))
    labels = np.array([0, 0, 2])
    value, gradient = run(z, labels)
    q = np.exp(-8) / (1 + 2 * np.exp(-8))
    assert value == pytest.approx((40 + norm.ppf(2 * q) + norm.ppf(q)) / 2, rel=1e-5)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(np.abs(gradient).sum((1, 2)) > 0, [False, True, False])
    losses = jax.jit(lambda y: robustness_loss(z, y, 1.0))(np.array([0, 0, 3]))
    np.testing.assert_array_equal(np.isnan(losses), [False, False, True])


@pytest.mark.parametrize("changes", [{"penalty": -1.0}, {"gamma": 0.0}, {"beta": 0.0}, {"sigma": 0.0}])
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(InputError):
        MACERConfig(**changes)
