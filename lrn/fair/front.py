"""The whole front between accuracy and fairness: every bound and every split of the data in one program.

A toolkit trains one model a bound and shows a point. `fairness_front` runs a method at all bounds, on all
splits, and keeps the confusion counts of each group on validation and test rows; every rate and every gap
follows from the counts. A choice among bounds reads the validation counts only (`choose`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import readable
from lrn.data.dataset import split
from lrn.fair.confusion import Confusion, confusion
from lrn.fair.inputs import check_groups
from lrn.fair.methods import Method
from lrn.fair.people import People
from lrn.fair.rates import overall_balanced_accuracy as overall_balanced_accuracy
from lrn.types import Array, Key
from lrn.xla.runtime import jit_brief

Measure = Callable[[Confusion], Array]  # counts [..., groups] -> a number [...]


class Front(NamedTuple):
    """What a method reaches at each bound, on each split.

    bounds: [bounds]. validation, test: counts [seeds, bounds, groups] on rows that did not train the model.
    """

    bounds: Array
    validation: Confusion
    test: Confusion


class Chosen(NamedTuple):
    """A choice among bounds for each seed.

    place: int [seeds], the index of the bound, and -1 where no bound meets the limit on validation rows.
    test: the counts of the choice on test rows, [seeds, groups]; NaN without a choice.
    """

    place: Array
    test: Confusion


def fairness_front(
    method: Method,
    rows: People,
    groups: int,
    bounds: Any,
    seeds: Sequence[int],
    shares: tuple[float, float, float] = (0.6, 0.2, 0.2),
    level: int | None = None,
) -> Front:
    """Train a method at every bound on a split for every seed.

    Bounds run side by side under vmap, seeds one after another, so memory is that of one split with all
    bounds. The result is the same as that of a loop.

    Args:
        method: see `lrn.fair.methods`. rows: the data, from `lrn.fair.people.people`.
        groups: the number of groups. bounds: the dials of the method, [bounds], in [0, 1].
        seeds: one split of the rows for each. shares: of training, validation and test rows.
        level: None optimizes the program fully. 1 or 0 compiles it sooner on CPU and runs it more slowly
            (see `lrn.xla.runtime.jit_brief`); counts are the same up to rounding.

    Raises:
        InputError: a bound lies outside of [0, 1], there is no bound or no seed, a split has an empty part
            (see `lrn.data.dataset.split`), or a group has fewer than two rows or one label only. A split may
            still leave a group without one of the labels: rates that need it are then NaN.
    """
    bounds = _checked(bounds)
    if not isinstance(rows, People):
        raise check.InputError(
            f"rows must be the result of lrn.fair.people.people, or the field people of a table of "
            f"lrn.fair.frames, got {type(rows).__name__}."
        )
    if isinstance(seeds, int):
        raise check.InputError(f"seeds must be a list of seeds, got {seeds}; give range({seeds}).")
    if readable(rows.y) and readable(rows.group):
        check_groups(rows.y, rows.group, groups)
    if not len(seeds):
        raise check.InputError("seeds is empty; give at least one, such as range(10).")
    if len(shares) != 3:
        raise check.InputError(f"shares must be those of training, validation and test, got {shares}.")
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    return Front(bounds, *_compiled(level)(method, groups, tuple(shares), rows, bounds, keys))


@functools.cache
def _compiled(level: int | None) -> Callable[..., tuple[Confusion, Confusion]]:
    # The rows are an argument, for XLA would fold what a program computes from constants of their size.
    static = (0, 1, 2)
    return jax.jit(_counts, static_argnums=static) if level is None else jit_brief(_counts, static, level)


def _counts(
    method: Method, groups: int, shares: tuple[float, ...], rows: People, bounds: Array, keys: Key
) -> tuple[Confusion, Confusion]:
    """Counts [seeds, bounds, groups] on validation and on test rows."""

    def one_seed(key: Key) -> tuple[Confusion, Confusion]:
        split_key, method_key = jax.random.split(key)
        train, *held = (rows.take(part) for part in split(split_key, rows.y.shape[0], shares))

        def one_bound(bound: Array) -> tuple[Confusion, Confusion]:
            policy = method(method_key, train, held[0], groups, bound)
            a, b = (confusion(p.y, policy(p.x, p.group), p.group, groups, p.weights) for p in held)
            return a, b

        return jax.vmap(one_bound)(bounds)

    return jax.lax.map(one_seed, keys)


def choose(front: Front, quality: Measure, gap: Measure, limit: float) -> Chosen:
    """The bound with the best quality among those whose gap is at most ``limit``, on validation rows.

    Args:
        front: the front. quality: larger is better, such as `overall_accuracy`. gap: smaller is fairer, such
            as `lrn.fair.gaps.demographic_parity_difference`. limit: the largest gap.

    Raises:
        InputError: the limit is not finite, or no bound meets it for any seed. (Under jit all is NaN.)
    """
    check.finite("limit", limit)
    found = gap(front.validation)
    meets = found <= limit
    if readable(meets) and not np.asarray(meets).any():
        raise _unmet(float(limit), np.asarray(found))
    worth = jnp.where(meets, quality(front.validation), -jnp.inf)
    best = jnp.argmax(worth, axis=1)
    exists = jnp.any(meets, axis=1)
    take = lambda leaf: jnp.take_along_axis(leaf, best[:, None, None], axis=1)[:, 0]  # noqa: E731
    test = jax.tree.map(lambda leaf: jnp.where(exists[:, None], take(leaf), jnp.nan), front.test)
    return Chosen(jnp.where(exists, best, -1), test)


def overall_accuracy(counts: Confusion) -> Array:
    """The accuracy over all rows, [...]."""
    right, wrong = counts.tp + counts.tn, counts.fp + counts.fn
    return jnp.sum(right, axis=-1) / jnp.sum(right + wrong, axis=-1)


def hypervolume(gap: Any, quality: Any, worst: tuple[float, float]) -> Array:
    """The area between the points and the worst point, in units of gap times quality; larger is better.

    The area that the points dominate: of all pairs (g, q) with a gap of at most ``worst[0]`` and a quality of
    at least ``worst[1]``, those for which some point has a gap of at most g and a quality of at least q.
    Zitzler & Thiele (1999). Points beyond the worst one count nothing, and NaN makes the area NaN.

    Args:
        gap, quality: the points [..., points]. worst: the largest gap, and the lowest quality, that count.

    Returns:
        The area, [...].
    """
    gap, quality = jnp.asarray(gap), jnp.asarray(quality)
    if gap.shape != quality.shape or gap.ndim == 0:
        raise check.InputError(
            f"gap and quality must have one shape [..., points], got {gap.shape} and {quality.shape}."
        )
    order = jnp.argsort(gap, axis=-1)
    gap, quality = (jnp.take_along_axis(v, order, axis=-1) for v in (gap, quality))
    broken = jnp.any(jnp.isnan(gap) | jnp.isnan(quality), axis=-1)
    height = jnp.maximum(jax.lax.cummax(quality, axis=gap.ndim - 1) - worst[1], 0)
    start = jnp.minimum(gap, worst[0])
    last = jnp.full((*gap.shape[:-1], 1), worst[0], gap.dtype)
    width = jnp.diff(jnp.concatenate([start, last], axis=-1), axis=-1)
    return jnp.where(broken, jnp.nan, jnp.sum(width * height, axis=-1))


def _unmet(limit: float, found: np.ndarray) -> check.InputError:
    """The error of a limit that none of the gaps meets."""
    known = found[~np.isnan(found)]
    if not known.size:
        return check.InputError(
            "the gap is unknown at every bound, since a group has no validation rows that the gap needs; "
            "give more rows, or merge groups."
        )
    return check.InputError(
        f"no bound keeps the gap at or below {limit:g} on the validation rows of any seed, the smallest gap "
        f"is {known.min():g}; raise the limit, add smaller bounds, or take another method."
    )


def _checked(bounds: Any) -> Array:
    bounds = jnp.atleast_1d(jnp.asarray(bounds, float))
    if bounds.ndim != 1 or bounds.size == 0:
        raise check.InputError(f"bounds must be a flat list of numbers, got shape {bounds.shape}.")
    if readable(bounds):
        outside = np.asarray(bounds)[~((np.asarray(bounds) >= 0) & (np.asarray(bounds) <= 1))]
        if outside.size:
            raise check.InputError(
                f"bounds must lie between 0 and 1, got {outside[0]:g}; a bound is a difference of rates."
            )
    return bounds
