"""Batches over environments: a sampler of rows, used in each environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.types import Batch, Key, Sampler


def each(sampler: Sampler) -> Sampler:
    """A sampler that draws a batch of rows in each environment, independently.

    Args:
        sampler: draws from the rows of one environment, {name: [rows, ...]}, such as
            ``minibatch(64, columns=("x", "y"))``.

    Returns:
        A sampler whose data is {name: [environments, rows, ...]}, as many rows in each environment, and
        whose batches are {name: [environments, batch, ...]}. It raises InputError where the entries differ in
        environments, and as ``sampler`` does.
    """

    def draw(key: Key, data: Mapping[str, Any]) -> Batch:
        keys = jax.random.split(key, _environments(data))
        return jax.vmap(sampler.draw)(keys, dict(data))

    def checked(data: Mapping[str, Any]) -> None:
        for e in range(_environments(data)):
            if sampler.check is not None:
                sampler.check({name: value[e] for name, value in data.items()})

    return Sampler(draw, check=checked)


def _environments(data: Any) -> int:
    if not isinstance(data, Mapping) or not data:
        raise check.InputError(
            f"environments are a dict of arrays [environments, rows, ...], got {type(data).__name__}; pass "
            "{name: array}."
        )
    shapes = {name: jnp.shape(value) for name, value in data.items()}
    if any(len(shape) < 2 for shape in shapes.values()) or len({shape[0] for shape in shapes.values()}) > 1:
        told = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise check.InputError(
            f"every entry must be [environments, rows, ...] with as many environments, got {told}; stack "
            "the environments along a first axis."
        )
    return next(iter(shapes.values()))[0]
