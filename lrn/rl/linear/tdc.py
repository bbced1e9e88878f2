"""TDC: TD with gradient correction, a true gradient method, stable off-policy (Sutton et al. 2009).

It descends the projected Bellman error; second weights, learnt at their own pace, estimate what the
correction needs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl import rates
from lrn.rl.env import Env
from lrn.rl.linear.prediction import Sample, linear_prediction
from lrn.rl.tabular.schedule import Schedule
from lrn.types import Array, Example, Learner


@config
class TDCConfig:
    """Settings.

    discount: of the return that is predicted.
    step_size: at the n-th step.
    correction: step size of the second weights at the n-th step; larger than the first, in theory and often
        in practice.
    interactions: environment steps, each with its update, in one learner step.
    """

    discount: float = 0.99
    step_size: Schedule = Schedule(0.005)
    correction: Schedule = Schedule(0.05)
    interactions: int = 100

    def __post_init__(self):
        check.between("discount", self.discount, 0, 1)
        check.integer("interactions", self.interactions, low=1)


class CorrectedWeights(NamedTuple):
    """weights: [feature]. second: [feature], of the correction. steps: how many updates there were."""

    weights: Array
    second: Array
    steps: Array


def tdc_update(
    weights: Array,
    second: Array,
    x: Array,
    r: Any,
    x_next: Array,
    ratio: Any,
    step_size: Any,
    correction: Any,
    discount: Any,
) -> tuple[Array, Array, Array]:
    """The new weights, the new second weights, and the temporal-difference error of one transition.

    Args:
        weights: [feature].
        second: [feature], the estimate of how the expected error depends on the features.
        x: [feature] of the state.
        r: reward.
        x_next: [feature] of what followed, before any reset; zero if that was the end.
        ratio: importance ratio of the action; 1 on-policy.
        step_size: above 0.
        correction: step size of the second weights.
        discount: in [0, 1].
    """
    error = r + discount * (x_next @ weights) - x @ weights
    predicted = x @ second
    weights = weights + step_size * ratio * (error * x - discount * predicted * x_next)
    return weights, second + correction * ratio * (error - predicted) * x, error


def tdc(
    env: Env, features: Any, target: Any, config: TDCConfig, behavior: Any | None = None, initial: Any = 0.0
) -> Learner:
    """Learn linear values of ``target`` by TDC; ``state.learnt.weights`` [feature].

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute).

    Args:
        env: discrete actions, and states observed one-hot (`lrn.rl.mdp.as_env`).
        features: [state, feature].
        target: [state, action], the policy whose values are learnt.
        config: settings.
        behavior: [state, action], the policy that acts; the target itself by default.
        initial: first weights, [feature] or a number; the second weights start at zero.

    Raises:
        ValueError: continuous actions, features or a policy that do not fit, or a behavior that never does
            something the target does.
    """

    def start(n: int) -> CorrectedWeights:
        first = jnp.broadcast_to(jnp.asarray(initial, jnp.float32), (n,))
        return CorrectedWeights(first, jnp.zeros(n), jnp.int32(0))

    def learn(learnt: CorrectedWeights, s: Sample) -> tuple[CorrectedWeights, Array]:
        steps = rates.count(learnt.steps, 1)
        weights, second, error = tdc_update(
            learnt.weights, learnt.second, s.x, s.reward, s.x_next, s.ratio, config.step_size(steps),
            config.correction(steps), config.discount,
        )  # fmt: skip
        return CorrectedWeights(weights, second, steps), error

    return Learner(*linear_prediction(env, features, target, behavior, config.interactions, start, learn))


def example() -> Example:
    """The random walk of 19 states, in groups of states."""
    from lrn.rl.linear.examples import walk

    env, x, target, behavior = walk()
    return Example(lambda config: tdc(env, x, target, config, behavior), TDCConfig(interactions=10))
