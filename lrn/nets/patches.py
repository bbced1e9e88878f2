"""Images as sequences of patches, the input of vision transformers and mixers."""

from __future__ import annotations

from flax import linen as nn

from lrn import check
from lrn.nets.inputs import images
from lrn.nets.layers import dropout, lecun_normal
from lrn.types import Array


def patchify(x: Array, patch: int) -> Array:
    """Square patches of images [batch, height, width, channels], as [batch, rows, columns, values].

    The values of a patch are its pixels row by row, each with all its channels.

    Args:
        x: the images.
        patch: the side of a patch, in pixels.

    Raises:
        ValueError: ``x`` is no batch of float images, or the patch does not divide their sides.
    """
    images("x", x, least=patch)
    batch, height, width, channels = x.shape
    if height % patch or width % patch:
        raise check.InputError(
            f"images of {height}x{width} do not divide into patches of {patch}x{patch}; "
            "choose a patch that divides both sides, or crop the images."
        )
    rows, columns = height // patch, width // patch
    x = x.reshape(batch, rows, patch, columns, patch, channels).swapaxes(2, 3)
    return x.reshape(batch, rows, columns, -1)


class PatchEmbedding(nn.Module):
    """A linear map of each square patch: a convolution whose stride is its size, as one matrix product."""

    patch: int
    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map images [batch, height, width, channels] to [batch, patches, width], row by row."""
        x = patchify(x, self.patch)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        return nn.Dense(self.width, kernel_init=lecun_normal)(x)


class FeedForward(nn.Module):
    """A hidden layer with GELU and a linear layer back to the input's width, with dropout after each."""

    hidden: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map [..., width] to [..., width]."""
        h = nn.gelu(nn.Dense(self.hidden, kernel_init=lecun_normal, name="in")(x), approximate=False)
        h = dropout(self, h, self.dropout, train)
        return dropout(
            self, nn.Dense(x.shape[-1], kernel_init=lecun_normal, name="out")(h), self.dropout, train
        )
