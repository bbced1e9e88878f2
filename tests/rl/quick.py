"""A fast compile for tests of many small programs that run once each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from lrn.rl import play
from lrn.rl.env import Env
from lrn.rl.play import Trajectory
from lrn.types import Key


def run_once(f: Callable[..., Any], *args: Any) -> Any:
    """``jit(f)(*args)``, compiled three times as fast on CPU for code that runs slower."""
    options: Any = {"xla_llvm_disable_expensive_passes": True} if jax.default_backend() == "cpu" else None
    return jax.jit(f).lower(*args).compile(compiler_options=options)(*args)


def jitted(parts: Any) -> Any:
    """A named tuple of functions, such as a `Bonus`, with each function compiled."""
    return type(parts)(*map(jax.jit, parts))


def stretch(env: Env, act: Callable[..., Any], n: int, length: int, noise: Any = ()) -> Trajectory:
    """The trajectory, in NumPy, of ``length`` steps in each of n fresh environments, by one program."""

    def run(first: Key, rest: Key) -> Trajectory:
        return play.unroll(env, rest, play.start(env, first, n), act, (), noise, length)[2]

    return jax.device_get(jax.jit(run)(jax.random.key(0), jax.random.key(1)))
