"""Optimizers of optax, made from one small config; every float of the config may be swept under vmap."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrn import check
from lrn.config import config
from lrn.supervised import schedules
from lrn.supervised.schedules import Schedule
from lrn.types import Params, PyTree

Mask = Callable[[Params], PyTree]  # parameters -> a tree of bools, True where weights decay

OPTIMIZERS = ("adam", "adamw", "lamb", "lars", "sgd")
SCHEDULES = ("constant", "cosine", "linear", "piecewise")
DECAYED = ("all", "matrices")


@config
class OptimizerConfig:
    """An optimizer, its learning rate over time, its weight decay and its clipping.

    name: "sgd" (Sutskever et al. 2013), "adam" (Kingma and Ba 2015), "adamw" (Loshchilov and Hutter 2019),
        "lars" (You et al. 2017) or "lamb" (You et al. 2020).
    learning_rate: the rate after the warm-up, the largest of the training.
    weight_decay: the coefficient of the decay. Under sgd, adam and lars it adds an L2 term to the gradient;
        under adamw and lamb it is decoupled from the gradient and multiplied by the learning rate.
    decayed: the parameters that decay: "matrices", all arrays of two axes or more, which leaves out
        biases and the scales of norms; or "all". Under lars, parameters that do not decay take the step
        without the trust ratio.
    clip: the largest global norm of the gradient. Before all else a gradient with a larger norm is scaled to
        this norm; inf clips nothing.
    warmup: the length in steps of a linear rise before the schedule begins.
    schedule: "constant"; "linear" or "cosine", from the rate to ``end`` times the rate at step ``steps``; or
        "piecewise", which multiplies the rate by ``drop`` at each step in ``drops``.
    steps: the length of the training in steps, warm-up included; "linear" and "cosine" need it.
    end: the last rate of "linear" and "cosine", as a share of ``learning_rate``.
    drops: the steps of "piecewise", counted from the start of the training, ascending.
    drop: the factor of "piecewise".
    momentum, nesterov: settings of sgd and lars.
    b1, b2, eps: settings of adam, adamw and lamb.
    trust: the trust coefficient of lars.

    Raises:
        InputError: a field is out of its range, or the fields of the schedule contradict each other.
    """

    name: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    decayed: str = "matrices"
    clip: float = math.inf
    warmup: float = 0.0
    schedule: str = "constant"
    steps: int = 0
    end: float = 0.0
    drops: tuple[int, ...] = ()
    drop: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    trust: float = 1e-3

    def __post_init__(self) -> None:
        check.choice("optimizer", self.name, OPTIMIZERS)
        check.choice("schedule", self.schedule, SCHEDULES)
        check.choice("decayed", self.decayed, DECAYED)
        check.boolean("nesterov", self.nesterov)
        for name in ("learning_rate", "eps", "trust"):
            check.positive(name, getattr(self, name))
        for name in ("weight_decay", "warmup", "end", "drop"):
            check.non_negative(name, getattr(self, name))
        if not (isinstance(self.clip, float) and self.clip == math.inf):
            check.positive("clip", self.clip)
        for name in ("momentum", "b1", "b2"):
            _below_one(name, getattr(self, name))
        self._check_lengths()

    def _check_lengths(self) -> None:
        check.integer("steps", self.steps)
        if self.schedule in ("linear", "cosine") and self.steps == 0:
            raise check.InputError(
                f"schedule {self.schedule!r} needs the length of the training, got steps=0; give steps=."
            )
        if self.steps and isinstance(self.warmup, (int, float)) and self.warmup >= self.steps:
            raise check.InputError(
                f"warmup must be below steps, got {self.warmup:g} and {self.steps}; both are in steps."
            )
        if not isinstance(self.drops, tuple):
            raise check.InputError(f"drops must be a tuple of steps, got {self.drops!r}; write (100, 200).")
        for drop in self.drops:
            check.integer("every entry of drops", drop, 1)
        if (self.schedule == "piecewise") != bool(self.drops):
            raise check.InputError(
                f"drops and the schedule 'piecewise' go together, got drops={self.drops} and schedule "
                f"{self.schedule!r}; give both or neither."
            )
        if list(self.drops) != sorted(set(self.drops)):
            raise check.InputError(f"drops must ascend, got {self.drops}; sort them, each once.")
        if self.drops and isinstance(self.warmup, (int, float)) and self.warmup > self.drops[0]:
            raise check.InputError(
                f"warmup must end before the first drop, got {self.warmup:g} and {self.drops[0]}; shorten it."
            )


def optimizer(config: OptimizerConfig, mask: Mask | None = None) -> optax.GradientTransformation:
    """The optimizer of a config.

    Args:
        config: the settings; its floats may be traced, and the form of the state does not depend on them.
        mask: the parameters that decay, in place of ``config.decayed``.
    """
    chosen = mask or (matrices if config.decayed == "matrices" else everything)
    decay = optax.add_decayed_weights(config.weight_decay, chosen)
    moments = optax.scale_by_adam(config.b1, config.b2, config.eps)
    trace = optax.trace(config.momentum, config.nesterov)
    trust = optax.masked(optax.scale_by_trust_ratio(trust_coefficient=config.trust), chosen)
    scale = optax.scale_by_learning_rate(learning_rate(config))
    parts = {
        "sgd": (decay, trace, scale),
        "adam": (decay, moments, scale),
        "adamw": (moments, decay, scale),
        "lars": (decay, trust, scale, trace),
        "lamb": (moments, decay, optax.scale_by_trust_ratio(), scale),
    }[config.name]
    return optax.chain(clip_by_norm(config.clip), *parts)


def learning_rate(config: OptimizerConfig) -> Schedule:
    """The learning rate as a function of the step; the first step is step 0."""
    peak, rest = config.learning_rate, config.steps - config.warmup
    if config.schedule == "linear":
        after = schedules.linear(peak, peak * config.end, rest)
    elif config.schedule == "cosine":
        after = schedules.cosine(peak, peak * config.end, rest)
    elif config.schedule == "piecewise":
        values = [peak * config.drop**i for i in range(len(config.drops) + 1)]
        after = schedules.piecewise(values, [drop - config.warmup for drop in config.drops])
    else:
        after = schedules.constant(peak)
    return schedules.warm_up(after, config.warmup)


def clip_by_norm(largest: ArrayLike) -> optax.GradientTransformation:
    """Like `optax.clip_by_global_norm`, but keeps each array's dtype under a traced norm, and accepts inf."""

    def update(updates: PyTree, state: Any, params: Any = None) -> tuple[PyTree, Any]:
        del params
        squares = [jnp.sum(jnp.square(x.astype(jnp.float32))) for x in jax.tree.leaves(updates)]
        square = sum(squares, jnp.zeros(()))
        over = square > jnp.square(jnp.asarray(largest, jnp.float32))
        # Where the gradient is not scaled, the divisor is 1: the norm may be 0, and ``largest`` inf.
        scale = jnp.where(over, largest / jnp.sqrt(jnp.where(over, square, 1.0)), 1.0)
        return jax.tree.map(lambda x: x * scale.astype(x.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def matrices(params: Params) -> PyTree:
    """A mask: True for arrays of two axes or more, False for biases and the scales of norms."""
    return jax.tree.map(lambda x: jnp.ndim(x) >= 2, params)


def everything(params: Params) -> PyTree:
    """A mask: True everywhere."""
    return jax.tree.map(lambda _: True, params)


def _below_one(name: str, value: Any) -> None:
    check.between(name, value, 0, 1)
    if isinstance(value, (int, float)) and value == 1:
        raise check.InputError(f"{name} must be below 1, got 1; choose a smaller {name}.")
