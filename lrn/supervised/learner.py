"""Supervised learning: minimize the mean loss of batches of inputs and targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrn import check
from lrn.config import config
from lrn.supervised import averages, targets
from lrn.supervised.averages import AverageConfig
from lrn.supervised.losses import Loss, cross_entropy, hits
from lrn.supervised.optimizers import Mask, OptimizerConfig, optimizer
from lrn.supervised.settings import Settings
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, NetState, Params, PyTree


@config
class SupervisedConfig:
    """Settings of supervised training.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    smoothing: label smoothing in [0, 1]. Each class gets the probability ``smoothing / classes``, and the
        true class gets ``1 - smoothing`` in addition.
    mixup: whether to train on mixtures of two inputs and of their targets (Zhang et al. 2018).
    alpha: the parameter of mixup's Beta(alpha, alpha). A small alpha gives mixtures close to one of the two
        inputs. Unused without mixup.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    smoothing: float = 0.0
    mixup: bool = False
    alpha: float = 0.2

    def __post_init__(self) -> None:
        check.between("smoothing", self.smoothing, 0, 1)
        check.boolean("mixup", self.mixup)
        check.positive("alpha", self.alpha)


class SupervisedState(NamedTuple):
    """State of supervised learning.

    params, net_state: the parameters and the state of the network. opt_state: the optimizer's state.
    average: an `lrn.supervised.averages.Average` of (params, net_state); () where nothing is averaged.
    step: int32 scalar, the number of steps taken.
    """

    params: Params
    net_state: NetState
    opt_state: optax.OptState
    average: PyTree
    step: Array


def supervised(
    net: Net,
    loss: Loss,
    config: SupervisedConfig,
    mask: Mask | None = None,
    rates: Mapping[str, ArrayLike] | None = None,
) -> Learner:
    """Train ``net`` by the gradient of the mean of ``loss``.

    Batches are ``{"image" or "x": [batch, ...], "label" or "y": [batch, ...]}``. Integer targets are
    labels; the loss receives labels as probabilities [batch, classes], after smoothing and mixup. The
    loss receives float targets as they are, or after mixup.

    The metrics are those of the batch in training mode. ``loss``: the minimized loss, with smoothing and
    mixup. ``accuracy``, for labels, in [0, 1]: under mixup each of the two labels counts by its share.
    ``gradient_norm``: the L2 norm over all parameters, before clipping.

    Args:
        net: a network whose ``apply`` gives one array [batch, ...]; logits [batch, classes] for labels.
        loss: ``loss(output, target) -> [batch]``, such as those in `lrn.supervised.losses`.
        config: the settings; its floats may be swept.
        mask: the parameters that decay, in place of the optimizer's config.
        rates: a factor of the learning rate for each part of parameters that are a dict of parts.

    Raises:
        InputError: at trace time, if a batch, an output or a loss has the wrong form, or if labels are to be
            smoothed and the targets are floats. A label outside of the classes is refused where it can be
            read; within a jitted training it makes loss and parameters NaN.
    """

    def init(key: Key, batch: Batch) -> SupervisedState:
        x, y = targets.read(batch)
        params, net_state = net.init(key, x)
        output, _ = jax.eval_shape(net.apply, params, net_state, x)
        _target(output, y, config)
        return initial_state(config, params, net_state, mask)

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        x, y = targets.read(batch)
        mix_key, net_key = jax.random.split(key)
        share = targets.mixup_share(mix_key, config.alpha) if config.mixup else None

        def mixed(rows: Array) -> Array:
            return rows if share is None else targets.mix(rows, share)

        def objective(params: Params):
            output, net_state = net.apply(params, state.net_state, mixed(x), key=net_key, train=True)
            target = mixed(_target(output, y, config))
            metrics = {"accuracy": jnp.mean(hits(output, target))} if targets.is_labels(y) else {}
            if targets.is_labels(y):
                target = targets.smooth(target, config.smoothing)
            losses = loss(output, target)
            if losses.shape != x.shape[:1]:
                raise check.InputError(
                    f"the loss must be [batch], got shape {losses.shape} for {x.shape[0]} examples; do not "
                    "average over the batch in it."
                )
            return jnp.mean(losses), (net_state, metrics)

        (value, (net_state, metrics)), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        metrics = {"loss": value, **metrics, "gradient_norm": optax.tree.norm(gradient)}
        return update(config, state, gradient, net_state, mask, rates), metrics

    return Learner(init, step)


