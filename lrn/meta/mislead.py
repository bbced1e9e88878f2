"""Controls that show where a meta-learner's knowledge comes from: a wrong support set, an empty head."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lrn import check
from lrn.meta.episode import Episode
from lrn.types import Array, PyTree


def wrong_support(episodes: Episode, where: Array | bool = True) -> Episode:
    """Each task with the support set of the task after it, leaves [tasks, ...], which tells nothing of it.

    Args:
        episodes: of two tasks or more, the queries stay.
        where: a scalar; false leaves all as it is, so that one program serves both.
    """
    rolled = jax.tree.map(lambda x: jnp.where(where, jnp.roll(x, 1, axis=0), x), episodes.support)
    return episodes._replace(support=rolled)


def zero_head(
    params: Mapping[str, PyTree], outputs: int | None = None, where: Array | bool = True
) -> dict[str, PyTree]:
    """Parameters ``{"body", "head"}`` with a head of zeros, of another number of outputs where one is given.

    Args:
        params: leaves [...] or, of several seeds, [seeds, ...]; a head's last axis is that of its outputs.
        outputs: of the new head; as many as before by default.
        where: a scalar; false leaves the head as it is, so that one program serves both. Not with
            ``outputs``, which have another shape.

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
