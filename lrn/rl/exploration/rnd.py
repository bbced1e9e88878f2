"""Random network distillation: a bonus for the error of predicting a random network (Burda et al. 2019)."""

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

    coefficient: factor of the bonus, which is the error in units of its running standard deviation.
    learning_rate: step size of the predictor's Adam.
    keep: fraction of each batch that the predictor is fitted to. The paper keeps .25 with 128 environments,
        so that the predictor does not learn faster with more environments.
    clip: largest size of a normalized observation, in standard deviations.
    epochs: gradient steps in an update.
    """

    coefficient: float = 1.0
    learning_rate: float = 1e-3
    keep: float = 1.0
    clip: float = 5.0
    epochs: int = 1

    def __post_init__(self) -> None:
        check.non_negative("coefficient", self.coefficient)
        check.positive("learning_rate", self.learning_rate)
        check.between("keep", self.keep, 0.0, 1.0)
        check.positive("clip", self.clip)
        check.integer("epochs", self.epochs, low=1)


class RNDState(NamedTuple):
    """State of random network distillation.

    target: parameters and state of the random target network.
    predictor: parameters and state of the predictor.
    opt_state: state of the optimizer.
    observation: running moments of the observations.
    error: running moments of the error.
    """

    target: tuple[Params, NetState]
    predictor: tuple[Params, NetState]
    opt_state: optax.OptState
    observation: running.Moments
    error: running.Moments


def rnd(predictor: Net, target: Net, config: RNDConfig) -> Bonus:
    """A bonus equal to the error of ``predictor`` on the outputs of the random ``target``.

    Both networks see the next observation, normalized by its running moments and clipped. The bonus is the
    mean squared error divided by its running standard deviation. (The paper divides by the running standard
    deviation of the discounted sum of errors. The two differ by a factor that the coefficient can absorb, and
    this one needs no order among the transitions.)

    Args:
        predictor: the network that learns, from observations [n, ...] to [n, features].
        target: the network that stays random, from observations [n, ...] to [n, features].
        config: settings.

    Raises:
        ValueError: in ``init``, before anything compiles, the two networks give different shapes.
    """
    optimizer = optax.adam(config.learning_rate)

    def prepare(state: RNDState, x: Array) -> Array:
        return running.normalize(state.observation, x, config.clip)

    def errors(state: RNDState, params: Params, x: Array, train: bool = False) -> tuple[Array, NetState]:
        """Mean squared error [n] over features, and the predictor's new state."""
        goal, _ = target.apply(*state.target, x)
        prediction, net_state = predictor.apply(params, state.predictor[1], x, train=train)
        return jnp.square(prediction - jax.lax.stop_gradient(goal)).mean(-1), net_state

    def init(key: Key, observation: Array) -> RNDState:
        target_key, predictor_key = jax.random.split(key)
        observation = as_float(observation)
        fixed, learned = target.init(target_key, observation), predictor.init(predictor_key, observation)
        predicted = jax.eval_shape(lambda: predictor.apply(*learned, observation)[0]).shape
        wanted = jax.eval_shape(lambda: target.apply(*fixed, observation)[0]).shape
        if predicted != wanted or len(predicted) != 2:
            raise check.InputError(
                f"rnd's predictor gives shape {list(predicted)} and its target {list(wanted)}; "
                "both must give [n, features], with the same number of features."
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
