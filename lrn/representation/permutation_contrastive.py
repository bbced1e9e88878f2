"""Permutation-contrastive learning of autocorrelated sources (Hyvarinen and Morioka, AISTATS 2017)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.supervised.averages import AverageConfig
from lrn.supervised.inputs import partnered
from lrn.supervised.learner import SupervisedState, descend, initial_state, weights
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, NetState, Params


@config
class PermutationContrastiveConfig:
    """Settings: optimizer, the optimizer's config; average, the config of the averaged weights."""

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()


def permutation_contrastive(features: Net, config: PermutationContrastiveConfig) -> Learner:
    """Tell pairs of neighbors in time from pairs at random times, by a sum of functions of single features.

    Where the sources are independent of each other and depend on their own past in a way that is not Gaussian
    ("uniformly dependent"), each feature is a function of one source (theorem 1). For Gaussian series whose
    autocorrelations differ the features are found up to a linear map.

    Batches are ``{"image" or "x": floats [batch, ...], "before": floats [batch, ...]}``, observations at
    times t and t - 1. Pairs at random times are made from other rows of the batch. The metrics are ``loss``,
    in nats a pair; ``accuracy``; ``gradient_norm``. The parts of the parameters are "features" and "pairs".

    Args:
        features: maps observations to features [batch, sources], as many as sources, without a state.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch or the features have the wrong form.
    """

    def init(key: Key, batch: Batch) -> SupervisedState:
        x, _ = partnered(batch, "before")
        params, net_state = features.init(key, x)
        if jax.tree.leaves(net_state):
            raise check.InputError("the features must keep no state (BatchNorm mixes pairs); use layer norm.")
        dim = jax.eval_shape(features.apply, params, net_state, x)[0].shape[1]
        pairs = {
            "now": jnp.ones(dim), "past": -jnp.ones(dim), "shift": jnp.zeros(dim),
            "own": 0.1 * jnp.ones(dim), "own shift": jnp.zeros(dim), "bias": jnp.ones(()),
        }  # fmt: skip
        return initial_state(config, {"features": params, "pairs": pairs}, ())

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        x, before = partnered(batch, "before")
        n = x.shape[0]
        # A random shift pairs every row with the past of another.
        other = (jnp.arange(n) + jax.random.randint(key, (), 1, n)) % n

        def objective(params: Params) -> tuple[Array, tuple[NetState, Metrics]]:
            now, past = (features.apply(params["features"], (), rows)[0] for rows in (x, before))
            true, false = (score(params["pairs"], now, then) for then in (past, past[other]))
            loss = jnp.mean(jax.nn.softplus(-true)) + jnp.mean(jax.nn.softplus(false))
            right = (jnp.mean(true > 0) + jnp.mean(false < 0)) / 2
            return loss / 2, ((), {"accuracy": right})

        return descend(config, state, objective)

    return Learner(init, step)


def score(params: Mapping[str, Array], now: Array, past: Array) -> Array:
    """The log odds [n] that features are of neighbors; equation 11, for sources with Laplace innovations.

    The odds are ``-sum_j |now_j h_j(t) + past_j h_j(t - 1) + shift_j| + sum_j |own_j h_j(t) + own shift_j| +
    bias``: the density given the past, and the density itself.

    Args:
        params: the parts of the score, each [sources] but the bias. now, past: features [n, sources].
    """
    given = jnp.abs(params["now"][None] * now + params["past"][None] * past + params["shift"][None])
    alone = jnp.abs(params["own"][None] * now + params["own shift"][None])
    return jnp.sum(alone - given, axis=1) + params["bias"]


def features_of(features: Net, state: SupervisedState, x: Array) -> Array:
    """The features [n, sources] under trained weights, the averaged ones if there are any."""
    return features.apply(weights(state)[0]["features"], (), x)[0]


def example() -> Example:
    """Two autocorrelated sources, mixed linearly."""
    from lrn import nets
    from lrn.data import mixing, sources
    from lrn.data.sampler import minibatch

    s = sources.autoregressive(jax.random.key(0), 513, 2, 0.9)
    x = mixing.linear(jax.random.key(1), 2).forward(s)
    net = nets.mlp(2, (16,))
    return Example(
        factory=lambda config: permutation_contrastive(net, config),
        config=PermutationContrastiveConfig(OptimizerConfig(learning_rate=0.01)),
        data={"x": x[1:], "before": x[:-1]},
        sampler=minibatch(64, columns=("x", "before")),
        solves=Goal("loss", below=0.37),
    )
