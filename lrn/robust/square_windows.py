"""The proposals of the Square attack in the L2 and L1 balls: a window of the perturbation is drawn anew.

L2: Andriushchenko et al. (2020), algorithm 3. L1: Croce & Hein (2021), "Mind the box", as in AutoAttack. The
perturbation in the first of two random windows becomes a mixture of what it was and of a bump, and takes over
the norm of the second window, which is set to 0, and whatever norm the ball still allows.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn.types import Array, Key

# The bump falls with the distance k from its center like the sum of 1 / j^power over j > k.
_POWER = {"l2": 2, "l1": 4}
_TINY = 1e-12  # keeps a quotient of two zeros from being NaN
_TOLERANCE = 1e-5  # the share of an L1 radius that is left for errors, well above the rounding of a sum
_ROUNDS = 60  # of a projection, at most


def window_side(side: Array, height: int, width: int) -> Array:
    """The window's side for the side of an Linf patch: odd and at least 3, but at most the image's side."""
    side = jnp.maximum(side, 3)
    return jnp.minimum(side + (side + 1) % 2, min(height, width))


def bumps(side: Array, most: int, norm: str) -> Array:
    """Two bumps of opposite signs, one in the upper and one in the lower half of a window.

    Args:
        side: the side of the window, a scalar int of at least 1; may be traced.
        most: the largest side that can occur.
        norm: "l2" or "l1".

    Returns:
        [most, most], of norm 1, and 0 outside of the first ``side`` rows and columns.
    """
    row, column = jnp.arange(most)[:, None], jnp.arange(most)[None, :]
    upper = side // 2  # the number of rows of the upper half
    inside = (row < side) & (column < side)
    series = jnp.asarray(np.cumsum(1 / np.arange(1, most // 2 + 2) ** float(_POWER[norm])), jnp.float32)
    total = jnp.zeros((most, most))
    for sign, first, rows in ((1, 0, upper), (-1, upper, side - upper)):
        ring = jnp.maximum(jnp.abs(row - first - rows // 2), jnp.abs(column - side // 2))
        height = series[side // 2] - jnp.where(ring > 0, series[jnp.maximum(ring - 1, 0)], 0)
        height = jnp.where(inside & (row >= first) & (row < first + rows), height, 0)
        total = total + sign * height / jnp.maximum(_norm(height, norm), _TINY)
    return total / jnp.maximum(_norm(total, norm), _TINY)


def tiled_start(key: Key, x: Array, eps: Array, norm: str) -> Array:
    """The first point: bumps in a grid of tiles, about five a side, in each tile turned and signed at random.

    Args:
        key: the key.
        x: the images [batch, height, width, channels] in [0, 1].
        eps: the radius, a scalar or [batch, 1, 1, 1].
        norm: "l2" or "l1".
    """
    batch, height, width, channels = x.shape
    side = max(height // 5, 1)
    margin = max(height - 5 * side, 0) // 2
    # The tile of each row and column, and the place in it; rows and columns outside of the grid are 0.
    down, across = np.arange(height) - margin, np.arange(width) - margin
    tiles = (height // side, width // side)
    covered = ((down >= 0) & (down < tiles[0] * side))[:, None] & ((across >= 0) & (across < tiles[1] * side))
    down, across = down.clip(0, tiles[0] * side - 1), across.clip(0, tiles[1] * side - 1)
    straight = bumps(jnp.array(side), side, norm)[down % side][:, across % side]
    turned = bumps(jnp.array(side), side, norm).T[down % side][:, across % side]
    coins = jax.random.bernoulli(key, shape=(batch, *tiles, channels + 1))
    coins = coins[:, down // side][:, :, across // side]
    bump = jnp.where(coins[..., :1], turned[None, :, :, None], straight[None, :, :, None])
    delta = jnp.where(coins[..., 1:], bump, -bump) * covered[None, :, :, None]
    return _into_ball(delta.astype(x.dtype), x, _usable(eps, norm), norm)


class Windows(NamedTuple):
    """What a proposal draws for each example.

    corners: rows and columns of the first and of the second window, int [batch, 4]. coins: whether the bump
        is turned, and its sign in each channel, bool [batch, 1, 1, 1 + channels]. side: of the windows.
    """

    corners: Array
    coins: Array
    side: Array


def draw_windows(key: Key, shape: tuple[int, ...], side: Array) -> Windows:
    """Windows, turns and signs for images of shape [batch, height, width, channels].

    Args:
        key: the key.
        shape: of the images.
        side: the side of the windows, see `window_side`.
    """
    batch, height, width, channels = shape
    corner_key, coin_key = jax.random.split(key)
    free = jnp.stack([height - side + 1, width - side + 1] * 2)[None]
    corners = jax.random.randint(corner_key, (batch, 4), 0, free)
    return Windows(corners, jax.random.bernoulli(coin_key, shape=(batch, 1, 1, channels + 1)), side)


def redraw_window(drawn: Windows, z: Array, x: Array, eps: Array, norm: str) -> Array:
    """A proposal for each example, [batch, height, width, channels].

    Args:
        drawn: what the proposal draws.
        z: the best points so far.
        x: the images.
        eps: the radius, a scalar or [batch, 1, 1, 1].
        norm: "l2" or "l1".
    """
    height, width, channels = x.shape[1:]
    eps, side, coins = _usable(eps, norm), drawn.side, drawn.coins
    corners = drawn.corners[:, :, None, None]
    down = (
        jnp.arange(height)[None, :, None] - corners[:, 0],
        jnp.arange(height)[None, :, None] - corners[:, 2],
    )
    across = jnp.arange(width)[None, None] - corners[:, 1], jnp.arange(width)[None, None] - corners[:, 3]
    first, second = (((d >= 0) & (d < side) & (a >= 0) & (a < side))[..., None] for d, a in zip(down, across))
    bump = _placed(bumps(side, min(height, width), norm), down[0], across[0], coins[..., 0])[..., None]
    bump = jnp.where(coins[..., 1:], bump, -bump).astype(x.dtype)

    delta = z - x
    whole = _image_norms(delta, norm)
    old = jnp.where(first, delta, 0)
    both = _channel_norms(jnp.where(first | second, delta, 0), norm)
    fresh = jnp.where(first, bump, 0) + old / (_channel_norms(old, norm) + _TINY)
    fresh = fresh / (_channel_norms(fresh, norm) + _TINY)
    if norm == "l2":
        size = jnp.sqrt(jnp.maximum(eps**2 - whole**2, 0) / channels + both**2)
    else:
        size = jnp.maximum(eps - whole, 0) + channels * both  # beyond the ball; the projection follows
    return _into_ball(jnp.where(first, fresh * size, jnp.where(second, 0, delta)), x, eps, norm)


def _placed(bump: Array, down: Array, across: Array, turn: Array) -> Array:
    """The bump [most, most] at each example's window, [batch, height, width]; elsewhere it has no meaning.

    down: the row in the window, [batch, height, 1]. across: the column, [batch, 1, width]. turn: whether
    rows and columns change places, bool [batch, 1, 1].
    """
    most = bump.shape[0]
    row, column = jnp.clip(down, 0, most - 1), jnp.clip(across, 0, most - 1)
    index = jnp.where(turn, column * most + row, row * most + column)
    return bump.reshape(-1)[index]


def shrink(delta: Array, x: Array, radius: Array) -> Array:
    """The perturbation of L1 norm at most ``radius`` and within the box that is nearest to ``delta`` in L2.

    All sizes |delta| fall by one number and are then cut at the box (Croce & Hein 2021). Newton's method
    finds the number within a bracket; every third round halves the bracket, because Newton's steps can be
    short. The norm has a relative error of a quarter of `_TOLERANCE`, and a perturbation that is too long by
    less than a half of it stays as it is. A result is therefore not projected again when it comes back
    with another rounding, and most queries need no round at all.

    Args:
        delta: the perturbation [batch, height, width, channels]; it may leave the box.
        x: the images, in [0, 1].
        radius: a scalar or [batch, 1, 1, 1].
    """
    size, room = jnp.abs(delta), jnp.where(delta > 0, 1 - x, x)
    allowed = _TOLERANCE / 2 * radius

    def excess(fall: Array) -> Array:
        return _image_norms(jnp.clip(size - fall, 0, room), "l1") - radius

    def approach(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        i, low, high, fall, over = carry
        low, high = jnp.where(over > 0, fall, low), jnp.where(over > 0, high, fall)
        falling = (size > fall) & (size - fall < room)
        pace = _image_norms(falling.astype(size.dtype), "l1")
        newton = fall + over / jnp.maximum(pace, 1)
        good = (newton > low) & (newton < high) & (i % 3 < 2)
        fall = jnp.where(good, newton, (low + high) / 2)
        return i + 1, low, high, fall, excess(fall)

    def unfinished(carry: tuple[Array, ...]) -> Array:
        i, low, high, fall, over = carry
        far = jnp.where(fall > 0, 2 * jnp.abs(over), over) > allowed  # without a fall the norm may be short
        return (i < _ROUNDS) & jnp.any(far & (high - low > 2e-7 * high))

    low, high = jnp.zeros_like(size[:, :1, :1, :1]), jnp.max(size, axis=(1, 2, 3), keepdims=True)
    start = jnp.array(0), low, high, low, excess(low)
    _, _, high, fall, over = jax.lax.while_loop(unfinished, approach, start)
    fall = jnp.where(over > allowed, high, fall)  # the upper end lies in the ball
    return jnp.sign(delta) * jnp.clip(size - fall, 0, room)


def _usable(eps: Array, norm: str) -> Array:
    """The radius to work with; of an L1 radius a little is left for the error of `shrink`."""
    return eps * (1 - _TOLERANCE) if norm == "l1" else eps


def _into_ball(delta: Array, x: Array, eps: Array, norm: str) -> Array:
    """x + delta, scaled to the sphere (L2) or projected into the ball (L1), and in the box."""
    if norm == "l1":
        return jnp.clip(x + shrink(delta, x, eps), 0, 1)
    return jnp.clip(x + eps * delta / (_image_norms(delta, norm) + _TINY), 0, 1)


def _norm(bump: Array, norm: str) -> Array:
    return jnp.sum(jnp.abs(bump)) if norm == "l1" else jnp.sqrt(jnp.sum(bump**2))


def _channel_norms(delta: Array, norm: str) -> Array:
    """The norm of each channel of each example, [batch, 1, 1, channels]."""
    batch, height, width, channels = delta.shape
    rows = delta.reshape(batch, height * width, channels).swapaxes(1, 2)
    # On CPUs XLA adds up the values of `jnp.abs` four times as slowly as those of this `jnp.where`.
    rows = jnp.where(rows > 0, rows, -rows) if norm == "l1" else rows**2
    sums = jnp.sum(rows, axis=2).reshape(batch, 1, 1, channels)
    return sums if norm == "l1" else jnp.sqrt(sums)


def _image_norms(delta: Array, norm: str) -> Array:
    """The norm of each example, [batch, 1, 1, 1]."""
    return _channel_norms(delta.reshape(delta.shape[0], 1, -1, 1), norm)
