"""Bottlenecks on discrete and Gaussian joints against closed forms, an optimizer and all partitions."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from lrn.check import InputError
from lrn.data import discrete_joints as joints
from lrn.representation.blahut_arimoto import information_curve, informations, step, value_at
from lrn.representation.deterministic_bottleneck import deterministic_bottleneck, lagrangian
from lrn.representation.gaussian_bottleneck import gaussian_bottleneck, gaussian_curve, noisy_projection

root: Any = brentq
curve = jax.jit(information_curve, static_argnames=("tolerance", "most"))
BETAS = np.array([0.9, 0.5, 0.3, 0.1, 0.02])


def test_the_curve_of_the_binary_symmetric_joint():
    """The points lie on Wyner and Ziv's curve, at the place where its slope is beta, to 1e-6."""
    flip = 0.1

    @jax.jit
    def both(betas):
        found = information_curve(joints.binary_symmetric(flip), betas, tolerance=1e-13)
        return found, joints.binary_symmetric_curve(found.information_x, flip)

    with jax.enable_x64(True):
        found, known = jax.device_get(both(BETAS))
    np.testing.assert_allclose(found.information_y, known, atol=1e-9)

    def slope(a, beta):
        """dI(T; Y) / dI(X; T) along the curve, less beta, for T that is X flipped with probability a."""
        both = a + flip - 2 * a * flip
        return (1 - 2 * flip) * math.log((1 - both) / both) - beta * math.log((1 - a) / a)

    for beta, rate in zip(BETAS, found.information_x):
        a = 0.5 if beta > (1 - 2 * flip) ** 2 else float(root(slope, 1e-200, 0.5 - 1e-9, args=(beta,)))
        assert rate == pytest.approx(math.log(2) + a * math.log(a) + (1 - a) * math.log(1 - a), abs=1e-6)


def test_the_curve_of_a_gaussian_pair():
    """Chechik's curve, on a grid whose sums equal the integrals: both informations to 1e-6."""
    rho, betas = 0.8, np.array([0.4, 0.15])

    @jax.jit
    def both(betas):
        joint = joints.gaussian(rho, 37, 5.5)
        exact = gaussian_curve(jnp.array([rho]), betas)
        return information_curve(joint, betas, tolerance=1e-9, most=3000), exact

    with jax.enable_x64(True):
        found, (of_x, of_y) = jax.device_get(both(betas))
    np.testing.assert_allclose(found.information_x, of_x, atol=1e-6)
    np.testing.assert_allclose(found.information_y, of_y, atol=1e-6)


def test_points_of_a_random_joint():
    """The best of scipy's optima from random starts is no better, and no encoder lies above the curve."""
    joint = np.asarray(joints.random(jax.random.key(3), 4, 3, 0.6), np.float64)
    joint /= joint.sum()
    betas = np.array([0.15, 0.4])
    with jax.enable_x64(True):
        points = curve(jnp.asarray(joint), betas, tolerance=1e-12)
        value = jax.jit(jax.value_and_grad(lambda z, beta: -_gain(jnp.asarray(joint), z, beta)))
        gains = np.asarray(points.information_y - betas * points.information_x)
        for beta, gain in zip(betas, gains):
            ends = []
            for seed in range(4):
                start = np.random.default_rng(seed).normal(size=16) * 2

                def numbers(z, beta=beta):
                    return [np.asarray(v, float) for v in value(jnp.asarray(z), beta)]

                ends.append(-minimize(numbers, start, jac=True, options={"gtol": 1e-9}).fun)
            assert max(ends) == pytest.approx(gain, abs=1e-6)
        assert np.asarray(points.change).max() <= 1e-12
    solo = curve(jnp.asarray(joint, jnp.float32), betas[:1])
    np.testing.assert_allclose(solo.information_y, points.information_y[:1], atol=2e-5)


def _gain(joint, z, beta):
    of_x, of_y = informations(joint, jax.nn.softmax(z.reshape(4, 4), axis=1))
    return of_y - beta * of_x


def test_the_iteration_by_loops():
    """Tishby's equations, one code and one input at a time."""
    rng = np.random.default_rng(1)
    joint, encoder, beta = rng.dirichlet(np.ones(6)).reshape(3, 2), rng.dirichlet(np.ones(4), 3), 0.3
    p_x = joint.sum(1)
    expected = np.zeros((3, 4))
    for x in range(3):
        for t in range(4):
            p_t = sum(p_x[k] * encoder[k, t] for k in range(3))
            divergence = 0.0
            for y in range(2):
                y_of_t = sum(joint[k, y] * encoder[k, t] for k in range(3)) / p_t
                divergence += joint[x, y] / p_x[x] * math.log(joint[x, y] / p_x[x] / y_of_t)
            expected[x, t] = p_t * math.exp(-divergence / beta)
    expected /= expected.sum(1, keepdims=True)
    found = jax.jit(step)(jnp.asarray(joint, jnp.float32), jnp.asarray(encoder, jnp.float32), beta)
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_where_y_is_a_function_of_x():
    """Any beta below 1 keeps all of Y and nothing else; the curve is min(rate, H(Y))."""
    h = -float(np.sum(np.log([1 / 3, 1 / 6, 1 / 2]) * [1 / 3, 1 / 6, 1 / 2]))
    rates = np.array([0, h / 2, 3.0])

    @jax.jit
    def all_of(labels):
        joint = joints.deterministic(labels, 3)
        found = information_curve(joint, np.array([0.2, 0.9]))
        return found, value_at(found, rates), joints.deterministic_curve(rates, joint)

    found, between, known = all_of(np.array([0, 0, 1, 2, 2, 2]))
    np.testing.assert_allclose(found.information_x, [h, h], rtol=1e-5)
    np.testing.assert_allclose(found.information_y, [h, h], rtol=1e-5)
    np.testing.assert_allclose(between, known, atol=1e-5)
    np.testing.assert_allclose(known, [0, h / 2, h], atol=1e-5)


