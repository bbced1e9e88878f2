"""InfoNCE (van den Oord, Li and Vinyals 2018) with any critic and any number of negatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import above_zero
from lrn.config import config
from lrn.ssl.digits import on_digits
from lrn.ssl.joint_embedding import two_views
from lrn.ssl.pretraining import Parts, pretrain_on
from lrn.ssl.similarity import check_group, grouped, pairs, products, unit, wide
from lrn.ssl.views import View
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Metrics, Net, Params


@config
class InfoNCEConfig:
    """Settings of contrastive learning by InfoNCE.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    temperature: divides the critic's scores, above 0.
    group: K, the number of examples among which an example's second view is picked, which divides the batch;
        the batch falls into groups of K neighbors. 0 for the whole batch.
    symmetric: whether each view picks the other, as in CLIP; otherwise the first picks the second.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    temperature: float = 0.2
    group: int = 0
    symmetric: bool = False

    def __post_init__(self) -> None:
        check.positive("temperature", self.temperature)
        check_group(self.group)
        check.boolean("symmetric", self.symmetric)


class InfoNCE(NamedTuple):
    """loss: the cross-entropy in nats. bound: log K - loss, a lower bound of the mutual information."""

    loss: Array
    bound: Array


def info_nce(scores: Array, symmetric: bool = False) -> InfoNCE:
    """The cross-entropy by which each row of scores picks its diagonal entry among K (equation 4).

    On average over draws the bound ``log K - loss`` is at most the mutual information, for any critic, and
    never above log K. It is tight if the scores are ``log p(b | a) / p(b)`` plus any function of a, and K is
    large.

    Args:
        scores: [..., K, K], K of 2 or more; entry i, j is the critic's score of a_i and b_j, and i, i are
            the pairs. The leading axes are groups.
        symmetric: whether the columns pick too; the loss is then the mean of both directions.

    Raises:
        InputError: the scores are not square, or K is 1.
    """
    if scores.ndim < 2 or scores.shape[-1] != scores.shape[-2] or scores.shape[-1] < 2:
        raise check.InputError(
            f"scores must be [..., K, K] with K of 2 or more, got shape {scores.shape}; score all pairs."
        )
    scores = wide(scores)
    own = jnp.diagonal(scores, axis1=-2, axis2=-1)
    loss = jnp.mean(jax.nn.logsumexp(scores, axis=-1) - own)
    if symmetric:
        loss = 0.5 * (loss + jnp.mean(jax.nn.logsumexp(scores, axis=-2) - own))
    return InfoNCE(loss, jnp.log(float(scores.shape[-1])) - loss)


class Critic(NamedTuple):
    """A score of pairs of embeddings.

    init: ``init(key, dim) -> params`` for embeddings of dim dimensions.
    scores: ``scores(params, a, b) -> [n, m]`` for embeddings [n, dim] and [m, dim].
    """

    init: Callable[[Key, int], Params]
    scores: Callable[[Params, Array, Array], Array]


def cosine() -> Critic:
    """Cosine similarities."""
    return Critic(lambda key, dim: (), lambda params, a, b: products(unit(a), unit(b)))


def separable() -> Critic:
    """Inner products."""
    return Critic(lambda key, dim: (), lambda params, a, b: products(a, b))


def bilinear() -> Critic:
    """``a^T W b`` (van den Oord et al., equation 3); W [dim, dim] starts as the identity over sqrt(dim)."""
    return Critic(
        lambda key, dim: jnp.eye(dim) / jnp.sqrt(float(dim)),
        lambda params, a, b: products(products(a, params.T), b),
    )


def pairwise(net: Net) -> Critic:
    """A network on concatenated pairs [pairs, 2 dim] with outputs [pairs, 1]; memory is O(n m dim).

    Raises:
        InputError: at trace time, if the network keeps a state or gives other outputs.
    """

    def init(key: Key, dim: int) -> Params:
        params, state = net.init(key, jnp.zeros((1, 2 * dim)))
        if jax.tree.leaves(state):
            raise check.InputError("the critic's network keeps a state; use one without BatchNorm.")
        return params

    def scores(params: Params, a: Array, b: Array) -> Array:
        n, m = a.shape[0], b.shape[0]
        both = jnp.concatenate([jnp.repeat(wide(a), m, axis=0), jnp.tile(wide(b), (n, 1))], axis=1)
        out, _ = net.apply(params, (), both)
        if out.shape != (n * m, 1):
            raise check.InputError(
                f"the critic's network must give [pairs, 1], got {out.shape} for {n * m} pairs; give it one "
                "output."
            )
        return out.reshape(n, m)

    return Critic(init, scores)


def scores_in_groups(critic: Critic, params: Params, a: Array, b: Array, group: int = 0) -> Array:
    """Scores [n / K, K, K] of the pairs within groups of K neighbors, for embeddings [n, dim].

    The other pairs, outside of the blocks of the diagonal, are not computed.

    Args:
        critic, params: what scores.
        a, b: embeddings of two views [n, dim]; row i of both is of one example.
        group: K; 0 for all rows.
    """
    pairs(a, b)
    check_group(group)
    return jax.vmap(lambda a, b: critic.scores(params, a, b))(grouped(a, group), grouped(b, group))


def contrastive(
    encoder: Net, head: Net, view: View, config: InfoNCEConfig, critic: Critic | None = None
) -> Learner:
    """Pick the second view of an example among those of its group, by a critic's scores.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder" and "head"; "critic" holds the critic's parameters. The metric ``bound`` is in nats.

    Args:
        encoder: maps inputs to features h [batch, dim], which are kept.
        head: maps features to embeddings z [batch, dim], which the critic scores.
        view: draws a random view of a batch.
        config: the settings; its floats may be swept.
        critic: scores the pairs; None for `cosine`.

    Raises:
        InputError: at trace time, if the batch has fewer than two examples, a group does not divide the
            batch, or a network's output is not [batch, dim].
    """
    chosen = cosine() if critic is None else critic

    def extra(key: Key, dim: int) -> Parts:
        return {"critic": chosen.init(key, dim)}

    def compare(
        key: Key, params: Parts, a: Mapping[str, Array], b: Mapping[str, Array]
    ) -> tuple[Array, Metrics]:
        scores = scores_in_groups(chosen, params["critic"], a["head"], b["head"], config.group)
        value = info_nce(scores / above_zero(config.temperature), config.symmetric)
        return value.loss, {"bound": value.bound}

    nets = {"encoder": encoder, "head": head}
    return pretrain_on(two_views(nets, view, compare, extra), config)


def example() -> Example:
    """A small network on the digits, whose views are noisy copies."""
    from lrn import nets

    encoder, head = nets.mlp(16, (32,)), nets.mlp(8, (16,))
    return on_digits(
        lambda view, config: contrastive(encoder, head, view, config),
        InfoNCEConfig(OptimizerConfig(learning_rate=0.01), temperature=0.2, group=8, symmetric=True),
        Goal("bound", above=1.1),
    )
