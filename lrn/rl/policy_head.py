"""From a network's policy outputs to actions: categorical for discrete actions, Gaussian for continuous ones.

The Gaussian has one trainable log standard deviation per dimension, the same for every observation. Its units
are half the action range, with 0 in the middle of the range. Samples outside of the range are clipped only
for the environment; the density is that of the unclipped Gaussian (Schulman et al. 2017 and their code).
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

    ``out`` [..., k] is the network's policy output, and ``extra`` are the head's own parameters. All
    functions but ``to_env`` handle actions as sampled: int32 [...] for discrete actions, float [..., k] for
    continuous ones.

    init: ``init() -> extra``, the head's parameters at the start.
    noise: ``noise(key, shape) -> noise``, random numbers for samples of a batch [*shape].
    sample: ``sample(extra, out, noise) -> action``.
    log_prob: ``log_prob(extra, out, action) -> [...]``, the log-probability or log-density of an action.
    entropy: ``entropy(extra, out) -> [...]``, in nats.
    mode: ``mode(extra, out) -> action``, the likeliest action.
    to_env: ``to_env(action) -> action`` in the environment's units, clipped to its bounds.
    size: k, the number of outputs.
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
    """Raise InputError unless a log standard deviation lies in [-20, 20], safe from 0 and infinity."""
    check.between("initial_log_std", value, -20.0, 20.0)


def policy_head(env: Env, initial_log_std: Array | float = 0.0) -> PolicyHead:
    """The policy head for an environment's actions.

    Args:
        env: the environment.
        initial_log_std: log standard deviation of the Gaussian at the start, in units of half the action
            range.

    Raises:
        InputError: ``initial_log_std`` is not finite, or outside of [-20, 20].
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
