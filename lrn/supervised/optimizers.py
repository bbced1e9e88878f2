"""Optimizers of optax from one small config, whose every float may be swept under vmap."""

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
    learning_rate: the largest one, after the warm-up.
    weight_decay: added to the gradient (L2) for sgd, adam and lars; decoupled from it for adamw and lamb,
        and then times the learning rate.
    decayed: "matrices", weights of two axes or more, which leaves out biases and the scales of norms; or
        "all". The others also keep their plain step under lars.
    clip: gradients of a greater global norm are scaled down to it, before anything else; inf never does so.
    warmup: in steps, a linear rise before the schedule begins.
    schedule: "constant"; "linear" or "cosine" to ``end`` times the rate at step ``steps``; or "piecewise",
        the rate times ``drop`` from each step in ``drops`` on.
    steps: the length of the training, warm-up included; linear and cosine need it.
    end: a share of the learning rate.
    drops: in steps from the start of the training, ascending.
    momentum, nesterov: of sgd and lars.
    b1, b2, eps: of adam, adamw and lamb.
    trust: the trust coefficient of lars.
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

    def __post_init__(self):
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
    """The optimizer that the config says.

    Args:
        config: its floats may be traced; the form of the state does not depend on them.
        mask: which parameters decay, in place of what ``config.decayed`` says.
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
    """The learning rate as a function of the step, 0 at the first."""
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
    """`optax.clip_by_global_norm` that keeps the dtype of each array under a traced norm, and takes inf."""

    def update(updates: PyTree, state: Any, params: Any = None) -> tuple[PyTree, Any]:
        del params
        squares = [jnp.sum(jnp.square(x.astype(jnp.float32))) for x in jax.tree.leaves(updates)]
        square = sum(squares, jnp.zeros(()))
        over = square > jnp.square(jnp.asarray(largest, jnp.float32))
        # The norm of a gradient that is not scaled is not divided by: it may be 0, and the largest inf.
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
