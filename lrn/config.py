"""Algorithm configs: frozen dataclasses that are pytrees. Floats are leaves, all other fields are static.

Any float of any config (a rate, an epsilon, a penalty) can therefore be swept under vmap in one compile. A
change of an int, bool, string or function compiles a new program.
"""

from __future__ import annotations

import dataclasses
import itertools
import numbers
import typing
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check

C = TypeVar("C")


@dataclass_transform(frozen_default=True, kw_only_default=False)
def config(cls: type[C]) -> type[C]:
    """Class decorator: make ``cls`` a frozen dataclass and a pytree.

    Fields annotated ``float``, or with another config class, are children of the pytree; every other field is
    static and must be hashable. ``__post_init__`` runs when a person makes a config, not when jax
    rebuilds one.

    Raises:
        NameError: the annotation of a field cannot be resolved.
    """
    cls = dataclasses.dataclass(frozen=True)(cls)
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]  # pyright: ignore[reportArgumentType]
    leaves = tuple(n for n in names if hints[n] is float or _is_config(hints[n]))
    static = tuple(n for n in names if n not in leaves)
    cls.__config_leaves__ = leaves  # pyright: ignore[reportAttributeAccessIssue]

    def flatten_with_keys(value: C):
        children = [(jax.tree_util.GetAttrKey(n), getattr(value, n)) for n in leaves]
        return children, tuple(getattr(value, n) for n in static)

    def flatten(value: C):
        return [getattr(value, n) for n in leaves], tuple(getattr(value, n) for n in static)

    def unflatten(aux: tuple, children: Iterable[Any]) -> C:
        value = object.__new__(cls)
        for name, leaf in zip(leaves, children):
            object.__setattr__(value, name, leaf)
        for name, item in zip(static, aux):
            object.__setattr__(value, name, item)
        return value

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def _is_config(hint: Any) -> bool:
    return isinstance(hint, type) and hasattr(hint, "__config_leaves__")


def stack(configs: Sequence[C]) -> C:
    """Stack configs that differ only in floats: every leaf becomes a float32 array [configs, ...].

    Raises:
        ValueError: the list is empty, or the configs differ in a static field.
    """
    if not configs:
        raise ValueError("stack needs at least one config, got none; pass a non-empty list.")
    first = jax.tree.structure(configs[0])
    for i, other in enumerate(configs[1:], 1):
        if jax.tree.structure(other) != first:
            raise ValueError(
                f"config {i} differs from config 0 in a static field or type ({other} against {configs[0]}); "
                "only floats can be swept in one compile, so train the others by a fit of their own."
            )
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x, jnp.float32) for x in leaves]), *configs)


def grid(base: C, **values: Sequence[float]) -> dict[str, C]:
    """Configs for every combination of the given floats, named after the floats.

    ``grid(PPOConfig(), learning_rate=[1e-3, 1e-4], clip=[0.1])`` has the arms "learning_rate=0.001, clip=0.1"
    and "learning_rate=0.0001, clip=0.1". The values of the last name vary fastest.

    Returns:
        From the name of an arm to its config; ``{"default": base}`` without values.

    Raises:
        ValueError: a name is no float field of the config, or a list is empty or has a value twice.
    """
    leaves = getattr(base, "__config_leaves__", ())
    for name, options in values.items():
        if name not in leaves:
            raise ValueError(
                f"{name!r} is no float field of {type(base).__name__}; {check.nearest(name, leaves)}"
            )
        if len(options) == 0:
            raise ValueError(f"the grid for {name} is empty; give at least one value.")
        if len({_text(value) for value in options}) < len(options):
            raise ValueError(
                f"the grid for {name} has a value twice: {', '.join(map(_text, options))}; give each once."
            )
    arms = {}
    for combo in itertools.product(*values.values()):
        arm = ", ".join(f"{name}={_text(value)}" for name, value in zip(values, combo))
        changed = dict(zip(values, combo))
        arms[arm or "default"] = dataclasses.replace(base, **changed)  # pyright: ignore[reportArgumentType]
    return arms


def _text(value: Any) -> str:
    """A float in few digits, but enough to tell its float32 value from every other."""
    if not isinstance(value, numbers.Real):  # a config within the config
        return repr(value)
    short = f"{float(value):g}"
    return short if np.float32(short) == np.float32(value) else str(np.float32(value))
