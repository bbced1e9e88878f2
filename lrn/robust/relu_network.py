"""A network as a chain of affine maps, ReLUs and maxima: the form that certified bounds need.

`lrn.robust.read_layers` reads this form from any ``logits_fn`` that has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn.types import Array

# Affine operations, by the way in which they use a value that depends on the input.
# A factor is one operand, and the other is known. A term is any operand but the predicate of select_n.
FACTORS = ("mul", "div", "dot_general", "conv_general_dilated")
TERMS = ("add", "sub", "add_any", "concatenate", "stack", "pad", "select_n")


class Layer(NamedTuple):
    """An affine map of one example, and the activation after it.

    affine: ``affine(h) -> v``, from [*shape] to [*out].
    spread: ``spread(radius) -> radius``: the map by the absolute weights, without the offset. ``spread``
        carries the radius of a box around ``h`` to that of a box around ``v``, operation by operation.
    shape: the shape of ``h``, without a batch axis.
    activation: "relu"; "max", the maximum over the last axis of ``v``; or "none", after the last layer.
    """

    affine: Callable[[Array], Array]
    spread: Callable[[Array], Array]
    shape: tuple[int, ...]
    activation: str

    def linearize(self, dtype: Any = jnp.float32) -> tuple[Array, Callable[[Array], Array]]:
        """The offset ``affine(0)``, and the transposed map from [rows, *out] to [rows, *shape]."""
        offset, pull = jax.vjp(self.affine, jnp.zeros(self.shape, dtype))
        return offset, lambda rows: jax.vmap(pull)(rows)[0]


def activate(v: Array, activation: str) -> Array:
    """The activation of ``v``, which may have batch axes in front."""
    if activation == "relu":
        return jnp.maximum(v, 0)
    return v.max(axis=-1) if activation == "max" else v


def forward(layers: Sequence[Layer], x: Array) -> Array:
    """The logits [batch, classes] of a network for inputs [batch, ...]."""
    for layer in layers:
        x = activate(jax.vmap(layer.affine)(x), layer.activation)
    return x


class Node(NamedTuple):
    """A value that is affine in a layer's input: the layer's number, and the place in its tape."""

    layer: int
    place: int


class Step(NamedTuple):
    """An affine operation of a tape, a primitive of jax; its arguments are nodes and known arrays."""

    primitive: Any
    params: dict[str, Any]
    arguments: tuple[Any, ...]


def layer_of(tape: Sequence[Step], place: int, shape: tuple[int, ...], activation: str) -> Layer:
    """The layer whose affine map is the value at ``place`` of a tape; place 0 is the input."""
    return Layer(
        affine=lambda h: _play(tape, place, h, absolute=False),
        spread=lambda radius: _play(tape, place, radius, absolute=True),
        shape=shape,
        activation=activation,
    )


def _play(tape: Sequence[Step], place: int, h: Array, absolute: bool) -> Array:
    """The value at ``place`` for the input ``h`` of one example, or for a radius if ``absolute``."""
    values = [h[None]]
    for step in tape:
        args = [values[a.place] if isinstance(a, Node) else a for a in step.arguments]
        out = _absolute(step, args) if absolute else step.primitive.bind(*args, **step.params)
        values.extend(out if step.primitive.multiple_results else [out])
    return values[place][0]


def _absolute(step: Step, args: list[Any]) -> Any:
    """An operation on radii: known factors enter by absolute value, and known terms are dropped."""
    primitive, name = step.primitive, step.primitive.name
    if name == "neg":
        return args[0]
    if name in (*FACTORS, *TERMS):
        known = jnp.abs if name in FACTORS else jnp.zeros_like
        for i, argument in enumerate(step.arguments):
            if not isinstance(argument, Node) and not (name == "select_n" and i == 0):
                args[i] = known(argument)
        primitive = jax.lax.add_p if name == "sub" else primitive
    return primitive.bind(*args, **step.params)
