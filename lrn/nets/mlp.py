"""The multilayer perceptron."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from flax import linen as nn

from lrn import check
from lrn.nets.bridge import from_flax
from lrn.nets.inputs import PerChannel, floating, normalize
from lrn.nets.layers import check_network, dropout, he_normal, lecun_normal
from lrn.types import Array, Net

Initializer = Callable[..., Array]
ACTIVATIONS = {
    "relu": nn.relu,
    "tanh": nn.tanh,
    "silu": nn.silu,
    "gelu": nn.gelu,
    "leaky_relu": functools.partial(nn.leaky_relu, negative_slope=0.2),
}


class MLP(nn.Module):
    """Dense layers, each followed by its activation and dropout, and a linear layer to the outputs."""

    classes: int | None
    hidden: Sequence[int] = (256, 256)
    dropout: float = 0.0
    mean: PerChannel = None
    std: PerChannel = None
    activation: str = "relu"
    layer_norm: bool = False
    head_scale: float | None = None
    initial_scale: float = 1.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map [batch, ...], flattened, to [batch, classes]."""
        floating("x", x)
        if x.ndim < 2:
            raise ValueError(f"x must have shape [batch, ...], got {tuple(x.shape)}; add a batch axis.")
        x = normalize(x, self.mean, self.std).reshape(x.shape[0], -1)
        body, head = he_normal, lecun_normal
        if self.head_scale is not None:
            body, head = nn.initializers.orthogonal(math.sqrt(2)), nn.initializers.orthogonal(self.head_scale)
        body, head = _times(self.initial_scale, body), _times(self.initial_scale, head)
        for i, width in enumerate(self.hidden):
            x = nn.Dense(width, kernel_init=body, name=f"dense_{i}")(x)
            if self.layer_norm:
                x = nn.LayerNorm(name=f"norm_{i}")(x)
            x = dropout(self, ACTIVATIONS[self.activation](x), self.dropout, train)
        return x if self.classes is None else nn.Dense(self.classes, kernel_init=head, name="head")(x)


def _times(scale: float, initial: Initializer) -> Initializer:
    """An initializer whose weights are multiplied by ``scale``."""
    if isinstance(scale, (int, float)) and scale == 1:
        return initial
    return lambda key, shape, dtype: scale * initial(key, shape, dtype)


def mlp(
    classes: int | None,
    hidden: Sequence[int] = (256, 256),
    *,
    dropout: float = 0.0,
    mean: PerChannel = None,
    std: PerChannel = None,
    activation: str = "relu",
    layer_norm: bool = False,
    head_scale: float | None = None,
    initial_scale: float = 1.0,
) -> Net:
    """A multilayer perceptron on flattened inputs [batch, ...].

    Args:
        classes: the number of outputs; None leaves out the last layer, and the outputs are features.
        hidden: the widths of the hidden layers; () is a linear model.
        dropout: the probability that a hidden unit is dropped in training, in [0, 1); may be traced.
        mean: subtracted from the input: one number, or one for each entry of the last axis.
        std: divides the centered input: one number, or one for each entry of the last axis.
        activation: "relu", "tanh", "silu", "gelu", or "leaky_relu" with the slope .2 below 0.
        layer_norm: whether each hidden layer is normalized before its activation.
        head_scale: the gain of the last layer's orthogonal initial weights, as usual for agents (.01 for
            a policy, 1 for a value); the other layers are then orthogonal with gain sqrt(2). None gives
            normal weights of variance 2 / fan-in, and 1 / fan-in in the last layer.
        initial_scale: a factor on all initial weights; may be traced. With .5 the hidden layers begin
            about as in PyTorch, and an inner loop on inputs of up to 5 does not diverge.

    Raises:
        ValueError: a width, rate or std is out of range; from the net: ``x`` has no batch axis, holds no
            floats, or is empty.
    """
    check_network(1 if classes is None else classes, dropout, mean, std, hidden=hidden)
    check.choice("activation", activation, ACTIVATIONS)
    if head_scale is not None:
        check.positive("head_scale", head_scale)
    check.positive("initial_scale", initial_scale)
    return from_flax(
        MLP(classes, tuple(hidden), dropout, mean, std, activation, layer_norm, head_scale, initial_scale)
    )
