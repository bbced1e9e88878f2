"""MoCo (He et al., "Momentum contrast for unsupervised visual representation learning", 2020)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, between
from lrn.config import config
from lrn.ssl import gather
from lrn.ssl.digits import on_digits
from lrn.ssl.joint_embedding import begin
from lrn.ssl.pretraining import Objective, Parts, Value, forward, pretrain_on
from lrn.ssl.similarity import cosines, pairs, products, unit, wide
from lrn.ssl.target import Target, check_momentum, copy, follow
from lrn.ssl.views import View, draw
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Net


@config
class MoCoConfig:
    """Settings of MoCo.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    temperature: divides the cosine similarities, above 0.
    momentum: that of the key networks, in [0, 1].
    queue: the number of keys in the queue, at least the size of a batch.
    negatives: without them the loss is minus the mean cosine similarity of a query and its key over the
        temperature, which a constant embedding minimizes.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    temperature: float = 0.2
    momentum: float = 0.999
    queue: int = 4096
    negatives: bool = True

    def __post_init__(self) -> None:
        check.positive("temperature", self.temperature)
        check_momentum(self.momentum)
        check.counts(self, "queue")
        check.boolean("negatives", self.negatives)


class MoCoMemory(NamedTuple):
    """What MoCo carries. target: the key networks. queue: unit vectors [queue, dim], the newest first."""

    target: Target
    queue: Array


def moco_loss(queries: Array, keys: Array, queue: Array, temperature: ArrayLike) -> Array:
    """The cross-entropy by which a query picks its own key among that and the queue (equation 1), in nats.

    Args:
        queries, keys: embeddings [n, dim]; row i of both is of one example.
        queue: the negatives [m, dim].
        temperature: above 0; may be traced, and gives NaN where it is not above 0.
    """
    pairs(queries, keys, 1)
    check.positive("temperature", temperature)
    own = cosines(queries, keys)[:, None]
    logits = jnp.concatenate([own, products(unit(queries), unit(queue))], axis=1) / above_zero(temperature)
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[:, 0])


def enqueue(queue: Array, keys: Array) -> Array:
    """The queue [m, dim] with the keys [n, dim] at its front, as unit vectors, without its n oldest.

    Raises:
        InputError: the queue is smaller than the batch.
    """
    if queue.shape[0] < keys.shape[0]:
        raise check.InputError(
            f"the queue has {queue.shape[0]} keys and the batch {keys.shape[0]}; enlarge the queue to at "
            "least a batch."
        )
    return jnp.concatenate([unit(keys), queue])[: queue.shape[0]]


def moco(encoder: Net, head: Net, view: View, config: MoCoConfig) -> Learner:
    """Pick an example's key, from a slowly moving network, among those of the last batches.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder" and "head"; its memory is a `MoCoMemory`, whose queue begins with random unit vectors. The
    authors shuffle the examples between devices because each of their devices normalizes its own share. Here
    BatchNorm sees the whole batch of each view, and a shuffle would change nothing.

    Args:
        encoder: maps inputs to features h [batch, dim], which are kept.
        head: maps features to embeddings z [batch, dim].
        view: draws a random view of a batch.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if the batch has fewer than two examples or is larger than the queue, or
            a network's output is not [batch, dim].
    """
    nets = {"encoder": encoder, "head": head}

    def init(key: Key, x: Array) -> tuple[Parts, Parts, MoCoMemory]:
        key, queue_key = jax.random.split(key)
        params, states, dim = begin(nets, view, key, x)
        queue = unit(jax.random.normal(queue_key, (config.queue, dim)))
        jax.eval_shape(enqueue, queue, jnp.zeros((x.shape[0], dim)))  # refuses a queue that is too small
        return params, states, MoCoMemory(copy(params, states, tuple(nets)), queue)

    def loss(key: Key, params: Parts, net_state: Parts, memory: MoCoMemory, x: Array) -> Value:
        view_key, net_key = jax.random.split(key)
        key_q, key_k = jax.random.split(gather.own_key(net_key))
        a, b = gather.own(draw(view, view_key, x))
        out, net_state = forward(nets, params, net_state, a, key_q)
        coded, states = forward(nets, memory.target.params, memory.target.states, b, key_k)
        queries, keys = gather.whole((out["head"], coded["head"]))
        queue = enqueue(memory.queue, wide(keys))
        if config.negatives:
            value = moco_loss(queries, keys, memory.queue, config.temperature)
        else:
            value = -jnp.mean(cosines(queries, keys)) / above_zero(config.temperature)
        target = memory.target._replace(states=states)
        return value, (net_state, MoCoMemory(target, queue), {})

    def after(params: Parts, net_state: Parts, memory: MoCoMemory, step: Array) -> tuple[Parts, MoCoMemory]:
        return params, memory._replace(target=follow(memory.target, params, between(config.momentum, 0, 1)))

    return pretrain_on(Objective(init, loss, after, divided=True), config)


def example() -> Example:
    """A small network on the digits, whose views are noisy copies."""
    from lrn import nets

    encoder, head = nets.mlp(16, (32,)), nets.mlp(8, (16,))
    return on_digits(
        lambda view, config: moco(encoder, head, view, config),
        MoCoConfig(OptimizerConfig(learning_rate=0.01, eps=1e-5), momentum=0.9, queue=96),
        Goal("loss", below=3.3),
    )
