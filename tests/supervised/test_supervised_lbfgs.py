"""L-BFGS against a closed form, and where it ends."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lrn.supervised import lbfgs

RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(6, 6))
A, B = ROOT @ ROOT.T + np.eye(6), RNG.normal(size=6)


@jax.jit
@jax.vmap
def ended(tolerance):
    """Minimize ``theta^T A theta / 2 - B^T theta`` over a tree of two leaves."""
    a, b = jnp.asarray(A, jnp.float32), jnp.asarray(B, jnp.float32)

    def objective(parts):
        theta = jnp.append(*parts)
        return theta @ jnp.matmul(a, theta, precision="highest") / 2 - b @ theta

    return lbfgs.minimize(objective, (jnp.zeros(5), jnp.zeros(())), 60, tolerance)


def test_a_quadratic_has_its_closed_form_and_the_tolerance_ends_a_fit():
    found = ended(jnp.asarray([1e-5, 1e-1]))
    theta = np.concatenate([found.params[0], found.params[1][:, None]], axis=1)
    best = np.linalg.solve(A, B)
    np.testing.assert_allclose(theta[0], best, atol=1e-4)
    np.testing.assert_allclose(found.value[0], -B @ best / 2, rtol=1e-5)
    norms = np.abs(theta @ A - B[None]).max(1)
    np.testing.assert_allclose(found.gradient_norm, norms, atol=1e-5)
    assert norms[0] <= 2e-5 < norms[1] <= 0.1
