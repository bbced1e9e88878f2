"""The information bottleneck on discrete joints, by the iterations of Blahut and Arimoto (Tishby et al.
1999).

The bottleneck maximizes ``I(T; Y) - beta I(X; T)`` over random functions p(t | x). ``beta`` is the price of a
nat of I(X; T) in nats of I(T; Y), as in the variational bottleneck (`lrn.representation.vib`). The papers on
discrete joints write the inverse, ``I(X; T) - (1 / beta) I(T; Y)``. With a beta of 1 or more the best T is a
constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, product, readable
from lrn.data.discrete_joints import checked, entropy
from lrn.types import Array


class Curve(NamedTuple):
    """Points of an information curve, one for each beta, in the order of the betas.

    encoder: [betas, inputs, codes], p(t | x). information_x, information_y: [betas], I(X; T) and I(T; Y) of
    these encoders in nats. change: [betas], the largest change of p(t | x) in the last iteration. iterations:
    int32 [betas], how many were made.
    """

    encoder: Array
    information_x: Array
    information_y: Array
    change: Array
    iterations: Array


def information_curve(
    joint: Array, betas: ArrayLike | Sequence[float], *, tolerance: float = 1e-7, most: int = 20_000
) -> Curve:
    """The best encoders p(t | x) of a joint for many betas, with as many codes as inputs.

    The iterations start at the least beta from T = X, and at each further beta from the encoder before
    (reverse annealing), so codes merge as the price rises. They converge to a stationary point, which is not
    sure to be the best one; on joints with known curves it was. Near a beta at which codes merge, the
    iterations are slow. Where Y is a function of X, every beta in (0, 1) has one solution.

    The function may be called under jit, and under vmap over joints. Float64 joints are computed in float64.

    Args:
        joint: [inputs, outputs], probabilities that sum to 1.
        betas: [betas], above 0, in any order; nats of I(T; Y) for a nat of I(X; T).
        tolerance: the iterations end where no probability p(t | x) changes by more.
        most: the largest number of iterations for each beta.

    Returns:
        The points; NaN where values that cannot be read are no joint or no betas above 0.

    Raises:
        InputError: the values can be read, and the joint does not sum to 1 or a beta is not above 0; or a
            shape is wrong.
    """
    check.positive("tolerance", tolerance)
    check.integer("most", most, 1)
    joint = checked(joint)
    betas = checked_betas(betas, joint.dtype)
    order = jnp.argsort(betas)
    inputs = joint.shape[0]
    least = max(tolerance, 4 * float(jnp.finfo(joint.dtype).eps))  # smaller changes are rounding

    def point(encoder: Array, beta: Array) -> tuple[Array, tuple[Array, Array, Array]]:
        def unfinished(carry: tuple[Array, Array, Array]) -> Array:
            _, change, count = carry
            return (change > least) & (count < most)

        def iterate(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            before, _, count = carry
            after = step(joint, before, beta)
            return after, jnp.max(jnp.abs(after - before)), count + 1

        start = encoder, jnp.asarray(jnp.inf, joint.dtype), jnp.zeros((), jnp.int32)
        encoder, change, count = jax.lax.while_loop(unfinished, iterate, start)
        return encoder, (encoder, change, count)

    first = jnp.eye(inputs, dtype=joint.dtype) + 0 * jnp.sum(joint)  # NaN for a wrong joint
    _, found = jax.lax.scan(point, first, betas[order])
    encoder, change, count = (part[jnp.argsort(order)] for part in found)
    information_x, information_y = jax.vmap(lambda e: informations(joint, e))(encoder)
    return Curve(encoder, information_x, information_y, change, count)


def step(joint: Array, encoder: Array, beta: ArrayLike) -> Array:
    """One iteration: p(t | x) proportional to p(t) exp(-KL(p(y | x) || p(y | t)) / beta) (equation 16).

    Args:
        joint: [inputs, outputs]. encoder: p(t | x) [inputs, codes]. beta: a scalar above 0.
    """
    p_x = jnp.sum(joint, axis=1)
    p_t = product(p_x, encoder)
    y_of_x = joint / jnp.where(p_x > 0, p_x, 1)[:, None]
    y_of_t = product(encoder.T, joint) / jnp.where(p_t > 0, p_t, 1)[:, None]
    # Where p(y | t) is 0 the logarithm is -inf, and the code cannot stand for an x with that y.
    log_t = jnp.log(y_of_t)
    terms = jnp.where(y_of_x[:, None, :] > 0, y_of_x[:, None, :] * log_t[None, :, :], 0)
    divergence = jnp.sum(xlogy(y_of_x, y_of_x), axis=1)[:, None] - jnp.sum(terms, axis=2)
    logits = jnp.where(p_t > 0, jnp.log(p_t), -jnp.inf)[None, :] - divergence / above_zero(beta)
    return jax.nn.softmax(logits, axis=1)


def informations(joint: Array, encoder: Array) -> tuple[Array, Array]:
    """I(X; T) and I(T; Y) of an encoder p(t | x) [inputs, codes], two scalars in nats.

    Raises:
        InputError: the encoder has another number of inputs than the joint.
    """
    if encoder.ndim != 2 or encoder.shape[0] != joint.shape[0]:
        raise check.InputError(
            f"an encoder must be [{joint.shape[0]}, codes], got shape {encoder.shape}; give p(t | x)."
        )
    p_x, p_y = jnp.sum(joint, axis=1), jnp.sum(joint, axis=0)
    p_t = product(p_x, encoder)
    x_information = entropy(p_t) - jnp.sum(p_x * entropy(encoder))
    y_information = entropy(p_t) + entropy(p_y) - entropy(product(encoder.T, joint).reshape(-1))
    return x_information, y_information


def value_at(curve: Curve, rate: ArrayLike) -> Array:
    """The curve's I(T; Y) at rates [...] of I(X; T), by lines between its points and the origin, in nats.

    The curve is concave, so the lines lie on it or below it. Beyond the last point the value stays.

    Args:
        curve: points of `information_curve`; without points near a rate the line lies further below.
        rate: rates in nats, 0 or more.
    """
    order = jnp.argsort(curve.information_x)
    zero = jnp.zeros((1,), curve.information_x.dtype)
    x = jnp.concatenate([zero, curve.information_x[order]])
    y = jnp.concatenate([zero, curve.information_y[order]])
    return jnp.interp(jnp.asarray(rate), x, jax.lax.cummax(y))


def checked_betas(betas: ArrayLike | Sequence[float], dtype: Any) -> Array:
    """Betas [betas] of a dtype; NaN where a beta that cannot be read is not above 0.

    Raises:
        InputError: they are no vector, or one that can be read is not above 0 and finite.
    """
    betas = jnp.asarray(betas, dtype)
    if betas.ndim != 1 or betas.size == 0:
        raise check.InputError(f"betas must be a vector [betas], got shape {betas.shape}; give a list.")
    if readable(betas) and not (np.isfinite(betas) & (np.asarray(betas) > 0)).all():
        raise check.InputError(
            f"every beta must be a finite number above 0, got {np.asarray(betas).tolist()}; a beta of 0 has "
            "no price, and its best code is the input."
        )
    return jnp.asarray(above_zero(betas))
