"""Projector and predictor heads of self-supervised methods, on features [batch, dim]."""

from __future__ import annotations

from collections.abc import Sequence

from flax import linen as nn

from lrn import check
from lrn.nets.bridge import from_flax
from lrn.nets.layers import check_network, he_normal, lecun_normal
from lrn.types import Array, Net

NORMS = ("batch", "none", "layer")


class Projector(nn.Module):
    """Dense layers with normalization and ReLU, and a linear layer, which may be normalized too."""

    out: int
    hidden: Sequence[int]
    norm: str
    norm_output: bool

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map [batch, dim] to [batch, out]."""

        def normalized(x: Array, name: str, affine: bool) -> Array:
            if self.norm == "none":
                return x
            if self.norm == "layer":
                return nn.LayerNorm(use_bias=affine, use_scale=affine, name=name)(x)
            norm = nn.BatchNorm(
                use_running_average=not train,
                momentum=0.9,
                epsilon=1e-5,
                use_bias=affine,
                use_scale=affine,
                name=name,
            )
            return norm(x)

        bias = self.norm == "none"  # a normalization behind a layer takes the bias out again
        for i, width in enumerate(self.hidden):
            x = nn.Dense(width, use_bias=bias, kernel_init=he_normal, name=f"dense_{i}")(x)
            x = nn.relu(normalized(x, f"norm_{i}", affine=True))
        x = nn.Dense(self.out, use_bias=not self.norm_output, kernel_init=lecun_normal, name="head")(x)
        return normalized(x, "norm_output", affine=False) if self.norm_output else x


def projector(
    out: int, hidden: Sequence[int] = (256,), *, norm: str = "batch", norm_output: bool = False
) -> Net:
    """A head on features [batch, dim]; a predictor is such a head too.

    Args:
        out: the dimension of the embeddings.
        hidden: the widths of the hidden layers; () is a linear head.
        norm: the normalization of hidden layers: "batch" (as in SimCLR, BYOL, SimSiam, Barlow Twins and
            VICReg), "layer" or "none".
        norm_output: whether the output is normalized too, without scale and shift (as in SimSiam). Such a
            head hides a collapse from detectors that look at the standard deviation of its output.

    Raises:
        ValueError: a width or a form is out of range, or ``norm_output`` is set without a normalization.
    """
    check_network(out, hidden=hidden)
    check.choice("norm", norm, NORMS)
    check.boolean("norm_output", norm_output)
    if norm_output and norm == "none":
        raise check.InputError("norm_output needs a normalization; choose norm 'batch' or 'layer'.")
    return from_flax(Projector(out, tuple(hidden), norm, norm_output))
