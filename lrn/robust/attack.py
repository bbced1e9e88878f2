"""What an attack is, and the checks on what it is given."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lrn import check
from lrn.types import Array, Key

LogitsFn = Callable[[Array], Array]  # [batch, ...] -> [batch, classes], each example on its own


class Attack(Protocol):
    """``attack(key, logits_fn, x, y) -> x_adv``: inputs near ``x`` that the network gets wrong.

    ``x`` is [batch, ...] in pixel space [0, 1], ``y`` the true labels [batch], ``logits_fn`` maps [batch,
    ...] to [batch, classes] and treats each example on its own (so BatchNorm in evaluation mode). ``x_adv``
    has the shape of ``x``, lies in [0, 1] and in the attack's ball around ``x``. A pure function: jit, vmap
    over eps, seeds or parameters, and scan all apply.
    """

    def __call__(self, key: Key, logits_fn: LogitsFn, x: Array, y: Array, /) -> Array:
        """Attack one batch."""
        ...


def no_attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
    """Return ``x`` itself: the attack under which accuracy is clean accuracy."""
    del key, logits_fn
    return check_inputs(x, y)[0]


def check_eps(eps: Any, norm: str) -> None:
    """Raise ValueError for a negative eps, or a Linf eps above 1 (the whole pixel range).

    The likely mistake is eps on the 0..255 scale.
    """
    check.non_negative("eps", eps)
    if norm == "linf" and isinstance(eps, numbers.Real) and float(eps) > 1:
        raise check.InputError(
            f"eps must lie between 0 and 1 for the Linf norm, got {eps}; "
            "pixels lie in [0, 1] too, so divide an eps on the 0..255 scale by 255."
        )


def check_inputs(x: Any, y: Any) -> tuple[Array, Array]:
    """``x`` and ``y`` as arrays, after the checks that need no values (so they also run under jit).

    Raises:
        ValueError: x is not float or has no axis after the batch, y is not a 1-d integer array, their batch
            sizes differ, or the batch is empty.
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise check.InputError(
            f"x must hold floats in [0, 1], got dtype {x.dtype}; convert it (images: divide by 255)."
        )
    if x.ndim < 2:
        raise check.InputError(
            f"x must be [batch, ...] with at least two axes, got shape {x.shape}; add the batch axis."
        )
    if y.ndim != 1 or not jnp.issubdtype(y.dtype, jnp.integer):
        raise check.InputError(
            f"y must be integer class labels of shape [batch], got shape {y.shape} and dtype {y.dtype}; "
            "pass class indices, not one-hot rows or floats."
        )
    if x.shape[0] != y.shape[0]:
        raise check.InputError(
            f"x and y must have one batch size, got {x.shape[0]} inputs and {y.shape[0]} labels; "
            "pair them up."
        )
    if x.shape[0] == 0:
        raise check.InputError("the batch is empty; pass at least one example.")
    return x, y


def check_batch(x: Any, y: Any, classes: int) -> None:
    """Check concrete data once, on the host, before it goes to an attack or a learner.

    Under jit the values cannot be seen: a label out of range would then be an all-zero row of a one-hot
    matrix, and pixels out of [0, 1] would be clipped away.

    Raises:
        ValueError: what `check_inputs` raises; or a label outside 0..classes-1, a pixel that is not finite or
            not in [0, 1], or traced arrays, whose values cannot be read.
    """
    check.integer("classes", classes, 2)
    if isinstance(x, Tracer) or isinstance(y, Tracer):
        raise check.InputError(
            "check_batch reads values, and these arrays are traced; call it outside jit and vmap."
        )
    x, y = (np.asarray(a) for a in check_inputs(x, y))
    if not np.isfinite(x).all():
        raise check.InputError(
            f"x holds {int((~np.isfinite(x)).sum())} values that are not finite; clean the data first."
        )
    if x.min() < 0 or x.max() > 1:
        raise check.InputError(
            f"x must lie in [0, 1], got values from {x.min():g} to {x.max():g}; rescale the pixels and "
            "let the network normalise inside."
        )
    if y.min() < 0 or y.max() >= classes:
        raise check.InputError(
            f"labels must lie between 0 and {classes - 1}, got {y.min()} to {y.max()}; "
            "relabel them or raise classes."
        )
