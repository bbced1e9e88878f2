"""Training on the logistic loss plus a penalty on the dependence of the decision on the group.

The objective is ``loss + strength * penalty`` (Kamishima et al. 2012; Zafar et al. 2017). The network is any,
and so is the penalty: one of `lrn.fair.penalties`, adapted by `on_scores`, or a function of one's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from lrn import check
from lrn.arrays import nan_where
from lrn.config import config
from lrn.fair import training
from lrn.fair.training import People
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, update
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, Params

SCORES = ("chance", "logit")

# penalty(key, logit [n], people) -> a scalar, 0 where the training is free of what it penalizes
Penalty = Callable[[Key, Array, People], Array]


@config
class PenalizedConfig:
    """Settings of penalized training.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    strength: the factor of the penalty, 0 or more; may be swept.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    strength: float = 1.0

    def __post_init__(self) -> None:
        check.non_negative("strength", self.strength)


def penalized(net: Net, penalty: Penalty, groups: int, config: PenalizedConfig) -> Learner:
    """Train ``net`` on the weighted mean logistic loss plus ``strength`` times the penalty.

    Batches are those of `lrn.fair.training`. The metrics are those of the batch in training mode: ``loss``,
    without the penalty, in nats; ``penalty``, without the strength; ``accuracy`` in [0, 1]; and
    ``gradient_norm``, the L2 norm over all parameters before clipping. A penalty of a minibatch is that of
    few rows, and its mean over minibatches is larger than the penalty of all rows.

    Args:
        net: a network that gives one logit a row.
        penalty: such as ``on_scores(mmd_penalty, 2)``.
        groups: the number of groups; 1 for a penalty without groups.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch, an output or a penalty has the wrong form. A wrong value is
            refused where it can be read; within a jitted training it makes loss and parameters NaN.
    """

    def init(key: Key, batch: Batch) -> SupervisedState:
        return training.begin(net, config, key, batch, groups)

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        people = training.read(batch, groups)
        net_key, penalty_key = jax.random.split(key)

        def objective(params: Params):
            logit, net_state = training.logits(net, params, state.net_state, people.x, net_key, train=True)
            loss, unfair = training.logistic_loss(logit, people), penalty(penalty_key, logit, people)
            if jnp.shape(unfair) != ():
                raise check.InputError(
                    f"the penalty must be a scalar, got shape {jnp.shape(unfair)}; sum or average it."
                )
            metrics = {"loss": loss, "penalty": unfair, "accuracy": training.accuracy(logit, people)}
            return loss + config.strength * unfair, (net_state, metrics)

        (_, (net_state, metrics)), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        metrics = metrics | {"gradient_norm": optax.tree.norm(gradient)}
        return update(config, state, gradient, net_state), metrics

    return Learner(init, step)


def on_scores(
    penalty: Callable[..., Array], groups: int, *, of: str = "chance", given_label: bool = False
) -> Penalty:
    """A penalty of `lrn.fair.penalties` on the scores of a network.

    Args:
        penalty: ``penalty(score, group, groups, weights) -> scalar``.
        groups: the number of groups.
        of: the score: the "chance" of label 1, or the "logit".
        given_label: whether to sum the penalties of the rows of each label, for equalized odds instead of
            demographic parity. A label without weight in the batch counts 0.

    Raises:
        InputError: ``of`` is not known.
    """
    check.choice("of", of, SCORES)

    def value(key: Key, logit: Array, people: People) -> Array:
        del key
        score = jax.nn.sigmoid(logit) if of == "chance" else logit

        def among(kept: Array) -> Array:
            mass = jnp.sum(kept)
            rows = jnp.where(mass == 0, 1, kept)  # the penalty divides by the sum
            return jnp.where(mass == 0, 0, penalty(score, people.group, groups, rows))

        if given_label:
            found = among(people.weights * (people.y == 0)) + among(people.weights * (people.y == 1))
        else:
            found = among(people.weights)
        return nan_where(jnp.isnan(people.weights).any(), found)  # a wrong label is in neither sum

    return value


def no_penalty(key: Key, logit: Array, people: People) -> Array:
    """The penalty 0: plain training."""
    del key, people
    return jnp.zeros((), logit.dtype)


def fit_penalized(
    key: Key,
    net: Net,
    penalty: Penalty,
    x: Any,
    y: Any,
    group: Any,
    groups: int,
    config: PenalizedConfig,
    weights: Any = None,
    *,
    steps: int = 500,
    batch_size: int | None = None,
) -> Partial:
    """The trained model ``predict(x) -> chance of label 1 [n]``; jit and vmap safe.

    Args:
        key: the key of the start and of the batches.
        net, penalty, config: as for `penalized`.
        x: features [n, dim], best standardized. y: labels, 0 or 1 [n].
        group: integers in 0..groups-1, [n]. groups: the number of groups.
        weights: [n], 0 or more; None: all 1.
        steps: the number of steps. batch_size: the number of rows a step; None: all.

    Raises:
        InputError: an argument is wrong. (Under jit, where values cannot be read, the chances are NaN.)
    """
    batch = training.whole(x, y, group, groups, weights)
    learner = penalized(net, penalty, groups, config)
    state, _ = training.descend(key, learner, batch, steps, batch_size)
    return training.predictor(net, state)


def example() -> Example:
    """A small network on synthetic people, with a penalty on the covariance of chance and group."""
    from lrn import nets
    from lrn.data.sampler import minibatch
    from lrn.fair.penalties import covariance_penalty

    return Example(
        factory=lambda config: penalized(nets.mlp(1, (8,)), on_scores(covariance_penalty, 2), 2, config),
        config=PenalizedConfig(OptimizerConfig(learning_rate=0.01), strength=10.0),
        data=training.example_people(),
        sampler=minibatch(64, columns=("x", "y", "group")),
        solves=Goal("loss", below=0.5),
    )
