"""Is the attack any good? Checks that belong beside every robust accuracy.

A weak attack and a robust network look the same. These four figures tell them apart: the loss should rise
along PGD's path, an attack that may change every pixel at will should succeed always, gradients should not
vanish, and a black-box attack should not beat a white-box one (Athalye et al. 2018; Carlini et al. 2019).
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
    """Mean loss of PGD's iterates after 0..steps steps, averaged over examples and restarts; [steps + 1].

    Of the iterates themselves, not of the best so far, which rises whatever the attack does.

    Raises:
        ValueError: ``x`` and ``y`` that `check_examples` refuses; NaN where they cannot be read, under jit.
    """
    x, y = check_examples(logits_fn, x, y)
    config = dataclasses.replace(config, keep="best")
    return ascend(key, classification_objective(logits_fn, y, config.loss), x, config)[1].mean(axis=(0, 2))


def largest_drop(losses: Array) -> Array:
    """Largest fall of the loss below a value it had reached, as a share of its total range; scalar in [0, 1].

    0 for a path that only rises, 1 for one that only falls; ``losses`` is [steps + 1]. A constant path
    gives 0, a loss that is NaN or infinite gives NaN.
    """
    fall = jnp.max(jax.lax.cummax(losses) - losses)
    spread = jnp.max(losses) - jnp.min(losses)
    return jnp.where(spread == 0, 0, fall / jnp.where(spread == 0, 1, spread))


def unbounded(config: PGDConfig) -> Attack:
    """The same PGD with Linf eps = 1: it can reach every image there is, so accuracy under it must be 0.

    The step becomes 1/10 of the pixel range: with the step of a small eps it could not get far enough. One
    start has to do: where every image is in reach, an attack that needs luck is not working.
    """
    return pgd(dataclasses.replace(config, eps=1.0, step_size=0.1, norm="linf", restarts=1))


def zero_gradient_fraction(
    logits_fn: LogitsFn, x: Array, y: Array, loss: str = "cross_entropy", tolerance: float = 0.0
) -> Array:
    """Share of examples whose input gradient is no larger than ``tolerance`` anywhere, or not finite; scalar.

    Such an example cannot be attacked by gradient: its accuracy under FGSM and PGD says nothing.

    Raises:
        ValueError: an unknown loss, or ``x`` and ``y`` that `check_examples` refuses; NaN where they cannot
            be read, under jit.
    """
    x, y = check_examples(logits_fn, x, y)
    function = loss_function(loss)
    gradient = jax.grad(lambda z: jnp.sum(function(logits_fn(z), y)))(x).reshape(x.shape[0], -1)
    usable = jnp.isfinite(gradient) & (jnp.abs(gradient) > tolerance)
    share = 1 - jnp.mean(usable.any(axis=1), dtype=jnp.float32)
    return jnp.where(in_box(x).all(), share, jnp.nan)


def masking_gap(white_box: Array, black_box: Array) -> Array:
    """Share of examples that the black-box attack fools and the white-box attack does not; scalar.

    Takes the two masks of `correct_under_attack`, bool [n]. A gradient attack that works leaves almost
    nothing for one without gradients to find; a large share means that gradients are masked and the
    white-box accuracy is not robustness.
    """
    return jnp.mean(white_box & ~black_box, dtype=jnp.float32)
