"""Sprites with captions: what a sprite looks like, in six words, or in one word that names its shape alone.

The caption of an instance, such as "large red heart column-3 row-7 turn-2", names every factor of
`lrn.data.sprites` to the precision of its words, so retrieval by caption can find the very sprite. The
caption of a class, "heart", cannot: who retrieves any heart has found the class, not the instance. That is
the trap for claims about retrieval.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import readable
from lrn.data.sprites import SHAPES, Factors, render, sample
from lrn.types import Array, Key

SIZES = ("tiny", "small", "medium", "large", "big", "huge")
COLORS = ("red", "orange", "lime", "green", "cyan", "blue", "violet", "pink")  # hues 0, 1/8, ..., 7/8
PLACES = 8  # the number of columns, of rows and of turns that have a word
WORDS = (
    *SIZES,
    *COLORS,
    *SHAPES,
    *(f"{axis}-{i + 1}" for axis in ("column", "row", "turn") for i in range(PLACES)),
)
TOKENS = 1 + len(WORDS)  # the number of ids, with 0, which is no word
LENGTH = 6

# The angle after which a shape looks the same: the square's is a quarter of a turn, the ellipse's a half.
_PERIOD = (np.pi / 2, np.pi, 2 * np.pi)


def caption(factors: Factors) -> Array:
    """The token ids int32 [..., 6] of the captions of instances; pure, for jit and vmap.

    The words name size, color, shape, column, row and turn. A turn is an eighth of the angle after which the
    shape looks the same, centered at the upright sprite, so the word says only what can be seen.
    A factor outside of its interval has the word at the interval's end. Under jit a sprite whose shape is not
    one of `lrn.data.sprites.SHAPES` has no words, only 0.

    Raises:
        InputError: a shape that can be read is not among the shapes.
    """
    known = (jnp.asarray(factors.shape) >= 0) & (jnp.asarray(factors.shape) < len(SHAPES))
    if readable(known) and not np.all(known):
        raise check.InputError(
            f"shapes must lie between 0 and {len(SHAPES) - 1}, got {np.asarray(factors.shape).tolist()}; "
            "take them from lrn.data.sprites."
        )
    shape = jnp.asarray(factors.shape, jnp.int32)
    period = jnp.asarray(_PERIOD, jnp.float32)[shape]
    places = {
        "size": _nearest((jnp.asarray(factors.scale) - 0.5) / 0.5, len(SIZES)),
        "color": jnp.round(jnp.asarray(factors.color) * len(COLORS)).astype(jnp.int32) % len(COLORS),
        "shape": shape,
        "column": _nearest(factors.x, PLACES),
        "row": _nearest(factors.y, PLACES),
        "turn": jnp.round(jnp.asarray(factors.orientation) / period * PLACES).astype(jnp.int32) % PLACES,
    }
    starts = np.cumsum([1, len(SIZES), len(COLORS), len(SHAPES), PLACES, PLACES])
    words = jnp.stack([start + place for start, place in zip(starts.tolist(), places.values())], axis=-1)
    return jnp.where(known[..., None], words, 0)


def class_caption(factors: Factors) -> Array:
    """The token ids int32 [..., 6] of captions that name the shape alone; the other places are empty."""
    return caption(factors).at[..., jnp.asarray([0, 1, 3, 4, 5])].set(0)


def text(tokens: np.ndarray | Array) -> list[str]:
    """The captions [n] of token ids [n, length], as strings."""
    return [" ".join(WORDS[i - 1] for i in row if i) for row in np.asarray(tokens)]


def pairs(
    key: Key, rows: int, size: int = 32, captions: Callable[[Factors], Array] = caption
) -> dict[str, np.ndarray]:
    """Sprites with captions ``{"image", "text", "label"}``, of which no two have the same words.

    The factors are drawn uniformly from their intervals. More sprites than needed are drawn, and of those
    with one instance caption the first is kept.

    Args:
        key: the key of the draw. rows: the number of pairs.
        size: width and height in pixels.
        captions: `caption` or `class_caption`.

    Returns:
        "image": uint8 [rows, size, size, 3]. "text": int32 [rows, 6]. "label": int32 [rows], the shape.

    Raises:
        InputError: the rows are fewer than 1, or more than a tenth of the captions that there are.
    """
    check.integer("rows", rows, 1)
    number = len(SIZES) * len(COLORS) * len(SHAPES) * PLACES**3
    if rows > number // 10:
        raise check.InputError(
            f"{rows} sprites need as many captions, and there are {number}; ask for at most {number // 10}."
        )
    # A tenth of the captions have been drawn at most, so a quarter more and a few suffice.
    factors = sample(key, (rows + rows // 4 + 20,), continuous=True)
    _, first = np.unique(np.asarray(jax.jit(caption)(factors)), axis=0, return_index=True)
    chosen = np.sort(first)[:rows]
    kept = jax.tree.map(lambda x: x[chosen], factors)
    drawn = jax.jit(
        lambda f: jax.lax.map(lambda one: jnp.round(render(one, size) * 255).astype(jnp.uint8), f)
    )
    return {
        "image": np.asarray(drawn(kept)),
        "text": np.asarray(jax.jit(captions)(kept)),
        "label": np.asarray(kept.shape, np.int32),
    }


def _nearest(share: Array, words: int) -> Array:
    """The place in 0..words - 1 of a number in [0, 1]: equal parts, each with one word."""
    return jnp.clip(jnp.floor(jnp.asarray(share) * words), 0, words - 1).astype(jnp.int32)
