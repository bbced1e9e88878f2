"""BYOL (Grill et al., "Bootstrap your own latent", 2020)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import between
from lrn.config import config
from lrn.ssl import gather
from lrn.ssl.digits import on_digits
from lrn.ssl.joint_embedding import begin
from lrn.ssl.pretraining import Objective, Parts, Value, forward, pretrain_on
from lrn.ssl.similarity import cosines, pairs
from lrn.ssl.target import Target, check_momentum, copy, follow, rising
from lrn.ssl.views import View, draw
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Net, PyTree


@config
class BYOLConfig:
    """Settings of BYOL.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    momentum: that of the target network at the first step, in [0, 1].
    steps: the steps of the training, over which the momentum rises to 1 (`lrn.ssl.target.rising`); 0 keeps
        it.
    predictor: whether a predictor maps embeddings to targets; without it the embedding is the prediction.
    target: whether the targets come from a target network; without it they come from the trained network.
    stop_gradient: whether the targets are constants of the gradient. A target network takes no gradient
        anyway, so only a training without a target network can do without.

    Raises:
        InputError: a field is out of its range, or stop_gradient is off with a target network.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    momentum: float = 0.99
    steps: int = 0
    predictor: bool = True
    target: bool = True
    stop_gradient: bool = True

    def __post_init__(self) -> None:
        check_momentum(self.momentum)
        check.counts(self, "steps", low=0)
        for name in ("predictor", "target", "stop_gradient"):
            check.boolean(name, getattr(self, name))
        if self.target and not self.stop_gradient:
            raise check.InputError(
                "a target network takes no gradient, so stop_gradient=False would change nothing; set "
                "target=False too."
            )


def byol_loss(p_a: Array, p_b: Array, t_a: Array, t_b: Array) -> Array:
    """The sum over both directions of the mean squared distance of unit vectors (equation 2), in [0, 8].

    Args:
        p_a, p_b: predictions [n, dim] from the views. t_a, t_b: targets [n, dim] of the views.
    """
    pairs(p_a, t_b, 1)
    pairs(p_b, t_a, 1)
    return jnp.mean(4.0 - 2.0 * cosines(p_a, t_b) - 2.0 * cosines(p_b, t_a))


def byol(encoder: Net, head: Net, predictor: Net, view: View, config: BYOLConfig) -> Learner:
    """Predict a slowly moving target network's embedding of the other view.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder", "head" and "predictor"; its memory is a `lrn.ssl.target.Target` of the first two. The targets
    are computed in training mode, so BatchNorm normalizes them by the batch, as in the authors' code.

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
    seen = {"encoder": encoder, "head": head}
    nets = {**seen, "predictor": predictor} if config.predictor else seen
    last = "predictor" if config.predictor else "head"

    def init(key: Key, x: Array) -> tuple[Parts, Parts, PyTree]:
        params, states, _ = begin(nets, view, key, x)
        return params, states, copy(params, states, tuple(seen)) if config.target else ()

    def loss(key: Key, params: Parts, net_state: Parts, memory: PyTree, x: Array) -> Value:
        view_key, net_key = jax.random.split(key)
        keys = jax.random.split(gather.own_key(net_key), 4)
        views = gather.own(draw(view, view_key, x))
        predicted, targets = [], []
        states = memory.states if config.target else {}
        for each, key_p, key_t in zip(views, keys[:2], keys[2:]):
            out, net_state = forward(nets, params, net_state, each, key_p)
            predicted.append(out[last])
            if config.target:
                out, states = forward(seen, memory.params, states, each, key_t)
            targets.append(out["head"])
        if config.target:
            memory = Target(memory.params, states)
        if config.stop_gradient:
            targets = jax.lax.stop_gradient(targets)
        return byol_loss(*gather.whole((*predicted, *targets))), (net_state, memory, {})

    def after(params: Parts, net_state: Parts, memory: PyTree, step: Array) -> tuple[Parts, PyTree]:
        return params, follow(memory, params, rising(between(config.momentum, 0, 1), step - 1, config.steps))

    return pretrain_on(Objective(init, loss, after if config.target else None, divided=True), config)


def example() -> Example:
    """A small network on the digits, whose views are noisy copies."""
    from lrn import nets

    parts = nets.mlp(16, (32,)), nets.projector(8, (16,)), nets.projector(8, (16,))
    return on_digits(
        lambda view, config: byol(*parts, view, config),
        BYOLConfig(OptimizerConfig(learning_rate=0.01), momentum=0.9, steps=300),
        Goal("loss", below=1.2),
    )