def test_vmap_equals_a_loop_and_a_wrong_joint_gives_nan():
    many = jnp.stack([joints.binary_symmetric(0.1), joints.binary_symmetric(0.3), jnp.full((2, 2), 0.5)])
    together = jax.jit(jax.vmap(lambda j: information_curve(j, BETAS)))(many)
    for i in range(2):
        alone = curve(many[i], BETAS)
        np.testing.assert_allclose(together.information_x[i], alone.information_x, atol=1e-5)
    assert np.isnan(together.information_x[2]).all()
    assert np.isnan(jax.jit(information_curve)(many[0], jnp.array([0.1, -0.1])).information_x).any()


def partitions(n):
    """All partitions of range(n), as restricted growth strings."""
    strings = [[0]]
    for _ in range(n - 1):
        strings = [[*s, k] for s in strings for k in range(max(s) + 2)]
    return np.array(strings, np.int32)


def test_the_deterministic_bottleneck_is_the_best_of_all_partitions():
    every = jnp.asarray(partitions(6))  # 203
    betas = jnp.array([0.05, 0.2, 0.5, 0.9])
    best = jax.jit(jax.vmap(jax.vmap(lagrangian, (None, 0, None)), (None, None, 0)))
    search = jax.jit(deterministic_bottleneck)
    for seed in range(3):
        joint = joints.random(jax.random.key(seed), 6, 3, 0.5)
        found = search(joint, betas)
        top = np.asarray(best(joint, every, betas)).max(1)
        np.testing.assert_allclose(found.objective(betas), top, atol=2e-6)
    # A code of the same outputs' probabilities joins at any price.
    twins = jnp.array([[0.1, 0.1], [0.1, 0.1], [0.05, 0.25], [0.05, 0.25]])
    code = np.asarray(search(twins, betas[:1] / 100).assignment[0])
    assert code[0] == code[1] != code[2] == code[3]


def test_the_gaussian_bottleneck_is_the_best_projection():
    """Scipy's best noisy projection has the same objective; one dimension has Chechik's informations."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5))
    covariance = root @ root.T + 0.3 * np.eye(5)
    parts = covariance[:3, :3], covariance[3:, 3:], covariance[:3, 3:]
    with jax.enable_x64(True):
        arrays = [jnp.asarray(part) for part in parts]

        @jax.jit
        def both(beta):
            found = gaussian_bottleneck(arrays[0], arrays[1], arrays[2], beta)
            return found, noisy_projection(arrays[0], arrays[1], arrays[2], found.projection)

        for beta in (0.05, 0.4):
            found, by_determinants = both(beta)
            np.testing.assert_allclose(found[1:], by_determinants, atol=1e-9)
            best = float(found.information_y - beta * found.information_x)

            def loss(flat, beta=beta):
                a = flat.reshape(3, 2)
                total, rest = (
                    0.5 * np.linalg.slogdet(np.eye(2) + a.T @ c @ a)[1]
                    for c in (parts[0], parts[0] - parts[2] @ np.linalg.solve(parts[1], parts[2].T))
                )
                return -((total - rest) - beta * total)

            ends = [-minimize(loss, rng.normal(size=6)).fun for _ in range(3)]
            assert max(ends) == pytest.approx(best, abs=1e-5)
        # X and Y are the same: the informations are infinite, and no number stands for them.
        eye = jnp.eye(2)
        with pytest.raises(InputError, match="where the information is finite"):
            gaussian_bottleneck(eye, eye, eye, 0.1)
        same = jax.jit(gaussian_bottleneck)(eye, eye, eye, 0.1)
        assert np.isnan(same.information_x)
        singular = jax.jit(gaussian_bottleneck)(jnp.ones((2, 2)), eye, 0.5 * jnp.ones((2, 2)), 0.1)
        assert np.isnan(singular.information_y)
    zero = jax.jit(gaussian_curve)(np.array([0.5, 0.3], np.float32), np.array([0.3, 0.9], np.float32))
    np.testing.assert_array_equal(zero, np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: information_curve(jnp.full((2, 2), 0.25), [0.1, 0.0]),
            "every beta must be a finite number above 0",
        ),
        (lambda: information_curve(jnp.full((2, 2), 0.25), 0.1), r"betas must be a vector"),
        (lambda: information_curve(jnp.full((2, 2), 0.3), [0.1]), "sum to 1"),
        (lambda: deterministic_bottleneck(jnp.full((2, 2), 0.3), [0.1]), "sum to 1"),
        (lambda: deterministic_bottleneck(jnp.full((2, 2), 0.25), [-1.0]), "above 0"),
        (lambda: gaussian_curve(jnp.array([1.0]), 0.1), "correlation"),
        (lambda: gaussian_curve(jnp.array([0.5]), 0.0), "every beta must be above 0"),
        (lambda: gaussian_bottleneck(jnp.eye(2), jnp.eye(1), jnp.ones((1, 2)), 0.1), "covariances"),
        (lambda: informations(jnp.full((2, 2), 0.25), jnp.ones((3, 2))), "an encoder must be"),
    ],
)
def test_wrong_input_is_refused_by_bottlenecks(call, said):
    with pytest.raises(InputError, match=said):
        call()
