"""Classic control with unknown physics: tasks have the same goal and other masses, lengths and forces."""

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
    """CartPole-v1 with other physics; gymnax has a gravity of 9.8, a half length of .5 and a force of 10.

    A task is ``{"force": ..., "gravity": ..., "length": ...}``; each number is uniform in its range.

    Args:
        gravity: the range of the gravity, m/s^2.
        length: the range of half the pole's length, m.
        force: the range of the pushing force, N.
        horizon: the number of steps of an episode.

    Raises:
        ValueError: a range is empty or reaches 0, or ``horizon`` is below 1.
    """

    def settings(task: PyTree) -> dict[str, Any]:
        # gymnax stores the product of the pole's mass and length as a number of its own.
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
    """Pendulum-v1 with other physics; gymnax has mass 1, length 1 and gravity 10.

    A task is ``{"gravity": ..., "length": ..., "mass": ...}``; each number is uniform in its range. A
    heavy and long pendulum needs more swings.

    Args:
        mass: the range of the mass, kg.
        length: the range of the length, m.
        gravity: the range of the gravity, m/s^2.
        horizon: the number of steps of an episode.

    Raises:
        ValueError: a range is empty or reaches 0, or ``horizon`` is below 1.
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
