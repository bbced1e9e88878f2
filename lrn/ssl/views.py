"""Views: random copies of a batch, and the inputs of a batch without its labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from lrn import check
from lrn.supervised.inputs import inputs
from lrn.types import Array, Key

__all__ = ["View", "checked", "draw", "inputs", "inputs_or_tokens"]

# view(key, x): a random copy of a batch. x is [batch, ...], floats; the copy is a float array [batch, ...].
View = Callable[[Key, Array], Array]


def inputs_or_tokens(batch: Any, least: int = 2) -> Array:
    """The inputs of a batch as `inputs` gives them, which may be integers here: tokens [batch, time]."""
    return inputs(batch, least, tokens=True)


def draw(view: View, key: Key, x: Array, count: int = 2) -> tuple[Array, ...]:
    """``count`` independent views of a batch, each [batch, ...].

    Raises:
        InputError: at trace time, if a view has another number of examples.
    """
    return tuple(checked(view, each, x) for each in jax.random.split(key, count))


def checked(view: View, key: Key, x: Array) -> Array:
    """One view of a batch, [batch, ...].

    Raises:
        InputError: at trace time, if the view has another number of examples.
    """
    one = view(key, x)
    if one.ndim < 2 or one.shape[0] != x.shape[0]:
        raise check.InputError(
            f"a view of inputs {x.shape} must keep the {x.shape[0]} examples, got shape {one.shape}; let "
            "the view map [batch, ...] to [batch, ...]."
        )
    return one
