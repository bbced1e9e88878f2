"""What the methods of self-supervised learning share: a learner of any objective, and features afterwards.

A method is an `Objective`: initial parameters, a loss of a batch without labels, and what changes after an
update (a target network, a queue, normalized prototypes). `pretrain_on` makes a learner of any objective.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.ssl import gather
from lrn.ssl.views import View, inputs
from lrn.supervised.learner import SupervisedState, initial_state, update
from lrn.supervised.learner import weights as final_weights
from lrn.supervised.optimizers import Mask
from lrn.supervised.settings import Settings
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, NetState, Params, PyTree
from lrn.xla.parts import as_one_batch

Parts = Mapping[str, PyTree]  # from the name of a network of the method ("encoder", "head", ...) to its part
# A scalar; the states of the networks, the memory and scalar metrics after the passes in training mode.
Value = tuple[Array, tuple[Parts, PyTree, Metrics]]


class Objective(NamedTuple):
    """What a method minimizes.

    init: ``init(key, x) -> (params, net_state, memory)`` for inputs [batch, ...]. ``params`` and
        ``net_state`` are dicts by network; the network that is kept is called "encoder". ``memory`` is all
        else that the method carries and does not train by gradients: a target network, a queue, a center;
        () for none.
    loss: ``loss(key, params, net_state, memory, x) -> (loss, (net_state, memory, metrics))``.
    after: ``after(params, net_state, memory, step) -> (params, memory)``, called after each update; ``step``
        counts the updates from 1. None changes nothing.
    least: the smallest batch that the loss can use.
    divided: whether the loss divides its batch among the devices of a lane, by `lrn.ssl.gather`.
    read: ``read(batch, least) -> x``: what ``init`` and ``loss`` take of a batch; `lrn.ssl.views.inputs` by
        default. A method of pairs of an image and a text reads a dict of arrays.
    """

    init: Callable[[Key, Any], tuple[Parts, Parts, PyTree]]
    loss: Callable[[Key, Parts, Parts, PyTree, Any], Value]
    after: Callable[[Parts, Parts, PyTree, Array], tuple[Parts, PyTree]] | None = None
    least: int = 2
    divided: bool = False
    read: Callable[[Any, int], Any] = inputs


class PretrainState(NamedTuple):
    """State of pretraining.

    training: parameters, states of the networks, optimizer's state, averaged weights and number of steps;
        ``training.params`` and ``training.net_state`` are dicts by network. memory: that of the objective.
    """

    training: SupervisedState
    memory: PyTree


def pretrain_on(objective: Objective, config: Settings, mask: Mask | None = None) -> Learner:
    """Minimize an objective on batches without labels.

    Batches are ``{"image" or "x": floats [batch, ...]}``, unless the objective reads other entries.

    The metrics are ``loss``, those of the objective, and ``gradient_norm``, the L2 norm over all parameters
    before clipping.

    If the objective divides its batch, several devices share a lane (`lrn.ssl.gather`), unless a network
    keeps statistics of a kind of its own.

    Args:
        objective: what is minimized.
        config: the settings of the optimizer and of the averaged weights; its floats may be swept.
        mask: the parameters that decay, in place of the optimizer's config.

    Raises:
        InputError: at trace time, if the objective's ``read`` refuses a batch.
    """

    def init(key: Key, batch: Batch) -> PretrainState:
        params, net_state, memory = objective.init(key, objective.read(batch, objective.least))
        return PretrainState(initial_state(config, params, net_state, mask), memory)

    def step(key: Key, state: PretrainState, batch: Batch) -> tuple[PretrainState, Metrics]:
        x = objective.read(batch, objective.least)
        (loss, (net_state, memory, metrics)), gradient = jax.value_and_grad(
            objective.loss, argnums=1, has_aux=True
        )(key, state.training.params, state.training.net_state, state.memory, x)
        if objective.divided:
            gradient, net_state, metrics = gather.mean((gradient, net_state, metrics))
        training = update(config, state.training, gradient, net_state, mask)
        if objective.after is not None:
            params, memory = objective.after(training.params, training.net_state, memory, training.step)
            training = training._replace(params=params)
        metrics = {"loss": loss, **metrics, "gradient_norm": optax.tree.norm(gradient)}
        return PretrainState(training, memory), metrics

    def divides(state: PretrainState, batch: Batch) -> int:
        rows = [x.shape[0] for x in jax.tree.leaves(objective.read(batch, objective.least))]
        return math.gcd(*rows) if gather.dividable(state.training.net_state) else 1

    return Learner(init, step, divides if objective.divided else None)


def weights(state: PretrainState, name: str = "encoder") -> tuple[Params, NetState]:
    """Parameters and state of one network: the averaged ones if there are any, else the last.

    Raises:
        InputError: the method has no such network.
    """
    params, net_state = final_weights(state.training)
    if name not in params:
        raise check.InputError(f"the method has no network {name!r}; it has {sorted(params)}.")
    return params[name], net_state[name]


def encode(encoder: Net, state: PretrainState, x: Array, *, chunk: int = 256, name: str = "encoder") -> Array:
    """The features [n, dim] of inputs [n, ...], in evaluation mode, ``chunk`` examples at a time.

    Args:
        encoder: the network. state: the state after pretraining. x: inputs [n, ...].
        chunk: the number of examples that pass the network at once.
        name: the network's name in the state; a method of two modalities has an encoder of each.

    Raises:
        InputError: the encoder's output is not [batch, features], or the method has no such network.
    """
    check.integer("chunk", chunk, 1)
    params, net_state = weights(state, name)

    def features(part: Array) -> Array:
        return one_output("encoder", encoder.apply(params, net_state, part)[0], part.shape[0])

    rows = x.shape[0]
    chunk = min(chunk, rows)
    whole = rows // chunk * chunk
    parts = jax.lax.map(features, x[:whole].reshape(-1, chunk, *x.shape[1:]))
    out = parts.reshape(whole, -1)
    return out if whole == rows else jnp.concatenate([out, features(x[whole:])])


def one_output(name: str, output: Array, rows: int) -> Array:
    """The output of a network, if it is [rows, features].

    Raises:
        InputError: it is not.
    """
    shape = getattr(output, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != rows:
        raise check.InputError(
            f"the {name} must give features [batch, dim], got {shape or type(output).__name__} for {rows} "
            "inputs; flatten or pool its last layer."
        )
    return output


def init_in_turn(
    key: Key, x: Array, nets: Mapping[str, Net]
) -> tuple[dict[str, Params], dict[str, NetState]]:
    """Parameters and states of networks of which each takes the output of the one before, by name.

    Raises:
        InputError: an output is not [batch, features].
    """
    params: dict[str, Params] = {}
    states: dict[str, NetState] = {}
    for each, (name, net) in zip(jax.random.split(key, len(nets)), nets.items()):
        params[name], states[name] = net.init(each, x)
        # Only the shape is needed, so nothing is computed.
        shaped, _ = jax.eval_shape(net.apply, params[name], states[name], x)
        one_output(name, shaped, x.shape[0])
        x = jnp.zeros(shaped.shape, shaped.dtype)
    return params, states


def forward(
    nets: Mapping[str, Net], params: Parts, net_state: Parts, x: Array, key: Key
) -> tuple[dict[str, Array], dict[str, NetState]]:
    """The outputs [batch, dim] of networks in turn, by name, in training mode, and all states afterwards.

    Args:
        nets: the networks, each of which takes the output of the one before; other networks of the method
            keep their states.
        params, net_state: by name.
        x: inputs [batch, ...].
        key: the key of dropout.
    """
    outputs: dict[str, Array] = {}
    after = dict(net_state)
    for each, (name, net) in zip(jax.random.split(key, len(nets)), nets.items()):
        with as_one_batch():
            x, after[name] = net.apply(params[name], after[name], x, key=each, train=True)
        outputs[name] = one_output(name, x, x.shape[0])
    return outputs, after


def example() -> Example:
    """A small network on the digits, under the loss of SimCLR, with every option of the update on."""
    from lrn import nets
    from lrn.ssl.digits import on_digits
    from lrn.ssl.joint_embedding import joint_embedding
    from lrn.ssl.simclr import nt_xent
    from lrn.supervised.averages import AverageConfig
    from lrn.supervised.optimizers import OptimizerConfig
    from lrn.supervised.settings import TrainingConfig

    encoder, head = nets.mlp(16, (32,), dropout=0.1), nets.projector(8, (16,))

    def learner(view: View, config: TrainingConfig) -> Learner:
        compared = joint_embedding(encoder, head, view, lambda a, b: (nt_xent(a, b, 0.2), {}))
        return pretrain_on(compared, config)

    config = TrainingConfig(OptimizerConfig(learning_rate=0.01, eps=1e-4), AverageConfig("ema", 0.9))
    return on_digits(learner, config, Goal("loss", below=2.8))
