"""Losses: each function maps outputs and targets [batch, ...] to one loss for each example, [batch]."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lrn import check
from lrn.types import Array

Loss = Callable[[Array, Array], Array]


def cross_entropy(logits: Array, target: Array) -> Array:
    """The cross-entropy ``-sum_c target_c log softmax(logits)_c`` in nats, [batch].

    Args:
        logits: [batch, classes]; a class with logit -inf and target 0 adds nothing to the loss.
        target: probabilities [batch, classes].

    Raises:
        InputError: the shapes are not two equal [batch, classes].
    """
    if logits.ndim != 2 or logits.shape != target.shape:
        raise check.InputError(
            f"cross_entropy needs logits and targets [batch, classes], got shapes {logits.shape} and "
            f"{target.shape}; turn labels into targets by lrn.supervised.targets.one_hot."
        )
    log_p = jax.nn.log_softmax(_wide(logits))
    return -jnp.sum(jnp.where(target == 0, 0.0, target * log_p), axis=1)


def squared_error(output: Array, target: Array) -> Array:
    """The mean of ``(output - target)^2`` over all axes but the first, [batch].

    Args:
        output: [batch, ...].
        target: of the shape of ``output``.

    Raises:
        InputError: the shapes differ, which broadcasting would hide.
    """
    if output.shape != target.shape:
        raise check.InputError(
            f"squared_error needs output and target of one shape, got {output.shape} and {target.shape}; "
            "reshape the target."
        )
    return jnp.square(_wide(output) - target).reshape(output.shape[0], -1).mean(axis=1)


def hits(logits: Array, target: Array) -> Array:
    """The target's probability of the class with the largest logit, [batch].

    For labels this probability is 1 where the network is right and 0 where it is wrong. Ties for the largest
    logit and NaN count as wrong; a target of NaN, as of a label that is no class, gives NaN.

    Args:
        logits: [batch, classes].
        target: probabilities [batch, classes].
    """
    top = logits == jnp.max(logits, axis=1, keepdims=True)
    alone, unknown = jnp.sum(top, axis=1) == 1, jnp.any(jnp.isnan(target), axis=1)
    found = jnp.where(alone, jnp.sum(jnp.where(top, target, 0), axis=1), 0.0)
    return jnp.where(unknown, jnp.nan, found)


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
