"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from flax import linen as nn

from lrn.nets.bridge import from_flax
from lrn.nets.inputs import PerChannel, floating, normalise
from lrn.nets.layers import check_network, dropout, he_normal, lecun_normal
from lrn.types import Array, Net


class MLP(nn.Module):
    """Dense layers with ReLU, each followed by dropout, and a linear layer to the outputs."""

    classes: int
    hidden: Sequence[int] = (256, 256)
    dropout: float = 0.0
    mean: PerChannel = None
    std: PerChannel = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map [batch, ...], flattened, to [batch, classes]."""
        floating("x", x)
        if x.ndim < 2:
            raise ValueError(f"x must have shape [batch, ...], got {tuple(x.shape)}; add a batch axis.")
        x = normalise(x, self.mean, self.std).reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, kernel_init=he_normal, name=f"dense_{i}")(x))
            x = dropout(self, x, self.dropout, train)
        return nn.Dense(self.classes, kernel_init=lecun_normal, name="head")(x)


def mlp(
    classes: int,
    hidden: Sequence[int] = (256, 256),
    *,
    dropout: float = 0.0,
    mean: PerChannel = None,
    std: PerChannel = None,
) -> Net:
    """A multilayer perceptron on flattened inputs [batch, ...].

    Args:
        classes: number of outputs.
        hidden: widths of the hidden layers; () is a linear model.
        dropout: probability to drop a hidden unit while training, in [0, 1); may be traced.
        mean: subtracted from the input; one number, or one for each entry of its last axis.
        std: the centred input is divided by it; one number, or one for each entry of its last axis.

    Raises:
        ValueError: a width, rate or std is out of range; from the net, ``x`` has no batch axis, holds
            no floats, or is empty.
    """
    check_network(classes, dropout, mean, std, hidden=hidden)
    return from_flax(MLP(classes, tuple(hidden), dropout, mean, std))
