"""Adversarial debiasing: the decision hides the group from an adversary (Zhang et al. 2018).

The adversary predicts the group from the predictor's logit, for demographic parity, or from logit and label,
for equalized odds. The predictor descends along ``g - proj_h g - alpha h`` (equation 1 of the paper), where g
is the gradient of its own loss, h that of the adversary's loss by the predictor's parameters, and
``proj_h g = (g . h / h . h) h``. No step helps the adversary, and the last term hinders it. The projection is
that of the whole parameter vector, as in the paper, and not one of each array.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from lrn import check
from lrn.arrays import as_array
from lrn.config import config
from lrn.fair import training
from lrn.fair.training import People
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, initial_state, update
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.settings import TrainingConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, NetState, Params, PyTree

FAIRNESS = ("demographic_parity", "equalized_odds")


@config
class AdversarialConfig:
    """Settings of adversarial debiasing.

    optimizer: the predictor's optimizer. average: the config of the predictor's averaged weights.
    adversary: the adversary's optimizer.
    alpha: the weight of the adversary's gradient at the first step, 0 or more. With 0 the predictor only
        leaves out what helps the adversary.
    growth: alpha is multiplied by ``step^growth``, steps counted from 1; the paper grows alpha with
        the root of the steps, .5, and shrinks the learning rate.
    fairness: "demographic_parity" or "equalized_odds".
    """

    optimizer: OptimizerConfig = OptimizerConfig("adam")
    average: AverageConfig = AverageConfig()
    adversary: OptimizerConfig = OptimizerConfig("adam", 1e-2)
    alpha: float = 1.0
    growth: float = 0.0
    fairness: str = "demographic_parity"

    def __post_init__(self) -> None:
        check.non_negative("alpha", self.alpha)
        check.non_negative("growth", self.growth)
        check.choice("fairness", self.fairness, FAIRNESS)


class AdversarialState(NamedTuple):
    """State of the game. predictor, adversary: the state of each network's training."""

    predictor: SupervisedState
    adversary: SupervisedState


def adversarial(net: Net, adversary: Net, groups: int, config: AdversarialConfig) -> Learner:
    """Train ``net`` against an adversary; both take one step at a time, from the same parameters.

    Batches are those of `lrn.fair.training`. The metrics are those of the batch: ``loss`` of the predictor
    and ``adversary_loss``, in nats; ``accuracy`` in [0, 1]; and ``cosine`` of g and h. An adversary that
    knows no more than the groups' shares has the shares' entropy as its loss.

    Args:
        net: the predictor, which gives one logit a row.
        adversary: a network from `adversary_inputs` [batch, 1 or 3] to logits [batch, groups], such as
            ``lrn.nets.mlp(groups, ())``.
        groups: the number of groups.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch or an output has the wrong form. A wrong value is
            refused where it can be read; within a jitted training it makes losses and parameters NaN.
    """
    rival = TrainingConfig(config.adversary)

    def init(key: Key, batch: Batch) -> AdversarialState:
        net_key, adversary_key = jax.random.split(key)
        predictor = training.begin(net, config, net_key, batch, groups)
        people = training.read(batch, groups)
        seen = adversary_inputs(jnp.zeros(people.y.shape, people.y.dtype), people.y, config.fairness)
        params, state = adversary.init(adversary_key, seen)
        output, _ = jax.eval_shape(adversary.apply, params, state, seen)
        _check_guess(output.shape, people.y.shape[0], groups)
        return AdversarialState(predictor, initial_state(rival, params, state))

    def step(key: Key, state: AdversarialState, batch: Batch) -> tuple[AdversarialState, Metrics]:
        people = training.read(batch, groups)
        net_key, adversary_key = jax.random.split(key)
        now, other = state

        def forward(params: Params) -> tuple[Array, NetState]:
            return training.logits(net, params, now.net_state, people.x, net_key, train=True)

        def guess(logit: Array, params: Params) -> tuple[Array, NetState]:
            seen = adversary_inputs(logit, people.y, config.fairness)
            output, net_state = adversary.apply(params, other.net_state, seen, key=adversary_key, train=True)
            _check_guess(output.shape, logit.shape[0], groups)
            return group_loss(output, people), net_state

        logit, pull, net_state = jax.vjp(forward, now.params, has_aux=True)
        loss, by_logit = jax.value_and_grad(training.logistic_loss)(logit, people)
        (rival_loss, rival_state), (rival_by_logit, rival_gradient) = jax.value_and_grad(
            guess, argnums=(0, 1), has_aux=True
        )(logit, other.params)
        (own,), (helps,) = pull(by_logit), pull(rival_by_logit)
        alpha = config.alpha * jnp.asarray(now.step + 1, logit.dtype) ** config.growth
        metrics = {
            "loss": loss,
            "adversary_loss": rival_loss,
            "accuracy": training.accuracy(logit, people),
            "cosine": cosine(own, helps),
        }
        predictor = update(config, now, debiased(own, helps, alpha), net_state)
        return AdversarialState(predictor, update(rival, other, rival_gradient, rival_state)), metrics

    return Learner(init, step)


