"""DCI by scikit-learn's gradient boosting, as disentanglement_lib defines it; on the host."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from sklearn.ensemble import GradientBoostingClassifier

from lrn import check
from lrn.arrays import readable
from lrn.representation import factors as given
from lrn.representation.dci import DCI, completeness, disentanglement


def dci_boosting(
    codes: Any, factors: Any, test_codes: Any, test_factors: Any, *, seed: int | None = 0, trees: int = 100
) -> DCI:
    """DCI with a gradient boosting classifier for each factor, scikit-learn's defaults.

    The importance of a code is the mean decrease of impurity. A boosting fits one tree for each value of the
    factor and round, so 10,000 rows of factors with dozens of values take minutes. The function reads its
    arguments and cannot run under jit or vmap; `dci_trees` can.

    Args:
        codes, test_codes: floats [n, dim] and [n_test, dim].
        factors, test_factors: whole numbers [n, factors] and [n_test, factors].
        seed: the seed of the order in which codes are tried, which decides ties; None draws one.
        trees: the number of rounds.

    Raises:
        InputError: codes or factors are wrong, or traced.
    """
    check.integer("trees", trees, 1)
    if not all(readable(array) for array in (codes, factors, test_codes, test_factors)):
        raise check.InputError(
            "dci_boosting runs on the host and cannot be traced; use dci_trees under jit and vmap."
        )
    train, test, sizes = given.train_and_test(codes, factors, test_codes, test_factors)
    given.several("DCI", min(len(sizes), train.codes.shape[1]), "codes and factors")
    x, z = np.asarray(train.codes), np.asarray(test.codes)
    importance, accuracy = np.zeros((x.shape[1], len(sizes))), np.zeros(len(sizes))
    for j in range(len(sizes)):
        y, y_test = np.asarray(train.factors[:, j]), np.asarray(test.factors[:, j])
        model = GradientBoostingClassifier(n_estimators=trees, random_state=seed).fit(x, y)
        importance[:, j] = np.abs(model.feature_importances_)
        accuracy[j] = np.mean(model.predict(z) == y_test)
    table = jnp.asarray(importance, jnp.float32)
    return DCI(disentanglement(table), completeness(table), jnp.float32(accuracy.mean()), table)
