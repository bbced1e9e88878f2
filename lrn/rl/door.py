"""Checks of what an environment returns, made once when it is wrapped and before anything compiles.

The checks see shapes and dtypes, never values: they trace the environment and run no step of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.types import Array, Key, PyTree

_SIX = "(observation, state, reward, terminated, truncated, info)"


class Given(NamedTuple):
    """Shapes and dtypes that an environment returns.

    shape: shape of an observation.
    dtype: dtype in which observations are stored: their own if all have the same boolean or integer dtype,
        else float32.
    settle: converts the state of a reset to the dtypes of a state after a step. Only plain Python numbers,
        which JAX treats as weakly typed, are converted.
    """

    shape: tuple[int, ...]
    dtype: Any
    settle: Callable[[PyTree], PyTree]


def look(
    name: str,
    reset: Callable[[Key], Any],
    step: Callable[[Key, PyTree, Array], Any],
    action: Array,
    one_hot: bool,
) -> Given:
    """Check what ``reset(key)`` and ``step(key, state, action)`` of the environment ``name`` return.

    Args:
        name: name of the environment, the subject of error messages.
        reset: the reset of gymnax 1.0, without parameters.
        step: the step of gymnax 1.0, without parameters.
        action: an example of a valid action.
        one_hot: whether observations are numbers of a discrete space.

    Raises:
        InputError: ``reset`` or ``step`` returns something else than in gymnax 1.0; an observation is no
            array or changes its shape; or the state changes its structure, a shape or a dtype from reset to
            step.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    observation, state = _two(name, jax.eval_shape(reset, key))
    _check_observation(name, observation, one_hot)

    def after(state: PyTree) -> Any:
        return _six(name, jax.eval_shape(lambda k, s: step(k, s, action), key, state))

    observed, stepped, *others, info = after(_strong(state))
    for what, value in zip(("reward", "terminated", "truncated"), others):
        _check_scalar(name, what, value)
    final = _final(name, info)
    _check_same_shape(name, "after a step", observation, observed)
    _check_same_shape(name, 'as info["final_observation"]', observation, final)
    settled = _agreed(name, state, stepped)
    pairs = [(a, b.dtype) for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(settled))]
    if any(a.dtype != dtype for a, dtype in pairs):
        _agreed(name, settled, after(settled)[1])  # the dtypes must also survive a second step

    def settle(state: PyTree) -> PyTree:
        leaves, form = jax.tree.flatten(state)
        return form.unflatten(
            jnp.asarray(x, dtype) if a.weak_type else x for x, (a, dtype) in zip(leaves, pairs)
        )

    dtypes = {x.dtype for x in (observation, observed, final)}
    kept = len(dtypes) == 1 and not jnp.issubdtype(observation.dtype, jnp.floating)
    return Given(observation.shape, observation.dtype if kept else jnp.dtype(jnp.float32), settle)


def _two(name: str, out: Any) -> tuple[Any, PyTree]:
    if not isinstance(out, tuple) or len(out) != 2:
        raise check.InputError(
            f"{name}.reset returned {_what(out)}; return two in a tuple, the observation and the state."
        )
    return out


def _six(name: str, out: Any) -> tuple[Any, ...]:
    if isinstance(out, tuple) and len(out) == 6:
        return out
    form = ""
    if isinstance(out, tuple) and len(out) == 5:
        # In Gymnasium's form the third and fourth are flags; in the old form with one done, the third is the
        # reward.
        flags = all(getattr(x, "dtype", None) == jnp.bool_ for x in out[2:4])
        form = (
            " (Gymnasium's: observation, reward, terminated, truncated, info)"
            if flags
            else " (the old form, with one done)"
        )
    raise check.InputError(
        f"{name}.step returned {_what(out)}{form}; return the six of gymnax 1.0 in a tuple, {_SIX}."
    )


def _what(out: Any) -> str:
    """A description of a returned value: a tuple or list by its length, anything else by its type."""
    if isinstance(out, tuple):
        return f"{len(out)} values" if len(out) != 1 else "1 value"
    if isinstance(out, list):
        return f"a list of {len(out)}"
    return f"an array of shape {list(out.shape)}" if hasattr(out, "shape") else f"a {type(out).__name__}"


