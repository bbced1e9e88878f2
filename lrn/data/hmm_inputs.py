"""Checks of what hidden Markov models are given."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import readable
from lrn.types import Array

_ROUNDING = 1e-3  # how far a row's sum may lie from 1


def check_model(model: Any) -> Array:
    """Whether all rows of a `lrn.data.hmm.HMM` are distributions, a bool scalar.

    Raises:
        InputError: the shapes do not fit each other, or a row that can be read is no distribution.
    """
    states = model.transition.shape[0]
    shapes = tuple(jnp.shape(part) for part in model)
    if shapes[:2] != ((states,), (states, states)) or len(shapes[2]) != 2 or shapes[2][0] != states:
        raise check.InputError(
            f"a model must have shapes [states], [states, states] and [states, symbols], got {shapes}; use "
            "jax.vmap for several models."
        )
    right = jnp.ones((), bool)
    for name, part in zip(model._fields, model):
        if not readable(part):
            right = right & jnp.all(part >= 0) & jnp.all(jnp.abs(jnp.sum(part, axis=-1) - 1) < _ROUNDING)
        elif not (np.min(part) >= 0 and np.abs(np.sum(part, axis=-1) - 1).max() < _ROUNDING):
            raise check.InputError(
                f"each row of {name} must hold probabilities of sum 1; normalize the rows."
            )
    return right


def check_tokens(tokens: Array, hidden: Array) -> None:
    """Raise InputError unless tokens and hidden are integers and bools of one shape [..., time]."""
    kinds = jnp.issubdtype(tokens.dtype, jnp.integer) and hidden.dtype == bool
    if not kinds or tokens.shape != hidden.shape or tokens.ndim < 1:
        raise check.InputError(
            f"tokens and hidden must be integers and bools of one shape [..., time], got {tokens.dtype} "
            f"{tokens.shape} and {hidden.dtype} {hidden.shape}."
        )
