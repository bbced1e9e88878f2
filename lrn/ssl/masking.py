"""Masks: which places of a grid are hidden from an encoder, always an exact number of them.

Places are numbered through the grid, the last axis fastest, and listed by index, so that shapes are known
before a compilation: ``kept`` is int [batch, k], ``hidden`` is int [batch, h].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array, Key


def count(share: float, places: int) -> int:
    """The number of places in a share of them, rounded; ``count(0.75, 16)`` is 12.

    Raises:
        InputError: the number is none or all of the places.
    """
    check.between("share", share, 0, 1)
    hidden = round(share * places)
    check_hidden(hidden, places)
    return hidden


def check_hidden(hidden: Any, places: int) -> None:
    """Raise InputError unless ``hidden`` is an int of at least 1 and below ``places``."""
    check.integer("hidden", hidden)
    if not 0 < hidden < places:
        raise check.InputError(
            f"a mask must hide some of the {places} places and leave some, got hidden={hidden}; choose 1 to "
            f"{places - 1}."
        )


def random_mask(key: Key, batch: int, places: int, hidden: int) -> tuple[Array, Array]:
    """Places kept and hidden, uniform without replacement for each example (He et al. 2022).

    Args:
        key: the key of the draw.
        batch: the number of examples.
        places: the number of places of an example.
        hidden: the number of hidden places.

    Returns:
        ``(kept [batch, places - hidden], hidden [batch, hidden])``.

    Raises:
        InputError: the mask hides all or nothing.
    """
    check_hidden(hidden, places)
    order = jnp.argsort(jax.random.uniform(key, (batch, places)), axis=1)
    return order[:, hidden:], order[:, :hidden]


def block_mask(
    key: Key, batch: int, grid: Sequence[int], blocks: int, size: Sequence[int], visible: int
) -> tuple[Array, Array]:
    """The multi-block mask of I-JEPA (Assran et al. 2023): blocks to predict, and a context outside of them.

    Blocks lie uniformly in the grid and may overlap. The context is drawn uniformly from the places of no
    block; in I-JEPA it is a large block without them. Sizes are the same for all examples, as one program
    needs them.

    Args:
        key: the key of the draw.
        batch: the number of examples.
        grid: the size of the grid: (time,) or (rows, columns).
        blocks: the number of blocks.
        size: the size of each block, with as many axes as the grid.
        visible: the number of places of the context.

    Returns:
        ``(kept [batch, visible], hidden [batch, blocks, places of a block])``.

    Raises:
        InputError: the block does not fit the grid, or there may be fewer than ``visible`` places outside.
    """
    check.integer("blocks", blocks, 1)
    check.integer("visible", visible, 1)
    if len(size) != len(grid) or any(not 1 <= s <= g for s, g in zip(size, grid)):
        raise check.InputError(
            f"a block of {tuple(size)} does not fit a grid of {tuple(grid)}; give one size for each axis, at "
            "most that of the grid."
        )
    places, area = math.prod(grid), math.prod(size)
    if visible > places - blocks * area:
        raise check.InputError(
            f"{blocks} blocks of {area} of {places} places may leave {max(places - blocks * area, 0)}, fewer "
            f"than visible={visible}; hide less or choose a smaller context."
        )
    corner_key, context_key = jax.random.split(key)
    low = jnp.zeros((len(grid),), jnp.int32)
    high = jnp.asarray([g - s + 1 for g, s in zip(grid, size)], jnp.int32)
    shape = (batch, blocks, len(grid))
    corners = jax.random.randint(
        corner_key, shape, jnp.broadcast_to(low, shape), jnp.broadcast_to(high, shape)
    )
    strides = jnp.asarray([math.prod(grid[i + 1 :]) for i in range(len(grid))], jnp.int32)
    offsets = jnp.stack(jnp.meshgrid(*map(jnp.arange, size), indexing="ij"), -1).reshape(area, len(grid))
    first = jnp.sum(corners * strides[None, None], axis=2)
    hidden = first[:, :, None] + jnp.sum(offsets * strides[None], axis=1)[None, None]
    # Places of the blocks come last in the order, so the context holds none of them.
    noise = jax.random.uniform(context_key, (batch, places))
    order = jnp.argsort(noise + as_mask(hidden.reshape(batch, -1), places), axis=1)
    return order[:, :visible], hidden


def token_mask(
    key: Key,
    tokens: Array,
    hidden: int,
    vocabulary: int,
    replaced: ArrayLike = 0.8,
    random: ArrayLike = 0.1,
) -> tuple[Array, Array]:
    """Tokens of which some are corrupted, as in BERT (Devlin et al. 2019), and the places to predict.

    A chosen token becomes the mask, the token ``vocabulary``, with probability ``replaced``, a uniform token
    with probability ``random``, and stays as it is otherwise. ``replaced=1, random=0`` is a pure mask.

    Args:
        key: the key of the draw.
        tokens: int [batch, time] in [0, vocabulary).
        hidden: the number of places chosen in each sequence, uniform without replacement.
        vocabulary: the number of tokens without the mask.
        replaced, random: probabilities of sum at most 1, which may be traced. Where they are traced and none,
            all tokens are -1 (the largest number of an unsigned type), which is no token.

    Returns:
        ``(corrupted tokens [batch, time], hidden [batch, hidden])``.

    Raises:
        InputError: the mask hides all or nothing, the probabilities exceed 1 together, or the tokens' type
            does not hold the mask, such as uint8 for a vocabulary of 256.
    """
    check_shares(replaced, random)
    replaced, random = jnp.asarray(replaced), jnp.asarray(random)
    check.integer("vocabulary", vocabulary, 2)
    if vocabulary > jnp.iinfo(tokens.dtype).max:
        raise check.InputError(
            f"tokens of {tokens.dtype} cannot hold the mask, the token {vocabulary}; convert them to int32."
        )
    place_key, kind_key, token_key = jax.random.split(key, 3)
    batch, time = tokens.shape
    hidden_places = random_mask(place_key, batch, time, hidden)[1]
    chosen = as_mask(hidden_places, time)
    kind = jax.random.uniform(kind_key, tokens.shape)
    drawn = jax.random.randint(token_key, tokens.shape, 0, vocabulary, tokens.dtype)
    other = jnp.where(kind < replaced, vocabulary, jnp.where(kind < replaced + random, drawn, tokens))
    right = (replaced >= 0) & (random >= 0) & (replaced + random <= 1 + 1e-6)  # False for NaN
    return jnp.where(right, jnp.where(chosen, other, tokens), -1).astype(tokens.dtype), hidden_places


def check_shares(replaced: ArrayLike, random: ArrayLike) -> None:
    """Raise InputError unless the two are probabilities of sum at most 1; traced values pass."""
    check.between("replaced", replaced, 0, 1)
    check.between("random", random, 0, 1)
    both = [value for value in (replaced, random) if isinstance(value, (int, float))]
    if len(both) == 2 and sum(both) > 1 + 1e-6:
        raise check.InputError(
            f"replaced and random must sum to at most 1, got {replaced:g} and {random:g}; the rest stays."
        )


def as_mask(hidden: Array, places: int) -> Array:
    """Places int [batch, h] as bool [batch, places], True where a place is listed."""
    return jnp.any(hidden[:, :, None] == jnp.arange(places)[None, None], axis=1)


def take(x: Array, places: Array) -> Array:
    """The values [batch, k, ...] of x [batch, n, ...] at places int [batch, k].

    A place outside of 0 to n - 1 has no value: floats are NaN there, and integers the least of their type.
    """
    places = jnp.where(places < 0, x.shape[1], places)  # jax would count a negative place from the end
    return jnp.take_along_axis(x, places.reshape(*places.shape, *(1,) * (x.ndim - 2)), axis=1)


def places_of(split: Callable[[Array], Array], x: Array) -> tuple[tuple[int, ...], int]:
    """The grid and the number of places that the ``split`` of a `lrn.types.MaskedNet` makes of ``x``."""
    grid = jax.eval_shape(split, x).shape[1:-1]
    return grid, math.prod(grid)
