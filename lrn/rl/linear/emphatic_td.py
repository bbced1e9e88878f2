"""Emphatic TD(0): weights each update by how much the target policy would care (Sutton et al. 2016).

Stable off-policy, with one set of weights; but the emphasis is a product of importance ratios, and its
variance can be enormous. On Baird's star sampled runs are hopeless, and only the expected update
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
    """weights: [feature]. emphasis: of the state to come, before its interest. steps: updates so far."""

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
        weights: [feature].
        emphasis: of the state; 1 (its interest) at the start of an episode.
        x: [feature] of the state.
        r: reward.
        x_next: [feature] of what followed, before any reset; zero if that was the end.
        ratio: importance ratio of the action; 1 on-policy.
        step_size: above 0.
        discount: in [0, 1].
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
    """Learn linear values of ``target`` by emphatic TD(0), every state of interest 1.

    The weights [feature] are ``state.learnt.weights``. Metrics: ``return`` and ``length`` of the episodes
    that ended, ``td_error`` (mean absolute).

    Args:
        env: discrete actions, and states observed one-hot (`lrn.rl.mdp.as_env`).
        features: [state, feature].
        target: [state, action], the policy whose values are learnt.
        config: settings; emphases sum to ``1 / (1 - discount)``, so step sizes must be the smaller.
        behavior: [state, action], the policy that acts; the target itself by default.
        initial: first weights, [feature] or a number.

    Raises:
        ValueError: continuous actions, features or a policy that do not fit, or a behavior that never does
            something the target does.
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
    """The random walk of 19 states, in groups of states."""
    from lrn.rl.linear.examples import walk

    env, x, target, behavior = walk()
    return Example(
        lambda config: emphatic_td(env, x, target, config, behavior),
        LinearTDConfig(discount=0.9, interactions=10),
    )
