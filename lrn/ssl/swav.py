"""SwAV (Caron et al., "Unsupervised learning of visual features by contrasting cluster assignments")."""

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
from lrn.ssl.digits import noisy, on_digits
from lrn.ssl.pretraining import Objective, Parts, Value, pretrain_on
from lrn.ssl.similarity import products, unit
from lrn.ssl.sinkhorn import assignments
from lrn.ssl.views import View
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Net, PyTree


@config
class SwAVConfig:
    """Settings of SwAV.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    prototypes: the number of prototypes, 2 or more. views: the number of whole views, 2 or more.
    local_views: the number of local views; 0 without a ``local_view``.
    temperature: divides the scores that predict, above 0. epsilon: Sinkhorn's, above 0.
    iterations: Sinkhorn's, 1 or more.
    queue: the number of embeddings in the queue of each whole view, 0 for none, else a batch or more. The
        queue takes part in Sinkhorn's algorithm only when it is full.
    queue_start: the first step, counted from 1, that may use the queue. (The authors also begin to fill it
        there.)
    freeze: the number of first steps in which the prototypes stay as they are.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    prototypes: int = 512
    views: int = 2
    local_views: int = 0
    temperature: float = 0.1
    epsilon: float = 0.05
    iterations: int = 3
    queue: int = 0
    queue_start: int = 1
    freeze: int = 0

    def __post_init__(self) -> None:
        check_prototypes(self.prototypes)
        check.positive("temperature", self.temperature)
        check.positive("epsilon", self.epsilon)
        check.counts(self, "iterations", "queue_start")
        check.counts(self, "queue", "freeze", low=0)


def swav_codes(
    z: Array,
    prototypes: Array,
    queue: Array | None,
    use: Array | bool,
    epsilon: Array | float,
    iterations: int,
) -> Array:
    """The codes [n, prototypes] of embeddings, without gradient.

    Args:
        z: unit embeddings [n, dim] of one view.
        prototypes: unit vectors [prototypes, dim].
        queue: earlier embeddings [length, dim] that share the prototypes with ``z``; None for none.
        use: bool scalar, whether the queue takes part. A queue that is not full holds zeros, whose scores are
            equal for all prototypes: such rows flatten the codes of the others.
        epsilon, iterations: Sinkhorn's.
    """
    together = z if queue is None else jnp.concatenate([z, queue])
    used = None if queue is None else (jnp.arange(together.shape[0]) < z.shape[0]) | use
    scores = jax.lax.stop_gradient(products(together, prototypes))
    return assignments(scores, epsilon, iterations, used)[: z.shape[0]]


def swav(
    encoder: Net, head: Net, view: View | Views, config: SwAVConfig, local_view: View | None = None
) -> Learner:
    """Predict the assignment of one view to prototypes from the other views (swapped prediction).

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder", "head" and "prototypes" (an array [prototypes, dim] of unit rows, normalized after each step).
    The metrics ``code_entropy`` and ``usage_entropy`` are those of `lrn.ssl.crops.code_metrics`.

    Args:
        encoder: maps inputs to features h [batch, dim], which are kept.
        head: maps features to embeddings z [batch, dim].
        view: draws a random whole view of a batch, or a tuple of all views, whole ones first.
        config: the settings; its floats may be swept.
        local_view: draws a local view, of which there are ``config.local_views``.

    Raises:
        InputError: at trace time, if the batch has fewer than two examples, the queue is smaller than a
            batch, or a network's output is not [batch, dim].
    """
    nets = {"encoder": encoder, "head": head}
    drawing = crops(view, config.views, local_view, config.local_views)

    def init(key: Key, x: Array) -> tuple[Parts, Parts, PyTree]:
        check_queue(config.queue, x.shape[0])
        key, own = jax.random.split(key)
        params, states, width = init_embedding(key, view, x, nets)
        prototypes = unit(jax.random.normal(own, (config.prototypes, width)))
        memory = {"step": jnp.zeros((), jnp.int32), "prototypes": jnp.copy(prototypes)}
        if config.queue:
            memory["queue"] = jnp.zeros((config.views, config.queue, width))
        return {**params, "prototypes": prototypes}, {**states, "prototypes": ()}, memory

    def loss(key: Key, params: Parts, net_state: Parts, memory: PyTree, x: Array) -> Value:
        rows = x.shape[0]
        check_queue(config.queue, rows)
        view_key, key = jax.random.split(key)
        z, net_state = embed(nets, params, net_state, drawing.drawn(view_key, x), key, rows)
        step = memory["step"] + 1
        prototypes = held(
            step, config.freeze, jax.lax.stop_gradient(params["prototypes"]), params["prototypes"]
        )
        queue, whole = memory.get("queue"), jax.lax.stop_gradient(z[: config.views])
        # The queue holds the batches before this one; counted in batches, an int32 lasts.
        full = (step > -(-config.queue // rows)) & (step >= config.queue_start)
        codes = [
            swav_codes(
                each, prototypes, None if queue is None else queue[i], full, config.epsilon, config.iterations
            )
            for i, each in enumerate(whole)
        ]
        scores = products(z.reshape(-1, z.shape[-1]), prototypes).reshape(*z.shape[:2], -1)
        value = swapped_cross_entropy(jnp.stack(codes), scores / above_zero(config.temperature))
        memory = {**memory, "step": step}
        if queue is not None:
            memory["queue"] = jnp.concatenate([whole, queue], axis=1)[:, : config.queue]
        return value, (net_state, memory, code_metrics(jnp.stack(codes)))

    def after(params: Parts, net_state: Parts, memory: PyTree, step: Array) -> tuple[Parts, PyTree]:
        prototypes = held(step, config.freeze, memory["prototypes"], unit(params["prototypes"]))
        return {**params, "prototypes": prototypes}, {**memory, "prototypes": prototypes}

    return pretrain_on(Objective(init, loss, after, divided=True), config)


def held(step: Array, freeze: int, old: Array, new: Array) -> Array:
    """``old`` in the first ``freeze`` steps, counted from 1, and ``new`` after them.

    A gradient of zero alone would not hold an array: weight decay moves it.
    """
    return jnp.where(step <= freeze, old, new) if freeze else new


def check_queue(queue: int, rows: int) -> None:
    """Raise InputError if there is a queue that is smaller than a batch."""
    if queue and queue < rows:
        raise check.InputError(
            f"the queue of {queue} embeddings is smaller than a batch of {rows}; enlarge the queue, or set "
            "it to 0."
        )


def example() -> Example:
    """A small network on the digits, whose views are noisy copies, with every option on."""
    from lrn import nets

    encoder, head = nets.mlp(None, (32,)), nets.projector(8, (16,))
    settings = SwAVConfig(
        OptimizerConfig(learning_rate=0.003), prototypes=16, local_views=1, queue=64, queue_start=3, freeze=2
    )
    return on_digits(
        lambda view, config: swav(encoder, head, view, config, noisy(0.6)), settings, Goal("loss", below=2.6)
    )
