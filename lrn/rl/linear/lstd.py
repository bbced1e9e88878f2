"""LSTD(lambda): the fixed point of TD(lambda) by least squares, without a step size (Boyan 2002)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl import rates
from lrn.rl.env import Env
from lrn.rl.linear.prediction import Sample, linear_prediction
from lrn.types import Array, Example, Learner


@config
class LSTDConfig:
    """Settings.

    discount: discount of the predicted return, in [0, 1].
    lambda_: decay of the trace, in [0, 1]: 0 is LSTD(0), 1 is a regression on Monte-Carlo returns.
    ridge: number added to the diagonal of the system's sum over transitions, in units of a squared feature.
        It pulls the weights to zero, less so with more data, and makes the system of the first steps regular.
    interactions: environment steps in one learner step; the system is solved once at the end of it.
    """

    discount: float = 0.99
    lambda_: float = 0.0
    ridge: float = 1e-3
    interactions: int = 100

    def __post_init__(self) -> None:
        check.between("discount", self.discount, 0, 1)
        check.between("lambda_", self.lambda_, 0, 1)
        check.positive("ridge", self.ridge)
        check.integer("interactions", self.interactions, low=1)


class System(NamedTuple):
    """The linear system ``a weights = b`` that the weights solve.

    a: mean of ``trace (x - discount x_next)'``, [feature, feature].
    b: mean of ``trace reward``, [feature].
    trace: eligibility trace, [feature].
    steps: int32, transitions so far.
    """

    a: Array
    b: Array
    trace: Array
    steps: Array


def lstd_update(
    system: System, x: Array, r: Any, x_next: Array, ratio: Any, discount: Any, lambda_: Any = 0.0
) -> System:
    """The system after one more transition.

    Args:
        system: the system of the transitions so far; its trace must be zero at the start of an episode.
        x: features of the state, [feature].
        r: reward.
        x_next: features of the next state, before any reset, [feature]; zeros after a termination.
        ratio: importance ratio of the action; 1 on-policy.
        discount: discount per step, in [0, 1].
        lambda_: decay of the trace, in [0, 1].
    """
    trace = ratio * (discount * lambda_ * system.trace + x)
    steps = rates.count(system.steps, 1)
    # Means, not sums: in single precision a long sum would lose its later terms.
    a = system.a + (trace[:, None] * (x - discount * x_next)[None, :] - system.a) / steps
    b = system.b + (trace * r - system.b) / steps
    return System(a, b, trace, steps)


def lstd_weights(system: System, ridge: Any = 0.0) -> Array:
    """The weights [feature] that solve the system after adding ``ridge / steps`` to its diagonal."""
    diagonal = ridge / jnp.maximum(system.steps, 1) * jnp.eye(system.b.shape[0], dtype=system.b.dtype)
    return jnp.linalg.solve(system.a + diagonal, system.b)


class Solved(NamedTuple):
    """State of LSTD.

    weights: the latest solution of the system, [feature].
    system: the system of the transitions so far.
    """

    weights: Array
    system: System


def lstd(env: Env, features: Any, target: Any, config: LSTDConfig, behavior: Any | None = None) -> Learner:
    """Learn linear values of a policy by LSTD(lambda). The weights [feature] are ``state.learnt.weights``.

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute, under the
    weights of the previous learner step).

    Args:
        env: an environment with discrete actions that observes its state one-hot (`lrn.rl.mdp.as_env`).
        features: features of the states, [state, feature].
        target: the policy whose values are learned, probabilities [state, action].
        config: settings.
        behavior: the policy that acts, probabilities [state, action]; the target itself by default.

    Raises:
        ValueError: the actions are continuous, the features or a policy do not fit, or the behavior never
            takes an action that the target takes.
    """

    def start(n: int) -> Solved:
        return Solved(jnp.zeros(n), System(jnp.zeros((n, n)), jnp.zeros(n), jnp.zeros(n), jnp.int32(0)))

    def learn(learnt: Solved, s: Sample) -> tuple[Solved, Array]:
        error = s.reward + config.discount * (s.x_next @ learnt.weights) - s.x @ learnt.weights
        system = lstd_update(learnt.system, s.x, s.reward, s.x_next, s.ratio, config.discount, config.lambda_)
        return learnt._replace(system=system._replace(trace=jnp.where(s.ended, 0.0, system.trace))), error

    init, play = linear_prediction(env, features, target, behavior, config.interactions, start, learn)

    def step(key: Any, state: Any, batch: Any) -> Any:
        state, metrics = play(key, state, batch)
        weights = lstd_weights(state.learnt.system, config.ridge)
        return state._replace(learnt=state.learnt._replace(weights=weights)), metrics

    return Learner(init, step)


def example() -> Example:
    """The random walk of 19 states, with features of groups of states."""
    from lrn.rl.linear.examples import walk

    env, x, target, behavior = walk()
    return Example(
        lambda config: lstd(env, x, target, config, behavior),
        LSTDConfig(discount=0.9, lambda_=0.5, ridge=1.0, interactions=10),
    )
