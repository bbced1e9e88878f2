"""From a network's policy outputs to actions: a categorical for discrete ones, a Gaussian for continuous.

The Gaussian has one trainable log standard deviation a dimension, whatever the observation, and lives in
units of half the action range around its middle; what leaves the range is clipped on its way to the
environment, not in the density (Schulman et al. 2017, and what their code does).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.rl import distributions as d
from lrn.rl.env import Box, Env
from lrn.types import Array, Key, Params


class PolicyHead(NamedTuple):
    """A stochastic policy over one environment's actions, as pure functions.

    ``out`` [..., k] is the network's policy output, ``extra`` the head's own parameters. An action is as
    sampled; only ``to_env`` makes it what the environment takes.

    init: ``init() -> extra``.
    noise: ``noise(key, shape) -> noise`` for samples of shape ``shape``.
    sample: ``sample(extra, out, noise) -> action``.
    log_prob: ``log_prob(extra, out, action) -> [...]``. entropy: ``entropy(extra, out) -> [...]``, nats.
    mode: ``mode(extra, out) -> action``. to_env: ``to_env(action) -> action`` in the environment's units.
    size: k.
    """

    init: Callable[[], Params]
    noise: Callable[[Key, tuple[int, ...]], Array]
    sample: Callable[[Params, Array, Array], Array]
    log_prob: Callable[[Params, Array, Array], Array]
    entropy: Callable[[Params, Array], Array]
    mode: Callable[[Params, Array], Array]
    to_env: Callable[[Array], Array]
    size: int


def check_log_std(value: Array | float) -> None:
    """Raise InputError unless the deviation that a policy starts with can be told from 0 and infinity."""
    check.between("initial_log_std", value, -20.0, 20.0)


def policy_head(env: Env, initial_log_std: Array | float = 0.0) -> PolicyHead:
    """The head for an environment's actions.

    Raises:
        InputError: ``initial_log_std`` is not finite, or beyond 20 either way.
    """
    check_log_std(initial_log_std)
    if isinstance(env.actions, Box):
        return _gaussian(env.actions, initial_log_std)
    n = env.actions.n
    return PolicyHead(
        init=lambda: (),
        noise=lambda key, shape: d.categorical_noise(key, (*shape, n)),
        sample=lambda extra, out, noise: d.categorical_sample(out, noise),
        log_prob=lambda extra, out, action: d.categorical_log_prob(out, action),
        entropy=lambda extra, out: d.categorical_entropy(out),
        mode=lambda extra, out: d.categorical_mode(out),
        to_env=lambda action: action,
        size=n,
    )


def _gaussian(box: Box, initial_log_std: Array | float) -> PolicyHead:
    k = box.size
    return PolicyHead(
        init=lambda: jnp.full(k, initial_log_std, jnp.float32),
        noise=lambda key, shape: jax.random.normal(key, (*shape, k)),
        sample=lambda extra, out, noise: d.normal_sample(out, _row(extra, out), noise),
        log_prob=lambda extra, out, action: d.normal_log_prob(out, _row(extra, out), action),
        entropy=lambda extra, out: d.normal_entropy(out, _row(extra, out)),
        mode=lambda extra, out: out,
        to_env=lambda action: box.scale(action.reshape(*action.shape[:-1], *box.shape)),
        size=k,
    )


def _row(extra: Params, out: Array) -> Array:
    return jnp.broadcast_to(extra, out.shape)
