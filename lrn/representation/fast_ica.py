"""FastICA: linear independent component analysis (Hyvarinen, IEEE Transactions on Neural Networks 1999)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero
from lrn.types import Array, Key

CONTRASTS = ("cube", "exp", "logcosh")
NORMAL = 0.374567207  # E log cosh of a standard normal variable


class FastICA(NamedTuple):
    """A fitted linear unmixing: sources are ``(x - mean) @ unmixing.T``, with variance 1.

    unmixing: [components, dim]. mean: [dim]. change: the last iteration's largest 1 - |cosine| between old
    and new directions, a scalar. iterations: int32 scalar.
    """

    unmixing: Array
    mean: Array
    change: Array
    iterations: Array

    def sources(self, x: Array) -> Array:
        """The components [n, components] of observations [n, dim]."""
        return jnp.matmul(x - self.mean[None], self.unmixing.T, precision="highest")

    def observations(self, s: Array) -> Array:
        """The observations [n, dim] of components, by the pseudo-inverse of the unmixing."""
        back = jnp.linalg.pinv(self.unmixing)
        return jnp.matmul(s, back.T, precision="highest") + self.mean[None]


def fast_ica(
    key: Key | None,
    x: Array,
    components: int | None = None,
    *,
    contrast: str = "logcosh",
    alpha: ArrayLike = 1.0,
    start: Array | None = None,
    tolerance: float = 1e-4,
    most: int = 200,
) -> FastICA:
    """Whiten, then turn all components at once by fixed-point iterations with symmetric decorrelation.

    Sources are found up to their order, their signs and scales, if at most one of them is Gaussian. The
    function may be called under jit, and under vmap over data.

    Args:
        key: draws the first directions; None with ``start``.
        x: observations, floats [n, dim].
        components: the number of components, at most dim; dim by default. Fewer keep the directions with
            the largest variance.
        contrast: the nonlinearity, one of `CONTRASTS`: "logcosh" (tanh(alpha u)), "exp" (u exp(-u^2 / 2)) or
            "cube" (u^3, kurtosis).
        alpha: of "logcosh", between 1 and 2; may be traced.
        start: the first directions [components, components], in place of the key.
        tolerance: the iterations end where no direction's |cosine| with the one before is further below 1.
        most: the largest number of iterations.

    Returns:
        The unmixing; NaN where an input is not finite or a dimension has no variance.

    Raises:
        InputError: an argument has the wrong form or is out of its range.
    """
    if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.floating) or x.shape[0] <= x.shape[1]:
        raise check.InputError(
            f"observations must be floats [n, dim] with more rows than dimensions, got {x.dtype} {x.shape}."
        )
    n, dim = x.shape
    count = dim if components is None else components
    check.integer("components", count, 1)
    check.between("components", count, 1, dim)
    check.choice("contrast", contrast, CONTRASTS)
    check.positive("alpha", alpha)
    check.positive("tolerance", tolerance)
    check.integer("most", most, 1)
    if (key is None) == (start is None):
        raise check.InputError("give a key or the first directions, and not both.")
    if key is not None:
        start = jax.random.normal(key, (count, count), x.dtype)
    first = jnp.asarray(start, x.dtype)
    if first.shape != (count, count):
        raise check.InputError(f"start must be [{count}, {count}], got shape {first.shape}.")

    mean = jnp.mean(x, axis=0)
    whitening = _whitening(x - mean[None], count)
    z = jnp.matmul(x - mean[None], whitening.T, precision="highest")

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        _, change, step = carry
        return (change > tolerance) & (step < most)

    def turn(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        w, _, step = carry
        u = jnp.matmul(z, w.T, precision="highest")
        value, slope = contrast_of(u, contrast, alpha)
        new = jnp.matmul(value.T, z, precision="highest") / n - jnp.mean(slope, axis=0)[:, None] * w
        new = decorrelated(new)
        change = jnp.max(jnp.abs(jnp.abs(jnp.sum(new * w, axis=1)) - 1))
        return new, change, step + 1

    begin = decorrelated(first), jnp.asarray(jnp.inf, x.dtype), jnp.zeros((), jnp.int32)
    w, change, steps = jax.lax.while_loop(unfinished, turn, begin)
    return FastICA(jnp.matmul(w, whitening, precision="highest"), mean, change, steps)


def best_start(key: Key, x: Array, starts: int = 8, **options: Any) -> FastICA:
    """The result of the start, among several, whose components are furthest from Gaussian by `negentropy`.

    The iterations can end in a stationary point that is no unmixing; with skewed sources they do so often.

    Args:
        key: of the starts. x: observations [n, dim]. starts: how many are tried, under vmap.
        options: of `fast_ica`.

    Raises:
        InputError: as `fast_ica`, or starts is below 1.
    """
    check.integer("starts", starts, 1)
    found = jax.vmap(lambda key: fast_ica(key, x, **options))(jax.random.split(key, starts))
    scores = jax.vmap(lambda one: jnp.sum(negentropy(one.sources(x))))(found)
    best = jnp.argmax(jnp.where(jnp.isnan(scores), -jnp.inf, scores))
    return jax.tree.map(lambda leaf: leaf[best], found)


def negentropy(s: Array) -> Array:
    """(E log cosh s_j - E log cosh of a normal variable)^2 of components [n, dim] of variance 1, [dim]."""
    value = jnp.logaddexp(s, -s) - jnp.log(2.0)
    return jnp.square(jnp.mean(value, axis=0) - NORMAL)


def contrast_of(u: Array, contrast: str, alpha: ArrayLike = 1.0) -> tuple[Array, Array]:
    """The nonlinearity of projections u, and its derivative, each of the shape of u."""
    if contrast == "cube":
        return u**3, 3 * u**2
    if contrast == "exp":
        bell = jnp.exp(-jnp.square(u) / 2)
        return u * bell, (1 - jnp.square(u)) * bell
    alpha = jnp.asarray(above_zero(alpha), u.dtype)
    value = jnp.tanh(alpha * u)
    return value, alpha * (1 - jnp.square(value))


def decorrelated(w: Array) -> Array:
    """The nearest matrix with orthonormal rows, (w w^T)^(-1/2) w."""
    values, vectors = jnp.linalg.eigh(jnp.matmul(w, w.T, precision="highest"))
    scaled = vectors / jnp.sqrt(jnp.maximum(values, jnp.finfo(w.dtype).tiny))[None]
    root = jnp.matmul(scaled, vectors.T, precision="highest")
    return jnp.matmul(root, w, precision="highest")


def _whitening(centered: Array, count: int) -> Array:
    """A matrix [count, dim] that maps centered rows to uncorrelated rows of variance 1."""
    n = centered.shape[0]
    values, vectors = jnp.linalg.eigh(jnp.matmul(centered.T, centered, precision="highest") / n)
    least = 4 * centered.shape[1] * jnp.finfo(centered.dtype).eps * values[-1]
    values = jnp.where(values > least, values, jnp.nan)
    return (vectors / jnp.sqrt(values)[None]).T[::-1][:count]
