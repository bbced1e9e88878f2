"""Catastrophic overfitting: a network trained on a single-step attack is robust to this attack alone.

Within a few steps of training the accuracy under PGD then falls to almost nothing, while that under the
training attack rises (Wong et al. 2020). The gap between the two shows it, and so does the loss of
linearity: gradients at an input and at a random point beside it no longer agree (Andriushchenko &
Flammarion 2020). All functions may run within `lrn.train.fit`'s ``evaluate``.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.robust.attack import Attack, LogitsFn, check_eps, check_examples
from lrn.robust.losses import is_correct, loss_function
from lrn.robust.norms import random_start, widen
from lrn.types import Array, Key


def single_step_gap(
    key: Key, logits_fn: LogitsFn, x: Array, y: Array, single_step: Attack, strong: Attack
) -> dict[str, Array]:
    """The accuracy on a batch under the training attack, under a strong attack, and the gap between them.

    A network that resists gains little from a single step (a gap of a few points). After catastrophic
    overfitting the gap is about the whole accuracy.

    Args:
        key: the key of both attacks.
        logits_fn: the network in evaluation mode, [batch, ...] -> [batch, classes].
        x: inputs [batch, ...] in [0, 1].
        y: labels [batch].
        single_step: the attack of the training, such as `lrn.robust.rs_fgsm.rs_fgsm`.
        strong: an attack of several steps with the same eps, such as PGD with 10 steps.

    Returns:
        ``single_step_accuracy`` and ``strong_accuracy`` in [0, 1], and ``gap``, the first minus the second.

    Raises:
        ValueError: `check_examples` refuses ``x`` and ``y``.
    """
    x, y = check_examples(logits_fn, x, y)

    def accuracy(key: Key, attack: Attack) -> Array:
        correct = is_correct(logits_fn(attack(key, logits_fn, x, y)), y)
        return jnp.mean(correct, dtype=jnp.float32)

    single_key, strong_key = jax.random.split(key)
    single, hard = accuracy(single_key, single_step), accuracy(strong_key, strong)
    return {"single_step_accuracy": single, "strong_accuracy": hard, "gap": single - hard}


def has_collapsed(before: ArrayLike, now: ArrayLike, drop: ArrayLike = 0.2) -> Array:
    """Whether the accuracy under a strong attack fell by more than ``drop`` since the last evaluation.

    This is the stop of Wong et al. (2020), who measure the accuracy under PGD on a training batch and
    go back to the weights before the fall.

    Args:
        before, now: accuracies in [0, 1], of one shape.
        drop: the largest fall that does not count as a collapse.

    Returns:
        bool, of the shape of the accuracies.
    """
    check.between("drop", drop, 0, 1)
    return jnp.asarray(before) - jnp.asarray(now) > drop


def gradient_alignment(
    key: Key,
    logits_fn: LogitsFn,
    x: Array,
    y: Array,
    eps: Array | float,
    norm: str = "linf",
    loss: str = "cross_entropy",
) -> Array:
    """The cosine between the gradients at ``x`` and at a random point of the ball, the mean, in [-1, 1].

    The mean is over examples with two gradients that are not zero; NaN where there are none. 1 means that
    the loss is linear in the ball, so that a single step finds its maximum. After catastrophic overfitting
    the cosine is near 0.

    Args:
        key: the key of the random points, which are uniform in the ball and clipped to the box.
        logits_fn, x, y: as for an `Attack`.
        eps: the radius of the ball, a number or one an example [batch].
        norm: the norm of the ball.
        loss: one of `lrn.robust.losses.LOSSES`.

    Raises:
        ValueError: an argument is unknown or out of range, or `check_examples` refuses ``x`` and ``y``.
    """
    check_eps(eps, norm)
    function = loss_function(loss)
    x, y = check_examples(logits_fn, x, y)
    slope = jax.grad(lambda z: jnp.sum(function(logits_fn(z), y)))
    cosines, usable = cosine(slope(x), slope(random_start(key, x, eps, norm)))
    return jnp.mean(cosines, where=usable)


def cosine(a: Array, b: Array) -> tuple[Array, Array]:
    """The cosine between two arrays of each example, [batch], and whether both are not zero, bool [batch].

    The cosine of an array of zeros is 0, with a derivative of 0. Arrays as small as 1e-25 have their cosine.

    Args:
        a, b: [batch, ...], of one shape.
    """
    a, b = (_scaled(widen(v).reshape(v.shape[0], -1)) for v in (a, b))
    squares = jnp.sum(a**2, axis=1) * jnp.sum(b**2, axis=1)
    usable = squares != 0  # true for NaN, so that NaN shows in the cosine
    # The root of 0 has an infinite derivative, which `where` outside of the root would turn to NaN.
    size = jnp.sqrt(jnp.where(usable, squares, 1))
    return jnp.where(usable, jnp.sum(a * b, axis=1) / size, 0), usable


def _scaled(rows: Array) -> Array:
    """Rows divided by their largest entry, a constant, because the squares of small numbers underflow."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(rows), axis=1, keepdims=True))
    return rows / jnp.where(largest == 0, 1, largest)
