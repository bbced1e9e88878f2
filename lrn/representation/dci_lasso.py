"""DCI by linear regression with an L1 penalty (Eastwood and Williams 2018, section 4.2): fast, but linear."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, nan_where
from lrn.representation import factors as given
from lrn.representation.dci import DCI, completeness, disentanglement
from lrn.representation.lasso import lasso
from lrn.representation.standard import standardized
from lrn.types import Array


def dci_lasso(codes: Any, factors: Any, test_codes: Any, test_factors: Any, penalty: ArrayLike = 0.01) -> DCI:
    """DCI where the importance of a code is its absolute coefficient; codes and factors are standardized.

    Factors count as numbers, so a factor whose values have no order, such as a shape, is judged wrongly.
    Codes that know a factor but not linearly have no importance.

    Args:
        codes, test_codes: floats [n, dim] and [n_test, dim].
        factors, test_factors: numbers [n, factors] and [n_test, factors].
        penalty: the L1 penalty in units of the factors' variance, above 0; may be traced.

    Raises:
        InputError: codes, factors or the penalty are wrong.
    """
    check.positive("penalty", penalty)
    x, bad = given.as_codes(codes)
    z, bad_test = given.as_codes(test_codes, "test codes", constant=True)
    y, bad_factors = given.numbers(factors, x.shape[0])
    t, bad_targets = given.numbers(test_factors, z.shape[0], "test factors")
    if x.shape[1] != z.shape[1] or y.shape[1] != t.shape[1]:
        raise check.InputError("training and test rows must have the same codes and the same factors.")
    given.several("DCI", min(x.shape[1], y.shape[1]), "codes and factors")
    return _dci(x, y, z, t, bad | bad_test | bad_factors | bad_targets, above_zero(penalty))


@jax.jit
def _dci(x: Array, y: Array, z: Array, t: Array, bad: Array, penalty: ArrayLike) -> DCI:
    x, z = standardized(x, z)
    y, t = standardized(y, t)
    n = x.shape[0]
    gram, cross = (jnp.matmul(x.T, other, precision="highest") / n for other in (x, y))
    weight = lasso(gram, cross, penalty)
    error = jnp.mean(jnp.square(t - jnp.matmul(z, weight, precision="highest")), axis=0)
    r2 = 1 - error / jnp.var(t, axis=0)
    table = nan_where(bad, jnp.abs(weight))
    return DCI(disentanglement(table), completeness(table), nan_where(bad, jnp.mean(r2)), table)
