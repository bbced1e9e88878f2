"""Time-contrastive learning of nonstationary sources (Hyvarinen and Morioka, NeurIPS 2016)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.representation.fast_ica import FastICA, best_start
from lrn.supervised.learner import SupervisedConfig, SupervisedState, supervised, weights
from lrn.supervised.losses import cross_entropy
from lrn.types import Array, Example, Goal, Key, Learner, Net, NetState, Params


def time_contrastive(features: Net, segments: int, config: SupervisedConfig) -> Learner:
    """Tell from an observation the segment of time that it is from, by a linear layer on features.

    Where the sources are independent given the segment, their log densities are scaled anew in each segment,
    and the data suffice, the features are a linear function of the functions q(s_j) of single sources of
    which the density is made (theorem 1): |s_j| for a Laplace source, s_j^2 for a Gaussian one. `unmix` finds
    them up to order and scale, by linear ICA.

    Batches are ``{"x": floats [batch, dim], "label" or "y": int [batch], the segment}``. The metrics are
    those of `lrn.supervised.learner.supervised`. The parts of the parameters are "features" and "head".

    Args:
        features: maps observations to features [batch, sources], as many as sources.
        segments: the number of segments, at least 2.
        config: the settings; its floats may be swept.

    Raises:
        InputError: there are fewer than two segments.
    """
    check.integer("segments", segments, 2)

    def init(key: Key, x: Array) -> tuple[Params, NetState]:
        first, second = jax.random.split(key)
        params, state = features.init(first, x)
        dim = jax.eval_shape(features.apply, params, state, x)[0].shape[1]
        head = {"kernel": jax.random.normal(second, (dim, segments)) / dim**0.5, "bias": jnp.zeros(segments)}
        return {"features": params, "head": head}, state

    def apply(
        params: Params, state: NetState, x: Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, NetState]:
        h, state = features.apply(params["features"], state, x, key=key, train=train)
        return h @ params["head"]["kernel"] + params["head"]["bias"][None], state

    return supervised(Net(init, apply), cross_entropy, config)


def features_of(features: Net, state: SupervisedState, x: Array) -> Array:
    """The features [n, sources] under trained weights, the averaged ones if there are any."""
    params, net_state = weights(state)
    return features.apply(params["features"], net_state, x)[0]


def unmix(key: Key, features: Net, state: SupervisedState, x: Array) -> tuple[FastICA, Array]:
    """Linear ICA, by the best of eight starts, of features of observations: the unmixing, and components."""
    h = features_of(features, state, x)
    found = best_start(key, h)
    return found, found.sources(h)


def example() -> Example:
    """Two nonstationary sources, mixed linearly, in four segments."""
    from lrn import nets
    from lrn.data import mixing, sources
    from lrn.data.sampler import minibatch

    made = sources.nonstationary(jax.random.key(0), 4, 128, 2, 8.0)
    x = mixing.linear(jax.random.key(1), 2).forward(made.s)
    net = nets.mlp(2, (16,))
    config = SupervisedConfig()
    return Example(
        factory=lambda config: time_contrastive(net, 4, config),
        config=config,
        data={"x": x, "label": made.segment},
        sampler=minibatch(32, columns=("x", "label")),
        solves=Goal("loss", below=1.25),
    )
