"""Sinusoids of random amplitude and phase (Finn et al. 2017), with a dial for their shared structure.

``y = amplitude * sin(x + phase)``, with x uniform in [-5, 5], amplitude in [.1, 5] and phase in [0, pi].
"""

from __future__ import annotations

import math
from numbers import Real

import jax
import jax.numpy as jnp

from lrn import check
from lrn.meta.episode import Episode, TaskFamily
from lrn.types import Array, Batch, Key, PyTree

LOW, HIGH = -5.0, 5.0


def sinusoid(
    shots: int = 10,
    queries: int = 10,
    *,
    amplitude: tuple[float, float] = (0.1, 5.0),
    phase: tuple[float, float] = (0.0, math.pi),
    noise: float = 0.0,
    unshared: float = 0.0,
) -> TaskFamily:
    """Regression of one number from one number.

    Args:
        shots, queries: the number of points in the support and in the query set.
        amplitude, phase: ranges (low, high) of uniform distributions; the phase is in radians.
        noise: the standard deviation of the noise on y.
        unshared: the fraction, in [0, 1], of the variance of y that comes from a random function of x
            instead of the sine. Each task draws its function anew; it is too rough to be inferred from a
            support set (64 waves with wavelengths of .02 to .2). At 1 the tasks share no structure, and y
            has the same variance.

    The code of a task is (amplitude, sin phase, cos phase).

    Raises:
        ValueError: a count is below 1, a range is empty, or ``unshared`` is outside of [0, 1].
    """
    check.integer("shots", shots, low=1)
    check.integer("queries", queries, low=1)
    check.non_negative("noise", noise)
    check.between("unshared", unshared, 0.0, 1.0)
    for name, (low, high) in {"amplitude": amplitude, "phase": phase}.items():
        known = isinstance(low, Real) and isinstance(high, Real)  # a swept end is traced and not known
        if known and not low < high:
            raise check.InputError(f"{name} must be a range, got {(low, high)}; choose low < high.")

    rough = not (isinstance(unshared, Real) and unshared == 0)

    def sample(key: Key) -> PyTree:
        keys = jax.random.split(key, 3)
        low, high = (jnp.stack([jnp.asarray(x, jnp.float32) for x in ends]) for ends in zip(amplitude, phase))
        # One vmapped draw: each separate draw takes a tenth of a second or more to compile.
        a, p = jax.vmap(_between)(keys[:2], low, high)
        task = {"amplitude": a, "phase": p}
        return task | ({"waves": jax.random.uniform(keys[2], (2, _WAVES))} if rough else {})

    def batch(key: Key, task: PyTree) -> tuple[Batch, Batch]:
        x_key, noise_key = jax.random.split(key)
        x = jax.random.uniform(x_key, (shots + queries, 1), minval=LOW, maxval=HIGH)
        y = jnp.sin(x + task["phase"])
        if rough:  # the random function is most of the cost of a task
            y = jnp.sqrt(1 - unshared) * y + jnp.sqrt(unshared) * _rough(task["waves"], x)
        y = task["amplitude"] * y
        y = y + noise * jax.random.normal(noise_key, y.shape)
        return {"x": x[:shots], "y": y[:shots]}, {"x": x[shots:], "y": y[shots:]}

    def code(task: PyTree) -> Array:
        return jnp.stack([task["amplitude"], jnp.sin(task["phase"]), jnp.cos(task["phase"])])

    return TaskFamily("sinusoid", sample, batch, 1, code)


def shared_part(episode: Episode, unshared: float | Array = 0.0) -> Array:
    """The best prediction for the queries of a task by a predictor that is told the task's code: [n, 1].

    Args:
        episode: one task: query x [n, 1], code [3].
        unshared: that of the family. This fraction of the variance of y is beyond any prediction.
    """
    x = episode.query["x"]
    amplitude, sine, cosine = episode.code
    return jnp.sqrt(1 - unshared) * amplitude * (jnp.sin(x) * cosine + jnp.cos(x) * sine)


def _between(key: Key, low: Array, high: Array) -> Array:
    return jax.random.uniform(key, minval=low, maxval=high)


_WAVES = 64


def _rough(waves: Array, x: Array) -> Array:
    """A random function of x [n, 1] with the variance of a sine, 1/2."""
    wavelength = 0.02 * 10 ** waves[0]
    return jnp.sin(2 * jnp.pi * (x / wavelength[None] + waves[1][None])).mean(1, keepdims=True) * jnp.sqrt(
        _WAVES
    )
