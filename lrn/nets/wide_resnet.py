"""Wide residual networks for small images (Zagoruyko & Komodakis, "Wide residual networks", 2016)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flax import linen as nn

from lrn import check
from lrn.nets import conv as convolution
from lrn.nets.bridge import from_flax
from lrn.nets.conv import Conv
from lrn.nets.inputs import PerChannel, images, normalize
from lrn.nets.layers import check_network, dropout, lecun_normal
from lrn.types import Array, Net

Norm = Callable[..., nn.Module]


class WideBlock(nn.Module):
    """Normalization, ReLU and a 3x3 convolution, twice, added to the input: a pre-activation block.

    Where the number of channels changes, a 1x1 convolution of the activated input replaces the input.
    """

    features: int
    stride: int
    norm: Norm
    dropout: float
    conv: str

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map [batch, height, width, in] to [batch, height / stride, width / stride, features]."""

        def conv(size: int, stride: int, name: str) -> Conv:
            return Conv(self.features, (size, size), stride, size // 2, False, self.conv, name=name)

        active = nn.relu(self.norm(name="norm_0")(x))
        y = nn.relu(self.norm(name="norm_1")(conv(3, self.stride, "conv_0")(active)))
        y = conv(3, 1, "conv_1")(dropout(self, y, self.dropout, train))
        if x.shape[-1] != self.features or self.stride != 1:
            x = conv(1, self.stride, "project")(active)
        return x + y


class WideResNet(nn.Module):
    """Three groups of pre-activation blocks with 1, 2 and 4 times ``width`` times ``stem`` channels."""

    classes: int | None
    blocks: int = 4
    width: int = 10
    stem: int = 16
    dropout: float = 0.0
    mean: PerChannel = None
    std: PerChannel = None
    conv: str = "auto"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map images [batch, height, width, channels] to [batch, classes] or features."""
        images("x", x, least=4)

        def norm(**kwargs: Any) -> nn.Module:
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, **kwargs)

        x = normalize(x, self.mean, self.std)
        x = Conv(self.stem, padding=1, use_bias=False, conv=self.conv, name="stem")(x)
        for group in range(3):
            for i in range(self.blocks):
                stride = 2 if group > 0 and i == 0 else 1
                features = self.stem * 2**group * self.width
                name = f"group_{group}_block_{i}"
                block = WideBlock(features, stride, norm, self.dropout, self.conv, name=name)
                x = block(x, train=train)
        x = nn.relu(norm(name="norm")(x))
        x = x.mean((1, 2))
        return x if self.classes is None else nn.Dense(self.classes, kernel_init=lecun_normal, name="head")(x)


def wide_resnet(
    classes: int | None,
    depth: int = 28,
    width: int = 10,
    *,
    stem: int = 16,
    dropout: float = 0.0,
    mean: PerChannel = None,
    std: PerChannel = None,
    conv: str = "auto",
) -> Net:
    """WRN-depth-width, for images [batch, height, width, channels] with sides of 4 pixels or more.

    For images in color and 10 classes WRN-28-10 has 36,479,194 parameters (36.5 million in the paper),
    WRN-34-10, the usual network of adversarial training, 46,160,474, and WRN-16-4 2,748,890. BatchNorm uses
    the batch's statistics in training, and moving averages of momentum .9 in evaluation, which are the
    net's state.

    Args:
        classes: the number of outputs; None leaves out the last layer, and the outputs are features.
        depth: the number of layers, 6 n + 4 for n blocks in each of three groups; 3 x 3 convolutions, the
            1 x 1 convolutions and the head count.
        width: the factor k of the channels 16 k, 32 k and 64 k.
        stem: the number of channels of the first convolution, in place of 16 throughout.
        dropout: the probability that a value between the two convolutions of a block is dropped in
            training, in [0, 1); may be traced.
        mean: subtracted from the pixels: one number, or one for each channel.
        std: divides the centered pixels: one number, or one for each channel.
        conv: the form, see `lrn.nets.conv`.

    Raises:
        ValueError: a size, rate, std or form is out of range, or the depth is no 6 n + 4; from the net: ``x``
            is no batch of float images, or the images are too small.
    """
    check_network(1 if classes is None else classes, dropout, mean, std, width=(width,), stem=(stem,))
    check.integer("depth", depth, 10)
    if (depth - 4) % 6:
        raise check.InputError(f"depth must be 6 n + 4, got {depth}; choose 10, 16, 22, 28, 34 or 40.")
    convolution.check_form(conv)
    return from_flax(WideResNet(classes, (depth - 4) // 6, width, stem, dropout, mean, std, conv))
