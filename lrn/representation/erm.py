"""Empirical risk minimization over environments (Vapnik 1998): the mean risk, whatever differs."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from lrn import check
from lrn.arrays import zero_or_more
from lrn.config import config
from lrn.representation.environments import begin, look, read
from lrn.representation.penalized import example_of, example_optimizer
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, descend
from lrn.supervised.losses import Loss
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Batch, Example, Key, Learner, Metrics, Net, Params


@config
class ERMConfig:
    """Settings of empirical risk minimization.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    l2: the weight of the sum of squares of all parameters in the minimized loss, 0 or more.

    Raises:
        InputError: ``l2`` is negative.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    l2: float = 0.0

    def __post_init__(self) -> None:
        check.non_negative("l2", self.l2)


def erm(net: Net, loss: Loss, config: ERMConfig) -> Learner:
    """Minimize the mean of the environments' risks.

    Batches are those of `lrn.representation.environments`. Metrics of the batch in training mode: ``loss``,
    ``worst_loss``, for labels ``accuracy``, and ``gradient_norm``.

    Args:
        net: the network. loss: ``loss(output, target) -> [n]``.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch, an output or a loss has the wrong form.
    """

    def init(key: Key, batch: Batch) -> SupervisedState:
        return begin(net, loss, config, key, batch)

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        rows = read(batch)

        def objective(params: Params):
            seen, net_state = look(net, loss, params, state.net_state, rows, key)
            size = optax.tree.norm(params, squared=True)
            total = jnp.mean(seen.risks) + zero_or_more(config.l2) * size
            return total, (net_state, seen.metrics())

        return descend(config, state, objective)

    return Learner(init, step)


def example() -> Example:
    """The environments of `lrn.representation.penalized.example_of`."""
    return example_of(erm, ERMConfig(example_optimizer(), l2=1e-4))
