"""LSTD(lambda): the fixed point of TD(lambda) from data by least squares, no step size (Boyan 2002)."""

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

    discount: of the return that is predicted.
    lambda_: 0 is LSTD(0), 1 regresses on Monte-Carlo returns.
    ridge: added to the diagonal of the system's sums, in units of one squared feature: a prior of zero
        weights that fades, and what makes the first steps solvable.
    interactions: environment steps in one learner step; the system is solved once at its end.
    """

    discount: float = 0.99
    lambda_: float = 0.0
    ridge: float = 1e-3
    interactions: int = 100

    def __post_init__(self):
        check.between("discount", self.discount, 0, 1)
        check.between("lambda_", self.lambda_, 0, 1)
        check.positive("ridge", self.ridge)
        check.integer("interactions", self.interactions, low=1)


class System(NamedTuple):
    """The linear system that the weights solve.

    a: [feature, feature], mean of ``trace (x - discount x_next)'``. b: [feature], mean of ``trace reward``.
    trace: [feature]. steps: transitions so far.
    """

    a: Array
    b: Array
    trace: Array
    steps: Array


def lstd_update(
    system: System, x: Array, r: Any, x_next: Array, ratio: Any, discount: Any, lambda_: Any = 0.0
) -> System:
    """The system after one transition; its trace must be zero at the start of an episode.

    Args:
        system: what the transitions so far sum up to.
        x: [feature] of the state.
        r: reward.
        x_next: [feature] of what followed, before any reset; zero if that was the end.
        ratio: importance ratio of the action; 1 on-policy.
        discount: in [0, 1].
        lambda_: in [0, 1].
    """
    trace = ratio * (discount * lambda_ * system.trace + x)
    steps = rates.count(system.steps, 1)
    # Means and not sums: single precision would lose the later terms of a long sum.
    a = system.a + (trace[:, None] * (x - discount * x_next)[None, :] - system.a) / steps
    b = system.b + (trace * r - system.b) / steps
    return System(a, b, trace, steps)


def lstd_weights(system: System, ridge: Any = 0.0) -> Array:
    """The weights [feature] that solve the system, ``ridge / steps`` added to its diagonal."""
    diagonal = ridge / jnp.maximum(system.steps, 1) * jnp.eye(system.b.shape[0], dtype=system.b.dtype)
    return jnp.linalg.solve(system.a + diagonal, system.b)


class Solved(NamedTuple):
    """weights: [feature], that solve the system."""

    weights: Array
    system: System


def lstd(env: Env, features: Any, target: Any, config: LSTDConfig, behavior: Any | None = None) -> Learner:
    """Learn linear values of ``target`` by LSTD(lambda); ``state.learnt.weights`` [feature].

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute, under the
    weights of the step before).

    Args:
        env: discrete actions, and states observed one-hot (`lrn.rl.mdp.as_env`).
        features: [state, feature].
        target: [state, action], the policy whose values are learnt.
        config: settings.
        behavior: [state, action], the policy that acts; the target itself by default.

    Raises:
        ValueError: continuous actions, features or a policy that do not fit, or a behavior that never does
            something the target does.
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
    """The random walk of 19 states, in groups of states."""
    from lrn.rl.linear.examples import walk

    env, x, target, behavior = walk()
    return Example(
        lambda config: lstd(env, x, target, config, behavior),
        LSTDConfig(discount=0.9, lambda_=0.5, ridge=1.0, interactions=10),
    )
