"""AWP: adversarial weight perturbation, for any objective of adversarial training (Wu, Xia & Wang 2020).

Weights are trained for their worst neighbor: each update takes the gradient at weights that one step of
ascent has moved, and applies this gradient to the weights themselves.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.config import config
from lrn.robust.training import Objective, Value, train_on
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Net, NetState, Params


@config
class AWPConfig:
    """Settings of AWP.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    gamma: the size of the perturbation relative to the weights; the official code has .005 for TRADES and
        .01 for adversarial training.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    gamma: float = 0.005

    def __post_init__(self) -> None:
        check.non_negative("gamma", self.gamma)


def awp(net: Net, objective: Objective, config: AWPConfig) -> Learner:
    """Train ``net`` on an objective, such as `lrn.robust.trades.trades_objective`, under AWP.

    A step costs the attack once and the loss with its gradient twice. The metrics are those of the
    objective, at the perturbed weights.

    The official code begins with AWP after some epochs for TRADES; to do so, train with `train_on` first and
    give its state to this learner, which has the same form. Under weight decay the official code decays the
    perturbed weights, and this learner the weights.

    Args:
        net: the network, whose logits are [batch, classes].
        objective: what is minimized.
        config: the settings; its floats may be swept.

    Raises:
        ValueError: as `train_on`.
    """
    return train_on(net, weight_perturbed(objective, config.gamma), config)


def weight_perturbed(objective: Objective, gamma: ArrayLike) -> Objective:
    """The objective at perturbed weights; its gradient is that at the perturbed weights.

    The inputs are attacked once, against the weights before the perturbation. Only the pass at the perturbed
    weights changes the state of the network. With gamma = 0 the objective is the original one; only
    dropout draws other masks.

    Args:
        objective: the objective.
        gamma: the size of the perturbation relative to the weights.
    """

    def loss(key: Key, params: Params, net_state: NetState, x: Array, x_adv: Array, y: Array) -> Value:
        ascent_key, key = jax.random.split(key)

        def value(params: Params) -> Array:
            return objective.loss(ascent_key, params, net_state, x, x_adv, y)[0]

        offset = perturbation(*_constant(value, params), gamma)
        return objective.loss(key, jax.tree.map(jnp.add, params, offset), net_state, x, x_adv, y)

    return objective._replace(loss=loss)


def perturbation(params: Params, gradient: Params, gamma: ArrayLike) -> Params:
    """The step of ascent ``gamma |w| d / |d|`` of each array w with gradient d, by Frobenius norms.

    Arrays of fewer than two axes (biases, the scales of norms) and arrays with a gradient of zero stay.
    """

    def move(w: Array, d: Array) -> Array:
        if w.ndim < 2:
            return jnp.zeros_like(w)
        size = jnp.linalg.norm(d.reshape(-1))
        moved = gamma * jnp.linalg.norm(w.reshape(-1)) * (d / jnp.where(size == 0, 1, size))
        return moved.astype(w.dtype)

    return jax.tree.map(move, params, gradient)


def _constant(value, params: Params) -> tuple[Params, Params]:
    """The parameters and the gradient of ``value``, as constants of an outer differentiation."""
    params = jax.lax.stop_gradient(params)
    return params, jax.grad(value)(params)


def example() -> Example:
    """TRADES with AWP, a small network on the digits."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch
    from lrn.robust.trades import TRADESConfig, trades_objective

    net = nets.mlp(10, (32,), dropout=0.1)
    objective = trades_objective(net, TRADESConfig(eps=0.1, step_size=0.05, steps=2))
    return Example(
        factory=lambda config: awp(net, objective, config),
        config=AWPConfig(OptimizerConfig(learning_rate=0.01), gamma=0.01),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("robust_accuracy", above=0.65),
    )