def initial_state(
    config: Settings, params: Params, net_state: NetState, mask: Mask | None = None
) -> SupervisedState:
    """The state before the first step, with these parameters and this state of the network."""
    average = () if config.average.method == "none" else averages.begin((params, net_state))
    opt_state = optimizer(config.optimizer, mask).init(params)
    return SupervisedState(params, net_state, opt_state, average, jnp.zeros((), jnp.int32))


def update(
    config: Settings,
    state: SupervisedState,
    gradient: Params,
    net_state: NetState,
    mask: Mask | None = None,
    rates: Mapping[str, ArrayLike] | None = None,
) -> SupervisedState:
    """The state after one update of the parameters by ``gradient``.

    Args:
        config: the settings of the optimizer and of the averaged weights.
        state: the state before. gradient: a tree like the parameters.
        net_state: the state of the network after the pass that gave the gradient.
        mask: the parameters that decay, in place of the optimizer's config; the same as for `initial_state`.
        rates: a factor of the learning rate for each part of parameters that are a dict of parts.
    """
    changes, opt_state = optimizer(config.optimizer, mask).update(gradient, state.opt_state, state.params)
    if rates is not None:
        changes = {
            name: jax.tree.map(lambda x, rate=rates[name]: (rate * x).astype(x.dtype), part)
            for name, part in changes.items()  # pyright: ignore[reportAttributeAccessIssue]
        }
    params = optax.apply_updates(state.params, changes)
    count = state.step + 1
    average = averages.update(config.average, state.average, (params, net_state), count)
    return SupervisedState(params, net_state, opt_state, average, count)


def descend(
    config: Settings, state: SupervisedState, loss: Callable[[Any], tuple[Array, Any]]
) -> tuple[SupervisedState, dict[str, Any]]:
    """The state after one step along the gradient of ``loss(params) -> (value, (net_state, metrics))``.

    Returns:
        The state, and the metrics with ``gradient_norm``, and with the value as ``loss`` if they have none.
    """
    (value, (net_state, metrics)), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
    metrics = {"loss": value, **metrics, "gradient_norm": optax.tree.norm(gradient)}
    return update(config, state, gradient, net_state), metrics


def weights(state: SupervisedState) -> tuple[Params, NetState]:
    """The parameters and the network state to evaluate: the averaged ones if there are any, else the last."""
    return averages.averaged(state.average, (state.params, state.net_state))


def _target(output: Array | jax.ShapeDtypeStruct, y: Array, config: SupervisedConfig) -> Array:
    """The target of the loss before smoothing and mixup: probabilities of labels, or float targets."""
    if not hasattr(output, "shape"):
        raise check.InputError(
            f"the network must give one array, got {type(output).__name__}; wrap it so that it gives one."
        )
    if not targets.is_labels(y):
        if isinstance(config.smoothing, (int, float)) and config.smoothing > 0:
            raise check.InputError(
                f"label smoothing needs integer labels, got targets of {y.dtype}; set smoothing to 0."
            )
        return y
    if len(output.shape) != 2 or output.shape[0] != y.shape[0] or output.shape[1] < 2:
        raise check.InputError(
            f"the network must give logits [{y.shape[0]}, classes], 2 classes or more, got shape "
            f"{tuple(output.shape)}; check its last layer."
        )
    return targets.one_hot(y, output.shape[1])


def example() -> Example:
    """A small network on the digits, with every option on."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    net = nets.mlp(10, (32,), dropout=0.1)
    optimizer = OptimizerConfig(
        weight_decay=0.01, clip=1.0, warmup=10.0, schedule="cosine", steps=300, learning_rate=0.01
    )
    return Example(
        factory=lambda config: supervised(net, cross_entropy, config),
        config=SupervisedConfig(optimizer, AverageConfig("ema", 0.9), smoothing=0.1, mixup=True),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("accuracy", above=0.65),
    )
