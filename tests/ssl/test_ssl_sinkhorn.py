"""Sinkhorn in logarithms against a float64 version without logarithms, lightly, and its limits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.ssl.sinkhorn import assignments, scaling


def scores() -> np.ndarray:
    """Inner products [6, 4] of unit vectors, the same as for the peer."""
    rng = np.random.default_rng(0)
    z, w = rng.normal(size=(3, 6, 5)), rng.normal(size=(4, 5))
    z, w = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (z, w))
    return z[0] @ w.T


def by_division(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """``distributed_sinkhorn`` of SwAV's code, in float64."""
    q = np.exp(scores.astype(np.float64) / epsilon).T
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(axis=1, keepdims=True) * q.shape[0]
        q /= q.sum(axis=0, keepdims=True) * q.shape[1]
    return (q * q.shape[1]).T


# lightly 1.6.0, torch 2.13.0, float64: lightly.loss.swav_loss.sinkhorn(scores(), iterations=3, epsilon=.05).
LIGHTLY = [
    [4.145471535064345e-07, 0.30734601460774896, 8.479564171956437e-06, 0.6926450812909257],
    [0.04373939177575406, 0.9114949786328146, 0.037046929739503305, 0.007718699851927963],
    [0.005318144665379846, 0.9902262210049997, 0.00010335602366953503, 0.004352278305950939],
    [2.278253678287237e-06, 3.6579020942657883e-11, 0.0002467782012130107, 0.9997509435085297],
    [0.4987579695527379, 8.723646333796067e-10, 0.5012419287875766, 1.0078732094468921e-07],
    [4.041263319289044e-07, 0.006943185406997003, 0.0015654613704611862, 0.9914909490962098],
]
COMPILED = jax.jit(assignments, static_argnums=2)


def test_it_equals_float64_and_lightly():
    np.testing.assert_allclose(COMPILED(scores(), 0.05, 3), LIGHTLY, rtol=1e-4, atol=1e-12)
    for epsilon in (0.02, 0.5):
        ours = COMPILED(scores(), epsilon, 3)
        np.testing.assert_allclose(ours, by_division(scores(), epsilon, 3), rtol=3e-4, atol=1e-6)


def test_rows_that_take_no_part_change_nothing():
    padded = np.concatenate([scores(), np.full((3, 4), 7.0)])
    masked = COMPILED(padded, 0.05, 3, np.arange(9) < 6)
    np.testing.assert_allclose(masked[:6], COMPILED(scores(), 0.05, 3), rtol=1e-5, atol=1e-12)
    assert not masked[6:].any()


def test_a_row_of_nan_makes_all_rows_nan():
    broken = scores()
    broken[5] = np.nan
    assert np.isnan(COMPILED(broken, 0.05, 3)).all()


def test_a_small_epsilon_overflows_nothing():
    wide = COMPILED(scores(), 1e-3, 3)  # exp(1 / 1e-3) overflows even float64
    np.testing.assert_allclose(wide.sum(axis=1), 1, rtol=1e-5)
    half = COMPILED(scores().astype(jnp.bfloat16), 0.05, 3)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half.sum(axis=1), 1, rtol=1e-5)


def test_sums_are_those_asked_for():
    rows, columns = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.1, 0.9, 0.0])
    kernel = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    with np.errstate(divide="ignore"):
        log_rows, log_columns = (jnp.asarray(np.log(x).astype(np.float32)) for x in (rows, columns))
    plan = np.exp(scaling(jnp.asarray(kernel), log_rows, log_columns, 50))
    np.testing.assert_allclose(plan.sum(axis=1), rows, atol=1e-6)
    np.testing.assert_allclose(plan.sum(axis=0), columns, atol=1e-6)
    # A scaled matrix keeps the cross ratios of the kernel.
    ratio = plan[0, 0] * plan[1, 1] / plan[0, 1] / plan[1, 0]
    assert np.log(ratio) == pytest.approx(kernel[0, 0] + kernel[1, 1] - kernel[0, 1] - kernel[1, 0], rel=1e-4)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: assignments(x[:, :1]), "two prototypes or more"),
        (lambda x: assignments(x, 0.0), "epsilon"),
        (lambda x: assignments(x, 0.05, 0), "iterations"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(jnp.ones((4, 3)))
