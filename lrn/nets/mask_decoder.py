"""A transformer that predicts something at hidden places from the tokens of the others."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from lrn import check
from lrn.nets.bridge import from_flax
from lrn.nets.layers import dropout, lecun_normal
from lrn.nets.places import check_blocks, check_places, rows_of
from lrn.nets.vit import EncoderBlock
from lrn.types import Array, Net


class MaskDecoder(nn.Module):
    """Encoder blocks over the tokens of kept places and one learned token for every hidden place."""

    out: int
    places: int
    width: int
    depth: int
    heads: int
    hidden: int
    dropout: float

    @nn.compact
    def __call__(self, x: tuple[Array, Array, Array], *, train: bool = False) -> Array:
        """Map (tokens [batch, k, dim], kept [batch, k], hidden [batch, h]) to [batch, h, out]."""
        tokens, kept, hidden = x
        for name, places in (("kept", kept), ("hidden", hidden)):
            check_places(name, places, tokens.shape[0])
        positions = self.param("positions", nn.initializers.normal(0.02), (self.places, self.width))
        mask = self.param("mask", nn.initializers.normal(0.02), (self.width,))
        seen = nn.Dense(self.width, kernel_init=lecun_normal, name="embed")(tokens)
        seen = seen + rows_of(positions, kept)
        asked = mask[None, None] + rows_of(positions, hidden)
        y = dropout(self, jnp.concatenate([seen, asked], axis=1), self.dropout, train)
        for i in range(self.depth):
            y = EncoderBlock(self.heads, self.hidden, self.dropout, name=f"block_{i}")(y, train=train)
        y = nn.LayerNorm(epsilon=1e-6, name="norm")(y[:, kept.shape[1] :])
        return nn.Dense(self.out, kernel_init=lecun_normal, name="head")(y)


def mask_decoder(
    out: int,
    places: int,
    width: int = 96,
    depth: int = 2,
    heads: int = 3,
    *,
    hidden: int | None = None,
    dropout: float = 0.0,
) -> Net:
    """The decoder of MAE (He et al. 2022), and the predictor of I-JEPA (Assran et al. 2023).

    ``apply(params, state, (tokens, kept, hidden))`` maps tokens [batch, k, dim] of the places ``kept``, int
    [batch, k], to outputs [batch, h, out] at the places ``hidden``, int [batch, h].

    Args:
        out: the number of values predicted at a place: the pixels of a patch, or the width of the encoder.
        places: the number of places of the encoder's grid.
        width, depth, heads, hidden, dropout: as for `masked_vit`.

    Raises:
        ValueError: as for `masked_vit`; from the network: places are no integers [batch, k].
    """
    check.integer("out", out, 1)
    check.integer("places", places, 2)
    hidden = check_blocks(width, depth, heads, hidden, dropout)
    return from_flax(MaskDecoder(out, places, width, depth, heads, hidden, dropout))
