"""Sinusoids of random amplitude and phase (Finn et al. 2017), with a dial for what they share.

``y = amplitude * sin(x + phase)``, x uniform in [-5, 5], amplitude uniform in [.1, 5], phase in [0, pi].
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
        shots, queries: points in the support and the query set.
        amplitude, phase: ranges; an interval elsewhere is another distribution of tasks.
        noise: deviation of what is added to y.
        unshared: from 0 to 1, the fraction of the variance of y that is a random function of x instead,
            drawn anew for each task and too rough to be guessed from the support set (64 waves of wavelengths
            .02 to .2): at 1 tasks share nothing, at an equal spread of targets.

    The code of a task is (amplitude, sin phase, cos phase).

    Raises:
        ValueError: a count below 1, an empty range, or ``unshared`` outside [0, 1].
    """
    check.integer("shots", shots, low=1)
    check.integer("queries", queries, low=1)
    check.non_negative("noise", noise)
    check.between("unshared", unshared, 0.0, 1.0)
    for name, (low, high) in {"amplitude": amplitude, "phase": phase}.items():
        known = isinstance(low, Real) and isinstance(high, Real)  # and not swept
        if known and not low < high:
            raise check.InputError(f"{name} must be a range, got {(low, high)}; choose low < high.")

    rough = not (isinstance(unshared, Real) and unshared == 0)

    def sample(key: Key) -> PyTree:
        keys = jax.random.split(key, 3)
        low, high = (jnp.stack([jnp.asarray(x, jnp.float32) for x in ends]) for ends in zip(amplitude, phase))
        # Side by side: a draw by itself takes the compiler a tenth of a second and more.
        a, p = jax.vmap(_between)(keys[:2], low, high)
        task = {"amplitude": a, "phase": p}
        return task | ({"waves": jax.random.uniform(keys[2], (2, _WAVES))} if rough else {})

    def batch(key: Key, task: PyTree) -> tuple[Batch, Batch]:
        x_key, noise_key = jax.random.split(key)
        x = jax.random.uniform(x_key, (shots + queries, 1), minval=LOW, maxval=HIGH)
        y = jnp.sin(x + task["phase"])
        if rough:  # most of the cost of a task
            y = jnp.sqrt(1 - unshared) * y + jnp.sqrt(unshared) * _rough(task["waves"], x)
        y = task["amplitude"] * y
        y = y + noise * jax.random.normal(noise_key, y.shape)
        return {"x": x[:shots], "y": y[:shots]}, {"x": x[shots:], "y": y[shots:]}

    def code(task: PyTree) -> Array:
        return jnp.stack([task["amplitude"], jnp.sin(task["phase"]), jnp.cos(task["phase"])])

    return TaskFamily("sinusoid", sample, batch, 1, code)


def shared_part(episode: Episode, unshared: float | Array = 0.0) -> Array:
    """The best prediction for the queries of a task [n, 1] by who is told the task, its code: [n, 1].

    ``unshared`` is that of the family. The rest, ``unshared`` times the variance of y, nobody can predict.
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
