"""SimSiam (Chen and He, "Exploring simple Siamese representation learning", 2021)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.ssl.digits import on_digits
from lrn.ssl.joint_embedding import two_views
from lrn.ssl.pretraining import Parts, pretrain_on
from lrn.ssl.similarity import cosines, pairs
from lrn.ssl.views import View
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Metrics, Net


@config
class SimSiamConfig:
    """Settings of SimSiam.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    stop_gradient: whether the targets are constants of the gradient. Without it the networks collapse.
    predictor: whether a predictor maps one view's embedding to the other's; without it the embedding is its
        own prediction.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    stop_gradient: bool = True
    predictor: bool = True

    def __post_init__(self) -> None:
        check.boolean("stop_gradient", self.stop_gradient)
        check.boolean("predictor", self.predictor)


def negative_cosine(prediction: Array, target: Array) -> Array:
    """Minus the mean cosine similarity of rows [n, dim], in [-1, 1]; D of the paper, equation 1."""
    pairs(prediction, target, 1)
    return -jnp.mean(cosines(prediction, target))


def simsiam_loss(p_a: Array, p_b: Array, z_a: Array, z_b: Array, stop_gradient: bool = True) -> Array:
    """The symmetric loss (equation 4): half of each view's negative cosine to the other's embedding.

    Args:
        p_a, p_b: predictions [n, dim] from the views' embeddings.
        z_a, z_b: embeddings [n, dim].
        stop_gradient: whether the embeddings are constants of the gradient.
    """
    if stop_gradient:
        z_a, z_b = jax.lax.stop_gradient((z_a, z_b))
    return 0.5 * (negative_cosine(p_a, z_b) + negative_cosine(p_b, z_a))


def simsiam(encoder: Net, head: Net, predictor: Net, view: View, config: SimSiamConfig) -> Learner:
    """Predict the embedding of one view from that of the other, without negatives.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder", "head" and "predictor".

    Args:
        encoder: maps inputs to features h [batch, dim], which are kept.
        head: maps features to embeddings z [batch, dim].
        predictor: maps embeddings to embeddings; unused if the config has no predictor.
        view: draws a random view of a batch.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if the batch has fewer than two examples, or the networks' outputs do not
            have one shape [batch, dim].
    """
    nets = {"encoder": encoder, "head": head}
    if config.predictor:
        nets["predictor"] = predictor
    last = "predictor" if config.predictor else "head"

    def compare(
        key: Key, params: Parts, a: Mapping[str, Array], b: Mapping[str, Array]
    ) -> tuple[Array, Metrics]:
        return simsiam_loss(a[last], b[last], a["head"], b["head"], config.stop_gradient), {}

    return pretrain_on(two_views(nets, view, compare), config)


def example() -> Example:
    """A small network on the digits, whose views are noisy copies."""
    from lrn import nets

    parts = nets.mlp(16, (32,)), nets.projector(8, (16,), norm_output=True), nets.projector(8, (4,))
    return on_digits(
        lambda view, config: simsiam(*parts, view, config),
        SimSiamConfig(OptimizerConfig(learning_rate=0.01)),
        Goal("loss", below=-0.6),
    )
