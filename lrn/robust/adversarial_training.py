"""Adversarial training: train the network on the inputs that an attack finds for it (Madry et al. 2018)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.robust.attack import Attack, check_inputs, check_labels, check_logits
from lrn.robust.losses import cross_entropy, is_correct
from lrn.robust.training import Objective, RobustLoss, Value, descent
from lrn.supervised.optimizers import OptimizerConfig, optimizer
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, NetState, Params


@config
class AdversarialTrainingConfig:
    """Settings of the optimizer; the attack has a config of its own.

    optimizer: "sgd" or "adam". learning_rate: the rate after the warm-up.
    momentum: the momentum of sgd; unused by adam. nesterov: whether it is Nesterov's momentum.
    weight_decay: the coefficient of the decay. Under sgd it adds an L2 term to the gradient; under adam it is
        decoupled from the gradient (adamw).
    schedule: the learning rate after the warm-up: "constant", or "cosine", which falls to 0 at
        step ``steps``.
    steps: the length of the training in steps, warm-up included.
    warmup: the length in steps of a linear rise of the learning rate; 0 for none.
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: str = "constant"
    steps: int = 1000
    warmup: int = 0

    def __post_init__(self) -> None:
        check.choice("optimizer", self.optimizer, ("adam", "sgd"))
        check.positive("learning_rate", self.learning_rate)
        check.between("momentum", self.momentum, 0, 1)
        check.non_negative("weight_decay", self.weight_decay)
        check.choice("schedule", self.schedule, ("constant", "cosine"))
        check.integer("steps", self.steps, 1)
        check.integer("warmup", self.warmup, 0)
        if self.warmup >= self.steps:
            raise check.InputError(
                f"warmup must be below steps, got {self.warmup} and {self.steps}; shorten the warm-up."
            )


class TrainState(NamedTuple):
    """State of adversarial training: the network's parameters and state, and the optimizer's state."""

    params: Params
    net_state: NetState
    opt_state: optax.OptState


def adversarial_training(
    net: Net, config: AdversarialTrainingConfig, attack: Attack | None = None
) -> Learner:
    """Train ``net`` on the attack's inputs in place of the clean inputs.

    The attack sees the network in evaluation mode (BatchNorm's running statistics, no dropout), so that each
    example is attacked separately. The update runs in training mode, with the batch statistics of the
    attacked inputs. No gradient flows through the attack (Danskin's theorem).

    Batches are ``{"image": float [batch, ...] in [0, 1], "label": int [batch]}``.

    The metrics are those of the attacked inputs: ``loss`` (cross-entropy, nats), ``accuracy`` in [0, 1], and
    ``gradient_norm``, the L2 norm over all parameters.

    A pixel outside of [0, 1] or a label outside of the classes raises an error where its value can be
    read; within a jitted training it makes loss and parameters NaN. Call `lrn.robust.attack.check_batch`
    on the whole set before the training to find such values.

    Args:
        net: the network, whose logits are [batch, classes].
        config: the settings; its floats may be swept.
        attack: the attack; None is standard training on clean inputs.

    Raises:
        ValueError: at trace time, for a batch that `check_inputs` refuses.
    """
    transform, objective = _optimizer(config), Objective(attack, _attacked_loss(net))

    def init(key: Key, batch: Batch) -> TrainState:
        x, y = check_inputs(batch["image"], batch["label"])
        params, net_state = net.init(key, x)
        logits, _ = jax.eval_shape(net.apply, params, net_state, x)
        check_labels(y, check_logits(logits, y.shape[0]))
        return TrainState(params, net_state, transform.init(params))

    def step(key: Key, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        x, y = check_inputs(batch["image"], batch["label"])
        (loss, (net_state, metrics)), gradient = descent(
            net, objective, key, state.params, state.net_state, x, y
        )
        updates, opt_state = transform.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, **metrics, "gradient_norm": optax.tree.norm(gradient)}
        return TrainState(params, net_state, opt_state), metrics

    return Learner(init, step)


def _attacked_loss(net: Net) -> RobustLoss:
    """The cross-entropy of the attacked inputs, the mean over the batch."""

    def loss(key: Key, params: Params, net_state: NetState, x: Array, x_adv: Array, y: Array) -> Value:
        logits, net_state = net.apply(params, net_state, x_adv, key=key, train=True)
        return jnp.mean(cross_entropy(logits, y)), (net_state, {"accuracy": jnp.mean(is_correct(logits, y))})

    return loss


def _optimizer(config: AdversarialTrainingConfig) -> optax.GradientTransformation:
    settings = OptimizerConfig(
        name="adamw" if config.optimizer == "adam" else config.optimizer,
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        decayed="all",
        schedule=config.schedule,
        steps=config.steps,
        warmup=float(config.warmup),
    )
    return optimizer(settings)


def example() -> Example:
    """A small network on the digits, trained against RS-FGSM."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch
    from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm

    net, attack = nets.mlp(10, (32,)), rs_fgsm(RSFGSMConfig(eps=0.1))
    return Example(
        factory=lambda config: adversarial_training(net, config, attack),
        config=AdversarialTrainingConfig(weight_decay=1e-4),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("accuracy", above=0.6),
    )
