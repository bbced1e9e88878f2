"""Families of reinforcement-learning tasks, as pure functions of a key.

family = point_robot()
env = family.env(family.sample(key))  # an lrn.rl.env.Env, whose task may be traced
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from lrn import check
from lrn.rl.env import Env
from lrn.types import Array, Key, PyTree


class RLTaskFamily(NamedTuple):
    """A distribution over environments that differ only in numbers.

    name: a name for messages.
    sample: ``sample(key) -> task``; a task is any pytree of arrays.
    env: ``env(task) -> Env``. Observations, actions and horizon have the same shape in every task, and
        the task may be traced. The policy sees the task only if the observation shows it.
    code: ``code(task) -> [c]``, a full description of the task; None for a family without codes.
    """

    name: str
    sample: Callable[[Key], PyTree]
    env: Callable[[PyTree], Env]
    code: Callable[[PyTree], Array] | None = None


def check_family(family: RLTaskFamily) -> Env:
    """An environment of the family, of which only the shapes may be used: its task is a tracer.

    Raises:
        ValueError: ``family`` is no `RLTaskFamily`, or its ``env`` does not return an `Env`.
    """
    if not isinstance(family, RLTaskFamily):
        raise check.InputError(
            f"tasks must come from an RLTaskFamily, got {type(family).__name__}; see lrn.meta.rl.tasks."
        )
    made: list[Env] = []

    def build(key: Key) -> tuple[()]:
        made.append(family.env(family.sample(key)))
        return ()

    jax.eval_shape(build, jax.eval_shape(lambda: jax.random.key(0)))
    if not isinstance(made[0], Env):
        raise check.InputError(
            f"env of the tasks {family.name} must return an lrn.rl.env.Env, got {type(made[0]).__name__}; "
            "wrap it by lrn.rl.env.from_gymnax."
        )
    return made[0]


def check_ranges(ranges: Mapping[str, tuple[float, float]]) -> None:
    """Check that every range (low, high) is not empty and holds only positive numbers.

    Raises:
        ValueError: a range is no pair, is empty, or reaches 0.
    """
    for name, given in ranges.items():
        if not isinstance(given, tuple) or len(given) != 2:
            raise check.InputError(f"{name} must be a range (low, high), got {given!r}; give two numbers.")
        low, high = given
        check.positive(f"the lower end of {name}", low)
        if not low < high:
            raise check.InputError(f"{name} must be a range (low, high), got {given}; choose low < high.")
