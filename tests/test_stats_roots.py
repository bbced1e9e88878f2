"""The square root of a covariance and its inverse, against scipy."""

from typing import Any

import jax
import numpy as np
from scipy.linalg import inv, sqrtm

from lrn.stats.roots import roots

both = jax.jit(roots)


def test_they_are_scipys():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 4))
    matrix: Any = a @ a.T + 0.1 * np.eye(4)
    root, inverse = both(matrix.astype(np.float32))
    np.testing.assert_allclose(root, sqrtm(matrix), atol=1e-4)
    np.testing.assert_allclose(inverse, inv(sqrtm(matrix)), atol=1e-3)


def test_a_matrix_that_is_singular_but_for_rounding_gives_nan():
    rng = np.random.default_rng(1)
    for scale in (1.0, 1e4):
        a = scale * rng.normal(size=(4, 3)).astype(np.float32)
        for found in both(a @ a.T):
            assert np.isnan(found).any()
    assert np.isnan(both(np.diag([1.0, 1.0, 1.0, -1.0]).astype(np.float32))[0]).any()
