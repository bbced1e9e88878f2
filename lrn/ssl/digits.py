"""Small instances of methods for tests and first steps: the digits, whose views are noisy copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from lrn import data
from lrn.data.sampler import minibatch
from lrn.ssl.views import View
from lrn.types import Array, Example, Goal, Key, Learner


def noisy(std: float = 0.3) -> View:
    """Views ``x + std * noise`` of inputs [batch, ...], with standard normal noise."""

    def view(key: Key, x: Array) -> Array:
        return x + std * jax.random.normal(key, x.shape)

    return view


def on_digits(learner: Callable[[View, Any], Learner], config: Any, solves: Goal) -> Example:
    """An example on batches of 32 digits, images [32, 8, 8, 1].

    Args:
        learner: ``learner(view, config)``: the method with its networks, for noisy views.
        config: the config of the method.
        solves: what the example reaches.
    """
    return Example(
        factory=lambda config: learner(noisy(), config),
        config=config,
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=solves,
    )
