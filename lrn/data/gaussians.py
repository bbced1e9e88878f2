"""Pairs of Gaussians with known mutual information, bijections that keep it, and the optimal critic.

x and y are standard normal [n, dim], and each coordinate of x has the correlation rho with the same
coordinate of y, so I(x; y) = -dim / 2 log(1 - rho^2) nats. Mutual information does not change under a
bijection of x and a bijection of y (Kraskov et al. 2004), so the information of transformed pairs is known
too. These are the tests of Belghazi et al. 2018, Poole et al. 2019 (which has the cubic) and Czyz et al. 2023
(asinh and others).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array, Key, Sampler

_LARGEST = 1 - 1e-6  # of |rho|: in float32 the square of a larger correlation is nearly 1


class Bijection(NamedTuple):
    """An invertible map of rows [n, dim], as two pure functions."""

    forward: Callable[[Array], Array]
    inverse: Callable[[Array], Array]


identity: Bijection = Bijection(lambda x: x, lambda x: x)
cubic: Bijection = Bijection(lambda x: x**3, jnp.cbrt)
asinh: Bijection = Bijection(jnp.arcsinh, jnp.sinh)


def correlation(information: ArrayLike, dim: int) -> Array:
    """The correlation of each pair of coordinates that gives a mutual information: sqrt(1 - exp(-2 I / dim)).

    Args:
        information: in nats, 0 or more, at most about 6.5 a dimension; may be traced.
        dim: the dimension of x and of y.

    Raises:
        InputError: a value is out of range.
    """
    check.integer("dim", dim, 1)
    check.between("information", information, 0, -0.5 * dim * math.log1p(-(_LARGEST**2)))
    return jnp.sqrt(-jnp.expm1(-2 * jnp.asarray(information, jnp.float32) / dim))


def information(rho: ArrayLike, dim: int) -> Array:
    """The mutual information of x and y in nats.

    Raises:
        InputError: rho is not between -1 and 1, or ``dim`` is below 1.
    """
    check.integer("dim", dim, 1)
    _check_rho(rho)
    return -0.5 * dim * jnp.log1p(-jnp.square(jnp.asarray(rho, jnp.float32)))


def sample(key: Key, n: int, dim: int, rho: ArrayLike) -> tuple[Array, Array]:
    """Pairs x and y, each [n, dim], drawn by a key.

    Raises:
        InputError: a size is below 1, or rho is not between -1 and 1.
    """
    check.integer("n", n, 1)
    check.integer("dim", dim, 1)
    _check_rho(rho)
    x, noise = jax.random.normal(key, (2, n, dim))
    return x, rho * x + jnp.sqrt(1 - jnp.square(rho)) * noise


def log_ratio(x: Array, y: Array, rho: ArrayLike) -> Array:
    """The optimal critic: log p(x_i, y_j) / (p(x_i) p(y_j)) [n, m] in nats, for x [n, dim] and y [m, dim].

    Every optimal critic of the bounds in `lrn.ssl.information` is this one plus a constant or a function of
    x.

    Raises:
        InputError: the shapes do not fit, or rho is not between -1 and 1.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise check.InputError(
            f"x and y must be [n, dim] and [m, dim], got {x.shape} and {y.shape}; give one row a sample."
        )
    _check_rho(rho)
    square = jnp.square(jnp.asarray(rho, jnp.float32))
    norms = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None]
    inner = jnp.matmul(x, y.T, precision="highest")
    return information(rho, x.shape[1]) - (square * norms - 2 * rho * inner) / (2 * (1 - square))


def sampler(
    batch_size: int, dim: int, rho: ArrayLike, of_x: Bijection = identity, of_y: Bijection = identity
) -> Sampler:
    """A sampler of fresh batches ``{"x": [batch, dim], "y": [batch, dim]}``, which needs no data.

    Args:
        batch_size, dim, rho: as for `sample`.
        of_x, of_y: the bijections through which x and y are seen.

    Raises:
        InputError: as `sample`.
    """
    jax.eval_shape(lambda key: sample(key, batch_size, dim, rho), jax.random.key(0))  # for its checks

    def draw(key: Key, data: object) -> dict[str, Array]:
        del data
        x, y = sample(key, batch_size, dim, rho)
        return {"x": of_x.forward(x), "y": of_y.forward(y)}

    return Sampler(draw, needs_data=False)


