"""Transformers over places (patches of images, segments of sequences, tokens) that can drop places.

`masked_vit`, `sequence_transformer` and `token_transformer` are encoders for masked prediction: in the form
that drops places, cost is proportional to the places that are kept (attention's is below). He et al. 2022.
`mask_decoder` predicts something at hidden places from the tokens of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from lrn import check
from lrn.nets.bridge import from_flax
from lrn.nets.inputs import PerChannel, normalize
from lrn.nets.layers import check_network, dropout, lecun_normal
from lrn.nets.patches import patchify
from lrn.nets.places import check_blocks, check_places, rows_of, segments, token_places
from lrn.nets.vit import EncoderBlock
from lrn.types import Array, MaskedNet, Net


class MaskedEncoder(nn.Module):
    """Embedded places with learned positions, encoder blocks and a LayerNorm; fields as for the factories.

    split: maps inputs to [batch, *grid, values]. vocabulary: the number of tokens, or None for real values.
    pool: whether the output is the mean over places.
    """

    split: Callable[[Array], Array]
    vocabulary: int | None
    width: int
    depth: int
    heads: int
    hidden: int
    dropout: float
    pool: bool

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Array:
        """Map inputs, or (inputs, kept), to tokens [batch, places or kept, width], or to [batch, width]."""
        whole, kept = x if isinstance(x, tuple) else (x, None)
        grid = self.split(whole)
        x = grid.reshape(grid.shape[0], -1, grid.shape[-1])
        positions = self.param("positions", nn.initializers.normal(0.02), (x.shape[1], self.width))
        if kept is not None:
            check_places("kept", kept, x.shape[0])
            x = jnp.take_along_axis(x, kept[:, :, None], axis=1)
        if self.vocabulary is None:
            x = nn.Dense(self.width, kernel_init=lecun_normal, name="embed")(x)
        else:
            # The row behind the last token is that of the mask.
            table = self.param("embed", nn.initializers.normal(1.0), (self.vocabulary + 1, self.width))
            x = rows_of(table, x[:, :, 0])
        added = positions[None] if kept is None else rows_of(positions, kept)
        x = dropout(self, x + added, self.dropout, train)
        for i in range(self.depth):
            x = EncoderBlock(self.heads, self.hidden, self.dropout, name=f"block_{i}")(x, train=train)
        x = nn.LayerNorm(epsilon=1e-6, name="norm")(x)
        return x.mean(1) if self.pool else x


def masked_vit(
    patch: int = 4,
    width: int = 192,
    depth: int = 12,
    heads: int = 3,
    *,
    hidden: int | None = None,
    dropout: float = 0.0,
    mean: PerChannel = None,
    std: PerChannel = None,
) -> MaskedNet:
    """A vision transformer without class token, for images whose sides the patch divides (default ViT-tiny).

    Places are patches, row by row. The positions fix the size of the images. The network has no state.

    Args:
        patch: the side of a patch, in pixels.
        width: the width of a token, and the dimension of the features.
        depth: the number of encoder blocks.
        heads: the number of attention heads, which divides the width.
        hidden: the hidden width of the feed-forward layers; None for 4 times the width.
        dropout: as for `lrn.nets.vit`.
        mean: subtracted from the pixels: one number, or one for each channel. std: divides the centered
            pixels. ``split`` gives pixels as they are, before both.

    Raises:
        ValueError: a size, rate or std is out of range, or the heads do not divide the width; from the
            networks: as for `lrn.nets.vit`.
    """
    check_network(1, 0.0, mean, std, patch=(patch,))
    split = partial(patchify, patch=patch)

    def normalized(x: Array) -> Array:
        return split(normalize(x, mean, std))

    return _encoder(split, normalized, None, width, depth, heads, hidden, dropout)


def sequence_transformer(
    segment: int = 1,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    *,
    hidden: int | None = None,
    dropout: float = 0.0,
) -> MaskedNet:
    """A transformer for real-valued sequences [batch, time, channels], whose length the segment divides.

    Places are segments of consecutive steps, each embedded by one linear map.

    Args:
        segment: the number of steps in a segment.
        width, depth, heads, hidden, dropout: as for `masked_vit`.

    Raises:
        ValueError: as for `masked_vit`; from the networks: ``x`` is no float [batch, time, channels], the
            segment does not divide the time, or the time is not that of the parameters.
    """
    check.integer("segment", segment, 1)
    split = partial(segments, segment=segment)
    return _encoder(split, split, None, width, depth, heads, hidden, dropout)


def token_transformer(
    vocabulary: int,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    *,
    hidden: int | None = None,
    dropout: float = 0.0,
) -> MaskedNet:
    """A transformer for sequences of tokens, integers [batch, time] in [0, vocabulary].

    The token ``vocabulary`` is the mask, as in BERT (Devlin et al. 2019). A token outside of the range makes
    the output of its sequence NaN.

    Args:
        vocabulary: the number of tokens without the mask.
        width, depth, heads, hidden, dropout: as for `masked_vit`.

    Raises:
        ValueError: as for `masked_vit`; from the networks: ``x`` is no integer [batch, time].
    """
    check.integer("vocabulary", vocabulary, 2)
    return _encoder(token_places, token_places, vocabulary, width, depth, heads, hidden, dropout)


def _encoder(
    split: Callable[[Array], Array],
    normalized: Callable[[Array], Array],
    vocabulary: int | None,
    width: int,
    depth: int,
    heads: int,
    hidden: int | None,
    dropout: float,
) -> MaskedNet:
    hidden = check_blocks(width, depth, heads, hidden, dropout)

    def net(pool: bool) -> Net:
        return from_flax(MaskedEncoder(normalized, vocabulary, width, depth, heads, hidden, dropout, pool))

    return MaskedNet(net(True), net(False), split)
