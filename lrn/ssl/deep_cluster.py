"""DeepCluster-v2 (Caron et al. 2020, "Unsupervised learning ... cluster assignments", appendix), online.

The prototypes are centroids of spherical k-means over a bank of embeddings, so nothing trains them. The
authors keep the embeddings of the whole data set, cluster them before each epoch, and predict each example's
cluster of the last epoch. Here the bank holds the last ``bank`` embeddings, each step moves the centroids by
``iterations`` rounds of k-means over the bank, and each view predicts the clusters of the other whole views.
Batches therefore need no row indices, and the cost of a step does not depend on the size of the data.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import above_zero
from lrn.config import config
from lrn.ssl.crops import (
    Views,
    check_prototypes,
    code_metrics,
    crops,
    embed,
    init_embedding,
    swapped_cross_entropy,
)
from lrn.ssl.digits import on_digits
from lrn.ssl.pretraining import Objective, Parts, Value, pretrain_on
from lrn.ssl.similarity import products, unit
from lrn.ssl.views import View
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Net, PyTree


@config
class DeepClusterConfig:
    """Settings of DeepCluster-v2.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    prototypes: the number of clusters, 2 or more. views: the number of whole views, 2 or more.
    local_views: the number of local views; 0 without a ``local_view``.
    temperature: divides the scores, above 0.
    bank: the number of embeddings in the bank, not fewer than a batch or the prototypes.
    iterations: the rounds of k-means of a step, 1 or more.
    reseed: whether an empty cluster gets a random embedding of the bank as its centroid. Without this,
        clusters that lose all members stay empty, and in the end one cluster holds everything.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    prototypes: int = 512
    views: int = 2
    local_views: int = 0
    temperature: float = 0.1
    bank: int = 4096
    iterations: int = 1
    reseed: bool = True

    def __post_init__(self) -> None:
        check_prototypes(self.prototypes)
        check.positive("temperature", self.temperature)
        check.counts(self, "bank", "iterations")
        check.boolean("reseed", self.reseed)
        if self.bank < self.prototypes:
            raise check.InputError(
                f"a bank of {self.bank} embeddings cannot fill {self.prototypes} clusters; enlarge the bank."
            )


def spherical_kmeans(
    key: Key, x: Array, centroids: Array, iterations: int, filled: Array | int, reseed: bool = True
) -> Array:
    """Centroids [clusters, dim] after rounds of k-means by cosine similarity (Dhillon and Modha 2001).

    A round gives each row to the centroid of the largest inner product, then moves each centroid to the
    direction of its members' sum. No round lowers the rows' mean similarity to their centroids, where no
    cluster is empty.

    Args:
        key: draws the rows that replace the centroids of empty clusters.
        x: unit rows [n, dim]. centroids: unit rows [clusters, dim], the start.
        iterations: the number of rounds.
        filled: the number of rows, from the first on, that take part; 1 or more.
        reseed: whether the centroid of an empty cluster becomes a random row; else it stays.
    """
    part = jnp.arange(x.shape[0]) < filled

    def one_round(centroids: Array, key: Key) -> tuple[Array, None]:
        nearest = jnp.argmax(products(x, centroids), axis=1)
        member = jax.nn.one_hot(nearest, centroids.shape[0], axis=0) * part[None]
        total = jnp.matmul(member, x, precision="highest")
        empty = ~jnp.any(member > 0, axis=1)
        drawn = x[jax.random.randint(key, centroids.shape[:1], 0, filled)] if reseed else centroids
        return jnp.where(empty[:, None], drawn, unit(total)), None

    return jax.lax.scan(one_round, centroids, jax.random.split(key, iterations))[0]


def deep_cluster(
    encoder: Net, head: Net, view: View | Views, config: DeepClusterConfig, local_view: View | None = None
) -> Learner:
    """Predict the cluster of one view from the other views, with clusters of the recent embeddings.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder" and "head"; ``state.memory["prototypes"]`` are the centroids. The metric ``usage_entropy`` is
    that of `lrn.ssl.crops.code_metrics`.

    Args:
        encoder: maps inputs to features h [batch, dim], which are kept.
        head: maps features to embeddings z [batch, dim].
        view: draws a random whole view of a batch, or a tuple of all views, whole ones first.
        config: the settings; its floats may be swept.
        local_view: draws a local view, of which there are ``config.local_views``.

    Raises:
        InputError: at trace time, if the batch has fewer than two examples, the bank is smaller than a batch,
            or a network's output is not [batch, dim].
    """
    nets = {"encoder": encoder, "head": head}
    drawing = crops(view, config.views, local_view, config.local_views)

    def init(key: Key, x: Array) -> tuple[Parts, Parts, PyTree]:
        check_bank(config.bank, x.shape[0])
        key, own = jax.random.split(key)
        params, states, width = init_embedding(key, view, x, nets)
        memory = {
            "bank": jnp.zeros((config.bank, width)),
            "step": jnp.zeros((), jnp.int32),
            "prototypes": unit(jax.random.normal(own, (config.prototypes, width))),
        }
        return params, states, memory

    def loss(key: Key, params: Parts, net_state: Parts, memory: PyTree, x: Array) -> Value:
        rows = x.shape[0]
        check_bank(config.bank, rows)
        view_key, net_key, cluster_key = jax.random.split(key, 3)
        z, net_state = embed(nets, params, net_state, drawing.drawn(view_key, x), net_key, rows)
        still = jax.lax.stop_gradient(z)
        bank = jnp.concatenate([still[0], memory["bank"]])[: config.bank]
        step = memory["step"] + 1
        filled = jnp.minimum(step, -(-config.bank // rows)) * rows  # counted in batches, an int32 lasts
        prototypes = spherical_kmeans(
            cluster_key,
            bank,
            memory["prototypes"],
            config.iterations,
            jnp.minimum(filled, config.bank),
            config.reseed,
        )
        scores = products(z.reshape(-1, z.shape[-1]), prototypes).reshape(*z.shape[:2], -1)
        codes = jax.nn.one_hot(jnp.argmax(scores[: config.views], axis=-1), config.prototypes)
        value = swapped_cross_entropy(codes, scores / above_zero(config.temperature))
        memory = {"bank": bank, "step": step, "prototypes": prototypes}
        return value, (net_state, memory, {"usage_entropy": code_metrics(codes)["usage_entropy"]})

    return pretrain_on(Objective(init, loss, divided=True), config)


def check_bank(bank: int, rows: int) -> None:
    """Raise InputError if the bank is smaller than a batch."""
    if bank < rows:
        raise check.InputError(
            f"the bank of {bank} embeddings is smaller than a batch of {rows}; enlarge the bank."
        )


def example() -> Example:
    """A small network on the digits, whose views are noisy copies."""
    from lrn import nets

    encoder, head = nets.mlp(None, (32,)), nets.projector(8, (16,))
    return on_digits(
        lambda view, config: deep_cluster(encoder, head, view, config),
        DeepClusterConfig(
            OptimizerConfig(learning_rate=0.003, eps=1e-4), prototypes=16, bank=64, iterations=2
        ),
        Goal("loss", below=2.0),
    )
