"""Checks that an attack works, to be reported beside every robust accuracy.

A weak attack and a robust network give the same accuracy. Four checks tell them apart: the loss should
rise along PGD's path, an attack that may change every pixel to any value should always succeed, gradients
should not vanish, and a black-box attack should not beat a white-box attack (Athalye et al. 2018; Carlini
et al. 2019).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from lrn.robust.attack import Attack, LogitsFn, check_examples, in_box
from lrn.robust.losses import loss_function
from lrn.robust.pgd import PGDConfig, ascend, classification_objective, pgd
from lrn.types import Array, Key


def loss_by_step(key: Key, logits_fn: LogitsFn, x: Array, y: Array, config: PGDConfig) -> Array:
    """The mean loss of PGD's iterates after 0..steps steps, over examples and restarts, [steps + 1].

    The loss is that of the iterates themselves. The loss of the best point so far would rise
    under any attack.

    Args:
        key, logits_fn, x, y: as for an `Attack`.
        config: PGD's settings; ``keep`` does not matter.

    Raises:
        ValueError: `check_examples` refuses ``x`` and ``y``. (Under jit the result is NaN instead.)
    """
    x, y = check_examples(logits_fn, x, y)
    config = dataclasses.replace(config, keep="best")
    return ascend(key, classification_objective(logits_fn, y, config.loss), x, config)[1].mean(axis=(0, 2))


def largest_drop(losses: Array) -> Array:
    """The largest fall of the loss below an earlier value, as a share of the loss's range; scalar in [0, 1].

    A path that only rises gives 0, as does a constant path; a path that only falls gives 1. A loss that
    is NaN or infinite gives NaN.

    Args:
        losses: [steps + 1].
    """
    fall = jnp.max(jax.lax.cummax(losses) - losses)
    spread = jnp.max(losses) - jnp.min(losses)
    return jnp.where(spread == 0, 0, fall / jnp.where(spread == 0, 1, spread))


def unbounded(config: PGDConfig) -> Attack:
    """The same PGD with Linf eps = 1, which can reach every image: accuracy under this attack must be 0.

    The step size becomes 1/10 of the pixel range, because the step size of a small eps would not reach
    far enough. There is one restart: an attack that can reach every image and needs several starts does
    not work.
    """
    return pgd(dataclasses.replace(config, eps=1.0, step_size=0.1, norm="linf", restarts=1))


def zero_gradient_fraction(
    logits_fn: LogitsFn, x: Array, y: Array, loss: str = "cross_entropy", tolerance: float = 0.0
) -> Array:
    """The share of examples without a usable input gradient, scalar in [0, 1].

    An entry of the gradient is usable if it is finite and its size is above ``tolerance``. An example without
    usable entries cannot be attacked by its gradient, and its accuracy under FGSM and PGD means nothing.

    Args:
        logits_fn, x, y: as for an `Attack`.
        loss: one of `lrn.robust.losses.LOSSES`.
        tolerance: the largest absolute value of an entry that counts as zero.

    Raises:
        ValueError: the loss is unknown, or `check_examples` refuses ``x`` and ``y``. (Under jit the
            result is NaN instead.)
    """
    x, y = check_examples(logits_fn, x, y)
    function = loss_function(loss)
    gradient = jax.grad(lambda z: jnp.sum(function(logits_fn(z), y)))(x).reshape(x.shape[0], -1)
    usable = jnp.isfinite(gradient) & (jnp.abs(gradient) > tolerance)
    share = 1 - jnp.mean(usable.any(axis=1), dtype=jnp.float32)
    return jnp.where(in_box(x).all(), share, jnp.nan)


def masking_gap(white_box: Array, black_box: Array) -> Array:
    """The share of examples that the black-box attack fools and the white-box attack does not, in [0, 1].

    A white-box attack that works leaves almost no examples that only an attack without gradients
    fools. A large share means that gradients are masked, and that the accuracy under the white-box
    attack is no robustness.

    Args:
        white_box, black_box: bool [n], the results of `correct_under_attack` for the two attacks.
    """
    return jnp.mean(white_box & ~black_box, dtype=jnp.float32)
