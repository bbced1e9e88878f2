"""Robust accuracy as a function of the radius, in one compiled program."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import readable
from lrn.robust.attack import LogitsFn, check_examples, column
from lrn.robust.cascade import Family, cascade, check_families
from lrn.types import Array, Key


class Curve(NamedTuple):
    """What attacks at several radii leave.

    robust: bool [radii, n], whether the network is right on the example under all attacks at the radius. The
        mean over the examples is the curve.
    smallest: [n], the smallest of the radii at which an attack fools the network on the example: 0 where the
        network is wrong on the clean input, inf where no attack fools it.
    x: the adversarial inputs [n, ...] at these smallest radii; elsewhere the clean inputs.
    """

    robust: Array
    smallest: Array
    x: Array


def robustness_curve(
    key: Key,
    logits_fn: LogitsFn,
    x: Array,
    y: Array,
    radii: ArrayLike,
    attacks: Mapping[str, Family],
    batch_size: int | None = None,
) -> Curve:
    """Attack a test set at several radii, by bisection for each example.

    What fools the network in a ball lies in every larger ball too, so each example has one smallest radius
    at which the attacks fool the network. A round attacks every example at the middle of the radii that may
    still be this radius; k radii take log2(k + 1) rounds, rounded up. The curve never rises. It can lie
    above a point that was measured alone at a small radius, if an attack succeeds there by chance and fails
    at a larger radius.

    Args:
        key: the key; round i draws from ``fold_in(key, i)``.
        logits_fn, x, y, attacks, batch_size: as for `lrn.robust.cascade.cascade`.
        radii: the radii in ascending order, [radii].

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
    count = radii.size

    # The place of the smallest radius lies between low and high; ``count`` stands for none of the radii.
    def halved(i: Array, so_far: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        low, high, found, _ = so_far
        place, unknown = (low + high) // 2, low < high
        eps = radii[jnp.minimum(place, count - 1)]
        own_key = jax.random.fold_in(key, i)
        result = cascade(own_key, logits_fn, x, y, eps, attacks, batch_size, among=unknown)
        fooled = unknown & ~result.robust
        low, high = jnp.where(unknown & ~fooled, place + 1, low), jnp.where(fooled, place, high)
        return low, high, jnp.where(column(fooled, x), result.x, found), result.after["clean"]

    none, all_of_them = jnp.zeros(y.shape, jnp.int32), jnp.full(y.shape, count, jnp.int32)
    begin = none, all_of_them, x, jnp.ones(y.shape, bool)
    rounds = math.ceil(math.log2(count + 1))
    place, _, found, clean = jax.lax.fori_loop(0, rounds, halved, begin)
    smallest = jnp.where(clean, jnp.append(radii, jnp.inf)[place], 0)
    return Curve(jnp.arange(count)[:, None] < place[None], smallest, found)
