"""The four-block convolutional network of few-shot learning (Vinyals et al. 2016)."""

from __future__ import annotations

from flax import linen as nn

from lrn import check
from lrn.nets import conv as convolution
from lrn.nets.bridge import from_flax
from lrn.nets.conv import Conv
from lrn.nets.inputs import PerChannel, images, normalize
from lrn.nets.layers import check_network, lecun_normal
from lrn.nets.pool import max_pool
from lrn.types import Array, Net

DOWN = ("stride", "pool")
NORMS = ("none", "batch", "group", "layer")


class Conv4(nn.Module):
    """Blocks of a 3x3 convolution, a normalization and ReLU, each of which halves the image."""

    classes: int | None = None
    width: int = 64
    blocks: int = 4
    down: str = "stride"
    norm: str = "none"
    momentum: float = 0.9
    reduce: str = "flatten"
    mean: PerChannel = None
    std: PerChannel = None
    conv: str = "auto"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map images [batch, height, width, channels] to features [batch, d] or [batch, classes]."""
        images("x", x, least=2**self.blocks if self.down == "pool" else 1)
        x = normalize(x, self.mean, self.std)
        for i in range(self.blocks):
            stride = 2 if self.down == "stride" else 1
            x = Conv(self.width, stride=stride, conv=self.conv, name=f"conv_{i}")(x)
            if self.norm == "batch":
                x = nn.BatchNorm(use_running_average=not train, momentum=self.momentum, epsilon=1e-5)(x)
            elif self.norm in ("group", "layer"):
                groups = 1 if self.norm == "layer" else min(8, self.width)
                x = nn.GroupNorm(num_groups=groups)(x)
            x = nn.relu(x)
            if self.down == "pool":
                x = max_pool(x)
        x = x.mean((1, 2)) if self.reduce == "mean" else x.reshape(x.shape[0], -1)
        return x if self.classes is None else nn.Dense(self.classes, kernel_init=lecun_normal, name="head")(x)


def conv4(
    classes: int | None = None,
    width: int = 64,
    *,
    blocks: int = 4,
    down: str = "stride",
    norm: str = "none",
    momentum: float = 0.9,
    reduce: str = "flatten",
    mean: PerChannel = None,
    std: PerChannel = None,
    conv: str = "auto",
) -> Net:
    """The few-shot network on images [batch, height, width, channels].

    Args:
        classes: the number of outputs; None leaves out the last layer, and the outputs are features.
        width: the channels of every block; for "group" at most 8, or a multiple of 8.
        blocks: the number of blocks, each of which halves the image.
        down: the way to halve the image: "stride", with a quarter of the work, as in MAML on Omniglot
            (together with ``reduce="mean"``); or "pool", as in prototypical networks.
        norm: "none"; "batch", with the statistics of a batch (`lrn.meta.problem` chooses the batch);
            "group", over 8 groups of channels; "layer", over all values of an example. The last two treat
            each example separately.
        momentum: the weight of the old value in a moving average of batch statistics, in [0, 1); 0 keeps
            only the last batch's statistics.
        reduce: "flatten" returns all outputs of the last block, "mean" their mean over the image.
        mean: subtracted from the pixels: one number, or one for each channel.
        std: divides the centered pixels: one number, or one for each channel.
        conv: the form, see `lrn.nets.conv`.

    Raises:
        ValueError: a width or choice is out of range; from the net: ``x`` is no batch of float images, or the
            images are too small.
    """
    check_network(1 if classes is None else classes, 0.0, mean, std, width=(width,))
    check.integer("blocks", blocks, low=1)
    check.choice("down", down, DOWN)
    check.choice("norm", norm, NORMS)
    check.choice("reduce", reduce, ("flatten", "mean"))
    check.between("momentum", momentum, 0.0, 0.9999)
    if norm == "group" and width > 8 and width % 8:
        raise check.InputError(
            f"width must be a multiple of 8 for norm='group', got {width}; choose another width or norm."
        )
    convolution.check_form(conv)
    return from_flax(Conv4(classes, width, blocks, down, norm, momentum, reduce, mean, std, conv))