def oracle(
    x: Array, y: Array, rho: ArrayLike, of_x: Bijection = identity, of_y: Bijection = identity
) -> Array:
    """The optimal critic [n, m] of pairs that are seen through bijections."""
    return log_ratio(of_x.inverse(x), of_y.inverse(y), rho)


def affine(key: Key, dim: int, spread: float = 2.0) -> Bijection:
    """A random invertible affine map, with singular values log-uniform between 1 / spread and spread.

    Raises:
        InputError: ``dim`` is below 1, or ``spread`` below 1.
    """
    check.integer("dim", dim, 1)
    check.between("spread", spread, 1, math.inf)
    left_key, right_key, value_key, shift_key = jax.random.split(key, 4)
    left, right = jax.random.orthogonal(left_key, dim), jax.random.orthogonal(right_key, dim)
    value = spread ** jax.random.uniform(value_key, (dim,), minval=-1.0, maxval=1.0)
    shift = jax.random.normal(shift_key, (dim,))
    there, back = (left * value[None]) @ right, (right.T / value[None]) @ left.T
    return Bijection(
        lambda x: jnp.matmul(x, there, precision="highest") + shift[None],
        lambda x: jnp.matmul(x - shift[None], back, precision="highest"),
    )


def coupling(key: Key, dim: int, layers: int = 4, width: int = 16) -> Bijection:
    """A random nonlinear invertible map: affine coupling layers (Dinh et al. 2017) between random rotations.

    A layer scales and shifts one half of the coordinates by random networks of the other half; the logarithms
    of the scales lie between -1 / 2 and 1 / 2, so the inverse is exact to about 1e-5.

    Raises:
        InputError: ``dim`` is below 2, or another size below 1.
    """
    check.integer("dim", dim, 2)
    check.integer("layers", layers, 1)
    check.integer("width", width, 1)
    half = dim // 2
    steps = []
    for each in jax.random.split(key, layers):
        turn_key, in_key, out_key = jax.random.split(each, 3)
        steps.append(
            (
                jax.random.orthogonal(turn_key, dim),
                jax.random.normal(in_key, (half, width)) / math.sqrt(half),
                jax.random.normal(out_key, (width, 2 * (dim - half))) / math.sqrt(width),
            )
        )

    def parts(first: Array, into: Array, out: Array) -> tuple[Array, Array]:
        hidden = jnp.tanh(jnp.matmul(first, into, precision="highest"))
        scale, shift = jnp.split(jnp.matmul(hidden, out, precision="highest"), 2, axis=1)
        return jnp.exp(0.5 * jnp.tanh(scale)), shift

    def forward(x: Array) -> Array:
        for turn, into, out in steps:
            x = jnp.matmul(x, turn, precision="highest")
            scale, shift = parts(x[:, :half], into, out)
            x = jnp.concatenate([x[:, :half], x[:, half:] * scale + shift], axis=1)
        return x

    def inverse(x: Array) -> Array:
        for turn, into, out in reversed(steps):
            scale, shift = parts(x[:, :half], into, out)
            x = jnp.concatenate([x[:, :half], (x[:, half:] - shift) / scale], axis=1)
            x = jnp.matmul(x, turn.T, precision="highest")
        return x

    return Bijection(forward, inverse)


def compose(first: Bijection, second: Bijection) -> Bijection:
    """The bijection that applies ``first`` and then ``second``."""
    return Bijection(lambda x: second.forward(first.forward(x)), lambda x: first.inverse(second.inverse(x)))


def _check_rho(rho: ArrayLike) -> None:
    check.between("rho", rho, -_LARGEST, _LARGEST)
