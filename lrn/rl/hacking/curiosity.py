"""Curiosity: a bonus for the prediction error of a learned model of the environment (Pathak et al. 2017)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.rl.env import as_float
from lrn.rl.exploration.bonus import Bonus, Transitions
from lrn.types import Array, Key, Net, NetState, Params


@config
class CuriosityConfig:
    """Settings of curiosity.

    coefficient: reward per unit of the mean squared error of the predicted observation.
    learning_rate: step size of the model's Adam.
    epochs: gradient steps in an update.
    """

    coefficient: float = 1.0
    learning_rate: float = 1e-3
    epochs: int = 1

    def __post_init__(self) -> None:
        check.non_negative("coefficient", self.coefficient)
        check.positive("learning_rate", self.learning_rate)
        check.integer("epochs", self.epochs, 1)


class CuriosityState(NamedTuple):
    """State of curiosity.

    params: parameters of the model.
    net_state: state of the model beside its parameters, () without one.
    opt_state: state of the optimizer.
    """

    params: Params
    net_state: NetState
    opt_state: optax.OptState


def curiosity(net: Net, actions: int, config: CuriosityConfig) -> Bonus:
    """A bonus equal to the mean squared error of a model of the next observation, for discrete actions.

    The model predicts observations themselves, without the learned features of Pathak et al. Those features
    leave out noise that the agent cannot influence, but they keep noise that an action causes, as this model
    does. The error on a random next observation never falls to zero, unlike the bonus of counts or
    `lrn.rl.exploration.rnd`. An action outside of [0, actions) makes the error NaN.

    Args:
        net: the model; maps [n, entries of an observation + actions] to [n, entries of an observation].
        actions: number of actions.
        config: settings.

    Raises:
        InputError: ``actions`` is below 1; in ``init``, the network gives another shape; in ``update`` and
            ``bonus``, the actions are not discrete.
    """
    check.integer("actions", actions, 1)
    optimizer = optax.adam(config.learning_rate)

    def flat(x: Array) -> Array:
        return as_float(x).reshape(x.shape[0], -1)

    def inputs(observation: Array, action: Array) -> Array:
        if not jnp.issubdtype(action.dtype, jnp.integer) or action.ndim != 1:
            raise check.InputError(
                f"curiosity takes discrete actions [n], got {action.dtype} {list(action.shape)}; "
                "use lrn.rl.exploration.rnd for continuous actions."
            )
        valid = ((action >= 0) & (action < actions))[:, None]
        chosen = jnp.where(valid, jax.nn.one_hot(action, actions), jnp.nan)
        return jnp.concatenate([flat(observation), chosen], -1)

    def errors(state: CuriosityState, params: Params, x: Array, after: Array) -> Array:
        return jnp.square(net.apply(params, state.net_state, x)[0] - flat(after)).mean(-1)

    def init(key: Key, observation: Array) -> CuriosityState:
        x = inputs(observation, jnp.zeros(observation.shape[0], jnp.int32))
        params, net_state = net.init(key, x)
        out = jax.eval_shape(lambda: net.apply(params, net_state, x)[0])
        if out.shape != flat(observation).shape:
            raise check.InputError(
                f"the model of curiosity must give observations {list(flat(observation).shape)}, but gives "
                f"{list(out.shape)}; set its number of outputs."
            )
        return CuriosityState(params, net_state, optimizer.init(params))

    def bonus(state: CuriosityState, observation: Array, action: Array, next_observation: Array) -> Array:
        error = errors(state, state.params, inputs(observation, action), next_observation)
        return jax.lax.stop_gradient(config.coefficient * error)

    def update(key: Key, state: CuriosityState, transitions: Transitions) -> CuriosityState:
        del key
        x, after = inputs(transitions.observation, transitions.action), transitions.next_observation

        def fit(state: CuriosityState, _: None) -> tuple[CuriosityState, None]:
            gradient = jax.grad(lambda p: errors(state, p, x, after).mean())(state.params)
            change, opt_state = optimizer.update(gradient, state.opt_state)
            return state._replace(params=optax.apply_updates(state.params, change), opt_state=opt_state), None

        return jax.lax.scan(fit, state, None, length=config.epochs)[0]

    return Bonus(init, bonus, update)
