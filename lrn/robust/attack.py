"""The form of an attack, and checks of its inputs."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lrn import check
from lrn.arrays import as_array, readable
from lrn.types import Array, Key

LogitsFn = Callable[[Array], Array]  # [batch, ...] -> [batch, classes], each example on its own


class Attack(Protocol):
    """``attack(key, logits_fn, x, y) -> x_adv``: a pure function that returns inputs which fool a network.

    ``x`` is [batch, ...] in [0, 1], and ``y`` holds the true labels [batch]. ``logits_fn`` maps
    [batch, ...] to [batch, classes] and treats each example separately (BatchNorm in evaluation mode).
    ``x_adv`` has the shape and dtype of ``x`` and lies in [0, 1] and in the attack's ball around ``x``. An
    attack may be used under jit, scan, and vmap over eps, seeds or parameters.

    A pixel outside of [0, 1] or a label outside of 0..classes-1 raises a ValueError. Under jit, where
    values cannot be read, the ``x_adv`` of such an example is NaN. Half-precision inputs are attacked in
    float32, and the result is rounded towards ``x``, so that it stays in the ball.
    """

    def __call__(self, key: Key, logits_fn: LogitsFn, x: Array, y: Array, /) -> Array:
        """Attack one batch."""
        ...


def no_attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
    """The attack that returns ``x``; accuracy under this attack is clean accuracy."""
    del key
    return check_examples(logits_fn, x, y)[0]


def check_eps(eps: Any, norm: str) -> None:
    """Raise ValueError for a negative eps, or for an Linf eps above 1, the whole pixel range.

    An eps above 1 is probably on the 0..255 scale. Of an array, one eps an example, the extremes are checked.
    """
    if hasattr(eps, "dtype") and readable(eps) and np.size(eps):
        for extreme in (float(np.min(eps)), float(np.max(eps))):
            check_eps(extreme, norm)
        return
    check.non_negative("eps", eps)
    if norm == "linf" and isinstance(eps, numbers.Real) and float(eps) > 1:
        raise check.InputError(
            f"eps must lie between 0 and 1 for the Linf norm, got {eps}; "
            "pixels lie in [0, 1] too, so divide an eps on the 0..255 scale by 255."
        )


def check_reach(eps: Any, norm: str, x: Array) -> None:
    """Raise ValueError for an L2 or L1 ball that holds every image: its eps is likely on the 0..255 scale.

    `check_eps` sees to Linf, where the number of pixels does not matter. An eps under jit passes.
    """
    pixels = math.prod(x.shape[1:])
    most = {"l2": math.sqrt(pixels), "l1": pixels}.get(norm, math.inf)
    if readable(eps) and (largest := np.max(np.asarray(eps))) > most:
        raise check.InputError(
            f"an {norm.upper()} ball of radius {largest:g} holds every image of {pixels} pixels; "
            "pixels lie in [0, 1], so divide an eps on the 0..255 scale by 255."
        )


def check_inputs(x: Any, y: Any) -> tuple[Array, Array]:
    """``x`` and ``y`` as checked arrays.

    Under jit or vmap, where the pixels cannot be read, an example with a pixel outside of [0, 1] becomes NaN.

    Raises:
        ValueError: x is not float or has no axis after the batch, y is no 1-d integer array, their batch
            sizes differ, the batch is empty, or a pixel is not finite or not in [0, 1].
    """
    x, y = _structure(x, y)
    return check_box(x), y


def check_examples(logits_fn: LogitsFn, x: Any, y: Any) -> tuple[Array, Array]:
    """`check_inputs`, with a check of the labels against the number of classes of ``logits_fn``.

    Raises:
        ValueError: as `check_inputs`; or the logits are not [batch, classes], or a label lies
            outside of 0..classes-1.
    """
    x, y = check_inputs(x, y)
    classes = check_logits(jax.eval_shape(logits_fn, x), y.shape[0])
    check_labels(y, classes)
    return (x if readable(y) else _nan_unless(is_class(y, classes), x)), y


def check_batch(x: Any, y: Any, classes: int) -> None:
    """Check a whole data set once, on the host, before the training.

    Within a jitted training values cannot be read, and values out of range silently become NaN.

    Args:
        x: inputs [n, ...].
        y: labels [n].
        classes: the number of classes.

    Raises:
        ValueError: as `check_inputs`; or a label lies outside of 0..classes-1, or the arrays are traced,
            so that their values cannot be read.
    """
    check.integer("classes", classes, 2)
    if isinstance(x, Tracer) or isinstance(y, Tracer):
        raise check.InputError(
            "check_batch reads values, and these arrays are traced; call it outside jit and vmap."
        )
    x, y = check_inputs(x, y)
    check_labels(y, classes)


def check_box(x: Array) -> Array:
    """``x`` after a check that it lies in the box [0, 1]; under jit examples outside of the box become NaN.

    Raises:
        ValueError: a pixel that can be read is not finite or not in [0, 1].
    """
    if not readable(x):
        return _nan_unless(in_box(x), x)
    pixels = np.asarray(x)
    if pixels.dtype.itemsize < 4:
        pixels = pixels.astype(np.float32)
    finite = np.isfinite(pixels)
    if not finite.all():
        raise check.InputError(
            f"x holds {int((~finite).sum())} values that are not finite; clean the data first."
        )
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        raise check.InputError(
            f"x must lie in [0, 1], got values from {low:.9g} to {high:.9g}; rescale the pixels and "
            "let the network normalize inside."
        )
    return x


def check_labels(y: Array, classes: int) -> None:
    """Raise ValueError for a label outside of 0..classes-1; labels that cannot be read, under jit, pass."""
    if not readable(y):
        return
    labels = np.asarray(y)
    if labels.min() < 0 or labels.max() >= classes:
        raise check.InputError(
            f"labels must lie between 0 and {classes - 1}, got {labels.min()} to {labels.max()}; "
            "relabel them or raise the number of classes."
        )


def check_label_form(y: Array) -> None:
    """Raise ValueError unless ``y`` is a 1-d integer array."""
    if y.ndim != 1 or not jnp.issubdtype(y.dtype, jnp.integer):
        raise check.InputError(
            f"y must be integer class labels of shape [batch], got shape {y.shape} and dtype {y.dtype}; "
            "pass class indices, not one-hot rows or floats."
        )


def check_logits(logits: Any, batch: int, classes: int = 2) -> int:
    """The number of classes of logits.

    Args:
        logits: an array [batch, classes], or its shape and dtype.
        batch: the expected batch size.
        classes: the least number of classes.

    Raises:
        ValueError: ``logits`` is no array [batch, classes], or has fewer classes than ``classes``.
    """
    if not hasattr(logits, "shape"):
        raise check.InputError(
            f"logits must be one array [batch, classes], got {type(logits).__name__}; "
            "Net.apply returns logits and state: take the logits."
        )
    shape = tuple(logits.shape)
    if len(shape) != 2 or shape[0] != batch:
        raise check.InputError(
            f"logits must be [batch, classes] for {batch} labels, got shape {shape}; "
            "check what the network returns."
        )
    if shape[1] < classes:
        who, remedy = "this loss", "use the loss 'margin' or 'cross_entropy'"
        if classes == 2:
            who, remedy = "a classifier", "return a logit for each class"
        raise check.InputError(f"{who} needs at least {classes} classes, got {shape[1]}; {remedy}.")
    return shape[1]


def is_class(y: Array, classes: int) -> Array:
    """Whether each label lies in 0..classes-1; bool [batch]."""
    return (y >= 0) & (wide_labels(y) < classes)


def wide_labels(y: Array) -> Array:
    """Labels in a dtype that holds any number of classes; 8 bits hold only 127 or 255."""
    return y.astype(jnp.int32) if y.dtype.itemsize < 4 else y


def in_box(x: Array) -> Array:
    """Whether every pixel of each example is finite and in [0, 1]; bool [batch]."""
    return ((x >= 0) & (x <= 1)).all(axis=tuple(range(1, x.ndim)))


def column(values: Array, x: Array) -> Array:
    """One value an example [batch], in a form that broadcasts over ``x`` [batch, ...]: [batch, 1, ...]."""
    return values.reshape(-1, *(1,) * (x.ndim - 1))


def _structure(x: Any, y: Any) -> tuple[Array, Array]:
    """``x`` and ``y`` as arrays, after the checks of shapes and dtypes."""
    x, y = as_array(x), as_array(y)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise check.InputError(
            f"x must hold floats in [0, 1], got dtype {x.dtype}; convert it (images: divide by 255)."
        )
    if x.ndim < 2:
        raise check.InputError(
            f"x must be [batch, ...] with at least two axes, got shape {x.shape}; add the batch axis."
        )
    check_label_form(y)
    if x.shape[0] != y.shape[0]:
        raise check.InputError(
            f"x and y must have one batch size, got {x.shape[0]} inputs and {y.shape[0]} labels; "
            "give one label for each input."
        )
    if x.size == 0:
        raise check.InputError(f"the batch is empty, of shape {x.shape}; pass at least one example.")
    return x, y


def _nan_unless(valid: Array, x: Array) -> Array:
    return jnp.where(column(valid, x), x, jnp.nan)
