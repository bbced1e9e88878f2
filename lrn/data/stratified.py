"""Few labels: random subsets with equal numbers of examples of each class."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import readable
from lrn.types import Array, Key


def few_labels(key: Key, y: Any, classes: int, per_class: int) -> Array:
    """Indices of ``per_class`` random examples of each class, without repeats.

    The subsets of one key are nested: a larger ``per_class`` adds examples and keeps the others. The function
    may be called under jit and under vmap over keys. As the entry ``rows`` of a data set, the indices make
    `lrn.data.sampler.minibatch` draw from these examples only.

    Args:
        key: the key.
        y: labels [n], whole numbers.
        classes: the number of classes.
        per_class: the number of examples of each class.

    Returns:
        int32 [classes * per_class], class by class. Where a class has too few examples and the labels cannot
        be read, the places of missing examples hold n, which `minibatch` refuses or draws as NaN.

    Raises:
        InputError: the labels have a wrong shape or dtype, a label is outside of the classes, or a class has
            fewer examples than asked for.
    """
    check.integer("classes", classes, 2)
    check.integer("per_class", per_class, 1)
    y = jnp.asarray(y)
    if y.ndim != 1 or not jnp.issubdtype(y.dtype, jnp.integer):
        raise check.InputError(
            f"labels must be whole numbers [n], got shape {y.shape} and dtype {y.dtype}; give one "
            "class index an example."
        )
    if readable(y) and y.size and not 0 <= np.min(y) <= np.max(y) < classes:
        raise check.InputError(
            f"labels must lie between 0 and {classes - 1}, got {np.min(y)} to {np.max(y)}; relabel them, or "
            "raise classes."
        )
    counts = np.bincount(np.asarray(y), minlength=classes)[:classes] if readable(y) else np.array([per_class])
    if counts.min() < per_class or per_class > y.shape[0]:
        raise check.InputError(
            f"class {counts.argmin()} has {min(counts.min(), y.shape[0])} examples, fewer than the "
            f"{per_class} asked for; ask for fewer."
        )
    order = jax.random.permutation(key, y.shape[0])
    shuffled = y[order]

    def members(label: Array) -> Array:
        places = jnp.nonzero(shuffled == label, size=per_class, fill_value=y.shape[0])[0]
        return jnp.take(order, places, mode="fill", fill_value=y.shape[0])

    return jax.vmap(members)(jnp.arange(classes)).reshape(-1).astype(jnp.int32)
