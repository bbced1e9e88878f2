"""Losses an attack raises: each maps logits [batch, classes] and labels [batch] to losses [batch].

All grow as the network gets worse at the true label, so every attack maximizes. All refuse labels that are no
integers, not [batch], or none of the classes; the loss of a label that is none of the classes and cannot be
read, under jit, is NaN, and so is its gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lrn import check
from lrn.robust.attack import (
    as_array,
    check_label_form,
    check_labels,
    check_logits,
    is_class,
    readable,
    wide_labels,
)
from lrn.types import Array

LOSSES = ("cross_entropy", "margin", "dlr")


def _prepare(logits: Array, y: Array, classes: int = 2) -> tuple[Array, Array]:
    """Logits of at least float32 and the mask of the true label, both [batch, classes].

    A label that is none of the classes is refused; where it cannot be read, under jit, its logits become
    NaN in value and gradient, for a mask without a true label would pass for a network that is right.
    """
    y = as_array(y)
    check_label_form(y)
    check_labels(y, check_logits(logits, y.shape[0], classes))
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    if not readable(y):  # times, not where: the gradient of what `where` drops is 0
        logits = logits * jnp.where(is_class(y, logits.shape[1]), 1, jnp.nan).astype(logits.dtype)[:, None]
    return logits, jax.nn.one_hot(wide_labels(y), logits.shape[1], dtype=bool)


def _true_and_best_other(logits: Array, true: Array) -> tuple[Array, Array]:
    return jnp.sum(logits, axis=1, where=true), jnp.max(logits, axis=1, where=~true, initial=-jnp.inf)


def cross_entropy(logits: Array, y: Array) -> Array:
    """Minus the log-probability of the true label, in nats; [batch].

    Raises:
        ValueError: logits are not [batch, classes] with at least 2 classes, or labels are refused.
    """
    logits, true = _prepare(logits, y)
    # softplus(logsumexp of the others - z_true) is the textbook logsumexp(z) - z_true, but stays exact
    # where the network is sure: there p_true - 1 rounds to 0 in float32, and the attack would lose half of
    # its gradient.
    others = jax.nn.logsumexp(logits, axis=1, where=~true)
    return jax.nn.softplus(others - jnp.sum(logits, axis=1, where=true))


def margin(logits: Array, y: Array) -> Array:
    """Largest other logit minus the true one, above 0 exactly when misclassified; [batch].

    The loss of Carlini & Wagner (2017), and what random-search attacks compare.

    Raises:
        ValueError: logits are not [batch, classes] with at least 2 classes, or labels are refused.
    """
    z_true, z_other = _true_and_best_other(*_prepare(logits, y))
    return z_other - z_true


def dlr(logits: Array, y: Array) -> Array:
    """Difference of logits ratio (Croce & Hein 2020, eq. 6); [batch].

    The margin over the gap between the largest and third largest logit: unlike cross-entropy it changes
    neither with a shift nor with the scale of the logits, so a network cannot hide its gradient by being
    confident.

    Raises:
        ValueError: logits are not [batch, classes] with at least 3 classes, or labels are refused.
    """
    logits, true = _prepare(logits, y, classes=3)
    z_true, z_other = _true_and_best_other(logits, true)
    top = jax.lax.top_k(logits, 3)[0]
    return (z_other - z_true) / (top[:, 0] - top[:, 2] + 1e-12)


def is_correct(logits: Array, y: Array) -> Array:
    """Whether the true label's logit is above all others; bool [batch].

    Ties, NaN, and labels that are none of the classes, where they cannot be read, count as wrong.

    Raises:
        ValueError: logits are not [batch, classes] with at least 2 classes, or labels are refused.
    """
    return margin(logits, y) < 0


def loss_function(name: str) -> Callable[[Array, Array], Array]:
    """The loss of that name, one of `LOSSES`.

    Raises:
        ValueError: an unknown name.
    """
    check.choice("loss", name, LOSSES)
    return {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}[name]
