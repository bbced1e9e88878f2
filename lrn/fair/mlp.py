"""A multilayer perceptron as a model of fair training: ``fit(x, y, weights) -> predict``."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

from lrn import check
from lrn.config import config
from lrn.fair import arguments
from lrn.fair.model import Fit
from lrn.fair.penalized import PenalizedConfig, fit_penalized, no_penalty
from lrn.nets.mlp import mlp
from lrn.supervised.optimizers import OptimizerConfig


@config
class MLPConfig:
    """Settings of the network and its training.

    optimizer: the optimizer's config; a weight decay shrinks the weight matrices.
    hidden: the widths of the hidden layers; () is a linear model.
    steps: the number of steps, each on all rows unless ``batch_size`` is above 0.
    batch_size: the number of rows a step, drawn with repeats; 0: all rows.
    seed: the seed of the start and of the batches; every fit of one config starts alike.
    """

    optimizer: OptimizerConfig = OptimizerConfig("adam", 0.02)
    hidden: tuple[int, ...] = (32,)
    steps: int = 300
    batch_size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, tuple):
            raise check.InputError(f"hidden must be a tuple of widths, got {self.hidden!r}; write (32,).")
        for width in self.hidden:
            check.integer("every entry of hidden", width, 1)
        check.counts(self, "steps")
        check.counts(self, "batch_size", "seed", low=0)


def mlp_fit(config: MLPConfig = MLPConfig()) -> Fit:  # noqa: B008
    """The model ``fit(x, y, weights) -> predict`` of an MLP; ``predict(x)`` is the chance of 1.

    ``fit`` is jit and vmap safe. It minimizes the weighted mean of the logistic loss, so only the weights'
    shares matter. Arguments of ``fit``: features x [n, dim], best standardized; labels y, 0 or 1 [n];
    weights [n], 0 or more, or None for 1. A wrong value raises InputError; under jit, where values cannot be
    read, the chances are NaN.
    """
    net = mlp(1, config.hidden)

    def fit(x: Any, y: Any, weights: Any = None) -> Partial:
        x = arguments.features("x", x)
        settings, one = PenalizedConfig(config.optimizer, strength=0.0), np.zeros(x.shape[0], np.int32)
        return fit_penalized(
            jax.random.key(config.seed), net, no_penalty, x, y, one, 1, settings, weights,
            steps=config.steps, batch_size=config.batch_size or None,
        )  # fmt: skip

    return fit
