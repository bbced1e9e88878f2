"""Decoders: networks from codes to images, and the encoder and decoder of the dSprites protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from lrn import check
from lrn.nets import conv as convolution
from lrn.nets.blocks import in_blocks
from lrn.nets.bridge import from_flax
from lrn.nets.cnn import cnn
from lrn.nets.deconv import conv_transpose2d, example_bytes
from lrn.nets.inputs import floating
from lrn.nets.layers import check_network, he_normal, lecun_normal
from lrn.nets.mlp import mlp
from lrn.types import Array, Key, Net, NetState, Params


def mlp_decoder(shape: Sequence[int], hidden: Sequence[int] = (256, 256), *, activation: str = "relu") -> Net:
    """A multilayer perceptron from codes [batch, z] to outputs [batch, *shape].

    Args:
        shape: of an output, such as (64, 64, 1).
        hidden: the widths of the hidden layers. activation: as for `lrn.nets.mlp`.

    Raises:
        ValueError: a size or the activation is wrong; from the net: the codes are no floats [batch, z].
    """
    shape = _checked(shape)
    net = mlp(math.prod(shape), hidden, activation=activation)

    def apply(
        params: Params, state: NetState, x: Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, NetState]:
        out, state = net.apply(params, state, x, key=key, train=train)
        return out.reshape(x.shape[0], *shape), state

    return Net(net.init, apply)


class ConvDecoder(nn.Module):
    """Dense layers to a small image, then transposed convolutions, each of which doubles the image."""

    shape: tuple[int, ...]
    widths: Sequence[int] = (64, 64, 32, 32)
    hidden: Sequence[int] = (256,)
    kernel: int = 4
    conv: str = "auto"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map codes [batch, z] to images [batch, *shape]."""
        floating("codes", x)
        if x.ndim != 2:
            raise ValueError(f"codes must have shape [batch, z], got {tuple(x.shape)}; flatten them.")
        rows, columns = (side // 2 ** len(self.widths) for side in self.shape[:2])
        for i, width in enumerate((*self.hidden, rows * columns * self.widths[0])):
            x = nn.relu(nn.Dense(width, kernel_init=he_normal, name=f"dense_{i}")(x))
        x = x.reshape(x.shape[0], rows, columns, self.widths[0])
        layers, sizes = [], []
        for i, (inputs, outputs) in enumerate(zip(self.widths, (*self.widths[1:], self.shape[2]))):
            layers.append(self.param(f"conv_{i}", _init_deconv, self.kernel, inputs, outputs))
            kernel = self.kernel, self.kernel, inputs, outputs
            sizes.append(example_bytes((rows << i, columns << i), kernel, 2, x.dtype.itemsize))

        def enlarge(x: Array) -> Array:
            for i, layer in enumerate(layers):
                x = conv_transpose2d(x, layer["kernel"], conv=self.conv)
                x = x + layer["bias"].reshape(1, 1, 1, -1)
                x = x if i == len(layers) - 1 else nn.relu(x)
            return x

        # Each block of examples goes through all layers before the next block, as in `lrn.nets.cnn`.
        blocked = convolution.resolve(self.conv) != "lax"
        return in_blocks(enlarge, x, max(sizes)) if blocked else enlarge(x)


def _init_deconv(key: Key, size: int, inputs: int, outputs: int) -> dict[str, Array]:
    # An output pixel sees a quarter of the taps, so the fan-in is a quarter of size * size * inputs.
    initial = lecun_normal if outputs <= 3 else he_normal
    return {"kernel": 2 * initial(key, (size, size, inputs, outputs)), "bias": jnp.zeros(outputs)}


def conv_decoder(
    shape: Sequence[int],
    widths: Sequence[int] = (64, 64, 32, 32),
    hidden: Sequence[int] = (256,),
    *,
    kernel: int = 4,
    conv: str = "auto",
) -> Net:
    """A decoder from codes [batch, z] to images [batch, *shape], by transposed convolutions.

    Args:
        shape: (height, width, channels) of the images; 2 ** len(widths) divides height and width.
        widths: the channels before each transposed convolution, each of which doubles the image; the last
            one gives the image.
        hidden: the widths of the dense layers before the layer that makes the smallest image.
        kernel: the rows and columns of the transposed convolutions.
        conv: "auto", "lax" or "matmul", see `lrn.nets.conv`.

    Raises:
        ValueError: a size or form is out of range, or the sides do not divide; from the net: the codes are
            no floats [batch, z].
    """
    shape = _checked(shape)
    check_network(1, widths=widths, hidden=hidden)
    check.integer("kernel", kernel, 1)
    convolution.check_form(conv)
    if len(shape) != 3 or not len(widths) or shape[0] % 2 ** len(widths) or shape[1] % 2 ** len(widths):
        raise ValueError(
            f"the shape must be (height, width, channels) with sides that {2 ** len(widths)} divides, for "
            f"{len(widths)} transposed convolutions, got {shape}; change the shape or the widths."
        )
    return from_flax(ConvDecoder(shape, tuple(widths), tuple(hidden), kernel, conv))


def dsprites_encoder(outputs: int, *, conv: str = "auto") -> Net:
    """The encoder of the dSprites protocol (Locatello et al. 2019) for images of 64 x 64 pixels.

    Four convolutions of stride 2 with 32, 32, 64, 64 channels and kernels 4, 4, 2, 2, a dense layer of 256,
    and the outputs: 2 z for means and log variances of z codes.
    """
    return cnn(outputs, (32, 32, 64, 64), (256,), kernel=(4, 4, 2, 2), down="stride", conv=conv)


def dsprites_decoder(channels: int = 1, *, conv: str = "auto") -> Net:
    """The decoder of the dSprites protocol, from codes [batch, z] to logits [batch, 64, 64, channels].

    Dense layers of 256 and 1024, and transposed convolutions with kernel 4 to 64, 32, 32 and ``channels``.
    """
    return conv_decoder((64, 64, channels), conv=conv)


def _checked(shape: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(shape, Sequence) or not len(shape):
        raise ValueError(f"the shape of an output must be a tuple such as (64, 64, 1), got {shape!r}.")
    for side in shape:
        check.integer("every entry of shape", side, 1)
    return tuple(shape)
