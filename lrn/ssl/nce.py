"""Noise-contrastive estimation (Gutmann and Hyvarinen 2010), with a learned normalizer."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero
from lrn.config import config
from lrn.ssl.digits import on_digits
from lrn.ssl.joint_embedding import two_views
from lrn.ssl.pretraining import Parts, pretrain_on
from lrn.ssl.similarity import products, unit, wide
from lrn.ssl.views import View
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Metrics, Net


@config
class NCEConfig:
    """Settings of noise-contrastive estimation.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    temperature: divides the cosine similarities, above 0.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    temperature: float = 0.2

    def __post_init__(self) -> None:
        check.positive("temperature", self.temperature)


def nce_loss(data: Array, noise: Array, ratio: ArrayLike = 1.0) -> Array:
    """The logistic loss of telling data from noise, in nats for each example of the data, a scalar.

    Both arguments hold ``log p(u) - log q(u)``, where p is the model and q the density of the noise. The
    model need not be normalized: ``log p(u) = log f(u) + c``, where c is a parameter like others. The minimum
    is at the density of the data, and there c is minus the log of f's integral. With ratio 1 the loss is
    twice the negative of the paper's objective (equation 3), which counts data and noise.

    Args:
        data: at the data [n].
        noise: at draws of the noise [m].
        ratio: the prior odds of noise, above 0: for each example of the data so many draws of noise, m / n.

    Raises:
        InputError: an argument is no vector, or the ratio is not positive.
    """
    if data.ndim != 1 or noise.ndim != 1 or 0 in (data.size, noise.size):
        raise check.InputError(
            f"data and noise must be vectors of log ratios, got shapes {data.shape} and {noise.shape}."
        )
    check.positive("ratio", ratio)
    ratio = above_zero(ratio)
    odds = jnp.log(jnp.asarray(ratio, jnp.float32))
    missed = jax.nn.softplus(odds - wide(data))
    fooled = jax.nn.softplus(wide(noise) - odds)
    return jnp.mean(missed) + ratio * jnp.mean(fooled)


def nce(encoder: Net, head: Net, view: View, config: NCEConfig) -> Learner:
    """Tell an example's second view from the second views of the other examples, pair by pair.

    The model of the second view b given the first is ``p(b | a) = q(b) exp(cosine(a, b) / temperature + c)``,
    where q is the distribution of second views, from which the other n - 1 examples of the batch are the
    noise, and c is the learned normalizer, a parameter called "normalizer" that starts at 0.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder" and "head". The metric ``normalizer`` is c.

    Args:
        encoder: maps inputs to features h [batch, dim], which are kept.
        head: maps features to embeddings z [batch, dim], which the loss compares.
        view: draws a random view of a batch.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if the batch has fewer than two examples, or a network's output is not
            [batch, dim].
    """

    def extra(key: Key, dim: int) -> Parts:
        return {"normalizer": jnp.zeros(())}

    def compare(
        key: Key, params: Parts, a: Mapping[str, Array], b: Mapping[str, Array]
    ) -> tuple[Array, Metrics]:
        ratios = (
            products(unit(a["head"]), unit(b["head"])) / above_zero(config.temperature) + params["normalizer"]
        )
        n = ratios.shape[0]
        # All but the diagonal: without its last entry the flat matrix has rows that begin with diagonals.
        others = ratios.reshape(-1)[:-1].reshape(n - 1, n + 1)[:, 1:].reshape(-1)
        loss = nce_loss(jnp.diagonal(ratios), others, float(n - 1))
        return loss, {"normalizer": params["normalizer"]}

    nets = {"encoder": encoder, "head": head}
    return pretrain_on(two_views(nets, view, compare, extra), config)


def example() -> Example:
    """A small network on the digits, whose views are noisy copies."""
    from lrn import nets

    encoder, head = nets.mlp(16, (32,)), nets.mlp(8, (16,))
    return on_digits(
        lambda view, config: nce(encoder, head, view, config),
        NCEConfig(OptimizerConfig(learning_rate=0.01), temperature=0.2),
        Goal("loss", below=4.0),
    )
