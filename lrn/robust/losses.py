"""Losses that attacks maximize: each maps logits [batch, classes] and labels [batch] to losses [batch].

A loss is larger where the network is worse at the true label. Every loss raises an error for labels that
are no integers, have another shape, or lie outside of the classes. Under jit, where labels cannot be
read, loss and gradient are NaN for a label outside of the classes.
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
    """The logits in float32 or wider, and the mask of the true label, both [batch, classes].

    Under jit the logits of a label outside of the classes become NaN in value and gradient. A mask
    without a true label would otherwise look like a network that is right.
    """
    y = as_array(y)
    check_label_form(y)
    check_labels(y, check_logits(logits, y.shape[0], classes))
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    if not readable(y):  # a product makes the gradient NaN too; `where` would make it 0
        logits = logits * jnp.where(is_class(y, logits.shape[1]), 1, jnp.nan).astype(logits.dtype)[:, None]
    return logits, jax.nn.one_hot(wide_labels(y), logits.shape[1], dtype=bool)


def _true_and_best_other(logits: Array, true: Array) -> tuple[Array, Array]:
    return jnp.sum(logits, axis=1, where=true), jnp.max(logits, axis=1, where=~true, initial=-jnp.inf)


def cross_entropy(logits: Array, y: Array) -> Array:
    """The cross-entropy: minus the log-probability of the true label, in nats, [batch].

    Raises:
        ValueError: logits are not [batch, classes] with at least 2 classes, or labels are refused.
    """
    logits, true = _prepare(logits, y)
    # softplus(logsumexp of the other logits - z_true) equals logsumexp(z) - z_true, and stays exact
    # where the network is confident. There p_true - 1 rounds to 0 in float32, and the attack would
    # lose half of its gradient.
    others = jax.nn.logsumexp(logits, axis=1, where=~true)
    return jax.nn.softplus(others - jnp.sum(logits, axis=1, where=true))


def margin(logits: Array, y: Array) -> Array:
    """The largest other logit minus the true logit, [batch]; positive exactly where the network is wrong.

    This is the loss of Carlini & Wagner (2017), and the score of random-search attacks.

    Raises:
        ValueError: logits are not [batch, classes] with at least 2 classes, or labels are refused.
    """
    z_true, z_other = _true_and_best_other(*_prepare(logits, y))
    return z_other - z_true


def dlr(logits: Array, y: Array) -> Array:
    """The difference of logits ratio (Croce & Hein 2020, eq. 6), [batch].

    The loss is the margin divided by the gap between the largest and the third largest logit. Unlike
    cross-entropy it does not change with a shift or the scale of the logits, so a confident network
    cannot hide its gradient.

    Raises:
        ValueError: logits are not [batch, classes] with at least 3 classes, or labels are refused.
    """
    logits, true = _prepare(logits, y, classes=3)
    z_true, z_other = _true_and_best_other(logits, true)
    top = jax.lax.top_k(logits, 3)[0]
    return (z_other - z_true) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_dlr(logits: Array, y: Array, target: Array) -> Array:
    """The targeted difference of logits ratio (Croce & Hein 2020, eq. 7), [batch].

    The loss is the target's minus the true logit, divided by the gap between the largest logit and the mean
    of the third and fourth largest. It does not change with a shift or the scale of the logits.

    Args:
        logits: [batch, classes].
        y: the true labels [batch].
        target: the labels to reach [batch].

    Raises:
        ValueError: logits are not [batch, classes] with at least 4 classes, or labels are refused.
    """
    logits, aim = _prepare(logits, target, classes=4)
    logits, true = _prepare(logits, y, classes=4)
    top = jax.lax.top_k(logits, 4)[0]
    scale = top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12
    return (jnp.sum(logits, axis=1, where=aim) - jnp.sum(logits, axis=1, where=true)) / scale


def is_correct(logits: Array, y: Array) -> Array:
    """Whether the true label's logit is above all others, bool [batch].

    Ties and NaN count as wrong; so do, under jit, labels outside of the classes.

    Raises:
        ValueError: logits are not [batch, classes] with at least 2 classes, or labels are refused.
    """
    return margin(logits, y) < 0


def loss_function(name: str) -> Callable[[Array, Array], Array]:
    """The loss with the given name.

    Raises:
        ValueError: the name is not in `LOSSES`.
    """
    check.choice("loss", name, LOSSES)
    return {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}[name]