def _check_observation(name: str, observation: Any, one_hot: bool) -> None:
    if not hasattr(observation, "shape"):
        raise check.InputError(
            f"{name} observes a {type(observation).__name__}; agents take one array, "
            "so flatten it in the environment."
        )
    dtype = observation.dtype
    real = any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))
    if not real:
        raise check.InputError(
            f"{name} observes an array of {dtype}; agents take real numbers, so give those."
        )
    if observation.shape == () and not jnp.issubdtype(dtype, jnp.floating) and not one_hot:
        raise check.InputError(
            f"{name} observes one whole number, whose range is not known; give the environment an "
            "observation_space with n, to have the number one-hot, or observe an array."
        )
    if 0 in observation.shape:
        raise check.InputError(
            f"{name} observes an array of shape {list(observation.shape)}, which is empty; observe "
            "something, if only a constant."
        )


def _check_scalar(name: str, what: str, value: Any) -> None:
    if not hasattr(value, "shape") or math.prod(value.shape) != 1:
        raise check.InputError(
            f"{what} of {name}.step must be one number, got {_what(value)}; "
            f"sum or index the {what} in the environment."
        )
    if jnp.issubdtype(value.dtype, jnp.complexfloating) or jnp.issubdtype(value.dtype, jax.dtypes.extended):
        raise check.InputError(f"{what} of {name}.step must be a real number, got {value.dtype}; convert it.")


def _final(name: str, info: Any) -> Any:
    if not isinstance(info, dict) or "final_observation" not in info:
        raise check.InputError(
            f'the info of {name}.step lacks "final_observation"; store the observation before any reset '
            "under this key, since a truncated episode is bootstrapped from it."
        )
    return info["final_observation"]


def _check_same_shape(name: str, where: str, first: Any, other: Any) -> None:
    if not hasattr(other, "shape") or other.shape != first.shape:
        raise check.InputError(
            f"{name} observes an array of shape {list(first.shape)} at reset and {_what(other)} {where}; "
            "give all observations one shape."
        )


def _agreed(name: str, state: PyTree, after: PyTree) -> PyTree:
    """The shapes of a reset's state with the dtypes of a step's state.

    Only the dtypes of Python numbers may differ between the two.
    """
    leaves, form = jax.tree.flatten(state)
    paths = [jax.tree_util.keystr(path) or "it" for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    others, other_form = jax.tree.flatten(after)
    if form != other_form:
        raise check.InputError(
            f"the state of {name} is built otherwise after a step than at reset: "
            f"{_difference(state, after)}; return the same structure from both."
        )
    agreed = []
    for path, a, b in zip(paths, leaves, others):
        if a.shape != b.shape or not (a.dtype == b.dtype or _promotes(a, b)):
            raise check.InputError(
                f"the state of {name} changes from reset to step: {path} is {_leaf(a)} at reset and "
                f"{_leaf(b)} after a step; make both the same, in reset or in step."
            )
        agreed.append(jax.ShapeDtypeStruct(b.shape, b.dtype))
    return jax.tree.unflatten(form, agreed)


def _strong(state: PyTree) -> PyTree:
    """The state's shapes and dtypes, with Python numbers as arrays, as a loop converts them."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)


def _promotes(a: Any, b: Any) -> bool:
    """Whether ``a`` was a Python number and is promoted to the dtype of ``b``, as in the carry of a scan."""
    whole = jnp.issubdtype(a.dtype, jnp.integer)
    return bool(a.weak_type) and jnp.issubdtype(b.dtype, jnp.number if whole else jnp.inexact)


def _leaf(x: Any) -> str:
    return f"{x.dtype}{list(x.shape) if x.shape else ''}"


def _difference(state: PyTree, after: PyTree) -> str:
    """A description of how two structures differ: leaves that only one of them has, else their types."""
    first, second = (
        {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (state, after)
    )
    pairs = (("a reset", first - second), ("a step", second - first))
    only = [f"only {when} has {', '.join(sorted(some)[:3])}" for when, some in pairs if some]
    return " and ".join(only) or f"{type(state).__name__} at reset, {type(after).__name__} after a step"
