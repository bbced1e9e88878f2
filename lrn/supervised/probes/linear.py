"""The linear probe: multinomial logistic regression on fixed features, by L-BFGS on the full batch."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.supervised import lbfgs
from lrn.supervised.losses import hits
from lrn.supervised.probes import _input
from lrn.types import Array

MENU = tuple(float(10.0**p) for p in range(-6, 2))


class LinearProbe(NamedTuple):
    """A linear classifier on standardized features, and the choice of its penalty.

    weight: [dim, classes].
    bias: [classes]; its entries sum to 0.
    mean, std: [dim], the mean and standard deviation of the training features; std is 1 for a
        constant feature.
    chosen: int scalar, the index in ``l2`` of the chosen penalty.
    l2: [penalties], the menu, largest first.
    accuracy: [penalties], the accuracy on validation data, in [0, 1].
    gradient_norm: [penalties], the largest absolute entry of the objective's gradient at the end of the fit.
    """

    weight: Array
    bias: Array
    mean: Array
    std: Array
    chosen: Array
    l2: Array
    accuracy: Array
    gradient_norm: Array

    def logits(self, x: Any) -> Array:
        """Logits [n, classes] of features [n, dim].

        Raises:
            InputError: the features have a wrong shape or dtype, or are not finite.
        """
        x = _input.features("x", x, self.weight.shape[0])
        return _logits((self.weight, self.bias), _standardized(x, self.mean, self.std))

    @property
    def at_edge(self) -> Array:
        """Whether the chosen penalty is the menu's largest or smallest: a wider menu may do better."""
        return (self.chosen == 0) | (self.chosen == self.l2.shape[0] - 1)


def linear_probe(
    x_train: Any,
    y_train: Any,
    x_validation: Any,
    y_validation: Any,
    classes: int,
    *,
    l2: Sequence[float] = MENU,
    steps: int = 200,
    tolerance: ArrayLike = 1e-6,
) -> LinearProbe:
    """Fit a probe for each penalty of a menu, all at once, and return the best probe on validation data.

    The objective is the mean cross-entropy in nats plus ``l2 / 2 * |weight|^2``. The bias is not penalized.
    Features are standardized by the training split's mean and std. The fit is that of scikit-learn's
    `LogisticRegression` with ``C = 1 / (l2 * n_train)``; for two classes scikit-learn has one weight vector
    instead of two, and C must be twice as large. Among penalties with equal validation accuracy the
    largest is chosen.

    Args:
        x_train: features [n_train, dim].
        y_train: labels [n_train].
        x_validation: features [n_validation, dim].
        y_validation: labels [n_validation].
        classes: number of classes.
        l2: the menu of penalties, in any order.
        steps: the largest number of steps of L-BFGS.
        tolerance: a fit ends when no absolute entry of the gradient is larger.

    Raises:
        InputError: features, labels or settings are wrong.
    """
    check.integer("classes", classes, 2)
    check.integer("steps", steps, 1)
    check.positive("tolerance", tolerance)
    if len(l2) == 0:
        raise check.InputError(
            "l2 must hold at least one penalty, got none; give a menu such as (1e-3, 1e-1)."
        )
    for value in l2:
        check.positive("every penalty of l2", value)
    x_train = _input.features("x_train", x_train)
    y_train = _input.labels("y_train", y_train, x_train.shape[0], classes)
    x_validation = _input.features("x_validation", x_validation, x_train.shape[1])
    y_validation = _input.labels("y_validation", y_validation, x_validation.shape[0], classes)
    menu = jnp.asarray(np.sort(np.asarray(l2, np.float64))[::-1], x_train.dtype)
    return _fit(x_train, y_train, x_validation, y_validation, menu, tolerance, classes, steps)


@functools.partial(jax.jit, static_argnames=("classes", "steps"))
def _fit(
    x: Array,
    y: Array,
    x_validation: Array,
    y_validation: Array,
    menu: Array,
    tolerance: ArrayLike,
    classes: int,
    steps: int,
) -> LinearProbe:
    mean = jnp.mean(x, axis=0)
    std = jnp.std(x, axis=0)
    # A constant feature has no scale: its std is 0, or a rounding error.
    std = jnp.where(std > 1e-6 * jnp.max(jnp.abs(x), axis=0), std, 1.0)
    z, target = _standardized(x, mean, std), jax.nn.one_hot(y, classes, dtype=x.dtype)

    def fit(l2: Array) -> tuple[tuple[Array, Array], Array]:
        def objective(theta: tuple[Array, Array]) -> Array:
            log_p = jax.nn.log_softmax(_logits(theta, z))
            return -jnp.mean(jnp.sum(target * log_p, axis=1)) + 0.5 * l2 * jnp.sum(jnp.square(theta[0]))

        theta = jnp.zeros((x.shape[1], classes), x.dtype), jnp.zeros(classes, x.dtype)
        found = lbfgs.minimize(objective, theta, steps, tolerance)
        return found.params, found.gradient_norm

    (weight, bias), largest = jax.vmap(fit)(menu)
    valid = _standardized(x_validation, mean, std), jax.nn.one_hot(y_validation, classes)
    right = jax.vmap(lambda *theta: jnp.mean(hits(_logits(theta, valid[0]), valid[1])))(weight, bias)
    chosen = jnp.argmax(right)  # argmax takes the first of equals, which has the largest penalty
    return LinearProbe(weight[chosen], bias[chosen], mean, std, chosen, menu, right, largest)


def _logits(theta: tuple[Array, Array], z: Array) -> Array:
    return jnp.dot(z, theta[0], precision="highest") + theta[1][None]


def _standardized(x: Array, mean: Array, std: Array) -> Array:
    return (x - mean[None]) / std[None]
