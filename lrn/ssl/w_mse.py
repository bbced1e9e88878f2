"""W-MSE (Ermolov et al., "Whitening for self-supervised representation learning", 2021)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import between
from lrn.config import config
from lrn.ssl.digits import on_digits
from lrn.ssl.joint_embedding import two_views
from lrn.ssl.pretraining import Parts, pretrain_on
from lrn.ssl.similarity import cosines, grouped, pairs, products, wide
from lrn.ssl.views import View
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Metrics, Net


@config
class WMSEConfig:
    """Settings of W-MSE.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    shrink: the share of the identity in the covariance, in [0, 1]. The authors' default is 0, which leaves
        no inverse where the embeddings span fewer than all dimensions.
    size: the number of examples that are whitened together, above the dimension of the embeddings; it
        divides the batch, which is divided at random. 0 for the whole batch.
    iterations: the number of random divisions over which the loss is averaged.
    whiten: without the whitening the loss is the distance of the unit embeddings, which a constant embedding
        minimizes.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    shrink: float = 1e-3
    size: int = 0
    iterations: int = 1
    whiten: bool = True

    def __post_init__(self) -> None:
        check.between("shrink", self.shrink, 0, 1)
        check.counts(self, "size", low=0)
        check.counts(self, "iterations")
        check.boolean("whiten", self.whiten)


def whitened(z: Array, shrink: ArrayLike = 0.0) -> Array:
    """Rows [n, dim] with mean 0 and, for ``shrink`` 0, the identity as their covariance.

    The centered rows are multiplied by the inverse of the Cholesky factor of ``(1 - shrink) S + shrink I``,
    where S is the covariance, of divisor n - 1.

    Raises:
        InputError: the rows do not outnumber the dimensions, so the covariance has no inverse.
    """
    n, dim = z.shape
    if n <= dim:
        raise check.InputError(
            f"{n} examples cannot be whitened in {dim} dimensions; whiten more examples together, or "
            "embed in fewer dimensions."
        )
    z, shrink = wide(z), between(shrink, 0, 1)
    z = z - jnp.mean(z, axis=0, keepdims=True)
    covariance = (1.0 - shrink) * products(z.T, z.T) / (n - 1) + shrink * jnp.eye(dim, dtype=z.dtype)
    return solve_triangular(jnp.linalg.cholesky(covariance), z.T, lower=True).T


def w_mse_loss(a: Array, b: Array, shrink: ArrayLike = 0.0) -> Array:
    """The mean squared distance of the unit vectors of whitened rows (equation 5), in [0, 4].

    Args:
        a, b: embeddings of two views [n, dim], which are whitened each by itself; row i of both is of one
            example.
        shrink: see `whitened`.
    """
    pairs(a, b)
    return jnp.mean(2.0 - 2.0 * cosines(whitened(a, shrink), whitened(b, shrink)))


def w_mse(encoder: Net, head: Net, view: View, config: WMSEConfig) -> Learner:
    """Pull the two views' embeddings together after whitening, which keeps them spread.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder" and "head".

    Args:
        encoder: maps inputs to features h [batch, dim], which are kept.
        head: maps features to embeddings z [batch, dim], which the loss whitens.
        view: draws a random view of a batch.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if ``size`` does not divide the batch or is not above the dimension of the
            embeddings, or a network's output is not [batch, dim].
    """

    def compare(
        key: Key, params: Parts, a: Mapping[str, Array], b: Mapping[str, Array]
    ) -> tuple[Array, Metrics]:
        both = jnp.stack([wide(a["head"]), wide(b["head"])], axis=1)
        if not config.whiten:
            return jnp.mean(2.0 - 2.0 * cosines(both[:, 0], both[:, 1])), {}

        def divided(key: Key) -> Array:
            shuffled = jax.random.permutation(key, both)
            losses = jax.vmap(lambda part: w_mse_loss(part[:, 0], part[:, 1], config.shrink))
            return jnp.mean(losses(grouped(shuffled, config.size)))

        return jnp.mean(jax.vmap(divided)(jax.random.split(key, config.iterations))), {}

    return pretrain_on(two_views({"encoder": encoder, "head": head}, view, compare), config)


def example() -> Example:
    """A small network on the digits, whose views are noisy copies."""
    from lrn import nets

    encoder, head = nets.mlp(16, (32,)), nets.mlp(8, (16,))
    return on_digits(
        lambda view, config: w_mse(encoder, head, view, config),
        WMSEConfig(OptimizerConfig(learning_rate=0.01), size=16),
        Goal("loss", below=0.75),
    )
