"""How linear a network is near an input: its change against the change that its gradient foretells.

Qin et al. (2019, "Adversarial robustness through local linearization") and Moosavi-Dezfooli et al. (2019)
measure by how much a loss departs from its first-order expansion. The loss of a confident network is flat, so
here the margin (largest other logit minus true logit) takes the loss's place, and the departure is a share of
the margin's change.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn.robust.attack import LogitsFn, check_examples
from lrn.robust.losses import loss_function
from lrn.types import Array


def first_order(
    logits_fn: LogitsFn, x: Array, z: Array, y: Array, loss: str = "margin"
) -> tuple[Array, Array]:
    """The change of a loss from ``x`` to ``z``, and the change that the gradient at ``x`` foretells.

    Args:
        logits_fn: the network in evaluation mode, [batch, ...] -> [batch, classes].
        x: inputs [batch, ...] in [0, 1].
        z: the inputs to go to, such as an attack's, [batch, ...].
        y: labels [batch].
        loss: one of `lrn.robust.losses.LOSSES`.

    Returns:
        loss(z) - loss(x) and grad loss(x) . (z - x), each [batch].

    Raises:
        ValueError: the loss is unknown, or `check_examples` refuses ``x`` and ``y``.
    """
    x, y = check_examples(logits_fn, x, y)
    value = loss_function(loss)
    before, gradient = jax.value_and_grad(lambda a: _summed(value(logits_fn(a), y)), has_aux=True)(x)
    axes = tuple(range(1, x.ndim))
    return value(logits_fn(z), y) - before[1], jnp.sum(gradient * (z - x), axis=axes)


def departure(logits_fn: LogitsFn, x: Array, z: Array, y: Array, loss: str = "margin") -> Array:
    """The share of the change of a loss that its gradient does not foretell; scalar, 0 or more.

    The sum over examples of ``|change - foretold|``, divided by the sum of ``|change|``. A network that is
    linear between ``x`` and ``z`` has 0. A network whose gradient at ``x`` is zero has 1, and a gradient that
    foretells more than comes true can give more than 1. Where nothing changes the result is 0.

    Args:
        logits_fn, x, z, y, loss: as for `first_order`.

    Raises:
        ValueError: as `first_order`.
    """
    change, foretold = first_order(logits_fn, x, z, y, loss)
    all_change = jnp.sum(jnp.abs(change))
    missed = jnp.sum(jnp.abs(change - foretold))
    return jnp.where(all_change > 0, missed / jnp.where(all_change > 0, all_change, 1), 0)


def _summed(values: Array) -> tuple[Array, Array]:
    return jnp.sum(values), values