def debiased(own: PyTree, helps: PyTree, alpha: Any) -> PyTree:
    """The predictor's direction ``g - proj_h g - alpha h``, over all arrays of the tree as one vector.

    Args:
        own: g, the gradient of the predictor's loss.
        helps: h, the gradient of the adversary's loss by the predictor's parameters; 0 projects nothing.
        alpha: the weight of h, a scalar.
    """
    square = optax.tree.vdot(helps, helps)
    share = jnp.where(square == 0, 0, optax.tree.vdot(own, helps) / jnp.where(square == 0, 1, square))
    return jax.tree.map(lambda g, h: g - (share + alpha).astype(h.dtype) * h, own, helps)


def cosine(a: PyTree, b: PyTree) -> Array:
    """The cosine of the angle of two trees as vectors, in [-1, 1]; 0 where one of them is 0."""
    sizes = optax.tree.norm(a) * optax.tree.norm(b)
    return jnp.where(sizes == 0, 0, optax.tree.vdot(a, b) / jnp.where(sizes == 0, 1, sizes))


def adversary_inputs(logit: Array, y: Array, fairness: str) -> Array:
    """What the adversary sees: the logit, [n, 1]; or label, logit, and their product, [n, 3].

    With the product even a linear adversary may use the logit differently for each label.

    Args:
        logit: [n]. y: labels 0 or 1, [n]. fairness: "demographic_parity" or "equalized_odds".

    Raises:
        InputError: ``fairness`` is not known.
    """
    check.choice("fairness", fairness, FAIRNESS)
    if fairness == "demographic_parity":
        return logit[:, None]
    y = as_array(y).astype(logit.dtype)
    return jnp.stack([y, logit, y * logit], axis=1)


def group_loss(output: Array, people: People) -> Array:
    """The weighted mean cross-entropy of the groups under logits [n, groups], a scalar in nats."""
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(output, people.group)
    return jnp.sum(training.shares(people.weights) * losses)


def predictor(net: Net, state: AdversarialState) -> Partial:
    """The trained model, ``predict(x) -> chance of label 1 [n]``."""
    return training.predictor(net, state.predictor)


def _check_guess(shape: tuple[int, ...], n: int, groups: int) -> None:
    if shape != (n, groups):
        raise check.InputError(
            f"the adversary must give logits [{n}, {groups}], got shape {shape}; give its last layer one "
            "output a group."
        )


def example() -> Example:
    """A small network and a small adversary on synthetic people, for equalized odds."""
    from lrn import nets
    from lrn.data.sampler import minibatch

    net, rival = nets.mlp(1, (8,)), nets.mlp(2, (4,), activation="tanh")
    return Example(
        factory=lambda config: adversarial(net, rival, 2, config),
        config=AdversarialConfig(
            OptimizerConfig("adam", 0.01), AverageConfig("ema", 0.9), growth=0.1, fairness="equalized_odds"
        ),
        data=training.example_people(),
        sampler=minibatch(64, columns=("x", "y", "group")),
        solves=Goal("accuracy", above=0.7),
    )
