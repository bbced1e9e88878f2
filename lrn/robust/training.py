"""What the methods of adversarial training share: the step of a learner whose loss needs attacked inputs.

A method is an `Objective`: an attack, and a loss of the clean and the attacked inputs. `train_on` makes a
learner of any objective. The attack and the loss are two functions, so that a wrapper around an objective
(`lrn.robust.awp`) attacks the inputs once and computes the loss twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import optax

from lrn import check
from lrn.robust.attack import Attack, check_inputs, check_labels, check_logits
from lrn.supervised import targets
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, initial_state, update
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.settings import Settings, TrainingConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, NetState, Params

MODES = ("evaluation", "training")

# A scalar, with the state of the network after its passes in training mode, and scalar metrics.
Value = tuple[Array, tuple[NetState, Metrics]]
# loss(key, params, net_state, x, x_adv, y) -> value
RobustLoss = Callable[[Key, Params, NetState, Array, Array, Array], Value]


class Objective(NamedTuple):
    """What a method of adversarial training minimizes.

    attack: finds ``x_adv`` against the network before the update; None leaves the inputs as they are. No
        gradient flows through the attack (Danskin's theorem).
    loss: ``loss(key, params, net_state, x, x_adv, y) -> (loss, (net_state, metrics))``.
    attack_mode: the mode of the network that is attacked. "evaluation": BatchNorm's running statistics and no
        dropout, so that each example is attacked separately. "training": the statistics of the attacked
        batch, and one mask of dropout for the whole attack. Neither mode changes the network's state.
    """

    attack: Attack | None
    loss: RobustLoss
    attack_mode: str = "evaluation"


def train_on(net: Net, objective: Objective, config: Settings) -> Learner:
    """Train ``net`` on an objective.

    Batches are ``{"image" or "x": float [batch, ...] in [0, 1], "label" or "y": int [batch]}``. The state is
    a `SupervisedState`, so `lrn.supervised.learner.weights` gives the weights to evaluate. The metrics are
    ``loss``, the minimized value; those of the objective; and ``gradient_norm``, the L2 norm over all
    parameters before clipping.

    A pixel outside of [0, 1] or a label outside of the classes raises an error where its value can be
    read; within a jitted training it makes loss and parameters NaN. Call `lrn.robust.attack.check_batch`
    on the whole set before the training to find such values.

    Args:
        net: the network, whose logits are [batch, classes].
        objective: what is minimized.
        config: the settings of the optimizer and of the averaged weights; its floats may be swept.

    Raises:
        ValueError: the mode of the attack is unknown; at trace time, for a batch that `check_inputs` refuses.
    """
    check.choice("attack_mode", objective.attack_mode, MODES)

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        x, y = read(batch)
        (loss, (net_state, metrics)), gradient = descent(
            net, objective, key, state.params, state.net_state, x, y
        )
        metrics = {"loss": loss, **metrics, "gradient_norm": optax.tree.norm(gradient)}
        return update(config, state, gradient, net_state), metrics

    return Learner(lambda key, batch: begin(net, config, key, batch), step)


def begin(net: Net, config: Settings, key: Key, batch: Batch) -> SupervisedState:
    """The state before the first step; only the shapes and dtypes of the batch matter.

    Raises:
        ValueError: `check_inputs` refuses the batch, or the logits are not [batch, classes].
    """
    x, y = read(batch)
    params, net_state = net.init(key, x)
    logits, _ = jax.eval_shape(net.apply, params, net_state, x)
    check_labels(y, check_logits(logits, y.shape[0]))
    return initial_state(config, params, net_state)


def read(batch: Batch) -> tuple[Array, Array]:
    """Inputs and labels of a batch, checked by `lrn.robust.attack.check_inputs`."""
    return check_inputs(*targets.read(batch))


def descent(
    net: Net, objective: Objective, key: Key, params: Params, net_state: NetState, x: Array, y: Array
) -> tuple[Value, Params]:
    """The value of an objective and its gradient by ``params``: first the attack, then the loss.

    Args:
        net: the network.
        objective: the objective.
        key: the key of the attack and of the loss.
        params, net_state: the parameters and the state of the network.
        x: checked inputs [batch, ...].
        y: labels [batch].
    """
    attack_key, loss_key = jax.random.split(key)
    x_adv = x
    if objective.attack is not None:
        train = objective.attack_mode == "training"
        attack_key, net_key = jax.random.split(attack_key) if train else (attack_key, None)

        def logits_fn(z: Array) -> Array:
            # The network draws the same mask of dropout at every call, hence the clone of the key.
            mask_key = None if net_key is None else jax.random.clone(net_key)
            return net.apply(params, net_state, z, key=mask_key, train=train)[0]

        x_adv = jax.lax.stop_gradient(objective.attack(attack_key, logits_fn, x, y))
    return jax.value_and_grad(objective.loss, argnums=1, has_aux=True)(
        loss_key, params, net_state, x, x_adv, y
    )


def clean_and_attacked(
    net: Net, key: Key, params: Params, net_state: NetState, x: Array, x_adv: Array
) -> tuple[Array, Array, NetState]:
    """The logits of clean and of attacked inputs in training mode, each [batch, classes], and the new state.

    The two batches pass the network one after the other, as in the code of TRADES and MART: BatchNorm
    normalizes each batch by its own statistics, and the running statistics take the clean, then the
    attacked batch. Each pass draws its own masks of dropout.
    """
    clean_key, adv_key = jax.random.split(key)
    clean, net_state = net.apply(params, net_state, x, key=clean_key, train=True)
    attacked, net_state = net.apply(params, net_state, x_adv, key=adv_key, train=True)
    return clean, attacked, net_state


def example() -> Example:
    """A small network on the digits, trained on clean and attacked inputs, half and half."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch
    from lrn.robust.interpolation import InterpolationConfig, interpolated_objective
    from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm

    net = nets.mlp(10, (32,), dropout=0.1)
    attack = rs_fgsm(RSFGSMConfig(eps=0.1))
    mixed = InterpolationConfig(robust_share=0.5, attack_mode="training")
    return Example(
        factory=lambda config: train_on(net, interpolated_objective(net, mixed, attack), config),
        config=TrainingConfig(OptimizerConfig(learning_rate=0.01), AverageConfig("ema", 0.9)),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("robust_accuracy", above=0.6),
    )
