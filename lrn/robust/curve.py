"""Robust accuracy as a function of the radius, in one compiled program."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.robust.attack import LogitsFn, check_examples, readable
from lrn.robust.cascade import Cascade, Family, cascade, check_families
from lrn.types import Array, Key


def robustness_curve(
    key: Key,
    logits_fn: LogitsFn,
    x: Array,
    y: Array,
    radii: ArrayLike,
    attacks: Mapping[str, Family],
    batch_size: int = 128,
) -> Cascade:
    """Attack a test set at several radii, from the smallest to the largest.

    What fools the network in a ball lies in every larger ball too, so an example is attacked until it is
    fooled and not again. The curve therefore never rises, and its cost is that of the radii that the
    examples withstand.

    Args:
        key: the key; radius i is attacked with ``fold_in(key, i)``.
        logits_fn, x, y, attacks, batch_size: as for `lrn.robust.cascade.cascade`.
        radii: the radii in ascending order, [radii].

    Returns:
        The cascade at each radius: its fields have a first axis of radii. The mean of ``robust`` over
        the examples is the curve.

    Raises:
        ValueError: the radii are not ascending, an attack refuses the largest one, or `cascade` refuses its
            arguments.
    """
    x, y = check_examples(logits_fn, x, y)
    given = radii
    radii = jnp.asarray(given, jnp.promote_types(x.dtype, jnp.float32))
    if radii.ndim != 1 or not radii.size:
        raise check.InputError(f"radii must be [radii], one or more, got shape {radii.shape}; give a list.")
    if readable(given) and (np.diff(np.asarray(given)) < 0).any():
        raise check.InputError(f"radii must ascend, got {np.asarray(given).tolist()}; sort them.")
    check_families(given, attacks)

    def at(found: Array, one: tuple[Array, Array]) -> tuple[Array, Cascade]:
        i, eps = one
        result = cascade(jax.random.fold_in(key, i), logits_fn, x, y, eps, attacks, batch_size, found=found)
        return result.x, result

    return jax.lax.scan(at, x, (jnp.arange(radii.size), radii))[1]
