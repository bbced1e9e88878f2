"""How linear a network is near an input: its change against the change that its gradient foretells.

Qin et al. (2019, "Adversarial robustness through local linearization") and Moosavi-Dezfooli et al. (2019)
measure by how much a loss departs from its first-order expansion. The loss of a confident network is flat,
and that of a linear network is not linear. The difference of two logits takes the loss's place here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.robust.attack import LogitsFn, check_examples
from lrn.types import Array


def first_order(logits_fn: LogitsFn, x: Array, z: Array, y: Array) -> tuple[Array, Array]:
    """The change of a difference of logits from ``x`` to ``z``, and the change that its gradient foretells.

    The difference is that of the largest other logit at ``z`` minus the true logit; the class is the same at
    ``x`` and at ``z``, so that the difference is a linear function where the logits are.

    Args:
        logits_fn: the network in evaluation mode, [batch, ...] -> [batch, classes].
        x: inputs [batch, ...] in [0, 1].
        z: the inputs to go to, such as those that an attack found, [batch, ...].
        y: labels [batch].

    Returns:
        d(z) - d(x) and grad d(x) . (z - x), each [batch].

    Raises:
        ValueError: `check_examples` refuses ``x`` and ``y``, or ``z`` has another shape.
    """
    x, y = check_examples(logits_fn, x, y)
    if jnp.shape(z) != x.shape:
        raise check.InputError(
            f"z must have the shape of x, {x.shape}, got {jnp.shape(z)}; give one for each."
        )
    logits = logits_fn(z)
    true = jax.nn.one_hot(y, logits.shape[1], dtype=bool)
    other = jnp.argmax(jnp.where(true, -jnp.inf, logits), axis=1)
    towards = jax.nn.one_hot(other, logits.shape[1]) - true

    def difference(a: Array) -> tuple[Array, Array]:
        values = jnp.sum(logits_fn(a) * towards, axis=1)
        return jnp.sum(values), values

    (_, before), gradient = jax.value_and_grad(difference, has_aux=True)(x)
    step = jnp.sum(gradient * (z - x), axis=tuple(range(1, x.ndim)))
    return difference(z)[1] - before, step


def departure(logits_fn: LogitsFn, x: Array, z: Array, y: Array) -> Array:
    """The share of the change from ``x`` to ``z`` that the gradient at ``x`` does not foretell; a scalar.

    The sum over examples of ``|change - foretold|``, divided by the sum of ``|change|``. A linear network has
    0. A network whose gradient at ``x`` is zero has 1, and a gradient that foretells more than comes true can
    give more than 1. Where nothing changes the result is 0.

    Args:
        logits_fn, x, z, y: as for `first_order`.

    Raises:
        ValueError: as `first_order`.
    """
    change, foretold = first_order(logits_fn, x, z, y)
    whole = jnp.sum(jnp.abs(change))
    missed = jnp.sum(jnp.abs(change - foretold))
    share = missed / jnp.where(whole == 0, 1, whole)  # NaN where a logit is NaN
    return jnp.where(whole == 0, 0, share)
