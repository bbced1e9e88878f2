"""Synthetic two-class tasks in the box [0, 1], drawn by row numbers, with what is known of each.

Row r of a seed is the same point in every call, and its label is r modulo 2, so training and test sets are
ranges of rows and take no memory. A task is made in units of its own and mapped to .5 + z / 20, which lies
far inside of the box; `UNIT` is the length of one such unit in pixels.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

UNIT = 1 / 20
SIGNAL, STRONG = 2.0, 10  # the length of the mean of the Gaussians; the coordinates of a sparse mean
INNER, OUTER = 1.0, 1.3  # radii of the spheres, as in Gilmer et al. (2018)
FINE = 0.05  # of the tilted task: the size of the fine coordinate


# What a network divides its inputs by: about the size of each coordinate.
SCALES = {"spheres": np.full(10, 0.36, np.float32), "tilted": np.array([1.0, FINE], np.float32)}


def to_box(z: Any) -> Any:
    """Points in the task's units as pixels."""
    return jnp.clip(0.5 + UNIT * z, 0, 1)


def from_box(x: Any) -> Any:
    """Pixels [n, ...] as flat points [n, d] in the task's units."""
    return (x.reshape(x.shape[0], -1) - 0.5) / UNIT


def _rows(seed: Any, rows: Any, draw: Any) -> tuple[Any, Any]:
    """What ``draw(key)`` gives for each row, and the rows' labels."""
    keys = jax.vmap(lambda r: jax.random.fold_in(jax.random.key(seed), r))(rows)
    return jax.vmap(draw)(keys), (rows % 2).astype(jnp.int32)


def mean_of(d: int, dense: Any) -> Any:
    """The mean of class 1, of length `SIGNAL`: over all d coordinates, or over the first ten alone."""
    few = min(STRONG, d)
    sparse = jnp.where(jnp.arange(d) < few, SIGNAL / math.sqrt(few), 0.0)
    return jnp.where(jnp.asarray(dense) > 0, SIGNAL / math.sqrt(d), sparse)


def gaussians(seed: Any, rows: Any, d: int, dense: Any) -> tuple[Any, Any]:
    """Two Gaussians with opposite means and unit variance: pixels [n, d] and labels [n]."""
    noise, y = _rows(seed, rows, lambda key: jax.random.normal(key, (d,)))
    return to_box((2 * y - 1)[:, None] * mean_of(d, dense)[None] + noise), y


def best_robust(d: int, dense: bool, eps: float) -> float:
    """The largest accuracy that any classifier of `gaussians` has under Linf perturbations up to eps units.

    The adversary moves each mean towards the other by up to eps in each coordinate; what remains is a
    problem of two Gaussians (Bhagoji et al. 2019).
    """
    rest = np.maximum(np.abs(np.asarray(mean_of(d, float(dense)))) - eps, 0)
    return float(norm.cdf(np.linalg.norm(rest)))


def bayes_attacked(d: int, dense: bool, eps: float) -> float:
    """The accuracy of the Bayes classifier of `gaussians`, sign(mean . z), under such perturbations."""
    mean = np.asarray(mean_of(d, float(dense)))
    return float(norm.cdf(np.linalg.norm(mean) - eps * np.abs(mean).sum() / np.linalg.norm(mean)))


def linear_attacked(weights: Any, bias: Any, mean: Any, eps: Any) -> Any:
    """The exact accuracy of sign(weights . z + bias) on the two Gaussians under such perturbations.

    Args:
        weights: [d]. bias: scalar. mean: [d], of class 1. eps: the Linf radius, in units.
    """
    size = jnp.linalg.norm(weights)
    reach = jnp.dot(weights, mean) - eps * jnp.abs(weights).sum()
    right = [jax.scipy.stats.norm.cdf((reach + side * bias) / size) for side in (1, -1)]
    return (right[0] + right[1]) / 2


def spheres(seed: Any, rows: Any, d: int = 10) -> tuple[Any, Any]:
    """Two concentric spheres (Gilmer et al. 2018): the classifier |z| > 1.15 holds up to .15 away in L2."""
    direction, y = _rows(seed, rows, lambda key: jax.random.normal(key, (d,)))
    direction = direction / jnp.linalg.norm(direction, axis=1, keepdims=True)
    return to_box(jnp.where(y[:, None] == 1, OUTER, INNER) * direction), y


def tilted(seed: Any, rows: Any) -> tuple[Any, Any]:
    """Two coordinates that each tell the classes apart, one coarse and one fine (Tanay & Griffin 2016).

    The coarse one is uniform in .6 to 1.4 and the fine one is .05 times as large, with their class's sign.
    The classifier by the coarse one alone is right up to .6 away in Linf.
    """
    noise, y = _rows(seed, rows, lambda key: jax.random.uniform(key, (2,), minval=-0.4, maxval=0.4))
    return to_box((2 * y - 1)[:, None] * jnp.array([[1.0, FINE]]) * (1 + noise)), y
