"""A small convolutional network for sequences [batch, time, channels]."""

from __future__ import annotations

from collections.abc import Sequence

from flax import linen as nn

from lrn import check
from lrn.nets import conv as convolution
from lrn.nets.bridge import from_flax
from lrn.nets.conv import Conv
from lrn.nets.inputs import PerChannel, floating, normalize
from lrn.nets.layers import check_network, lecun_normal
from lrn.types import Array, Net

NORMS = ("none", "batch")
REDUCE = ("flatten", "mean")


class CNN1d(nn.Module):
    """Strided convolutions over time, each with a normalization and a ReLU; features or a head."""

    classes: int | None = None
    widths: Sequence[int] = (32, 64, 128)
    kernel: int = 5
    stride: int = 2
    norm: str = "none"
    reduce: str = "flatten"
    mean: PerChannel = None
    std: PerChannel = None
    conv: str = "auto"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map sequences [batch, time, channels] to features [batch, dim] or to [batch, classes]."""
        floating("x", x)
        if x.ndim != 3:
            raise check.InputError(
                f"x must be sequences [batch, time, channels], got shape {x.shape}; add or drop an axis."
            )
        # A sequence is an image of one column, so the forms of `lrn.nets.conv` serve here too.
        x = normalize(x, self.mean, self.std)[:, :, None, :]
        for i, width in enumerate(self.widths):
            x = Conv(width, (self.kernel, 1), stride=self.stride, conv=self.conv, name=f"conv_{i}")(x)
            if self.norm == "batch":
                norm = nn.BatchNorm(
                    use_running_average=not train, momentum=0.9, epsilon=1e-5, name=f"norm_{i}"
                )
                x = norm(x)
            x = nn.relu(x)
        x = x.mean((1, 2)) if self.reduce == "mean" else x.reshape(x.shape[0], -1)
        return x if self.classes is None else nn.Dense(self.classes, kernel_init=lecun_normal, name="head")(x)


def cnn1d(
    classes: int | None = None,
    widths: Sequence[int] = (32, 64, 128),
    *,
    kernel: int = 5,
    stride: int = 2,
    norm: str = "none",
    reduce: str = "flatten",
    mean: PerChannel = None,
    std: PerChannel = None,
    conv: str = "auto",
) -> Net:
    """A convolutional network for sequences [batch, time, channels].

    Args:
        classes: the number of outputs; None leaves out the last layer, and the outputs are features.
        widths: the channels of each convolution.
        kernel: the length of a kernel, in steps.
        stride: the steps between the outputs of a convolution.
        norm: "none", or "batch" for BatchNorm over examples and time.
        reduce: "flatten" returns all outputs of the last convolution, which fixes the time; "mean" their mean
            over time.
        mean: subtracted from the values: one number, or one for each channel.
        std: divides the centered values: one number, or one for each channel.
        conv: the form, see `lrn.nets.conv`.

    Raises:
        ValueError: a size or choice is out of range; from the net: ``x`` is no float [batch, time, channels].
    """
    check_network(1 if classes is None else classes, 0.0, mean, std, widths=widths)
    if not widths:
        raise check.InputError("widths must have at least one entry, got none; give one a layer.")
    check.integer("kernel", kernel, 1)
    check.integer("stride", stride, 1)
    check.choice("norm", norm, NORMS)
    check.choice("reduce", reduce, REDUCE)
    convolution.check_form(conv)
    return from_flax(CNN1d(classes, tuple(widths), kernel, stride, norm, reduce, mean, std, conv))
