"""A small convolutional network: layers of convolution, pooling and ReLU, followed by dense layers."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from lrn.nets import conv as convolution
from lrn.nets.bridge import from_flax
from lrn.nets.conv import conv2d, in_blocks, max_pool
from lrn.nets.inputs import PerChannel, images, normalize
from lrn.nets.layers import check_network, dropout, he_normal, lecun_normal
from lrn.types import Array, Key, Net


class CNN(nn.Module):
    """3x3 convolutions, each followed by max pooling that halves the image, and a dense head."""

    classes: int
    widths: Sequence[int] = (32, 64)
    hidden: Sequence[int] = ()
    dropout: float = 0.0
    mean: PerChannel = None
    std: PerChannel = None
    conv: str = "auto"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map images [batch, height, width, channels] to [batch, classes]."""
        images("x", x, least=2 ** len(self.widths))
        x = normalize(x, self.mean, self.std)
        layers, sizes = [], []
        rows, columns, channels = x.shape[1:]
        for i, width in enumerate(self.widths):
            layers.append(self.param(f"conv_{i}", _init_conv, channels, width))
            sizes.append(convolution.patch_bytes((rows, columns), (3, 3), channels, x.dtype))
            rows, columns, channels = rows // 2, columns // 2, width

        def features(x: Array) -> Array:
            for layer in layers:
                # Bias and ReLU are monotone, so pooling before them gives the same for a quarter of the work.
                pooled = max_pool(conv2d(x, layer["kernel"], conv=self.conv))
                x = nn.relu(pooled + layer["bias"].reshape(1, 1, 1, -1))
            return x

        # Each block of examples goes through all layers before the next block, so activations
        # stay in the cache.
        blocked = convolution.resolve(self.conv) == "matmul" and layers
        x = in_blocks(features, x, max(sizes)) if blocked else features(x)
        x = dropout(self, x.reshape(x.shape[0], -1), self.dropout, train)
        for i, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, kernel_init=he_normal, name=f"dense_{i}")(x))
            x = dropout(self, x, self.dropout, train)
        return nn.Dense(self.classes, kernel_init=lecun_normal, name="head")(x)


def _init_conv(key: Key, channels: int, features: int) -> dict[str, Array]:
    kernel = he_normal(key, (3, 3, channels, features))
    return {"kernel": kernel, "bias": jnp.zeros(features)}


def cnn(
    classes: int,
    widths: Sequence[int] = (32, 64),
    hidden: Sequence[int] = (),
    *,
    dropout: float = 0.0,
    mean: PerChannel = None,
    std: PerChannel = None,
    conv: str = "auto",
) -> Net:
    """A small CNN on images [batch, height, width, channels] with sides of at least 2 ** len(widths) pixels.

    Args:
        classes: the number of outputs.
        widths: the channels of the 3x3 convolutions; 2x2 max pooling follows each convolution.
        hidden: the widths of the dense layers before the last layer.
        dropout: the probability that an input of a dense layer is dropped in training, in [0,
            1); may be traced.
        mean: subtracted from the pixels: one number, or one for each channel.
        std: divides the centered pixels: one number, or one for each channel.
        conv: "auto", "lax" or "matmul", see `lrn.nets.conv`.

    Raises:
        ValueError: a width, rate, std or form is out of range; from the net: ``x`` is no batch of float
            images, or the images are too small.
    """
    check_network(classes, dropout, mean, std, widths=widths, hidden=hidden)
    convolution.resolve(conv)
    return from_flax(CNN(classes, tuple(widths), tuple(hidden), dropout, mean, std, conv))
