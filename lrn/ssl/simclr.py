"""SimCLR (Chen et al., "A simple framework for contrastive learning of visual representations", 2020)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero
from lrn.config import config
from lrn.ssl.digits import on_digits
from lrn.ssl.joint_embedding import joint_embedding
from lrn.ssl.pretraining import pretrain_on
from lrn.ssl.similarity import check_group, cosines, grouped, pairs, products, unit
from lrn.ssl.views import View
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Learner, Metrics, Net


@config
class SimCLRConfig:
    """Settings of SimCLR.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    temperature: divides the cosine similarities, above 0.
    group: the number of examples of a group, which divides the batch; the negatives of an example are of its
        own group, so the number of negatives can change while the batch stays. 0 for the whole batch.
    negatives: without them the loss is its numerator alone, minus the mean cosine similarity of partners
        over the temperature, which a constant embedding minimizes.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    temperature: float = 0.5
    group: int = 0
    negatives: bool = True

    def __post_init__(self) -> None:
        check.positive("temperature", self.temperature)
        check_group(self.group)
        check.boolean("negatives", self.negatives)


def nt_xent(a: Array, b: Array, temperature: ArrayLike) -> Array:
    """The normalized temperature-scaled cross-entropy (Chen et al. 2020, equation 1), in nats, a scalar.

    Each of the 2n embeddings picks its partner among the 2n - 1 others by a softmax over cosine similarities
    divided by the temperature; the loss is the mean cross-entropy. Memory is O(n^2 + n dim).

    Args:
        a, b: embeddings of two views [n, dim], n of 2 or more; row i of both is of one example.
        temperature: above 0; may be traced, and gives NaN where it is not above 0.

    Raises:
        InputError: shapes differ, there are fewer than two rows, or the temperature is not positive.
    """
    pairs(a, b)
    check.positive("temperature", temperature)
    z = unit(jnp.concatenate([a, b]))
    n = a.shape[0]
    logits = products(z, z) / above_zero(temperature)
    logits = jnp.where(jnp.eye(2 * n, dtype=bool), -jnp.inf, logits)
    partner = jnp.concatenate([jnp.diagonal(logits, n), jnp.diagonal(logits, -n)])
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - partner)


def simclr(encoder: Net, head: Net, view: View, config: SimCLRConfig) -> Learner:
    """Pull the two views of an example together and push all other examples of the batch away.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder" and "head".

    Args:
        encoder: maps inputs to features h [batch, dim], which are kept.
        head: maps features to embeddings z [batch, dim], which the loss compares.
        view: draws a random view of a batch.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if the batch has fewer than two examples, a group does not divide the
            batch, or a network's output is not [batch, dim].
    """

    def pair_loss(a: Array, b: Array) -> tuple[Array, Metrics]:
        if not config.negatives:
            return -jnp.mean(cosines(a, b)) / above_zero(config.temperature), {}
        groups = grouped(a, config.group), grouped(b, config.group)
        return jnp.mean(jax.vmap(lambda a, b: nt_xent(a, b, config.temperature))(*groups)), {}

    return pretrain_on(joint_embedding(encoder, head, view, pair_loss), config)


def example() -> Example:
    """A small network on the digits, whose views are noisy copies."""
    from lrn import nets

    encoder, head = nets.mlp(16, (32,)), nets.mlp(8, (16,))
    return on_digits(
        lambda view, config: simclr(encoder, head, view, config),
        SimCLRConfig(OptimizerConfig(learning_rate=0.01), temperature=0.2),
        Goal("loss", below=2.5),
    )
