"""The small environments of the examples of tabular and linear methods."""

from __future__ import annotations

import jax.numpy as jnp

from lrn.rl.env import Env
from lrn.rl.mdp import as_env, frozen_lake, random_walk


def lake() -> Env:
    """A slippery frozen lake with random starts and episodes of at most 20 steps."""
    lake = frozen_lake()
    starts = (~lake.terminal / (~lake.terminal).sum()).astype(jnp.float32)
    return as_env(lake._replace(initial=starts), time_limit=20)


def walk(length: int = 19) -> Env:
    """The random walk with random starts and episodes of at most 50 steps."""
    walk = random_walk(length)
    starts = (~walk.terminal / (~walk.terminal).sum()).astype(jnp.float32)
    return as_env(walk._replace(initial=starts), time_limit=50)
