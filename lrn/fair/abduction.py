"""Abduction by sampling: the posterior of a latent variable of each individual, given what was observed.

A latent model is one function, ``log_joint(u, row)``: the log of the prior density of the latent variables
u [dim] times the chance of the row given u; constants may be left out. A row is a pytree of what was observed
of one individual. Leave the outcome out of the row if a counterfactually fair predictor uses the result.

- `importance`: self-normalized importance sampling from a normal proposal (Owen 2013, chapter 9).
- `metropolis`: random-walk Metropolis with several chains for each individual (Metropolis et al. 1953).

In one dimension `lrn.fair.quadrature` is faster and has no noise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import readable
from lrn.config import config
from lrn.fair import arguments
from lrn.types import Array, Key, PyTree

LogJoint = Callable[[Array, Any], Array]  # (u [dim], row) -> log p(u) + log p(row | u), a scalar

# With fewer effective draws than this the estimated error of importance sampling is not to be trusted: where
# one draw has all the weight, it would be 0.
_FEW = 10


class Draws(NamedTuple):
    """Weighted draws from the posterior of each individual.

    value: [n, chains, samples, dim]. weight: [n, chains, samples], 0 or more; an individual's sum is 1.
    Importance sampling has one chain. An individual whose density is NaN, or 0 at all draws, is NaN.
    """

    value: Array
    weight: Array


class Estimate(NamedTuple):
    """A posterior expectation and how well the draws determine it.

    mean: [n]. error: the standard error of the mean that is due to sampling, [n]; inf where importance
    sampling has fewer than 10 effective draws.
    ess: the effective sample size, [n]: the number of independent draws that would do as well.
    """

    mean: Array
    error: Array
    ess: Array


@config
class MetropolisConfig:
    """Settings of random-walk Metropolis.

    scale: the standard deviation of a proposal's step. About 2.4 posterior standard deviations are best in
        one dimension, and 2.4 / sqrt(dim) in more (Gelman et al. 1996).
    start: the standard deviation of the chains' starting points around 0; best wider than the posterior, so
        that chains that do not reach it show in the error.
    chains: the number of chains for each individual, 2 or more.
    burn: the number of first steps that are dropped. steps: the number of steps that are kept.
    """

    scale: float = 1.7
    start: float = 1.0
    chains: int = 8
    burn: int = 100
    steps: int = 400

    def __post_init__(self) -> None:
        check.positive("scale", self.scale)
        check.positive("start", self.start)
        check.counts(self, "chains", low=2)
        check.counts(self, "burn", low=0)
        check.counts(self, "steps")


def importance(
    key: Key,
    log_joint: LogJoint,
    rows: PyTree,
    samples: int,
    dim: int = 1,
    center: ArrayLike = 0.0,
    scale: ArrayLike = 1.0,
) -> Draws:
    """Draws from a normal proposal, weighted by the posterior density; jit and vmap safe.

    Args:
        key: draws the values. log_joint: the latent model. rows: what was observed, leaves [n, ...].
        samples: the number of draws for each individual. dim: the number of latent variables.
        center, scale: the mean and the standard deviation of the proposal, numbers or [n, dim]. The default
            is a standard normal prior. A proposal narrower than the posterior has errors without a bound.

    Raises:
        InputError: the rows differ in length or hold values that are not finite, a number is out of its range
            or has another shape, or ``log_joint`` gives no scalar.
    """
    check.integer("samples", samples, 2)
    check.integer("dim", dim, 1)
    rows, n = arguments.individuals(rows)
    center, scale = _proposal("center", center, n, dim), _proposal("scale", scale, n, dim, 0.0)
    standard = jax.random.normal(key, (n, samples, dim))
    value = center[:, None] + scale[:, None] * standard
    level = _density(log_joint, value, rows) + jnp.sum(jnp.square(standard) / 2, axis=-1)
    return Draws(value[:, None], jax.nn.softmax(level, axis=-1)[:, None])


def metropolis(key: Key, log_joint: LogJoint, rows: PyTree, config: MetropolisConfig, dim: int = 1) -> Draws:
    """The states of Metropolis chains after the burn-in; jit and vmap safe.

    Args:
        key: draws starts, proposals and acceptances. log_joint: the latent model.
        rows: what was observed, leaves [n, ...]. config: the settings. dim: the number of latent variables.

    Raises:
        InputError: the rows differ in length or hold values that are not finite, dim is no whole number of 1
            or more, or ``log_joint`` gives no scalar.
    """
    check.integer("dim", dim, 1)
    (rows, n), chains = arguments.individuals(rows), config.chains
    density = functools.partial(_density, log_joint)

    def advance(carry: tuple[Array, Array], key: Key) -> tuple[tuple[Array, Array], Array]:
        value, level = carry
        step, accept = jax.random.split(key)
        proposal = value + config.scale * jax.random.normal(step, value.shape)
        found = density(proposal, rows)
        # A chain that meets a density of NaN becomes NaN and stays so. From a density of 0 it moves freely.
        better = ~(jnp.log(jax.random.uniform(accept, level.shape)) >= found - level)
        value = jnp.where(better[..., None], proposal, value)
        value = jnp.where(jnp.isnan(found)[..., None], jnp.nan, value)
        return (value, jnp.where(better, found, level)), value

    first, rest = jax.random.split(key)
    value = config.start * jax.random.normal(first, (n, chains, dim))
    level = density(value, rows)
    begin = jnp.where(jnp.isnan(level)[..., None], jnp.nan, value), level
    keys = jax.random.split(rest, config.burn + config.steps)
    _, path = jax.lax.scan(advance, begin, keys)
    kept = jnp.moveaxis(path[config.burn :], 0, 2)
    weight = jnp.full(kept.shape[:3], 1 / (chains * config.steps), kept.dtype)
    broken = jnp.isnan(kept).any(axis=(1, 2, 3))
    return Draws(kept, jnp.where(broken[:, None, None], jnp.nan, weight))


def expectation(draws: Draws, function: Callable[[Array], Array] | None = None) -> Estimate:
    """The posterior expectation of a function of the latent variables.

    The error of importance sampling is by the delta method, ``sqrt(sum w^2 (f - mean)^2)`` (Owen 2013,
    equation 9.9), and its effective sample size is ``1 / sum w^2``. The error of Metropolis is that of the
    mean of independent chains, from the spread of the chains' means; chains that have not met show in it.

    Args:
        draws: the result of `importance` or `metropolis`.
        function: ``function(u) -> value``, a scalar for u [dim]; the first latent variable by default.

    Raises:
        InputError: the function gives no scalar.
    """
    value = draws.value[..., 0] if function is None else jax.vmap(jax.vmap(jax.vmap(function)))(draws.value)
    if value.shape != draws.weight.shape:
        shape = value.shape[draws.weight.ndim :]
        raise check.InputError(f"function must give a scalar, got shape {shape}; take one entry of it.")
    # NaN weights show in this factor. In the products below XLA may drop them, where the function is a bool
    # that became a float: it turns such a product into a choice between the weight and 0.
    known = jnp.where(jnp.isnan(draws.weight).any(axis=(1, 2)), jnp.nan, 1)
    mean = jnp.sum(draws.weight * value, axis=(1, 2)) * known
    away = value - mean[:, None, None]
    if draws.weight.shape[1] == 1:
        ess = 1 / jnp.sum(jnp.square(draws.weight), axis=(1, 2))
        error = jnp.sqrt(jnp.sum(jnp.square(draws.weight * away), axis=(1, 2))) * known
        return Estimate(mean, jnp.where(ess < _FEW, jnp.inf, error), ess)
    chains, samples = draws.weight.shape[1:]
    error = jnp.std(jnp.mean(value, axis=2), axis=1, ddof=1) / math.sqrt(chains)
    variance = jnp.sum(draws.weight * jnp.square(away), axis=(1, 2))
    moved = error > 0
    ess = jnp.where(moved, variance / jnp.where(moved, jnp.square(error), 1), chains * samples)
    return Estimate(mean, error * known, jnp.minimum(ess, chains * samples) * known)


def _density(log_joint: LogJoint, value: Array, rows: PyTree) -> Array:
    """The log density of values [n, m, dim], m for each row, [n, m]."""
    level = jax.vmap(jax.vmap(log_joint, (0, None)))(value, rows)
    if level.shape != value.shape[:2]:
        raise check.InputError(
            f"log_joint must give a scalar for u [{value.shape[2]}] and a row, got shape {level.shape[2:]}; "
            "sum over the latent variables."
        )
    return level


def _proposal(name: str, value: Any, n: int, dim: int, low: float = -np.inf) -> Array:
    """A number, or numbers [n, dim], above ``low`` and finite where they can be read, as floats [n, dim]."""
    value = arguments.numbers(name, value)
    if value.shape not in ((), (n, dim)):
        raise check.InputError(f"{name} must be a number or have shape [{n}, {dim}], got {value.shape}.")
    if readable(value) and not (np.isfinite(np.asarray(value)) & (np.asarray(value) > low)).all():
        raise check.InputError(f"{name} must be finite and above {low:g} everywhere; mend the proposal.")
    return jnp.broadcast_to(value.astype(jnp.promote_types(value.dtype, jnp.float32)), (n, dim))
