"""Fine-tuning: a pretrained encoder and a linear head, trained on labels together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import above_zero, zero_or_more
from lrn.config import config
from lrn.data.sampler import minibatch
from lrn.ssl.pretraining import one_output
from lrn.supervised.learner import SupervisedConfig, SupervisedState, supervised
from lrn.supervised.losses import cross_entropy
from lrn.types import Array, Example, Key, Learner, Net, NetState, Params


@config
class FineTuningConfig:
    """Settings of fine-tuning.

    training: the settings of supervised training.
    head_rate: the learning rate of the head divided by that of the encoder, above 0.
    encoder_rate: a factor of the encoder's learning rate, 0 or more; 0 trains the head alone. Both are thus
        factors of the optimizer's rate.

    Raises:
        InputError: a field is out of its range.
    """

    training: SupervisedConfig = SupervisedConfig()
    head_rate: float = 1.0
    encoder_rate: float = 1.0

    def __post_init__(self) -> None:
        check.positive("head_rate", self.head_rate)
        check.non_negative("encoder_rate", self.encoder_rate)


class Pretrained(NamedTuple):
    """A pretrained network: its parameters and its state, as `lrn.ssl.pretraining.weights` gives them."""

    params: Params
    net_state: NetState


def classifier(encoder: Net, classes: int, pretrained: Pretrained | None = None) -> Net:
    """An encoder with a linear head, whose parameters are ``{"encoder": ..., "head": ...}``.

    The head's weights start as normal numbers of standard deviation .01, so that a random head hardly
    changes the encoder in the first steps.

    Args:
        encoder: maps inputs to features [batch, dim].
        classes: the number of classes, 2 or more.
        pretrained: where the encoder starts; None draws it by the key.

    Raises:
        InputError: the classes are too few; from the net: the encoder's output is not [batch, features].
    """
    check.integer("classes", classes, 2)

    def init(key: Key, x: Array) -> tuple[Params, NetState]:
        encoder_key, head_key = jax.random.split(key)
        params, net_state = encoder.init(encoder_key, x) if pretrained is None else pretrained
        features = jax.eval_shape(encoder.apply, params, net_state, x)[0]
        dim = one_output("encoder", features, x.shape[0]).shape[1]
        head = {"kernel": 0.01 * jax.random.normal(head_key, (dim, classes)), "bias": jnp.zeros(classes)}
        return {"encoder": params, "head": head}, net_state

    def apply(
        params: Params, state: NetState, x: Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, NetState]:
        features, state = encoder.apply(params["encoder"], state, x, key=key, train=train)
        features = one_output("encoder", features, x.shape[0])
        return features @ params["head"]["kernel"] + params["head"]["bias"][None], state

    return Net(init, apply)


def fine_tuning(
    encoder: Net, pretrained: Pretrained | None, classes: int, config: FineTuningConfig
) -> Learner:
    """Train a pretrained encoder with a linear head on labels, by cross-entropy.

    Batches and metrics are those of `lrn.supervised.learner.supervised`. Evaluate with
    ``evaluate(classifier(encoder, classes), *weights(state), x, y)`` of `lrn.supervised`.

    Args:
        encoder: maps inputs to features [batch, dim].
        pretrained: where the encoder starts; None is training from scratch, the control.
        classes: the number of classes.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, as `supervised` and `classifier`.
    """
    rates = {"encoder": zero_or_more(config.encoder_rate), "head": above_zero(config.head_rate)}
    return supervised(classifier(encoder, classes, pretrained), cross_entropy, config.training, rates=rates)


def fine_tune(
    key: Key,
    encoder: Net,
    pretrained: Pretrained | None,
    data: Mapping[str, Any],
    classes: int,
    config: FineTuningConfig,
    *,
    steps: int,
    batch_size: int = 64,
    rows: str | None = None,
) -> SupervisedState:
    """Fine-tune for a number of steps on random batches, in one loop on the device.

    The function may be called under jit, and under vmap over keys and pretrained weights.

    Args:
        key: the key of the batches and of dropout.
        encoder, pretrained, classes, config: as for `fine_tuning`.
        data: ``{"image": [n, ...], "label": [n]}``, and ``rows`` if given.
        steps: the number of steps.
        batch_size: the number of examples in a batch.
        rows: the entry of ``data`` with the indices to draw from, such as those of
            `lrn.data.stratified.few_labels`.

    Returns:
        The state after the last step.

    Raises:
        InputError: an argument is out of range.
    """
    check.integer("steps", steps, 1)
    learner = fine_tuning(encoder, pretrained, classes, config)
    sampler = minibatch(batch_size, rows=rows)
    init_key, loop_key = jax.random.split(key)
    first_key, init_key = jax.random.split(init_key)

    def step(state: SupervisedState, key: Key) -> tuple[SupervisedState, None]:
        draw_key, step_key = jax.random.split(key)
        return learner.step(step_key, state, sampler.draw(draw_key, data))[0], None

    state = learner.init(init_key, sampler.draw(first_key, data))
    return jax.lax.scan(step, state, jax.random.split(loop_key, steps))[0]


def example() -> Example:
    """A small network on the digits, of which only the head has its full learning rate."""
    from lrn import data, nets
    from lrn.supervised.averages import AverageConfig
    from lrn.supervised.optimizers import OptimizerConfig
    from lrn.types import Goal

    encoder = nets.mlp(None, (32,))
    start = Pretrained(*jax.jit(encoder.init)(jax.random.key(7), jnp.zeros((1, 8, 8, 1))))
    training = SupervisedConfig(OptimizerConfig(learning_rate=0.03), AverageConfig("ema", 0.9))
    return Example(
        factory=lambda config: fine_tuning(encoder, start, 10, config),
        config=FineTuningConfig(training, encoder_rate=0.1),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("accuracy", above=0.9),
    )
