"""The cross-entropy method: maximize a function over a box, from samples only (Botev et al. 2013).

Each iteration draws samples from a normal distribution and refits the distribution to the best samples. Draws
are truncated as in Chua et al. (2018), so that every sample lies in the box: the standard deviation is at
most half of the distance to the nearer bound, and no draw is more than two standard deviations from the
mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.types import Array, Key


@config
class CEMConfig:
    """Settings.

    population: number of samples in an iteration.
    elites: number of best samples, to which the distribution is refitted.
    iterations: number of iterations.
    inertia: share of the old mean and variance that a refit keeps, in [0, 1].
    spread: standard deviation at the start, in units of half the box.
    """

    population: int = 200
    elites: int = 20
    iterations: int = 5
    inertia: float = 0.1
    spread: float = 0.5

    def __post_init__(self) -> None:
        check.integer("elites", self.elites, 2)
        check.integer("population", self.population, self.elites)
        check.integer("iterations", self.iterations, 1)
        check.between("inertia", self.inertia, 0, 1)
        check.positive("spread", self.spread)


class Search(NamedTuple):
    """The distribution of a search.

    mean: mean, [*shape].
    std: standard deviation, [*shape].
    score: scalar, mean score of the latest elites.
    """

    mean: Array
    std: Array
    score: Array


def cem(score: Callable[[Key, Array], Array], key: Key, mean: Array, config: CEMConfig) -> Search:
    """Maximize ``score`` over the box [-1, 1]^shape, from a first guess.

    Args:
        score: ``score(key, samples [population, *shape]) -> [population]``, higher is better. A sample whose
            score is not finite counts as the worst.
        key: key of the search.
        mean: first mean, [*shape] in [-1, 1], such as the plan of the previous step.
        config: settings.
    """
    noise_key, score_key = jax.random.split(key)
    shape = (config.iterations, config.population, *mean.shape)
    noise = jax.random.truncated_normal(noise_key, -2.0, 2.0, shape)

    def refit(search: Search, x: tuple[Array, Array]) -> tuple[Search, None]:
        iteration, noise = x
        room = 0.5 * (1.0 - jnp.abs(search.mean))
        samples = search.mean[None] + jnp.minimum(search.std, room)[None] * noise
        scores = score(jax.random.fold_in(score_key, iteration), samples)
        best, rows = jax.lax.top_k(jnp.where(jnp.isfinite(scores), scores, -jnp.inf), config.elites)
        elites, keep = samples[rows], config.inertia
        new = Search(
            keep * search.mean + (1 - keep) * elites.mean(0),
            jnp.sqrt(keep * search.std**2 + (1 - keep) * elites.var(0)),
            best.mean(),
        )
        return new, None

    mean = jnp.clip(mean, -1.0, 1.0)
    start = Search(mean, jnp.full(mean.shape, config.spread, mean.dtype), jnp.float32(-jnp.inf))
    search, _ = jax.lax.scan(refit, start, (jnp.arange(config.iterations), noise))
    return search


def shift(plan: Array) -> Array:
    """A plan [horizon, dim] shifted by one step: the first action is dropped, the last action is zero."""
    return jnp.concatenate([plan[1:], jnp.zeros_like(plan[:1])])
