"""The information bottleneck of jointly Gaussian variables, in closed form (Chechik et al. 2005).

The best T of the Gaussian bottleneck is a noisy linear projection of X on the directions in which X and Y are
most correlated. A direction of correlation rho enters where ``beta < rho^2``. As in
`lrn.representation.blahut_arimoto`, ``beta`` is the price of a nat of I(X; T) in nats of I(T; Y), the inverse
of the paper's beta.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, nan_where, product, readable
from lrn.stats.roots import roots
from lrn.types import Array


class GaussianBottleneck(NamedTuple):
    """The bottleneck at one beta.

    projection: [dim of x, dim of x]: T is ``x @ projection`` plus standard normal noise; columns of 0 are
        directions that are left out. information_x, information_y: I(X; T) and I(T; Y), scalars in nats.
    """

    projection: Array
    information_x: Array
    information_y: Array


def gaussian_curve(correlations: Array, betas: ArrayLike) -> tuple[Array, Array]:
    """I(X; T) and I(T; Y) of the best T at betas [...], each of the shape of the betas, in nats.

    Args:
        correlations: [dims], the canonical correlations of X and Y, in (-1, 1).
        betas: prices above 0; nats of I(T; Y) for a nat of I(X; T).

    Returns:
        The informations (equations 23 and 24 in the paper's beta); NaN where values that cannot be read are
        no correlations or no betas above 0.

    Raises:
        InputError: the correlations are no vector, or readable values are out of their range.
    """
    betas, square = _checked(betas), _squares(correlations)
    square = square.reshape((1,) * betas.ndim + (-1,))
    price = betas[..., None]
    inside = square > price
    kept = jnp.where(inside, square, 0.5)  # a place holder, whose terms are not summed
    price = jnp.where(inside, price, 0.25)
    of_x = 0.5 * jnp.log((1 / price - 1) * kept / (1 - kept))
    of_y = of_x - 0.5 * jnp.log(kept / price)
    wrong = jnp.isnan(betas) | jnp.isnan(square).any()
    total = [jnp.sum(jnp.where(inside, part, 0), axis=-1) for part in (of_x, of_y)]
    return nan_where(wrong, total[0]), nan_where(wrong, total[1])


def gaussian_bottleneck(of_x: Array, of_y: Array, across: Array, beta: ArrayLike) -> GaussianBottleneck:
    """The best noisy projection of X at one beta.

    Args:
        of_x: the covariance of X [p, p]. of_y: that of Y [q, q]. across: that of X with Y [p, q].
        beta: a price above 0.

    Returns:
        The projection; NaN where a covariance is singular, or a beta that cannot be read is not above 0.

    Raises:
        InputError: the shapes do not fit, the beta is not positive, or, where the values can be read, a
            correlation is 1 within rounding, at which the informations are infinite.
    """
    p, q = of_x.shape[0], of_y.shape[0]
    if of_x.shape != (p, p) or of_y.shape != (q, q) or across.shape != (p, q):
        raise check.InputError(
            f"the covariances must be [p, p], [q, q] and [p, q], got {of_x.shape}, {of_y.shape} and "
            f"{across.shape}."
        )
    check.positive("beta", beta)
    beta = jnp.asarray(above_zero(beta), of_x.dtype)
    white_x, white_y = roots(of_x)[1], roots(of_y)[1]
    left, correlations, _ = jnp.linalg.svd(product(white_x, across, white_y))
    square = jnp.zeros(p, of_x.dtype).at[: min(p, q)].set(jnp.square(correlations))
    # In whitened directions the paper's alpha^2 is (rho^2 / beta - 1) / (1 - rho^2).
    scale = jnp.sqrt(jnp.maximum(square / beta - 1, 0) / (1 - square))
    of = gaussian_curve(jnp.sqrt(square), beta)
    return GaussianBottleneck(product(white_x, left) * scale[None], *of)


def noisy_projection(of_x: Array, of_y: Array, across: Array, projection: Array) -> tuple[Array, Array]:
    """I(X; T) and I(T; Y) in nats of T, ``x @ projection`` plus standard normal noise, by determinants.

    Args:
        of_x, of_y, across: the covariances, as for `gaussian_bottleneck`.
        projection: [p, dims].
    """
    conditional = of_x - product(across, jnp.linalg.solve(of_y, across.T))
    eye = jnp.eye(projection.shape[1], dtype=projection.dtype)
    total, rest = (
        0.5 * jnp.linalg.slogdet(eye + product(projection.T, c, projection))[1] for c in (of_x, conditional)
    )
    return total, total - rest


def _squares(correlations: Array) -> Array:
    correlations = jnp.asarray(correlations)
    if correlations.ndim != 1 or correlations.size == 0:
        raise check.InputError(f"correlations must be a vector [dims], got shape {correlations.shape}.")
    if readable(correlations) and not (np.abs(np.asarray(correlations)) < 1).all():
        raise check.InputError(
            "every correlation must lie between -1 and 1 (excluded), where the information is finite."
        )
    square = jnp.square(correlations)
    return nan_where(~(square < 1), square)


def _checked(betas: ArrayLike) -> Array:
    values = jnp.asarray(betas, jnp.result_type(float))
    if readable(values) and not (np.asarray(values) > 0).all():
        raise check.InputError(f"every beta must be above 0, got {np.asarray(values).tolist()}.")
    return jnp.asarray(above_zero(values))
