"""Group DRO: training on the loss of the group that fares worst (Sagawa et al. 2020, algorithm 1).

Weights of the groups rise by multiplicative weights with the groups' losses, and the model descends on the
weighted losses. A network that fits all training rows has no worst group; a strong weight decay or early
stopping, and the adjustment ``C / sqrt(n_g)``, keep small groups from being fitted only in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from lrn import check
from lrn.config import config
from lrn.fair import training
from lrn.fair.training import People
from lrn.supervised import group_weights
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, update
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, Params


@config
class GroupDROConfig:
    """Settings of group DRO.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    rate: the rate of the group weights, above 0; .01 in the paper.
    adjustment: C, the factor of the generalization adjustment ``C / sqrt(n_g)``, in nats, 0 or more.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    rate: float = 0.01
    adjustment: float = 0.0

    def __post_init__(self) -> None:
        check.positive("rate", self.rate)
        check.non_negative("adjustment", self.adjustment)


class GroupDROState(NamedTuple):
    """State of group DRO.

    model: the state of the network's training. log_q: [groups], the logarithms of the group weights.
    """

    model: SupervisedState
    log_q: Array


def group_dro(net: Net, counts: Sequence[int], config: GroupDROConfig) -> Learner:
    """Train ``net`` on ``sum_g q_g loss_g``; before each step ``exp(rate * adjusted loss_g)`` multiplies q_g.

    Batches are those of `lrn.fair.training`. A group without weight in a batch keeps its log weight before
    all weights are divided by their sum, as in the paper, where a step sees one group. (The paper's code
    adds the adjustment also to groups that a batch lacks.) The metrics are those of the batch: ``loss``, the
    weighted sum of the groups' losses, ``worst_loss``, the largest of them, both in nats without adjustment;
    ``accuracy`` of all rows, and ``largest_weight`` of a group.

    Args:
        net: a network that gives one logit a row.
        counts: n_g, the number of training rows of each group, 1 or more.
        config: the settings; its floats may be swept.

    Raises:
        InputError: a count is no whole number of 1 or more; at trace time, if a batch or an output has the
            wrong form. A wrong value is refused where it can be read; within a jitted training it makes
            loss and parameters NaN.
    """
    for count in counts:
        check.integer("every entry of counts", count, 1)
    groups = len(counts)
    check.integer("the number of counts", groups, 1)

    def init(key: Key, batch: Batch) -> GroupDROState:
        model = training.begin(net, config, key, batch, groups)
        return GroupDROState(model, group_weights.equal(groups))

    def step(key: Key, state: GroupDROState, batch: Batch) -> tuple[GroupDROState, Metrics]:
        people = training.read(batch, groups)

        def objective(params: Params):
            logit, net_state = training.logits(net, params, state.model.net_state, people.x, key, train=True)
            losses, present = group_losses(logit, people, groups)
            log_q = raised(state.log_q, losses, present, counts, config)
            value = jnp.sum(jax.lax.stop_gradient(jnp.exp(log_q)).astype(losses.dtype) * losses)
            return value, (net_state, logit, losses, log_q)

        (loss, aux), gradient = jax.value_and_grad(objective, has_aux=True)(state.model.params)
        net_state, logit, losses, log_q = aux
        metrics = {
            "loss": loss,
            "worst_loss": jnp.max(losses),
            "accuracy": training.accuracy(logit, people),
            "largest_weight": jnp.exp(jnp.max(log_q)),
            "gradient_norm": optax.tree.norm(gradient),
        }
        return GroupDROState(update(config, state.model, gradient, net_state), log_q), metrics

    return Learner(init, step)


def group_losses(logit: Array, people: People, groups: int) -> tuple[Array, Array]:
    """The weighted mean logistic loss of each group, [groups], in nats, and whether it has weight, [groups].

    The loss of a group without weight is 0. Weights of NaN make all losses NaN, also where a group out of
    range has all rows, which no sum over groups sees.
    """
    losses = training.logistic_losses(logit, people.y)
    mass = jax.ops.segment_sum(people.weights, people.group, groups)
    total = jax.ops.segment_sum(people.weights * losses, people.group, groups)
    right = jnp.where(jnp.isnan(jnp.sum(people.weights)), jnp.nan, 1)
    return right * total / jnp.where(mass == 0, 1, mass), right * mass != 0


def raised(
    log_q: Array, losses: Array, present: Array, counts: Sequence[int], config: GroupDROConfig
) -> Array:
    """The log weights [groups] after one step of multiplicative weights on the adjusted losses [groups]."""
    sizes = jnp.asarray(counts, log_q.dtype)
    gain = losses.astype(log_q.dtype) + config.adjustment / jnp.sqrt(sizes)
    return group_weights.raised(log_q, jnp.where(present, gain, 0), config.rate)


def predictor(net: Net, state: GroupDROState) -> Partial:
    """The trained model, ``predict(x) -> chance of label 1 [n]``."""
    return training.predictor(net, state.model)


def example() -> Example:
    """A small network on synthetic people, with the adjustment."""
    from lrn import nets
    from lrn.data.sampler import minibatch

    return Example(
        factory=lambda config: group_dro(nets.mlp(1, (8,)), (128, 128), config),
        config=GroupDROConfig(OptimizerConfig(learning_rate=0.01), rate=0.1, adjustment=0.5),
        data=training.example_people(),
        sampler=minibatch(64, columns=("x", "y", "group")),
        solves=Goal("loss", below=0.5),
    )
