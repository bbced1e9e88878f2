"""MLP-Mixer (Tolstikhin et al., "MLP-Mixer: an all-MLP architecture for vision", 2021)."""

from __future__ import annotations

from flax import linen as nn

from lrn import check
from lrn.nets.bridge import from_flax
from lrn.nets.inputs import PerChannel, normalize
from lrn.nets.layers import check_network, lecun_normal
from lrn.nets.patches import FeedForward, PatchEmbedding
from lrn.types import Array, Net


class MixerBlock(nn.Module):
    """A feed-forward layer over the patches and one over the channels, each behind a LayerNorm and added."""

    tokens: int
    channels: int
    dropout: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map [batch, patches, width] to the same shape."""
        y = nn.LayerNorm(epsilon=1e-6, name="norm_0")(x).swapaxes(1, 2)
        x = x + FeedForward(self.tokens, self.dropout, name="tokens")(y, train=train).swapaxes(1, 2)
        y = nn.LayerNorm(epsilon=1e-6, name="norm_1")(x)
        return x + FeedForward(self.channels, self.dropout, name="channels")(y, train=train)


class Mixer(nn.Module):
    """Patches, mixer blocks, and a linear head on the mean of the patches."""

    classes: int | None
    patch: int = 4
    width: int = 256
    depth: int = 8
    token_hidden: int = 128
    hidden: int = 1024
    dropout: float = 0.0
    mean: PerChannel = None
    std: PerChannel = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map images [batch, height, width, channels] to [batch, classes] or features."""
        x = PatchEmbedding(self.patch, self.width, name="patches")(normalize(x, self.mean, self.std))
        for i in range(self.depth):
            x = MixerBlock(self.token_hidden, self.hidden, self.dropout, name=f"block_{i}")(x, train=train)
        x = nn.LayerNorm(epsilon=1e-6, name="norm")(x)
        x = x.mean(1)
        return x if self.classes is None else nn.Dense(self.classes, kernel_init=lecun_normal, name="head")(x)


def mixer(
    classes: int | None,
    patch: int = 4,
    width: int = 256,
    depth: int = 8,
    *,
    token_hidden: int | None = None,
    hidden: int | None = None,
    dropout: float = 0.0,
    mean: PerChannel = None,
    std: PerChannel = None,
) -> Net:
    """An MLP-Mixer, for images [batch, height, width, channels] whose sides the patch divides.

    With n patches of p x p pixels in c channels, width d, k classes, and hidden widths t over patches and h
    over channels the parameters are (p^2 c + 1) d for the patches, (2 n + 1) t + n + (2 d + 1) h + 5 d for
    each block, 2 d for the last LayerNorm, and (d + 1) k for the head. The defaults have 4,360,970 on 32x32
    images in color with 10 classes. Mixer-S/16 has 18,528,264 and Mixer-B/16 59,880,472 on 224x224 images
    with 1000 classes. The layers over patches fix the size of the images. The network has no state.

    Args:
        classes: the number of outputs; None leaves out the last layer, and the outputs are features.
        patch: the side of a patch, in pixels.
        width: the number of channels of a patch.
        depth: the number of blocks.
        token_hidden: the hidden width of the layers over the patches; None for half of the width.
        hidden: the hidden width of the layers over the channels; None for 4 times the width.
        dropout: the probability that a value behind a dense layer of a block is dropped in training, in [0,
            1); may be traced.
        mean: subtracted from the pixels: one number, or one for each channel.
        std: divides the centered pixels: one number, or one for each channel.

    Raises:
        ValueError: a size, rate or std is out of range; from the net: ``x`` is no batch of float images,
            the patch does not divide the images, or their size is not that of the parameters.
    """
    token_hidden = max(1, width // 2) if token_hidden is None else token_hidden
    hidden = 4 * width if hidden is None else hidden
    sizes = {"patch": (patch,), "width": (width,), "token_hidden": (token_hidden,), "hidden": (hidden,)}
    check_network(1 if classes is None else classes, dropout, mean, std, **sizes)
    check.integer("depth", depth, 1)
    return from_flax(Mixer(classes, patch, width, depth, token_hidden, hidden, dropout, mean, std))
