"""Estimates of I(X; T) and I(T; Y) for a layer's codes, each with the condition under which it means
anything.

If a code is a deterministic function of a continuous input, I(X; T) is infinite, or a constant that does not
depend on the weights (Amjad and Geiger 2019; Goldfeld et al. 2019). Estimators hide this by a bin width or an
added noise, which then decides the value (Saxe et al. 2018). Here noise is an argument: where there is no
noise, I(X; T) is infinite, and the function says so by inf. The binned entropy has another name.
All values are in nats.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, nan_where
from lrn.representation.codes import in_chunks
from lrn.types import Array, Key

_ENTRIES = 1 << 22  # the most differences that are held at once


class Binned(NamedTuple):
    """Statistics of binned codes of n rows, scalars in nats.

    entropy: the entropy of the bins over the n rows. This number is often reported as I(X; T) of a
        deterministic network, which it is not: it runs from log n with narrow bins to 0 with wide bins.
    about_labels: the plug-in estimate of the information of bins and labels. It is too large: with narrow
        bins it is the entropy of the labels, whatever the code.
    alone: the share of rows that are alone in their bin; near 1, both numbers tell about n only.
    """

    entropy: Array
    about_labels: Array
    alone: Array


class Bounds(NamedTuple):
    """Lower and upper bound of an information, scalars in nats; inf where the encoder has no noise."""

    low: Array
    high: Array


def binned(codes: Array, labels: Array, width: ArrayLike) -> Binned:
    """Count codes in cubic bins.

    Args:
        codes: floats [n, dim]. labels: int [n].
        width: the side of the bins, above 0, in the unit of the codes; may be traced.

    Raises:
        InputError: an argument has the wrong form, or the width is not positive.
    """
    n = _rows(codes, labels)
    check.positive("width", width)
    bins = jnp.floor(codes / above_zero(width))
    counts = _counts(bins)
    joint = _counts(jnp.concatenate([bins, labels[:, None].astype(bins.dtype)], axis=1))
    of_labels = _counts(labels[:, None].astype(bins.dtype))
    entropy, together, label = (math.log(n) - jnp.mean(jnp.log(c)) for c in (counts, joint, of_labels))
    wrong = ~jnp.isfinite(bins).all()
    values = entropy, entropy + label - together, jnp.mean(counts == 1, dtype=codes.dtype)
    return Binned(*(jnp.where(wrong, jnp.nan, value) for value in values))


def added_noise(codes: Array, noise: ArrayLike) -> Bounds:
    """Bounds of I(X; T + noise) for X uniform over the n rows (Kolchinsky and Tracey 2017).

    The bounds are of the mixture of n Gaussians around the codes, so both lie between 0 and log n. They are
    right for a network that has this noise. For a network without noise they measure the noise that was added
    for the measurement: I(X; T) itself is infinite, and a noise of 0 gives inf.

    Args:
        codes: [n, dim], the codes without noise. noise: its standard deviation, 0 or more; may be traced.

    Raises:
        InputError: the codes have the wrong form, or the noise is negative.
    """
    check.non_negative("noise", noise)
    _rows(codes)
    noise = jnp.asarray(noise, codes.dtype)
    safe = jnp.where(noise > 0, noise, 1)
    # In the pairwise bounds the entropy of a component, which is the same for all, cancels.
    square = _squares(codes, codes, jnp.broadcast_to(safe, codes.shape))
    low, high = (
        -jnp.mean(jax.nn.logsumexp(-square / part, axis=1)) + math.log(len(codes)) for part in (8, 2)
    )
    found = Bounds(low, high)
    return Bounds(*(jnp.where(noise == 0, jnp.inf, nan_where(~(noise >= 0), v)) for v in found))


def gaussian_information(
    key: Key, mean: Array, std: Array, weight: Array | None = None, draws: int = 1
) -> Array:
    """I(X; T) of a stochastic encoder with Gaussian codes, for X among the n rows, a scalar in nats.

    The density of T is the mixture of the n rows' Gaussians, which is exact for an X with n values of known
    probabilities. The value is the mean over drawn codes, without bias. For rows that are a sample of a
    continuous X the value is at most log n, hence too small where the information comes near log n, as that
    of InfoNCE is. An encoder without noise gives inf.

    Args:
        key: the key of the draws. mean, std: [n, dim], of the codes. weight: p(x) [n], by default
            uniform; weights that are no probabilities give NaN. draws: codes drawn for each row.

    Raises:
        InputError: the shapes do not fit, or draws is below 1.
    """
    n = _rows(mean)
    if std.shape != mean.shape or (weight is not None and weight.shape != (n,)):
        raise check.InputError(
            f"std must be {mean.shape} and the weights [{n}], got {std.shape} and "
            f"{None if weight is None else weight.shape}."
        )
    check.integer("draws", draws, 1)
    if weight is not None:
        proper = jnp.all(weight >= 0) & (jnp.abs(jnp.sum(weight) - 1) < 1e-4)
        weight = nan_where(~proper, weight)
    log_weight = jnp.full((n,), -math.log(n), mean.dtype) if weight is None else jnp.log(weight)
    safe = jnp.where(std > 0, std, 1)

    def ratios(key: Key) -> Array:
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        log_p = log_densities(mean + safe * noise, mean, safe)
        return jnp.diagonal(log_p) - jax.nn.logsumexp(log_p + log_weight[None, :], axis=1)

    mean_ratio = jnp.mean(jax.lax.map(ratios, jax.random.split(key, draws)), axis=0)
    value = jnp.sum(jnp.where(log_weight != -jnp.inf, jnp.exp(log_weight) * mean_ratio, 0))
    value = nan_where(~jnp.all(std >= 0), value)
    return jnp.where(jnp.any(std == 0) & ~jnp.isnan(value), jnp.inf, value)


def log_densities(codes: Array, mean: Array, std: Array) -> Array:
    """log N(code_i; mean_j, std_j) [m, n] in nats, of codes [m, dim] under Gaussians [n, dim]."""
    scale = jnp.sum(jnp.log(std), axis=1) + 0.5 * mean.shape[1] * math.log(2 * math.pi)
    return -0.5 * _squares(codes, mean, std) - scale[None, :]


def _squares(codes: Array, mean: Array, std: Array) -> Array:
    """sum_k ((codes_ik - mean_jk) / std_jk)^2, [m, n], from differences.

    A product of matrices would be faster, but it loses the distances that are short beside the codes.
    """

    def part(rows: Array) -> Array:
        return jnp.sum(jnp.square((rows[:, None] - mean[None]) / std[None]), axis=2)

    return in_chunks(part, codes, max(1, _ENTRIES // mean.size))


def _counts(rows: Array) -> Array:
    """For each row [dim] of [n, dim], how many rows equal it: floats [n]."""
    n = rows.shape[0]
    order = jnp.lexsort(rows.T)
    new = jnp.any(rows[order][1:] != rows[order][:-1], axis=1)
    group = jnp.concatenate([jnp.zeros((1,), jnp.int32), jnp.cumsum(new).astype(jnp.int32)])
    sizes = jax.ops.segment_sum(jnp.ones(n, rows.dtype), group, num_segments=n)
    return jnp.zeros(n, rows.dtype).at[order].set(sizes[group])


def _rows(codes: Array, labels: Array | None = None) -> int:
    if codes.ndim != 2 or codes.shape[0] < 2 or not jnp.issubdtype(codes.dtype, jnp.floating):
        raise check.InputError(
            f"codes must be floats [n, dim] with two rows or more, got {codes.dtype} {codes.shape}."
        )
    if labels is not None and (
        labels.shape != codes.shape[:1] or not jnp.issubdtype(labels.dtype, jnp.integer)
    ):
        raise check.InputError(
            f"labels must be integers [{codes.shape[0]}], got {labels.dtype} {labels.shape}."
        )
    return codes.shape[0]
