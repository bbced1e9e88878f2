"""Emphatic TD(0): updates weighted by an emphasis, which makes TD stable off-policy (Sutton et al. 2016).

The method needs one set of weights only. The emphasis is a sum of products of importance ratios, so its
variance can be enormous: on Baird's star sampled runs do not settle, and only the expected update
(`lrn.rl.linear.expected`) shows the convergence.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from lrn.rl import rates
from lrn.rl.env import Env
from lrn.rl.linear.prediction import Sample, linear_prediction
from lrn.rl.linear.td import LinearTDConfig, td_update
from lrn.types import Array, Example, Learner


class EmphaticWeights(NamedTuple):
    """State of emphatic TD.

    weights: the weights, [feature].
    emphasis: scalar, the emphasis of the next state.
    steps: int32, updates so far.
    """

    weights: Array
    emphasis: Array
    steps: Array


def emphatic_td_update(
    weights: Array,
    emphasis: Any,
    x: Array,
    r: Any,
    x_next: Array,
    ratio: Any,
    step_size: Any,
    discount: Any,
) -> tuple[Array, Array, Array]:
    """The new weights, the next state's emphasis, and the temporal-difference error of one transition.

    Args:
        weights: the weights, [feature].
        emphasis: emphasis of the state; 1 (its interest) at the start of an episode.
        x: features of the state, [feature].
        r: reward.
        x_next: features of the next state, before any reset, [feature]; zeros after a termination.
        ratio: importance ratio of the action; 1 on-policy.
        step_size: step size, above 0.
        discount: discount per step, in [0, 1].
    """
    weights, error = td_update(weights, x, r, x_next, emphasis * ratio, step_size, discount)
    return weights, 1 + discount * ratio * emphasis, error


def emphatic_td(
    env: Env,
    features: Any,
    target: Any,
    config: LinearTDConfig,
    behavior: Any | None = None,
    initial: Any = 0.0,
) -> Learner:
    """Learn linear values of a policy by emphatic TD(0), with an interest of 1 in every state.

    The weights [feature] are ``state.learnt.weights``. Metrics: ``return`` and ``length`` of the episodes
    that ended, ``td_error`` (mean absolute).

    Args:
        env: an environment with discrete actions that observes its state one-hot (`lrn.rl.mdp.as_env`).
        features: features of the states, [state, feature].
        target: the policy whose values are learned, probabilities [state, action].
        config: settings. Emphases are ``1 / (1 - discount)`` on average, so step sizes must be smaller by
            that factor than for TD.
        behavior: the policy that acts, probabilities [state, action]; the target itself by default.
        initial: first weights, [feature] or a number.

    Raises:
        ValueError: the actions are continuous, the features or a policy do not fit, or the behavior never
            takes an action that the target takes.
    """

    def start(n: int) -> EmphaticWeights:
        first = jnp.broadcast_to(jnp.asarray(initial, jnp.float32), (n,))
        return EmphaticWeights(first, jnp.ones(()), jnp.int32(0))

    def learn(learnt: EmphaticWeights, s: Sample) -> tuple[EmphaticWeights, Array]:
        steps = rates.count(learnt.steps, 1)
        weights, emphasis, error = emphatic_td_update(
            learnt.weights, learnt.emphasis, s.x, s.reward, s.x_next, s.ratio, config.step_size(steps),
            config.discount,
        )  # fmt: skip
        return EmphaticWeights(weights, jnp.where(s.ended, 1.0, emphasis), steps), error

    return Learner(*linear_prediction(env, features, target, behavior, config.interactions, start, learn))


def example() -> Example:
    """The random walk of 19 states, with features of groups of states."""
    from lrn.rl.linear.examples import walk

    env, x, target, behavior = walk()
    return Example(
        lambda config: emphatic_td(env, x, target, config, behavior),
        LinearTDConfig(discount=0.9, interactions=10),
    )
