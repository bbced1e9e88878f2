"""Alignment and uniformity (Wang and Isola 2020): as measures of embeddings, and as a method."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, zero_or_more
from lrn.config import config
from lrn.ssl.digits import on_digits
from lrn.ssl.joint_embedding import joint_embedding
from lrn.ssl.pretraining import pretrain_on
from lrn.ssl.similarity import pairs, products, unit
from lrn.ssl.views import View
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Learner, Metrics, Net

_TINY = 1e-12


@config
class AlignmentUniformityConfig:
    """Settings of the method.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    alpha: the power of the distances of partners, above 0.
    t: the sharpness of the kernel of the uniformity, above 0.
    alignment, uniformity: the weights of the two terms, 0 or more; without the uniformity all embeddings may
        become one.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    alpha: float = 2.0
    t: float = 2.0
    alignment: float = 1.0
    uniformity: float = 1.0

    def __post_init__(self) -> None:
        check.positive("alpha", self.alpha)
        check.positive("t", self.t)
        check.non_negative("alignment", self.alignment)
        check.non_negative("uniformity", self.uniformity)


def alignment(a: Array, b: Array, alpha: ArrayLike = 2.0) -> Array:
    """The mean over rows of the distance of unit vectors to the power ``alpha`` (equation 2); 0 is best.

    Args:
        a, b: embeddings of two views [n, dim]; row i of both is of one example.
        alpha: above 0; may be traced, and gives NaN where it is not above 0.
    """
    pairs(a, b, 1)
    check.positive("alpha", alpha)
    squares = jnp.sum(jnp.square(unit(a) - unit(b)), axis=-1)
    return jnp.mean(jnp.maximum(squares, _TINY) ** (above_zero(alpha) / 2.0))


def uniformity(z: Array, t: ArrayLike = 2.0) -> Array:
    """The log of the mean over pairs of rows of ``exp(-t d^2)``, d the distance of unit vectors (equation 3).

    It is at most 0, which one constant embedding reaches, and at least -4 t. Memory is O(n^2 + n dim).

    Args:
        z: embeddings [n, dim], n of 2 or more.
        t: above 0; may be traced, and gives NaN where it is not above 0.
    """
    pairs(z, z)
    check.positive("t", t)
    z = unit(z)
    lengths = jnp.sum(jnp.square(z), axis=-1)
    # For unit vectors the distance is 2 - 2 cos; a zero vector stays zero.
    squares = lengths[:, None] + lengths[None, :] - 2.0 * products(z, z)
    exponents = jnp.where(jnp.eye(z.shape[0], dtype=bool), -jnp.inf, -(above_zero(t) * squares))
    count = z.shape[0] * (z.shape[0] - 1)
    return jax.nn.logsumexp(exponents) - jnp.log(float(count))


def alignment_uniformity(encoder: Net, head: Net, view: View, config: AlignmentUniformityConfig) -> Learner:
    """Pull the two views together and spread each view's embeddings over the sphere.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder" and "head". The metrics ``alignment`` and ``uniformity`` are the terms without the weights; the
    uniformity is the mean over both views.

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
        near = alignment(a, b, config.alpha)
        spread = 0.5 * (uniformity(a, config.t) + uniformity(b, config.t))
        metrics = {"alignment": near, "uniformity": spread}
        weights = zero_or_more(config.alignment), zero_or_more(config.uniformity)
        return weights[0] * near + weights[1] * spread, metrics

    return pretrain_on(joint_embedding(encoder, head, view, pair_loss), config)


def example() -> Example:
    """A small network on the digits, whose views are noisy copies."""
    from lrn import nets

    encoder, head = nets.mlp(16, (32,)), nets.mlp(8, (16,))
    return on_digits(
        lambda view, config: alignment_uniformity(encoder, head, view, config),
        AlignmentUniformityConfig(OptimizerConfig(learning_rate=0.01)),
        Goal("loss", below=-2.0),
    )
