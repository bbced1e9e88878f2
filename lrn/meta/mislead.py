"""Controls that show where a meta-learner's knowledge comes from: a wrong support set, an empty head."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lrn import check
from lrn.meta.episode import Episode
from lrn.types import Array, PyTree


def wrong_support(episodes: Episode, where: Array | bool = True) -> Episode:
    """Episodes in which each task has the support set of the next task, which says nothing about the queries.

    Args:
        episodes: leaves [tasks, ...], of two tasks or more.
        where: a scalar bool. False leaves the episodes as they are, so that one compiled program serves both.
    """
    rolled = jax.tree.map(lambda x: jnp.where(where, jnp.roll(x, 1, axis=0), x), episodes.support)
    return episodes._replace(support=rolled)


def zero_head(
    params: Mapping[str, PyTree], outputs: int | None = None, where: Array | bool = True
) -> dict[str, PyTree]:
    """Parameters ``{"body", "head"}`` with a head of zeros.

    Args:
        params: leaves [...], or [seeds, ...] for several seeds. The last axis of the head's arrays is that of
            the outputs.
        outputs: the number of outputs of the new head; by default that of the old head.
        where: a scalar; where it is false the head stays as it is, so that one program serves both. It cannot
            be given with ``outputs``, for the two heads would differ in shape.

    Raises:
        ValueError: both ``outputs`` and ``where`` are given.
    """
    if where is not True:
        if outputs is not None:
            raise check.InputError("a head of another number of outputs is zero everywhere; leave where out.")
        kept = jax.tree.map(lambda x: jnp.where(where, jnp.zeros_like(x), x), params["head"])
        return {**params, "head": kept}

    def empty(x: Array) -> Array:
        return jnp.zeros(x.shape if outputs is None else (*x.shape[:-1], outputs), x.dtype)

    return {**params, "head": jax.tree.map(empty, params["head"])}
