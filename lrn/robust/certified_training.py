"""Certified training: minimize an upper bound of the worst-case loss.

IBP training (Gowal et al. 2018, arXiv 1810.12715) bounds the margins by intervals; CROWN-IBP (Zhang et al.
2020, arXiv 1906.06316) mixes in linear bounds, which are tighter at the start of the training.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.robust.attack import check_eps, check_inputs, check_labels, check_logits
from lrn.robust.crown import linear_margins, make_ball
from lrn.robust.ibp import certified, interval_bounds, interval_margins
from lrn.robust.losses import cross_entropy, is_correct
from lrn.robust.read_layers import read_layers
from lrn.supervised import schedules
from lrn.supervised.optimizers import OptimizerConfig, optimizer
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, NetState, Params


@config
class CertifiedTrainingConfig:
    """Settings of certified training.

    optimizer: the optimizer's config.
    bounds: "ibp", or "crown_ibp", which costs one more pass for every class.
    eps: the radius of the Linf ball at the end of the ramp, in the unit of the pixels, which lie in [0, 1].
    warmup: the length in steps of the training with a radius of 0, before the ramp.
    ramp: the length in steps of the linear ramp, over which the radius, kappa and beta go from their first
        values to their last.
    kappa_start, kappa_end: the weight of the clean loss in [0, 1]; the loss of the bounds has the rest.
    beta_start, beta_end: the weight of CROWN-IBP's bounds in [0, 1]; those of IBP have the rest. Unused with
        "ibp".
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    bounds: str = "ibp"
    eps: float = 0.1
    warmup: float = 0.0
    ramp: float = 1000.0
    kappa_start: float = 1.0
    kappa_end: float = 0.5
    beta_start: float = 1.0
    beta_end: float = 0.0

    def __post_init__(self) -> None:
        check.choice("bounds", self.bounds, ("ibp", "crown_ibp"))
        check_eps(self.eps, "linf")
        for name in ("warmup", "ramp"):
            check.non_negative(name, getattr(self, name))
        for name in ("kappa_start", "kappa_end", "beta_start", "beta_end"):
            check.between(name, getattr(self, name), 0, 1)


class Phase(NamedTuple):
    """The values that change along the ramp: the radius, and the weights of clean loss and CROWN-IBP."""

    eps: Array
    kappa: Array
    beta: Array


class CertifiedState(NamedTuple):
    """State of certified training.

    params, net_state: the parameters and the state of the network. opt_state: the optimizer's state.
    step: int32 scalar, the number of steps taken.
    """

    params: Params
    net_state: NetState
    opt_state: optax.OptState
    step: Array


def certified_training(net: Net, config: CertifiedTrainingConfig) -> Learner:
    """Train ``net`` on kappa * clean loss + (1 - kappa) * loss of the worst-case logits.

    The worst-case logits are minus the lower bounds of the margins z_y - z_j, for the ball in the pixel
    box. The bounds see the network in evaluation mode, and the gradient flows through them; the clean
    loss sees the network in training mode.

    Batches are ``{"image": float [batch, ...] in [0, 1], "label": int [batch]}``.

    The metrics: ``loss`` (nats), the minimized one; ``accuracy``, clean, in training mode; ``certified``,
    the share of the batch that the bounds of the step certify at the step's radius; ``eps``, this
    radius; and ``gradient_norm``, the L2 norm over all parameters, before clipping.

    A pixel outside of [0, 1] or a label outside of the classes raises an error where its value can be
    read; within a jitted training it makes loss and parameters NaN (see `lrn.robust.attack.check_batch`).

    Args:
        net: a network that `lrn.robust.read_layers` can read, whose logits are [batch, classes].
        config: the settings; its floats may be swept.

    Raises:
        ValueError: at trace time, for a batch that `check_inputs` refuses, or a network that cannot be read.
    """
    transform = optimizer(config.optimizer)

    def init(key: Key, batch: Batch) -> CertifiedState:
        x, y = check_inputs(batch["image"], batch["label"])
        params, net_state = net.init(key, x)
        logits, _ = jax.eval_shape(net.apply, params, net_state, x)
        check_labels(y, check_logits(logits, y.shape[0]))
        return CertifiedState(params, net_state, transform.init(params), jnp.zeros((), jnp.int32))

    def step(key: Key, state: CertifiedState, batch: Batch) -> tuple[CertifiedState, Metrics]:
        x, y = check_inputs(batch["image"], batch["label"])
        now = phase(config, state.step)

        def objective(params: Params):
            logits, net_state = net.apply(params, state.net_state, x, key=key, train=True)
            margins = margin_bounds(net, params, state.net_state, x, y, now, config.bounds)
            clean, worst = jnp.mean(cross_entropy(logits, y)), jnp.mean(cross_entropy(-margins, y))
            metrics = {
                "accuracy": jnp.mean(is_correct(logits, y)),
                "certified": jnp.mean(certified(margins, y)),
                "eps": now.eps,
            }
            return now.kappa * clean + (1 - now.kappa) * worst, (net_state, metrics)

        (loss, (net_state, metrics)), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, opt_state = transform.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, **metrics, "gradient_norm": optax.tree.norm(gradient)}
        return CertifiedState(params, net_state, opt_state, state.step + 1), metrics

    return Learner(init, step)


def phase(config: CertifiedTrainingConfig, count: Array) -> Phase:
    """The radius and the weights at step ``count``."""
    along = jnp.maximum(jnp.asarray(count, jnp.float32) - config.warmup, 0)
    ends = ((0.0, config.eps), (config.kappa_start, config.kappa_end), (config.beta_start, config.beta_end))
    return Phase(*(schedules.linear(start, end, config.ramp)(along) for start, end in ends))


def margin_bounds(
    net: Net, params: Params, net_state: NetState, x: Array, y: Array, now: Phase, bounds: str
) -> Array:
    """Lower bounds of z_y - z_j for the radius and the mixture of a phase, [batch, classes]."""
    layers = read_layers(lambda z: net.apply(params, net_state, z)[0], x)
    ball = make_ball(x, now.eps)
    intervals = interval_margins(layers, ball.low, ball.high, y)
    if bounds == "ibp":
        return intervals
    hidden = interval_bounds(layers[:-1], ball.low, ball.high)
    lines = linear_margins(layers, hidden, ball, y, "linf", "adaptive")
    return now.beta * lines + (1 - now.beta) * intervals


def example() -> Example:
    """A small network on the digits, trained with CROWN-IBP."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    net = nets.mlp(10, (32,))
    settings = OptimizerConfig(learning_rate=5e-3, clip=10.0)
    return Example(
        factory=lambda config: certified_training(net, config),
        config=CertifiedTrainingConfig(settings, "crown_ibp", eps=0.1, warmup=2.0, ramp=10.0),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("accuracy", above=0.7),
    )
