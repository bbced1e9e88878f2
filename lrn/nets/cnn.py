"""A small convolutional network: convolutions that halve the image, each with a ReLU, then dense layers."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from lrn import check
from lrn.nets import conv as convolution
from lrn.nets.blocks import in_blocks
from lrn.nets.bridge import from_flax
from lrn.nets.conv import conv2d
from lrn.nets.inputs import PerChannel, images, normalize
from lrn.nets.layers import check_network, dropout, he_normal, lecun_normal
from lrn.nets.patch_rows import patch_bytes
from lrn.nets.pool import max_pool
from lrn.types import Array, Key, Net

DOWN = ("pool", "stride")


class CNN(nn.Module):
    """Convolutions that halve the image, by max pooling or by their stride, and a dense head."""

    classes: int | None
    widths: Sequence[int] = (32, 64)
    hidden: Sequence[int] = ()
    kernel: int | Sequence[int] = 3
    down: str = "pool"
    dropout: float = 0.0
    mean: PerChannel = None
    std: PerChannel = None
    conv: str = "auto"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map images [batch, height, width, channels] to [batch, classes] or features."""
        images("x", x, least=2 ** len(self.widths) if self.down == "pool" else 1)
        x = normalize(x, self.mean, self.std)
        layers, sizes, pooled = [], [], self.down == "pool"
        rows, columns, channels = x.shape[1:]
        for i, (width, kernel) in enumerate(zip(self.widths, _kernels(self.kernel, self.widths))):
            layers.append(self.param(f"conv_{i}", _init_conv, kernel, channels, width))
            halves = rows // 2 if pooled else -(-rows // 2), columns // 2 if pooled else -(-columns // 2)
            outputs = (rows, columns) if pooled else halves
            sizes.append(patch_bytes(outputs, (kernel, kernel), channels, x.dtype))
            (rows, columns), channels = halves, width

        def features(x: Array) -> Array:
            for layer in layers:
                x = conv2d(x, layer["kernel"], stride=1 if pooled else 2, conv=self.conv)
                # Bias and ReLU are monotone, so pooling before them gives the same for a quarter of the work.
                x = max_pool(x) if pooled else x
                x = nn.relu(x + layer["bias"].reshape(1, 1, 1, -1))
            return x

        # Each block of examples goes through all layers before the next block, so activations
        # stay in the cache.
        blocked = convolution.resolve(self.conv) != "lax" and layers
        x = in_blocks(features, x, max(sizes)) if blocked else features(x)
        x = dropout(self, x.reshape(x.shape[0], -1), self.dropout, train)
        for i, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, kernel_init=he_normal, name=f"dense_{i}")(x))
            x = dropout(self, x, self.dropout, train)
        return x if self.classes is None else nn.Dense(self.classes, kernel_init=lecun_normal, name="head")(x)


def _kernels(kernel: int | Sequence[int], widths: Sequence[int]) -> Sequence[int]:
    """The size of each convolution's kernel."""
    return (kernel,) * len(widths) if isinstance(kernel, int) else kernel


def _init_conv(key: Key, size: int, channels: int, features: int) -> dict[str, Array]:
    kernel = he_normal(key, (size, size, channels, features))
    return {"kernel": kernel, "bias": jnp.zeros(features)}


def cnn(
    classes: int | None,
    widths: Sequence[int] = (32, 64),
    hidden: Sequence[int] = (),
    *,
    kernel: int | Sequence[int] = 3,
    down: str = "pool",
    dropout: float = 0.0,
    mean: PerChannel = None,
    std: PerChannel = None,
    conv: str = "auto",
) -> Net:
    """A small CNN on images [batch, height, width, channels] with sides of at least 2 ** len(widths) pixels.

    ``cnn(10, (16, 32), (100,), kernel=4, down="stride")`` is the network of Wong & Kolter (2018) for MNIST,
    which work on robustness uses since: 166,406 parameters at 28 x 28 pixels.

    Args:
        classes: the number of outputs; None leaves out the last layer, and the outputs are features.
        widths: the channels of the convolutions, each of which halves the image.
        hidden: the widths of the dense layers before the last layer.
        kernel: the rows and columns of the convolutions: one number, or one for each.
        down: the way to halve the image: "pool", by 2x2 max pooling after a convolution of stride 1; or
            "stride", by a convolution of stride 2, with a quarter of the work.
        dropout: the probability that an input of a dense layer is dropped in training, in [0,
            1); may be traced.
        mean: subtracted from the pixels: one number, or one for each channel.
        std: divides the centered pixels: one number, or one for each channel.
        conv: the form, see `lrn.nets.conv`.

    Raises:
        ValueError: a width, rate, std or form is out of range; from the net: ``x`` is no batch of float
            images, or the images are too small.
    """
    check_network(1 if classes is None else classes, dropout, mean, std, widths=widths, hidden=hidden)
    kernel = kernel if isinstance(kernel, int) else tuple(kernel)
    for size in _kernels(kernel, (1,) if isinstance(kernel, int) else widths):
        check.integer("kernel", size, 1)
    if isinstance(kernel, tuple) and len(kernel) != len(widths):
        raise ValueError(
            f"there are {len(kernel)} kernels for {len(widths)} convolutions; give one number, or one each."
        )
    check.choice("down", down, DOWN)
    convolution.check_form(conv)
    return from_flax(CNN(classes, tuple(widths), tuple(hidden), kernel, down, dropout, mean, std, conv))
