"""InfoNCE with the true critic on Gaussians with known information, against a table of expected values.

The table is of 20 dimensions with rho = sqrt(1 - exp(-I / 10)), in nats. NumPy computed it in float64 from
300,000 pairs a cell or more, with the log density ratio as a control variate; its standard errors are at most
.0017.
"""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from lrn.data import gaussians
from lrn.ssl.information.info_nce import info_nce

DIM = 20
TABLE = {
    2: {8: 1.2697, 64: 1.8122, 256: 1.9362, 1024: 1.9800},
    4: {8: 1.8104, 64: 3.0680, 256: 3.5433, 1024: 3.8006},
    6: {8: 2.0011, 64: 3.7356, 256: 4.6142, 1024: 5.2250},
    8: {8: 2.0585, 64: 4.0234, 256: 5.1888, 1024: 6.1571},
    10: {8: 2.0749, 64: 4.1218, 256: 5.4308, 1024: 6.6370},
}
FAST = {(2, 8), (6, 8), (4, 64), (10, 64)}
CELLS = [
    (nats, k) if (nats, k) in FAST else pytest.param(nats, k, marks=pytest.mark.slow)
    for nats in TABLE
    for k in TABLE[nats]
]


@functools.partial(jax.jit, static_argnums=(2, 3))
def values(key, rho, k: int, batches: int):
    def one(key):
        x, y = gaussians.sample(key, k, DIM, rho)
        return info_nce(gaussians.log_ratio(x, y, rho))

    return jax.lax.map(one, jax.random.split(key, batches))


@pytest.mark.parametrize(("nats", "k"), CELLS)
def test_info_nce_with_the_true_critic_equals_the_table(nats, k):
    batches = {8: 4000, 64: 500, 256: 200, 1024: 60}[k]
    rho = gaussians.correlation(float(nats), DIM)
    drawn = np.asarray(values(jax.random.key(nats), rho, k, batches), np.float64)
    error = np.hypot(drawn.std() / np.sqrt(batches), 0.002)
    assert abs(drawn.mean() - TABLE[nats][k]) < 4 * error
    assert error < 0.02
    assert drawn.mean() - 4 * error < min(nats, np.log(k))
