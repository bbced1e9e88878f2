"""Random network distillation: new is where a random network is not yet predicted (Burda et al. 2019)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.rl import running
from lrn.rl.env import as_float
from lrn.rl.exploration.bonus import Bonus, Transitions
from lrn.types import Array, Key, Net, NetState, Params


@config
class RNDConfig:
    """Settings of random network distillation.

    coefficient: of the bonus, whose scale is 1: the running standard deviation of the error.
    learning_rate: of the predictor, by Adam.
    keep: fraction of each batch that the predictor is fitted to; the paper's .25 for 128 environments keeps
        the predictor from learning faster with more of them.
    clip: of the normalized observations, in standard deviations.
    epochs: gradient steps an update.
    """

    coefficient: float = 1.0
    learning_rate: float = 1e-3
    keep: float = 1.0
    clip: float = 5.0
    epochs: int = 1

    def __post_init__(self):
        check.non_negative("coefficient", self.coefficient)
        check.positive("learning_rate", self.learning_rate)
        check.between("keep", self.keep, 0.0, 1.0)
        check.positive("clip", self.clip)
        check.integer("epochs", self.epochs, low=1)


class RNDState(NamedTuple):
    """State of random network distillation.

    target, predictor: parameters and state of the two networks. observation, error: running moments.
    """

    target: tuple[Params, NetState]
    predictor: tuple[Params, NetState]
    opt_state: optax.OptState
    observation: running.Moments
    error: running.Moments


def rnd(predictor: Net, target: Net, config: RNDConfig) -> Bonus:
    """The squared error of ``predictor`` on the outputs of the random ``target`` at the next observation.

    Both map observations [n, ...], which come to them normalized by their running moments and clipped, to
    [n, features]. The error is divided by its running standard deviation. (The paper divides by that of the
    discounted sum of errors; the two differ by a factor that the coefficient takes in, and this one needs no
    order among the transitions.)

    Raises:
        ValueError: from ``init``, before any compile: the two networks give different shapes.
    """
    optimizer = optax.adam(config.learning_rate)

    def prepare(state: RNDState, x: Array) -> Array:
        return running.normalize(state.observation, x, config.clip)

    def errors(state: RNDState, params: Params, x: Array, train: bool = False) -> tuple[Array, NetState]:
        """Mean squared error [n] over features, and the predictor's new state."""
        wanted, _ = target.apply(*state.target, x)
        got, net_state = predictor.apply(params, state.predictor[1], x, train=train)
        return jnp.square(got - jax.lax.stop_gradient(wanted)).mean(-1), net_state

    def init(key: Key, observation: Array) -> RNDState:
        target_key, predictor_key = jax.random.split(key)
        observation = as_float(observation)
        fixed, learned = target.init(target_key, observation), predictor.init(predictor_key, observation)
        one = jax.eval_shape(lambda: predictor.apply(*learned, observation)[0]).shape
        other = jax.eval_shape(lambda: target.apply(*fixed, observation)[0]).shape
        if one != other or len(one) != 2:
            raise check.InputError(
                f"rnd's predictor gives shape {list(one)} and its target {list(other)}; "
                "both must give [n, features], with as many features."
            )
        return RNDState(
            fixed,
            learned,
            optimizer.init(learned[0]),
            running.moments(observation.shape[1:]),
            running.moments(),
        )

    def bonus(state: RNDState, observation: Array, action: Array, next_observation: Array) -> Array:
        error, _ = errors(state, state.predictor[0], prepare(state, next_observation))
        return jax.lax.stop_gradient(config.coefficient * error / running.deviation(state.error))

    def update(key: Key, state: RNDState, transitions: Transitions) -> RNDState:
        state = state._replace(observation=running.update(state.observation, transitions.next_observation))
        x = prepare(state, transitions.next_observation)
        state = state._replace(error=running.update(state.error, errors(state, state.predictor[0], x)[0]))

        def fit(state: RNDState, key: Key) -> tuple[RNDState, None]:
            kept = (jax.random.uniform(key, x.shape[:1]) < config.keep).astype(x.dtype)

            def loss(params: Params) -> tuple[Array, NetState]:
                error, net_state = errors(state, params, x, train=True)
                return (error * kept).sum() / jnp.maximum(kept.sum(), 1.0), net_state

            gradient, net_state = jax.grad(loss, has_aux=True)(state.predictor[0])
            updates, opt_state = optimizer.update(gradient, state.opt_state)
            params = optax.apply_updates(state.predictor[0], updates)
            return state._replace(predictor=(params, net_state), opt_state=opt_state), None

        state, _ = jax.lax.scan(fit, state, jax.random.split(key, config.epochs))
        return state

    return Bonus(init, bonus, update)
