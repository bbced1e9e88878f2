"""The linearized boundary between the true class and a wrong class, as attacks by DeepFool and FAB use it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn.robust.attack import LogitsFn, wide_labels
from lrn.robust.hyperplane import DUAL, length
from lrn.robust.norms import widen
from lrn.types import Array


def likeliest_wrong(logits: Array, y: Array, count: int) -> Array:
    """The wrong classes with the largest logits, by falling logit.

    Args:
        logits: [batch, classes].
        y: labels [batch].
        count: the number of classes; at most classes - 1 are returned.

    Returns:
        Classes, int [min(count, classes - 1), batch].
    """
    true = jax.nn.one_hot(wide_labels(y), logits.shape[1], dtype=bool)
    others = jnp.where(true, -jnp.inf, widen(logits))
    return jax.lax.top_k(others, min(count, logits.shape[1] - 1))[1].T


def linearize(logits_fn: LogitsFn, x: Array, y: Array, wrong: Array) -> tuple[Array, Array]:
    """The logit of one wrong class minus the true logit, and its gradient, by one backward pass.

    Numbers that are not finite become 0, so that an iterate stays a valid image. No gradient flows through
    the results.

    Args:
        logits_fn: the network in evaluation mode, [batch, ...] -> [batch, classes].
        x: inputs [batch, ...].
        y: labels [batch].
        wrong: the wrong classes [batch].

    Returns:
        The values [batch] and the gradients [batch, ...], in float32 or wider.
    """
    values, pullback = jax.vjp(lambda z: _gap(widen(logits_fn(z)), y, wrong), x)
    (gradients,) = pullback(jnp.ones_like(values))
    return _finite(values), _finite(widen(gradients))


def linearize_nearest(logits_fn: LogitsFn, x: Array, y: Array, norm: str) -> tuple[Array, Array]:
    """`linearize` for the wrong class whose linearized boundary is nearest, by a backward pass a wrong class.

    The distance from a linearized boundary is the absolute value over the dual norm of the gradient; the
    box does not count.

    Args:
        logits_fn, x, y: as for `linearize`.
        norm: "linf", "l2" or "l1".
    """
    logits, pullback = jax.vjp(lambda z: widen(logits_fn(z)), x)
    classes = logits.shape[1]
    wrong = (wide_labels(y)[None] + jnp.arange(1, classes)[:, None]) % classes  # [classes - 1, batch]
    signs = jax.nn.one_hot(wrong, classes, dtype=logits.dtype)
    signs = signs - jax.nn.one_hot(wide_labels(y), classes, dtype=logits.dtype)[None]
    gradients = _finite(widen(jax.vmap(lambda sign: pullback(sign)[0])(signs)))
    values = _finite(jax.vmap(lambda k: _gap(logits, y, k))(wrong))
    rows = gradients.reshape(values.size, -1)
    slopes = length(rows, DUAL[norm]).reshape(values.shape)
    distances = jnp.where(slopes > 0, jnp.abs(values) / jnp.where(slopes > 0, slopes, 1), jnp.inf)
    nearest, examples = jnp.argmin(distances, axis=0), jnp.arange(y.shape[0])
    return values[nearest, examples], gradients[nearest, examples]


def _gap(logits: Array, y: Array, wrong: Array) -> Array:
    """The logit of ``wrong`` minus the true logit, [batch]."""
    pair = jnp.stack([wide_labels(wrong), wide_labels(y)], axis=1)
    pair = jnp.take_along_axis(logits, pair, axis=1)
    return pair[:, 0] - pair[:, 1]


def _finite(numbers: Array) -> Array:
    return jax.lax.stop_gradient(jnp.where(jnp.isfinite(numbers), numbers, 0))
