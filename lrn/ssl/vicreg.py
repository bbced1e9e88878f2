"""VICReg (Bardes, Ponce and LeCun, "Variance-invariance-covariance regularization", 2022)."""

from __future__ import annotations

from typing import NamedTuple

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

_EPS = 1e-4  # within the square root, as in the authors' code


@config
class VICRegConfig:
    """Settings of VICReg.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    invariance, variance, covariance: the weights of the three terms, 0 or more. Without the variance all
        embeddings may become one; without the covariance all dimensions may become copies of one.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0

    def __post_init__(self) -> None:
        for name in ("invariance", "variance", "covariance"):
            check.non_negative(name, getattr(self, name))


class VICRegTerms(NamedTuple):
    """The terms of VICReg before they are weighted, scalars.

    invariance: the mean squared difference over rows and dimensions.
    variance: the mean over both views and all dimensions of max(0, 1 - standard deviation). The paper's
        equation 6 adds the two views; the authors' code halves the sum, and so does this function.
    covariance: the sum over both views of the squared covariances of different dimensions over dim.
    """

    invariance: Array
    variance: Array
    covariance: Array


def vicreg_terms(a: Array, b: Array) -> VICRegTerms:
    """The terms for embeddings of two views [n, dim], n of 2 or more; row i of both is of one example."""
    pairs(a, b)
    a, b = wide(a), wide(b)
    (spread_a, ties_a), (spread_b, ties_b) = _regularization(a), _regularization(b)
    return VICRegTerms(jnp.mean(jnp.square(a - b)), 0.5 * (spread_a + spread_b), ties_a + ties_b)


def vicreg_loss(
    a: Array, b: Array, invariance: ArrayLike = 25.0, variance: ArrayLike = 25.0, covariance: ArrayLike = 1.0
) -> Array:
    """The sum of `vicreg_terms`, each times its weight."""
    return _weighted(vicreg_terms(a, b), (invariance, variance, covariance))


def _weighted(terms: VICRegTerms, weights: tuple[ArrayLike, ArrayLike, ArrayLike]) -> Array:
    return jnp.asarray(sum(zero_or_more(w) * term for w, term in zip(weights, terms)))


def _regularization(x: Array) -> tuple[Array, Array]:
    n, dim = x.shape
    x = x - jnp.mean(x, axis=0, keepdims=True)
    covariance = products(x.T, x.T) / (n - 1)
    deviation = jnp.sqrt(jnp.diagonal(covariance) + _EPS)
    outside = jnp.where(jnp.eye(dim, dtype=bool), 0.0, covariance)
    return jnp.mean(jax.nn.relu(1.0 - deviation)), jnp.sum(jnp.square(outside)) / dim


def vicreg(encoder: Net, head: Net, view: View, config: VICRegConfig) -> Learner:
    """Pull two views together, and keep each dimension's variance up and the covariances down.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder" and "head". The metrics ``invariance``, ``variance`` and ``covariance`` are `VICRegTerms`.

    Args:
        encoder: maps inputs to features h [batch, dim], which are kept.
        head: maps features to embeddings z [batch, dim], which the loss compares.
        view: draws a random view of a batch.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if the batch has fewer than two examples, or a network's output is not
            [batch, dim].
    """

    def pair_loss(a: Array, b: Array) -> tuple[Array, Metrics]:
        terms = vicreg_terms(a, b)
        weights = config.invariance, config.variance, config.covariance
        return _weighted(terms, weights), terms._asdict()

    return pretrain_on(joint_embedding(encoder, head, view, pair_loss), config)


def example() -> Example:
    """A small network on the digits, whose views are noisy copies."""
    from lrn import nets

    encoder, head = nets.mlp(16, (32,)), nets.mlp(8, (16,))
    return on_digits(
        lambda view, config: vicreg(encoder, head, view, config),
        VICRegConfig(OptimizerConfig(learning_rate=0.01)),
        Goal("loss", below=11.5),
    )
