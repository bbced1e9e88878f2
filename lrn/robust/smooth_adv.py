"""SmoothAdv: adversarial training of the smoothed classifier (Salman et al. 2019)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.attack import LogitsFn, check_eps
from lrn.robust.noise_training import (
    check_noise,
    mean_cross_entropy,
    noisy_copies,
    smoothed_cross_entropy,
    train_on_noise,
)
from lrn.robust.pgd import PGDConfig, ascend
from lrn.supervised import schedules
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Learner, Net


@config
class SmoothAdvConfig:
    """Settings of SmoothAdv. The defaults of the attack are those of the authors' program.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    sigma: the standard deviation of the noise, in the unit of the pixels, which lie in [0, 1].
    samples: the number of noisy copies of each input (m_train in the paper).
    eps: the radius of the attack's L2 ball, in the same unit.
    steps: the number of the attack's steps.
    step_ratio: the length of a step as a multiple of ``eps / steps``.
    warmup: the length, in steps of the training, of a linear rise of the radius; 0 for none.
    every_copy: whether the weights are trained on all copies; else on the first copy of each input only.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    sigma: float = 0.25
    samples: int = 2
    eps: float = 0.25
    steps: int = 10
    step_ratio: float = 2.0
    warmup: float = 0.0
    every_copy: bool = True

    def __post_init__(self) -> None:
        check_noise(self)
        check_eps(self.eps, "l2")
        check.integer("steps", self.steps, 1)
        check.positive("step_ratio", self.step_ratio)
        check.non_negative("warmup", self.warmup)
        check.boolean("every_copy", self.every_copy)


def smooth_adv(net: Net, config: SmoothAdvConfig) -> Learner:
    """Minimize the cross-entropy of noisy copies of attacked inputs.

    `smoothed_pgd` attacks the mean probabilities over the copies. The weights are trained on the same noise:
    on all copies, which is the option ``train-multi-noise`` of the authors' program, or on the first copy of
    each input, which is that program's default. With the option, that program splits a batch into ``samples``
    parts, with one update for each part; here one update has all copies of the whole batch.

    The metrics are those of `train_on_noise` for the attacked copies, with the term ``cross_entropy`` in
    nats. A step takes ``steps`` gradients by the inputs and one by the parameters, of samples * batch inputs
    each.

    Args:
        net: the network, whose logits are [batch, classes].
        config: the settings; its floats may be swept.

    Raises:
        ValueError: as `train_on_noise`.
    """
    radius = schedules.warm_up(schedules.constant(config.eps), config.warmup)

    def move(logits_fn: LogitsFn, x: Array, y: Array, noise: Array, step: Array) -> Array:
        return smoothed_pgd(logits_fn, x, y, noise, radius(step), config.steps, config.step_ratio)

    def terms(logits: Array, y: Array) -> dict[str, Array]:
        return {"cross_entropy": mean_cross_entropy(logits if config.every_copy else logits[:, :1], y)}

    return train_on_noise(net, config, terms, move)


def smoothed_pgd(
    logits_fn: LogitsFn,
    x: Array,
    y: Array,
    noise: Array,
    eps: Array | float,
    steps: int = 10,
    step_ratio: Array | float = 2.0,
) -> Array:
    """PGD in L2 on `smoothed_cross_entropy`, with the same noise in every step; [batch, ...].

    The ascent starts at ``x``. Each step has length ``step_ratio * eps / steps`` along the normalized
    gradient and ends with the projection on the ball, then on the box [0, 1]. (The authors' program projects
    on the box first, and takes a random direction where the gradient is 0; here the step is 0.)

    Args:
        logits_fn: the network in evaluation mode, [batch, ...] -> [batch, classes].
        x: inputs [batch, ...] in [0, 1].
        y: labels [batch].
        noise: [batch, samples, ...], which is added to ``x`` and not clipped.
        eps: the radius, a number or one for each input [batch].
        steps: the number of steps.
        step_ratio: the length of a step as a multiple of ``eps / steps``.

    Raises:
        ValueError: ``x`` lies outside of the box, or a label outside of the classes.
    """
    eps = jnp.asarray(eps, jnp.float32)  # an array, because a step of length 0 is right for a radius of 0
    settings = PGDConfig(
        eps=eps,  # pyright: ignore[reportArgumentType]
        step_size=step_ratio * eps / steps,  # pyright: ignore[reportArgumentType]
        steps=steps,
        norm="l2",
        random_start=False,
        keep="last",
    )

    def objective(z: Array) -> tuple[Array, Array]:
        logits = logits_fn(noisy_copies(z, noise))
        logits = logits.reshape(*noise.shape[:2], logits.shape[-1])
        return smoothed_cross_entropy(logits, y), jnp.zeros(y.shape, bool)

    # Without a random start the key is not used.
    return ascend(jax.random.key(0), objective, x, settings)[0]


def example() -> Example:
    """A small network on the digits."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    net = nets.mlp(10, (32,), dropout=0.1)
    return Example(
        factory=lambda config: smooth_adv(net, config),
        config=SmoothAdvConfig(OptimizerConfig(learning_rate=0.01), steps=3, warmup=10.0),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("accuracy", above=0.6),
    )
