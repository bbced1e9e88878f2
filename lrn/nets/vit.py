"""A vision transformer (Dosovitskiy et al., "An image is worth 16x16 words", 2021)."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from lrn import check
from lrn.nets.bridge import from_flax
from lrn.nets.inputs import PerChannel, normalize
from lrn.nets.layers import check_network, dropout, lecun_normal
from lrn.nets.patches import FeedForward, PatchEmbedding
from lrn.types import Array, Net

POOLS = ("token", "mean")


class EncoderBlock(nn.Module):
    """Self-attention and a feed-forward layer, each behind a LayerNorm and added to its input (pre-LN)."""

    heads: int
    hidden: int
    dropout: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map [batch, tokens, width] to the same shape."""
        attention = nn.MultiHeadDotProductAttention(
            self.heads, kernel_init=lecun_normal, out_kernel_init=lecun_normal, name="attention"
        )
        y = attention(nn.LayerNorm(epsilon=1e-6, name="norm_0")(x))
        x = x + dropout(self, y, self.dropout, train)
        y = nn.LayerNorm(epsilon=1e-6, name="norm_1")(x)
        return x + FeedForward(self.hidden, self.dropout, name="feed_forward")(y, train=train)


class ViT(nn.Module):
    """Patches with learned positions, encoder blocks, and a linear head."""

    classes: int | None
    patch: int = 4
    width: int = 192
    depth: int = 12
    heads: int = 3
    hidden: int = 768
    pool: str = "token"
    dropout: float = 0.0
    mean: PerChannel = None
    std: PerChannel = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map images [batch, height, width, channels] to [batch, classes] or features."""
        x = PatchEmbedding(self.patch, self.width, name="patches")(normalize(x, self.mean, self.std))
        if self.pool == "token":
            token = self.param("token", nn.initializers.zeros, (1, 1, self.width))
            x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)), x], axis=1)
        x = x + self.param("positions", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        x = dropout(self, x, self.dropout, train)
        for i in range(self.depth):
            x = EncoderBlock(self.heads, self.hidden, self.dropout, name=f"block_{i}")(x, train=train)
        x = nn.LayerNorm(epsilon=1e-6, name="norm")(x)
        x = x[:, 0] if self.pool == "token" else x.mean(1)
        return x if self.classes is None else nn.Dense(self.classes, kernel_init=lecun_normal, name="head")(x)


def vit(
    classes: int | None,
    patch: int = 4,
    width: int = 192,
    depth: int = 12,
    heads: int = 3,
    *,
    hidden: int | None = None,
    pool: str = "token",
    dropout: float = 0.0,
    mean: PerChannel = None,
    std: PerChannel = None,
) -> Net:
    """A vision transformer, for images [batch, height, width, channels] whose sides the patch divides.

    With n patches of p x p pixels in c channels, width d, hidden width h and k classes the parameters are
    (p^2 c + 1) d for the patches, d for the token, (n + 1) d for the positions, 4 d (d + 1) + (2 d + 1) h +
    5 d for each block, 2 d for the last LayerNorm, and (d + 1) k for the head; without the token, 2 d are
    missing. The defaults have 5,362,762 on 32x32 images in color with 10 classes. ViT-Ti/16 has
    5,717,416 and ViT-B/16 86,567,656 on 224x224 images with 1000 classes. The positions fix the size of
    the images. The network has no state.

    Args:
        classes: the number of outputs; None leaves out the last layer, and the outputs are features.
        patch: the side of a patch, in pixels.
        width: the width of a token.
        depth: the number of encoder blocks.
        heads: the number of attention heads, which divides the width.
        hidden: the hidden width of the feed-forward layers; None for 4 times the width.
        pool: "token" classifies by a learned token, as in the paper; "mean" by the mean of all patches.
        dropout: the probability that a value behind the positions, an attention or a dense layer is dropped
            in training, in [0, 1); may be traced. Attention weights are not dropped.
        mean: subtracted from the pixels: one number, or one for each channel.
        std: divides the centered pixels: one number, or one for each channel.

    Raises:
        ValueError: a size, rate, std or choice is out of range, or the heads do not divide the width; from
            the net: ``x`` is no batch of float images, the patch does not divide the images, or their size
            is not that of the parameters.
    """
    hidden = 4 * width if hidden is None else hidden
    check_network(
        1 if classes is None else classes,
        dropout,
        mean,
        std,
        patch=(patch,),
        width=(width,),
        hidden=(hidden,),
    )
    check.integer("depth", depth, 1)
    check.integer("heads", heads, 1)
    check.choice("pool", pool, POOLS)
    if width % heads:
        raise check.InputError(
            f"{heads} heads do not divide the width {width}; choose a width that is a multiple of heads."
        )
    return from_flax(ViT(classes, patch, width, depth, heads, hidden, pool, dropout, mean, std))
