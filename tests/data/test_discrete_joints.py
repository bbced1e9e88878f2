"""Discrete joints: their information by loops and in closed form, their curves by a root finder."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import entropy as scipy_entropy

from lrn.check import InputError
from lrn.data import discrete_joints as joints

information = jax.jit(joints.mutual_information)


def by_loops(joint):
    """sum p(x, y) log p(x, y) / (p(x) p(y)), one pair at a time."""
    total = 0.0
    for x in range(joint.shape[0]):
        for y in range(joint.shape[1]):
            if joint[x, y] > 0:
                total += joint[x, y] * math.log(joint[x, y] / (joint[x].sum() * joint[:, y].sum()))
    return total


def test_information_and_entropy():
    drawn = np.asarray(joints.random(jax.random.key(0), 5, 3, 0.5), np.float64)
    for joint, known in (
        (drawn, None),
        (joints.binary_symmetric(0.1), math.log(2) - scipy_entropy([0.1, 0.9])),
        (joints.erasure(4, 0.25), 0.75 * math.log(4)),
        (joints.deterministic(jnp.array([0, 1, 1, 2, 0, 2]), 3), math.log(3)),
    ):
        joint = np.asarray(joint, np.float64)
        assert joint.sum() == pytest.approx(1, abs=1e-6)
        found = float(information(jnp.asarray(joint, jnp.float32)))
        assert found == pytest.approx(by_loops(joint), abs=2e-6)
        if known is not None:
            assert found == pytest.approx(known, abs=2e-6)
    p = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(joints.entropy(jnp.asarray(p)), scipy_entropy(p, axis=1), rtol=1e-6)


def test_a_gaussian_grid_has_the_information_of_the_pair():
    with jax.enable_x64(True):
        for rho in (0.3, 0.8):
            found = float(joints.mutual_information(joints.gaussian(rho, 65)))
            assert found == pytest.approx(-0.5 * math.log(1 - rho**2), abs=1e-8)


def test_the_binary_symmetric_curve():
    """Against a root finder for the inverse of the entropy, and at its two ends."""
    rates = np.array([0.0, 0.1, 0.4, 0.65, math.log(2), 2.0])
    with jax.enable_x64(True):
        found = np.asarray(joints.binary_symmetric_curve(rates, 0.1))
    expected = []
    for rate in rates:
        wanted = math.log(2) - min(rate, math.log(2))
        a: Any = (
            0.0 if wanted == 0 else brentq(lambda a, w=wanted: scipy_entropy([a, 1 - a]) - w, 1e-300, 0.5)
        )
        both = a + 0.1 - 0.2 * a
        expected.append(math.log(2) - scipy_entropy([both, 1 - both]))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_other_curves():
    rates = np.array([0.0, 0.5, 9.0])
    np.testing.assert_allclose(
        joints.erasure_curve(rates, 4, 0.25), [0, 0.375, 0.75 * math.log(4)], rtol=1e-6
    )
    joint = joints.deterministic(jnp.array([0, 1, 1, 1]), 2)
    h = float(scipy_entropy([0.25, 0.75]))
    np.testing.assert_allclose(joints.deterministic_curve(rates, joint), [0, 0.5, h], rtol=1e-6)


def test_samples_have_the_frequencies_of_the_joint():
    joint = joints.random(jax.random.key(1), 3, 2)
    x, y = jax.jit(lambda key, joint: joints.sample(key, joint, 40_000))(jax.random.key(2), joint)
    counts = np.zeros((3, 2))
    np.add.at(counts, (np.asarray(x), np.asarray(y)), 1 / 40_000)
    np.testing.assert_allclose(counts, joint, atol=0.01)
    none, neither = jax.jit(lambda joint: joints.sample(jax.random.key(3), joint, 4))(2 * joint)
    assert (none == -1).all()
    assert (neither == -1).all()


def test_values_that_cannot_be_read_give_nan_in_value_and_gradient():
    joint = joints.binary_symmetric(0.2)
    value, slope = jax.jit(jax.value_and_grad(joints.mutual_information))(joint * 1.1)
    assert math.isnan(value)
    assert np.isnan(slope).all()
    assert np.isnan(jax.jit(lambda rate: joints.binary_symmetric_curve(rate, 0.1))(-0.5))
    assert np.isnan(jax.jit(joints.binary_symmetric)(1.5)).all()
    assert np.isnan(jax.jit(lambda rho: joints.gaussian(rho, 5))(1.5)).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: joints.mutual_information(jnp.full((2, 2), 0.3)), "sum to 1, got a sum of 1.2"),
        (lambda: joints.mutual_information(jnp.array([[-0.5, 0.5], [0.5, 0.5]])), "least value of -0.5"),
        (lambda: joints.mutual_information(jnp.ones(4) / 4), r"\[inputs, outputs\]"),
        (lambda: joints.mutual_information(jnp.ones((2, 2), int)), "floats"),
        (lambda: joints.binary_symmetric(1.2), "flip"),
        (lambda: joints.deterministic(jnp.array([0, 3]), 2), "labels"),
        (lambda: joints.random(jax.random.key(0), 1, 2), "inputs"),
        (lambda: joints.gaussian(1.0), "rho"),
        (lambda: joints.binary_symmetric_curve(-1.0, 0.1), "rate"),
        (lambda: joints.sample(jax.random.key(0), jnp.full((2, 2), 0.25), 0), "n must"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
