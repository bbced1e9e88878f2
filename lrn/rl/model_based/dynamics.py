"""An ensemble of probabilistic networks that predicts the outcome of an action (Chua et al. 2018, section 4).

Each member gives a normal distribution of the change of the observation and of the reward. The variance
within a member describes the noise of the environment. The disagreement between members describes what the
data leave open; a planner that ignores it exploits the mistakes of the model.

Inputs and outputs are normalized by running moments of the data. Log-variances lie between two learned soft
bounds; without bounds they may collapse or explode outside of the data (appendix A.1 of the paper).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.rl import heads, running
from lrn.rl.distributions import LOG_2PI
from lrn.rl.env import Env, as_float, require_continuous
from lrn.rl.replay import Transition
from lrn.types import Array, Key, Net, Params, PyTree


@config
class DynamicsConfig:
    """Settings.

    members: number of networks in the ensemble.
    learning_rate: step size of AdamW.
    weight_decay: decoupled weight decay of AdamW.
    bound_penalty: weight of the distance between the two bounds of the log-variances in the loss.
    """

    members: int = 5
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    bound_penalty: float = 0.01

    def __post_init__(self) -> None:
        check.integer("members", self.members, 1)
        check.positive("learning_rate", self.learning_rate)
        check.non_negative("weight_decay", self.weight_decay)
        check.non_negative("bound_penalty", self.bound_penalty)


class EnsembleParams(NamedTuple):
    """Parameters of an ensemble.

    nets: parameters of the networks, leaves [members, ...].
    low: lower bounds of the log-variances, [members, outputs].
    high: upper bounds of the log-variances, [members, outputs].
    """

    nets: Params
    low: Array
    high: Array


class Model(NamedTuple):
    """A learned model.

    params: parameters of the ensemble.
    opt_state: state of the optimizer.
    x: running moments of the inputs, [size + dim].
    y: running moments of the outputs, [size + 1].
    """

    params: EnsembleParams
    opt_state: optax.OptState
    x: running.Moments
    y: running.Moments


class Prediction(NamedTuple):
    """Normal distributions of (change of the observation, reward), [..., size + 1], in the units of the data.

    mean: means.
    log_variance: logarithms of the variances.
    """

    mean: Array
    log_variance: Array


class Dynamics(NamedTuple):
    """A model of an environment as pure functions: an ensemble, or any other predictor with this interface.

    Observations are flat, [size].

    members: number of networks in the ensemble.
    init: ``init(key) -> model``, the model before any data.
    see: ``see(model, transitions [n]) -> model``, the model with new data added to its moments.
    update: ``update(model, transitions [members, batch]) -> (model, nll)``, one gradient step, each member
        on a batch of its own. ``nll`` is the mean negative log-likelihood before the step, in nats per
        output, in normalized units.
    predict: ``predict(model, observation [members, n, size], action [members, n, dim]) -> Prediction``.
    sample: ``sample(model, noise [members, n, size + 1], observation, action) -> (next_observation,
        reward)``, draws from these distributions, computed from standard normal noise: [members, n, size]
        and [members, n].
    """

    members: int
    init: Callable[[Key], PyTree]
    see: Callable[[PyTree, Transition], PyTree]
    update: Callable[[PyTree, Transition], tuple[PyTree, Array]]
    predict: Callable[..., Any]
    sample: Callable[[PyTree, Array, Array, Array], tuple[Array, Array]]


def dynamics(env: Env, net: Net, config: DynamicsConfig) -> Dynamics:
    """An ensemble of copies of one network.

    Args:
        env: the environment, with continuous actions; only its shapes are used.
        net: maps (observation, action) [batch, size + dim] to [batch, 2 * (size + 1)]. The first half of the
            output are means, the second half log-variances, in normalized units; each half holds the change
            of every number of the observation, then the reward.
        config: settings.

    Raises:
        ValueError: the actions are discrete, or the network does not fit; raised before anything compiles.
    """
    dim = require_continuous(env, "an ensemble of dynamics").size
    size = math.prod(env.observation_shape)
    outputs = size + 1
    heads.check_output("the network of dynamics, on (observation, action),", net, (size + dim,), 2 * outputs)
    adam = optax.adamw(config.learning_rate, weight_decay=config.weight_decay)

    def init(key: Key) -> Model:
        keys = jax.random.split(key, config.members)
        nets = jax.vmap(lambda key: net.init(key, jnp.zeros((1, size + dim)))[0])(keys)
        bounds = jnp.ones((config.members, outputs))
        params = EnsembleParams(nets, -10.0 * bounds, 0.5 * bounds)
        return Model(params, adam.init(params), running.moments((size + dim,)), running.moments((outputs,)))

    def joined(observation: Array, action: Array) -> Array:
        return jnp.concatenate([observation, action], -1)

    def goals(seen: Transition) -> tuple[Array, Array]:
        """Inputs [..., size + dim] and outputs [..., size + 1], in the units of the data."""
        flat = (*seen.reward.shape, size)
        now, after = as_float(seen.observation).reshape(flat), as_float(seen.final_observation).reshape(flat)
        return joined(now, seen.action), jnp.concatenate([after - now, seen.reward[..., None]], -1)

    def see(model: Model, seen: Transition) -> Model:
        x, y = goals(seen)
        return model._replace(x=running.update(model.x, x), y=running.update(model.y, y))

    def normal(params: EnsembleParams, x: Array) -> Prediction:
        """The prediction in normalized units for normalized inputs [members, n, size + dim]."""
        out = jax.vmap(lambda p, x: net.apply(p, (), x)[0])(params.nets, x)
        mean, raw = jnp.split(out, 2, -1)
        low, high = params.low[:, None], params.high[:, None]
        raw = high - jax.nn.softplus(high - raw)
        return Prediction(mean, low + jax.nn.softplus(raw - low))

    def update(model: Model, seen: Transition) -> tuple[Model, Array]:
        x, y = goals(seen)
        x, y = running.normalize(model.x, x), running.normalize(model.y, y)

        def objective(params: EnsembleParams) -> tuple[Array, Array]:
            nll = negative_log_likelihood(normal(params, x), y).mean((1, 2))
            bounds = (params.high - params.low).sum(-1)
            # A sum over members, so that each member learns as it would alone.
            return jnp.sum(nll + config.bound_penalty * bounds), nll.mean()

        gradient, nll = jax.grad(objective, has_aux=True)(model.params)
        change, opt_state = adam.update(gradient, model.opt_state, model.params)
        return model._replace(params=optax.apply_updates(model.params, change), opt_state=opt_state), nll

    def predict(model: Model, observation: Array, action: Array) -> Prediction:
        out = normal(model.params, running.normalize(model.x, joined(observation, action)))
        mean, var = (m.reshape(1, 1, outputs) for m in (model.y.mean, model.y.var + 1e-8))
        return Prediction(out.mean * jnp.sqrt(var) + mean, out.log_variance + jnp.log(var))

    def sample(model: Model, noise: Array, observation: Array, action: Array) -> tuple[Array, Array]:
        out = predict(model, observation, action)
        drawn = out.mean + jnp.exp(0.5 * out.log_variance) * noise
        return observation + drawn[..., :-1], drawn[..., -1]

    return Dynamics(config.members, init, see, update, predict, sample)


def negative_log_likelihood(prediction: Prediction, y: Array) -> Array:
    """The negative log-likelihood of each entry of ``y`` [..., outputs] in nats, [..., outputs]."""
    mean, log_variance = prediction
    return 0.5 * (LOG_2PI + log_variance + (y - mean) ** 2 * jnp.exp(-log_variance))
