"""Classic control with unknown physics: what stays the same is the job, what differs is the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.meta.rl.tasks import RLTaskFamily, check_ranges
from lrn.rl.env import make
from lrn.types import Array, Key, PyTree

Range = tuple[float, float]
_POLE = 0.1  # kg, gymnax's mass of CartPole's pole


def cartpole(
    gravity: Range = (5.0, 20.0),
    length: Range = (0.25, 1.0),
    force: Range = (5.0, 15.0),
    *,
    horizon: int = 200,
) -> RLTaskFamily:
    """CartPole-v1 of other gravity (m/s^2), pole (half its length, m) and push (N); by default 9.8, .5, 10.

    A task is ``{"force": ..., "gravity": ..., "length": ...}``, each uniform in its range.

    Raises:
        ValueError: an empty range, or one that reaches 0; ``horizon`` below 1.
    """

    def settings(task: PyTree) -> dict[str, Any]:
        # gymnax keeps the product of the pole's mass and length beside them, where it would stay as it was.
        return {
            "gravity": task["gravity"],
            "length": task["length"],
            "polemass_length": _POLE * task["length"],
            "force_mag": task["force"],
        }

    return _family("CartPole-v1", settings, horizon, gravity=gravity, length=length, force=force)


def pendulum(
    mass: Range = (0.5, 1.5),
    length: Range = (0.5, 1.5),
    gravity: Range = (7.5, 12.5),
    *,
    horizon: int = 200,
) -> RLTaskFamily:
    """Pendulum-v1 of other mass (kg), length (m) and gravity (m/s^2); by default 1, 1 and 10.

    A task is ``{"gravity": ..., "length": ..., "mass": ...}``, each uniform in its range. A heavy and long
    one takes more swings.

    Raises:
        ValueError: an empty range, or one that reaches 0; ``horizon`` below 1.
    """

    def settings(task: PyTree) -> dict[str, Any]:
        return {"m": task["mass"], "l": task["length"], "g": task["gravity"]}

    return _family("Pendulum-v1", settings, horizon, mass=mass, length=length, gravity=gravity)


def _family(
    name: str, settings: Callable[[PyTree], dict[str, Any]], horizon: int, **ranges: Range
) -> RLTaskFamily:
    check.integer("horizon", horizon, low=1)
    check_ranges(ranges)
    names = sorted(ranges)  # the order of a dict's leaves

    def sample(key: Key) -> PyTree:
        keys = jax.random.split(key, len(names))
        return {
            name: jax.random.uniform(keys[i], (), minval=ranges[name][0], maxval=ranges[name][1])
            for i, name in enumerate(names)
        }

    def code(task: PyTree) -> Array:
        return jnp.stack([task[name] for name in names])

    return RLTaskFamily(
        f"{name} physics", sample, lambda task: make(name, horizon=horizon, **settings(task)), code
    )
