"""Barlow Twins (Zbontar et al., "Self-supervised learning via redundancy reduction", 2021)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import zero_or_more
from lrn.config import config
from lrn.ssl.digits import on_digits
from lrn.ssl.joint_embedding import joint_embedding
from lrn.ssl.pretraining import pretrain_on
from lrn.ssl.similarity import pairs, products, wide
from lrn.ssl.views import View
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Learner, Metrics, Net

_EPS = 1e-5  # of the authors' BatchNorm


@config
class BarlowTwinsConfig:
    """Settings of Barlow Twins.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    redundancy: the weight of the correlations between different dimensions, 0 or more; with 0 all dimensions
        may become copies of one.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    redundancy: float = 0.0051

    def __post_init__(self) -> None:
        check.non_negative("redundancy", self.redundancy)


def barlow_twins_terms(a: Array, b: Array) -> tuple[Array, Array]:
    """The sums over the diagonal of (1 - C_ii)^2 and over its outside of C_ij^2 (equation 1).

    C [dim, dim] is the correlation of the two views' dimensions over the batch. As in the authors' code, a
    variance is a mean over the n rows, plus 1e-5.

    Args:
        a, b: embeddings of two views [n, dim], n of 2 or more; row i of both is of one example.
    """
    pairs(a, b)
    correlation = products(_standardized(a).T, _standardized(b).T) / a.shape[0]
    diagonal = jnp.diagonal(correlation)
    # The outside is masked: the difference of two sums would lose the digits of small correlations.
    outside = jnp.where(jnp.eye(a.shape[1], dtype=bool), 0.0, correlation)
    return jnp.sum(jnp.square(1.0 - diagonal)), jnp.sum(jnp.square(outside))


def barlow_twins_loss(a: Array, b: Array, redundancy: ArrayLike = 0.0051) -> Array:
    """The sum over the diagonal plus ``redundancy`` times that over its outside; see `barlow_twins_terms`."""
    invariance, outside = barlow_twins_terms(a, b)
    return invariance + zero_or_more(redundancy) * outside


def _standardized(x: Array) -> Array:
    x = wide(x)
    x = x - jnp.mean(x, axis=0, keepdims=True)
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=0, keepdims=True) + _EPS)


def barlow_twins(encoder: Net, head: Net, view: View, config: BarlowTwinsConfig) -> Learner:
    """Make the two views' correlation matrix the identity.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder" and "head". The metrics ``invariance`` and ``redundancy`` are the terms without the weight.

    Args:
        encoder: maps inputs to features h [batch, dim], which are kept.
        head: maps features to embeddings z [batch, dim], which the loss standardizes.
        view: draws a random view of a batch.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if the batch has fewer than two examples, or a network's output is not
            [batch, dim].
    """

    def pair_loss(a: Array, b: Array) -> tuple[Array, Metrics]:
        invariance, outside = barlow_twins_terms(a, b)
        metrics = {"invariance": invariance, "redundancy": outside}
        return invariance + zero_or_more(config.redundancy) * outside, metrics

    return pretrain_on(joint_embedding(encoder, head, view, pair_loss), config)


def example() -> Example:
    """A small network on the digits, whose views are noisy copies."""
    from lrn import nets

    encoder, head = nets.mlp(16, (32,)), nets.mlp(8, (16,))
    return on_digits(
        lambda view, config: barlow_twins(encoder, head, view, config),
        BarlowTwinsConfig(OptimizerConfig(learning_rate=0.01)),
        Goal("loss", below=0.5),
    )
