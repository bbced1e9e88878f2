"""Parts that the linear methods share: features, importance ratios and the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lrn import check
from lrn.rl.env import Env
from lrn.rl.tabular.control import Init, Step, states_of
from lrn.rl.tabular.prediction import Experience, check_policy, prediction
from lrn.types import Array, PyTree


class Sample(NamedTuple):
    """One step in terms of features, for the updates.

    x: features of the state, [feature].
    reward: the reward.
    x_next: features of the next state, before any reset, [feature]; zeros after a termination.
    ratio: importance ratio of the action, target over behavior.
    ended: bool, whether the episode ended with this step.
    """

    x: Array
    reward: Array
    x_next: Array
    ratio: Array
    ended: Array


def linear_prediction(
    env: Env,
    features: Any,
    target: Any,
    behavior: Any | None,
    interactions: int,
    start: Callable[[int], PyTree],
    learn: Callable[[Any, Sample], tuple[Any, Array]],
) -> tuple[Init, Step]:
    """The init and step of a `Learner` of linear values.

    Args:
        env: an environment with discrete actions that observes its state one-hot.
        features: features of the states, [state, feature].
        target: the policy whose values are learned, probabilities [state, action].
        behavior: the policy that acts, probabilities [state, action]; None for the target itself.
        interactions: environment steps in one learner step.
        start: ``start(number of features) -> learnt``, the method's own state before the first step.
        learn: ``learn(learnt, sample) -> (learnt, td_error)``, an update of that state.

    Raises:
        ValueError: the actions are continuous, the features have another shape, a policy is not one, or the
            behavior never takes an action that the target takes.
    """
    n = states_of(env)
    if jnp.ndim(features) != 2 or jnp.shape(features)[0] != n:
        raise check.InputError(
            f"features must have shape [{n}, features], got {list(jnp.shape(features))}; "
            "give one row for each state."
        )
    x = jnp.asarray(features, jnp.float32)
    target = check_policy("target", env, target)
    acting = target if behavior is None else check_policy("behavior", env, behavior)
    ratios = importance_ratios(target, acting)

    def learn_one(learnt: Any, e: Experience) -> tuple[Any, Array]:
        x_next = jnp.where(e.terminated, 0.0, x[e.next_state])
        return learn(learnt, Sample(x[e.state], e.reward, x_next, ratios[e.state, e.action], e.ended))

    return prediction(env, acting, interactions, lambda: start(x.shape[1]), learn_one)


def importance_ratios(target: Array, behavior: Array) -> Array:
    """Importance ratios [state, action], target over behavior; zero where both probabilities are zero.

    Args:
        target: the policy whose values are learned, probabilities [state, action].
        behavior: the policy that acts, probabilities [state, action].

    Raises:
        ValueError: the behavior never takes an action that the target takes.
    """
    if not isinstance(target, Tracer) and not isinstance(behavior, Tracer):
        missing = (np.asarray(target) > 0) & (np.asarray(behavior) == 0)
        if missing.any():
            s, a = np.argwhere(missing)[0]
            raise check.InputError(
                f"the behavior never takes action {a} in state {s}, but the target does; "
                "give the action some probability in the behavior."
            )
    return _ratios(target, behavior)


@jax.jit
def _ratios(target: Array, behavior: Array) -> Array:
    return jnp.where(behavior > 0, target / jnp.where(behavior > 0, behavior, 1), 0)
