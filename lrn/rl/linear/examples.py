"""The small problem of the examples of linear methods."""

from __future__ import annotations

import jax.numpy as jnp

from lrn.rl.env import Env
from lrn.rl.tabular import examples
from lrn.types import Array


def walk() -> tuple[Env, Array, Array, Array]:
    """The random walk of 19 states: environment, features of groups of states, target policy and behavior."""
    group = jnp.clip((jnp.arange(21) - 1) // 5, 0, 3)
    x = (group[:, None] == jnp.arange(4)[None, :]).astype(jnp.float32)
    target = jnp.tile(jnp.asarray([[0.5, 0.5]]), (21, 1))
    behavior = jnp.tile(jnp.asarray([[0.6, 0.4]]), (21, 1))
    return examples.walk(), x, target, behavior
