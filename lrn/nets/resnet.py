"""ResNet-18 for small images (He et al., "Deep residual learning for image recognition", 2016)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flax import linen as nn

from lrn import check
from lrn.nets import conv as convolution
from lrn.nets.bridge import from_flax
from lrn.nets.conv import Conv
from lrn.nets.inputs import PerChannel, images, normalize
from lrn.nets.layers import check_network, lecun_normal
from lrn.types import Array, Net

Norm = Callable[..., nn.Module]


class Block(nn.Module):
    """Two 3x3 convolutions with normalization, added to the input (projected if the shapes differ)."""

    features: int
    stride: int
    norm: Norm
    conv: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [batch, height, width, in] to [batch, height / stride, width / stride, features]."""

        def conv(size: int, stride: int, name: str) -> Conv:
            return Conv(self.features, (size, size), stride, size // 2, False, self.conv, name=name)

        y = nn.relu(self.norm(name="norm_0")(conv(3, self.stride, "conv_0")(x)))
        y = self.norm(name="norm_1")(conv(3, 1, "conv_1")(y))
        if x.shape[-1] != self.features or self.stride != 1:
            x = self.norm(name="norm_project")(conv(1, self.stride, "project")(x))
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Residual blocks in stages that halve the image and double the channels, after one 3x3 convolution."""

    classes: int | None
    blocks: Sequence[int] = (2, 2, 2, 2)
    width: int = 64
    norm: str = "batch"
    mean: PerChannel = None
    std: PerChannel = None
    conv: str = "auto"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map images [batch, height, width, channels] to [batch, classes] or features."""
        images("x", x, least=2 ** (len(self.blocks) - 1))

        def norm(**kwargs: Any) -> nn.Module:
            if self.norm == "batch":
                return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, **kwargs)
            return nn.GroupNorm(num_groups=min(32, self.width), epsilon=1e-5, **kwargs)

        x = normalize(x, self.mean, self.std)
        x = Conv(self.width, padding=1, use_bias=False, conv=self.conv, name="stem")(x)
        x = nn.relu(norm(name="norm")(x))
        for stage, count in enumerate(self.blocks):
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                x = Block(self.width * 2**stage, stride, norm, self.conv, name=f"stage_{stage}_block_{i}")(x)
        x = x.mean((1, 2))
        return x if self.classes is None else nn.Dense(self.classes, kernel_init=lecun_normal, name="head")(x)


def resnet18(
    classes: int | None,
    width: int = 64,
    *,
    norm: str = "batch",
    mean: PerChannel = None,
    std: PerChannel = None,
    conv: str = "auto",
) -> Net:
    """ResNet-18 with a 3x3 stem, for images [batch, height, width, channels] with sides of 8 pixels or more.

    Args:
        classes: the number of outputs; None leaves out the last layer, and the outputs are features.
        width: the channels of the first stage. The paper has 64, which gives 11,173,962 parameters for 10
            classes and images in color.
        norm: "batch" (the batch's statistics in training, moving averages of momentum .9 in evaluation;
            the net then has a state) or "group" (Wu & He, 2018; at most 32 groups; no state).
        mean: subtracted from the pixels: one number, or one for each channel.
        std: divides the centered pixels: one number, or one for each channel.
        conv: the form, see `lrn.nets.conv`.

    Raises:
        ValueError: a size, std, normalization or form is out of range; from the net: ``x`` is no batch of
            float images, or the images are too small.
    """
    check_network(1 if classes is None else classes, mean=mean, std=std, width=(width,))
    check.choice("norm", norm, ("batch", "group"))
    if norm == "group" and width > 32 and width % 32:
        raise ValueError(
            f"width {width} does not divide into 32 groups; choose a multiple of 32, or norm 'batch'."
        )
    convolution.check_form(conv)
    return from_flax(ResNet(classes, width=width, norm=norm, mean=mean, std=std, conv=conv))
