"""DINO (Caron et al., "Emerging properties in self-supervised vision transformers", 2021)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, between, zero_or_more
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
from lrn.ssl.similarity import products, unit, wide
from lrn.ssl.swav import held
from lrn.ssl.target import towards
from lrn.ssl.views import View
from lrn.supervised import schedules
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Net, PyTree


@config
class DINOConfig:
    """Settings of DINO.

    optimizer: the optimizer's config. average: the config of the averaged weights of the student.
    prototypes: the number of outputs of the last layer, 2 or more. views: the number of whole views, 2 or
        more. local_views: the number of local views; 0 without a ``local_view``.
    temperature: the student's, above 0.
    teacher_temperature: the teacher's after its warm-up, above 0. warm_temperature: the teacher's at the
        first step, above 0. warmup: the length in steps of the line between the two; 0 for none.
    momentum: the teacher's, in [0, 1]. steps: the number of steps after which the momentum has risen to 1
        along half a cosine; 0 keeps it constant.
    center_momentum: that of the center, in [0, 1].
    freeze: the number of first steps in which the last layer stays as it is.
    centering: whether the center is subtracted from the teacher's logits; without it one output wins.
    sharpening: whether the teacher has a temperature of its own; without it the teacher has the student's,
        and the centered outputs become uniform.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    prototypes: int = 1024
    views: int = 2
    local_views: int = 0
    temperature: float = 0.1
    teacher_temperature: float = 0.04
    warm_temperature: float = 0.04
    warmup: float = 0.0
    momentum: float = 0.996
    steps: int = 0
    center_momentum: float = 0.9
    freeze: int = 0
    centering: bool = True
    sharpening: bool = True

    def __post_init__(self) -> None:
        check_prototypes(self.prototypes)
        for name in ("temperature", "teacher_temperature", "warm_temperature"):
            check.positive(name, getattr(self, name))
        check.non_negative("warmup", self.warmup)
        for name in ("momentum", "center_momentum"):
            check.between(name, getattr(self, name), 0, 1)
        check.counts(self, "steps", "freeze", low=0)
        check.boolean("centering", self.centering)
        check.boolean("sharpening", self.sharpening)


def dino_loss(
    student: Array,
    teacher: Array,
    center: Array,
    temperature: ArrayLike,
    teacher_temperature: ArrayLike,
) -> Array:
    """The cross-entropy of the teacher's and the student's outputs over different views, in nats, a scalar.

    Args:
        student: logits [crops, n, prototypes], whole views first.
        teacher: logits [views, n, prototypes] of the whole views; they carry no gradient.
        center: [prototypes], subtracted from the teacher's logits.
        temperature, teacher_temperature: above 0; may be traced, and give NaN where one is not above 0.

    Raises:
        InputError: the shapes do not fit, or a temperature is not positive.
    """
    check.positive("temperature", temperature)
    codes = teacher_codes(teacher, center, teacher_temperature)
    return swapped_cross_entropy(codes, wide(student) / above_zero(temperature))


def teacher_codes(teacher: Array, center: Array, temperature: ArrayLike) -> Array:
    """The teacher's centered and sharpened outputs, probabilities [..., prototypes], without gradient."""
    check.positive("teacher_temperature", temperature)
    center = center.reshape((1,) * (teacher.ndim - 1) + (-1,))
    return jax.lax.stop_gradient(jax.nn.softmax((wide(teacher) - center) / above_zero(temperature), axis=-1))


