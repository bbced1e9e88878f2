"""What the linear methods share: features, importance ratios and the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.core import Tracer

from lrn import check
from lrn.rl.env import Env
from lrn.rl.tabular.control import Init, Step, states_of
from lrn.rl.tabular.prediction import Experience, check_policy, prediction
from lrn.types import Array, PyTree


class Sample(NamedTuple):
    """One step as the updates see it.

    x: [features] of the state. x_next: [features] of what followed; zero if that was the end.
    ratio: importance ratio of the action, target over behavior. ended: a new episode begins.
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
        env: discrete actions, and states observed one-hot.
        features: [state, feature].
        target: [state, action], the policy whose values are learnt.
        behavior: [state, action], the policy that acts; None for the target itself.
        interactions: environment steps in one learner step.
        start: ``start(number of features) -> learnt``.
        learn: ``learn(learnt, sample) -> (learnt, td_error)``.

    Raises:
        ValueError: continuous actions, features of the wrong shape, a policy that is none, or a behavior
            that never does something the target does.
    """
    n = states_of(env)
    if jnp.ndim(features) != 2 or jnp.shape(features)[0] != n:
        raise check.InputError(
            f"features must have shape [{n}, features], got {list(jnp.shape(features))}; give a row a state."
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
    """Target over behavior [state, action]; zero where neither acts.

    Raises:
        ValueError: the behavior never does something that the target does.
    """
    missing = (target > 0) & (behavior == 0)
    if not isinstance(missing, Tracer) and bool(missing.any()):
        s, a = (int(i[0]) for i in jnp.nonzero(missing))
        raise check.InputError(
            f"the behavior never takes action {a} in state {s} and the target does; "
            "give it some probability there."
        )
    return jnp.where(behavior > 0, target / jnp.where(behavior > 0, behavior, 1), 0)
