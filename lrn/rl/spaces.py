"""Action spaces: read from an environment's own description, and refused where no agent could act."""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lrn import check
from lrn.types import Array


class Discrete(NamedTuple):
    """Actions 0 to n - 1."""

    n: int


class Box(NamedTuple):
    """Real actions of shape ``shape`` between ``low`` and ``high`` (numbers, or arrays of that shape)."""

    low: Any
    high: Any
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of real numbers in one action."""
        return math.prod(self.shape)

    def scale(self, unit: Array) -> Array:
        """Map actions [..., *shape] from [-1, 1] to [low, high]; numbers outside of [-1, 1] are clipped."""
        low, high = (jnp.broadcast_to(jnp.asarray(x, unit.dtype), unit.shape) for x in (self.low, self.high))
        return low + 0.5 * (jnp.clip(unit, -1.0, 1.0) + 1.0) * (high - low)


def levels_of(action: Array, bins: int, dimensions: int) -> Array:
    """The levels [..., dimensions], each from 0 to bins - 1, of actions [...], numbers of a combination."""
    return action[..., None] // _strides(bins, dimensions, action.ndim) % bins


def action_of(levels: Array, bins: int) -> Array:
    """The numbers [...] of the combinations of levels [..., dimensions]; the inverse of `levels_of`."""
    return (levels * _strides(bins, levels.shape[-1], levels.ndim - 1)).sum(-1, dtype=jnp.int32)


def _strides(bins: int, dimensions: int, leading: int) -> Array:
    strides = bins ** np.arange(dimensions - 1, -1, -1)
    return jnp.asarray(strides.reshape((1,) * leading + (dimensions,)), jnp.int32)


def read_actions(name: str, space: Any) -> Discrete | Box:
    """The actions of an environment.

    Args:
        name: name of the environment, for error messages.
        space: an action space with the attributes of gymnax's or Gymnasium's.

    Raises:
        InputError: the space is neither one discrete choice nor a box of real numbers, or it is a box that
            `check_box` refuses.
    """
    if hasattr(space, "nvec"):
        raise check.InputError(
            _several(
                f"the action space of {name}", "multi-discrete", f"nvec = {np.asarray(space.nvec).tolist()}"
            )
        )
    if hasattr(space, "n"):
        return Discrete(choices(f"the action space of {name}", space))
    if all(hasattr(space, part) for part in ("low", "high", "shape")):
        return _read_box(name, space)
    raise check.InputError(
        f"the action space of {name} is neither discrete (n) nor a box (low, high, shape), but "
        f"{type(space).__name__}; give one of the two."
    )


def choices(what: str, space: Any) -> int:
    """The number of values of a discrete space.

    Args:
        what: the subject of error messages, such as "the action space of CartPole-v1".
        space: a space with the attribute ``n``.

    Raises:
        InputError: ``n`` is no whole number of at least 1, the values do not start at 0, or the space holds
            several choices at once.
    """
    n, start = space.n, getattr(space, "start", 0)
    if np.ndim(n) > 0:
        sizes = n if isinstance(n, Tracer) else np.asarray(n).tolist()
        raise check.InputError(_several(what, "multi-discrete", f"n = {sizes}"))
    if tuple(getattr(space, "shape", None) or ()):
        raise check.InputError(_several(what, "multi-binary", f"n = {n}"))
    if isinstance(n, Tracer):
        raise check.InputError(f"n of {what} is traced; give an int, since networks are built for it.")
    try:
        count = operator.index(n)
    except TypeError:
        raise check.InputError(f"n of {what} must be a whole number, got {n!r}; give it as an int.") from None
    check.integer(f"n of {what}", count, low=1)
    if int(start) != 0:
        raise check.InputError(
            f"{what} counts from {start}, and agents count from 0; shift it in the environment."
        )
    return count


def check_box(name: str, box: Box) -> None:
    """Check that the bounds of continuous actions are finite and in order.

    Of traced bounds only the shapes are checked.

    Args:
        name: name of the environment, for error messages.
        box: its actions.

    Raises:
        InputError: an action has no numbers, or the bounds have another shape than the actions, are infinite
            or NaN, further apart than a float32 can represent, or not in order.
    """
    if box.size == 0:
        raise check.InputError(
            f"the actions of {name} have shape {list(box.shape)} and hold no number; give them at least one."
        )
    for side, bound in (("low", box.low), ("high", box.high)):
        if np.shape(bound) not in ((), box.shape) and math.prod(np.shape(bound)) != 1:
            raise check.InputError(
                f"{side} of the actions of {name} has shape {list(np.shape(bound))}, but an action has shape "
                f"{list(box.shape)}; give one number, or an array of an action's shape."
            )
    if any(isinstance(bound, Tracer) for bound in (box.low, box.high)):
        return
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = (np.asarray(bound, np.float64).astype(np.float32) for bound in (box.low, box.high))
        width = high - low
    if not np.isfinite(width).all():  # also catches a bound that is infinite or NaN itself
        raise check.InputError(
            f"the actions of {name} lie between {_shown(box.low)} and {_shown(box.high)}, and agents need "
            "finite bounds; give the range in which actions make sense, and scale them in the environment."
        )
    if not (width > 0).all():
        raise check.InputError(
            f"the actions of {name} lie between {_shown(box.low)} and {_shown(box.high)}, where low is not "
            "below high; swap the two, or take what cannot vary out of the action."
        )


def _read_box(name: str, space: Any) -> Box:
    dtype = getattr(space, "dtype", None)
    if dtype is not None and not jnp.issubdtype(dtype, jnp.floating):
        raise check.InputError(
            f"the actions of {name} are a box of {jnp.dtype(dtype)}, but agents give real numbers for a box; "
            "describe the choices by a discrete space (n), or take real numbers and round them in the "
            "environment."
        )
    try:
        shape = tuple(operator.index(side) for side in space.shape)
    except TypeError:
        raise check.InputError(
            f"the shape of the actions of {name} must be a tuple of ints, got {space.shape!r}; give (3,) for "
            "three numbers."
        ) from None
    box = Box(space.low, space.high, shape)
    check_box(name, box)
    return box


def _several(what: str, kind: str, sizes: str) -> str:
    return (
        f"{what} is {kind} ({sizes}), which is several choices at once, but agents make one choice; number "
        "the combinations (n is their product) and decode the number in the environment."
    )


def _shown(bound: Any) -> str:
    values = np.asarray(bound)
    return str(values.item()) if values.size == 1 else str(values.tolist())