def dino(
    encoder: Net, head: Net, view: View | Views, config: DINOConfig, local_view: View | None = None
) -> Learner:
    """Let a student predict the outputs of its own running average, the teacher, from other views.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder", "head" and "last", the weights [prototypes, dim] of the last layer, whose rows are normalized
    where they are used (weight normalization with the norm fixed to 1). ``state.memory["teacher"]`` is a pair
    of the teacher's parameters and states by network; the teacher's BatchNorm has the statistics of its own
    batches. The center is that of the batches before.

    The metrics ``code_entropy`` and ``usage_entropy`` are those of `lrn.ssl.crops.code_metrics`, of the
    teacher.

    Args:
        encoder: maps inputs to features h [batch, dim], which are kept.
        head: maps features to the bottleneck z [batch, dim], which is normalized.
        view: draws a random whole view of a batch, or a tuple of all views, whole ones first.
        config: the settings; its floats may be swept.
        local_view: draws a local view, which only the student sees; there are ``config.local_views``.

    Raises:
        InputError: at trace time, if the batch has fewer than two examples, or a network's output is not
            [batch, dim].
    """
    nets = {"encoder": encoder, "head": head}
    drawing = crops(view, config.views, local_view, config.local_views)
    sharp = schedules.linear(
        above_zero(config.warm_temperature), config.teacher_temperature, zero_or_more(config.warmup)
    )
    start, of_center = (between(m, 0, 1) for m in (config.momentum, config.center_momentum))
    rise = schedules.cosine(start, 1.0, config.steps)
    momentum = rise if config.steps else schedules.constant(start)

    def init(key: Key, x: Array) -> tuple[Parts, Parts, PyTree]:
        key, own = jax.random.split(key)
        params, states, width = init_embedding(key, view, x, nets)
        params = {**params, "last": unit(jax.random.normal(own, (config.prototypes, width)))}
        states = {**states, "last": ()}
        memory = {
            "step": jnp.zeros((), jnp.int32),
            "teacher": jax.tree.map(jnp.copy, (params, states)),
            "center": jnp.zeros(config.prototypes),
            "last": jnp.copy(params["last"]),
        }
        return params, states, memory

    def logits(params: Parts, z: Array) -> Array:
        return products(z.reshape(-1, z.shape[-1]), unit(params["last"])).reshape(*z.shape[:2], -1)

    def loss(key: Key, params: Parts, net_state: Parts, memory: PyTree, x: Array) -> Value:
        rows = x.shape[0]
        view_key, key, teacher_key = jax.random.split(key, 3)
        drawn = drawing.drawn(view_key, x)
        z, net_state = embed(nets, params, net_state, drawn, key, rows)
        teacher, teacher_state = memory["teacher"]
        target, teacher_state = embed(nets, teacher, teacher_state, drawn[:1], teacher_key, rows)
        target = logits(teacher, target)
        temperature = sharp(memory["step"]) if config.sharpening else config.temperature
        value = dino_loss(logits(params, z), target, memory["center"], config.temperature, temperature)
        codes = teacher_codes(target, memory["center"], temperature)
        memory = {**memory, "step": memory["step"] + 1, "teacher": (teacher, teacher_state)}
        if config.centering:
            mean = jnp.mean(target, axis=(0, 1))
            memory["center"] = towards(memory["center"], mean, of_center)
        return value, (net_state, memory, code_metrics(codes))

    def after(params: Parts, net_state: Parts, memory: PyTree, step: Array) -> tuple[Parts, PyTree]:
        last = held(step, config.freeze, memory["last"], params["last"])
        params = {**params, "last": last}
        teacher, teacher_state = memory["teacher"]
        teacher = towards(teacher, params, momentum(step - 1))
        return params, {**memory, "teacher": (teacher, teacher_state), "last": last}

    return pretrain_on(Objective(init, loss, after, divided=True), config)


def example() -> Example:
    """A small network on the digits, whose views are noisy copies, with every option on."""
    from lrn import nets

    encoder, head = nets.mlp(None, (32,)), nets.projector(8, (16,))
    settings = DINOConfig(
        OptimizerConfig(learning_rate=0.003),
        prototypes=16,
        local_views=1,
        teacher_temperature=0.05,
        warmup=50.0,
        momentum=0.97,
        steps=300,
        freeze=2,
    )
    return on_digits(
        lambda view, config: dino(encoder, head, view, config, noisy(0.6)), settings, Goal("loss", below=2.6)
    )
