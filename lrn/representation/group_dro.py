"""Group DRO with environments as groups: training on the environment that fares worst (Sagawa et al. 2020).

`lrn.fair.group_dro` is the same method for groups within one batch, of unequal sizes and with weights.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.arrays import above_zero, zero_or_more
from lrn.config import config
from lrn.representation.environments import begin, look, read
from lrn.representation.penalized import example_of, example_optimizer
from lrn.supervised import group_weights
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, update
from lrn.supervised.losses import Loss
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Key, Learner, Metrics, Net, Params


@config
class GroupDROConfig:
    """Settings of group DRO.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    rate: the rate of the environments' weights, above 0; .01 in the paper.
    l2: the weight of the sum of squares of all parameters in the minimized loss, 0 or more.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    rate: float = 0.01
    l2: float = 0.0

    def __post_init__(self) -> None:
        check.positive("rate", self.rate)
        check.non_negative("l2", self.l2)


class GroupDROState(NamedTuple):
    """State of group DRO.

    model: the state of the network's training. log_q: [environments], the logarithms of the weights.
    """

    model: SupervisedState
    log_q: Array


def group_dro(net: Net, loss: Loss, config: GroupDROConfig) -> Learner:
    """Minimize ``sum_e q_e risk_e``; before each step ``exp(rate * risk_e)`` multiplies q_e.

    Batches are those of `lrn.representation.environments`. Metrics of the batch in training mode: ``loss``,
    the mean risk; ``worst_loss``; for labels ``accuracy``; ``largest_weight`` of an environment;
    ``gradient_norm``.

    Args:
        net: the network. loss: ``loss(output, target) -> [n]``.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch, an output or a loss has the wrong form.
    """

    def init(key: Key, batch: Batch) -> GroupDROState:
        return GroupDROState(begin(net, loss, config, key, batch), group_weights.equal(read(batch)[2]))

    def step(key: Key, state: GroupDROState, batch: Batch) -> tuple[GroupDROState, Metrics]:
        rows = read(batch)

        def objective(params: Params):
            seen, net_state = look(net, loss, params, state.model.net_state, rows, key)
            gain = jax.lax.stop_gradient(seen.risks)
            log_q = group_weights.raised(state.log_q, gain, above_zero(config.rate))
            total = jnp.sum(jnp.exp(log_q).astype(seen.risks.dtype) * seen.risks)
            metrics = {**seen.metrics(), "largest_weight": jnp.exp(jnp.max(log_q))}
            total = total + zero_or_more(config.l2) * optax.tree.norm(params, squared=True)
            return total, (net_state, log_q, metrics)

        gradient, (net_state, log_q, metrics) = jax.grad(objective, has_aux=True)(state.model.params)
        metrics = {**metrics, "gradient_norm": optax.tree.norm(gradient)}
        return GroupDROState(update(config, state.model, gradient, net_state), log_q), metrics

    return Learner(init, step)


def example() -> Example:
    """The environments of `lrn.representation.penalized.example_of`."""
    return example_of(group_dro, GroupDROConfig(example_optimizer(), rate=0.1, l2=1e-4))
