"""The Square attack (Andriushchenko et al. 2020): random search on the margin, without gradients.

A network that resists PGD and not Square hides its gradients and is not robust.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import as_array
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_eps, check_examples
from lrn.robust.losses import margin
from lrn.robust.norms import NORMS, by_example, narrow, widen
from lrn.robust.square_windows import Windows, draw_windows, redraw_window, tiled_start, window_side
from lrn.types import Array, Key

# The numbers of queries, out of 10,000, after which the area of the patches is halved (section
# 5 of the paper).
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_DRAWN = 64  # the number of queries whose random numbers are drawn at once


@config
class SquareConfig:
    """Settings of the Square attack.

    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1]; a number, or one an
        example [batch].
    queries: the number of evaluations of the network for each example, with that of the first point. The
        evaluation of the clean input, which stays as it is if the network is wrong there, does not count.
    initial_fraction: the share of the image that the first patches cover (p in the paper).
    norm: "linf", "l2" or "l1".
    """

    eps: float = 8 / 255
    queries: int = 1000
    initial_fraction: float = 0.8
    norm: str = "linf"

    def __post_init__(self) -> None:
        check.choice("norm", self.norm, NORMS)
        check_eps(self.eps, self.norm)
        check.integer("queries", self.queries, 1)
        check.positive("initial_fraction", self.initial_fraction)
        check.between("initial_fraction", self.initial_fraction, 0, 1)


class Game(NamedTuple):
    """The random search on one batch.

    start: the first points [batch, height, width, channels], and the margins [batch].
    draw: the number of a query -> what the query draws; under vmap one call draws for many queries.
    query: (points, margins, what the query draws) -> the points and margins after the query.
    """

    start: tuple[Array, Array]
    draw: Callable[[Array], Any]
    query: Callable[[Array, Array, Any], tuple[Array, Array]]


def square(config: SquareConfig) -> Attack:
    """The attack: each query changes one square patch of each example, and keeps it if the margin grows.

    ``x`` is [batch, height, width, channels]. An example stays as it is once the network is wrong, and the
    queries end when the network is wrong at every example. In the L2 and L1 balls the patch is a window of
    the perturbation (`lrn.robust.square_windows`). No gradient flows through the attack.
    """

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        game = _game(key, logits_fn, x, y, config)

        def unfinished(carry: tuple[Array, Array, Array]) -> Array:
            i, _, best = carry
            return (i < config.queries) & jnp.any(best < 0)

        def some_queries(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            first = carry[0]
            drawn = jax.vmap(game.draw)(first + jnp.arange(_DRAWN))

            def query(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
                i, z, best = carry
                return i + 1, *game.query(z, best, jax.tree.map(lambda a: a[i - first], drawn))

            return jax.lax.while_loop(lambda c: (c[0] < first + _DRAWN) & unfinished(c), query, carry)

        _, z, _ = jax.lax.while_loop(unfinished, some_queries, (jnp.array(1), *game.start))
        return narrow(z, as_array(x))

    return attack


def search(key: Key, logits_fn: LogitsFn, x: Array, y: Array, config: SquareConfig) -> tuple[Array, Array]:
    """The search of `square`, with the margin after every query.

    Args:
        key, logits_fn, x, y: as for an `Attack`.
        config: the settings.

    Returns:
        The adversarial input [batch, height, width, channels], and the best margin so far [queries,
        batch], which is 0 or more once the network is wrong. All queries are made.

    Raises:
        ValueError: x is not [batch, height, width, channels], or `check_examples` refuses ``x`` and ``y``.
    """
    game = _game(key, logits_fn, x, y, config)

    def query(carry: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], Array]:
        z, best = game.query(*carry, game.draw(i))
        return (z, best), best

    (z, _), trace = jax.lax.scan(query, game.start, jnp.arange(1, config.queries))
    return narrow(z, as_array(x)), jnp.concatenate([game.start[1][None], trace])


def _game(key: Key, logits_fn: LogitsFn, x: Array, y: Array, config: SquareConfig) -> Game:
    x, y = check_examples(logits_fn, x, y)
    if x.ndim != 4:
        raise check.InputError(
            f"the Square attack needs images [batch, height, width, channels], got shape {x.shape}; "
            "reshape x."
        )
    x = jax.lax.stop_gradient(x)
    _, height, width, _ = x.shape
    sides = patch_sides(config, height, width)
    moves = (_stripes_and_patches if config.norm == "linf" else _windows)(x, config)

    def score(z: Array) -> Array:
        value = jax.lax.stop_gradient(margin(logits_fn(narrow(z, x)), y))
        return jnp.where(jnp.isnan(value), jnp.inf, value)  # NaN counts as wrong, as in `is_correct`

    def draw(i: Array) -> Any:
        return moves.draw(jax.random.fold_in(search_key, i), sides[i])

    def query(z: Array, best: Array, drawn: Any) -> tuple[Array, Array]:
        proposal = moves.propose(z, drawn)
        value = score(proposal)
        accept = (best < 0) & (value > best)
        return jnp.where(accept[:, None, None, None], proposal, z), jnp.where(accept, value, best)

    start_key, search_key = jax.random.split(key)
    clean = score(x)
    z = moves.first(start_key)
    z = jnp.where((clean >= 0)[:, None, None, None], x.astype(z.dtype), z)
    return Game((z, jnp.where(clean >= 0, clean, score(z))), draw, query)


class Moves(NamedTuple):
    """The points that the search tries.

    first: a key -> the first points. draw: a key and the side of the patch -> what a proposal draws.
    propose: the points, and what the proposal draws -> the proposed points.
    """

    first: Callable[[Key], Array]
    draw: Callable[[Key, Array], Any]
    propose: Callable[[Array, Any], Array]


def _stripes_and_patches(x: Array, config: SquareConfig) -> Moves:
    """The Linf attack: vertical stripes, then square patches, each of one sign a channel."""
    batch, height, width, channels = x.shape
    original = widen(x)
    eps = by_example(config.eps, original)
    # The search sets pixels only to the two ends of their range in the ball.
    low, high = narrow(jnp.maximum(original - eps, 0), x), narrow(jnp.minimum(original + eps, 1), x)
    rows, columns = jnp.arange(height)[None, :, None, None], jnp.arange(width)[None, None, :, None]

    def first(key: Key) -> Array:
        return jnp.where(jax.random.bernoulli(key, shape=(batch, 1, width, channels)), high, low)

    def draw(key: Key, side: Array) -> tuple[Array, Array, Array]:
        corner_key, sign_key = jax.random.split(key)
        free = jnp.stack([height - side + 1, width - side + 1])[None, :]
        corner = jax.random.randint(corner_key, (batch, 2), 0, free)
        return corner, jax.random.bernoulli(sign_key, shape=(batch, 1, 1, channels)), side

    def propose(z: Array, drawn: tuple[Array, Array, Array]) -> Array:
        corner, sign, side = drawn
        top, left = (corner[:, i, None, None, None] for i in range(2))
        patch = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
        # The paper adds +-2 eps and projects, which sets a pixel of the ball to one of these two ends.
        return jnp.where(patch, jnp.where(sign, high, low), z)

    return Moves(first, draw, propose)


def _windows(x: Array, config: SquareConfig) -> Moves:
    """The L2 and L1 attacks, whose points are in float32 or wider."""
    original, norm = widen(x), config.norm
    eps = by_example(config.eps, original)

    def draw(key: Key, side: Array) -> Windows:
        return draw_windows(key, x.shape, window_side(side, *x.shape[1:3]))

    return Moves(
        first=lambda key: tiled_start(key, original, eps, norm),
        draw=draw,
        propose=lambda z, drawn: redraw_window(drawn, z, original, eps, norm),
    )


def patch_sides(config: SquareConfig, height: int, width: int) -> Array:
    """The side of the square patch at each query, in pixels, int [queries].

    The paper's schedule for 10,000 queries is scaled to ``config.queries``.
    """
    spent = np.arange(config.queries) * 10_000 // config.queries
    halvings = np.searchsorted(_HALVINGS, spent)  # how many thresholds are below the number of queries spent
    area = config.initial_fraction * 0.5 ** jnp.asarray(halvings, jnp.float32) * (height * width)
    return jnp.clip(jnp.round(jnp.sqrt(area)).astype(jnp.int32), 1, min(height, width))
