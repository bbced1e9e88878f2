"""People for `fair.washing`: causal worlds with known counterfactuals, and Adult.

A world has four strata, the cells of two attributes, place and cohort. In each stratum people follow
`lrn.fair.merit_scm` with effects of the group, and a share of group 1, of the stratum's own.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn.data.decisions import decisions
from lrn.data.loader import load
from lrn.fair.merit_scm import MeritConfig, draw_merit, merit_posterior
from lrn.types import Array

STRATA = 4
CELLS = 18  # of Adult: two of race, three of age, three of marital status


class Rows(NamedTuple):
    """People of a seed, in random order.

    x: features without the group [n, dim]. y: labels [n]. group: int [n]. cell: the subgroup by attributes
    other than the group, int [n]. other: the features in the world of the other group [n, dim], NaN where
    nobody knows. merit: the expected merit given all that is seen, in both worlds [n, 2], or NaN.
    """

    x: np.ndarray
    y: np.ndarray
    group: np.ndarray
    cell: np.ndarray
    other: np.ndarray
    merit: np.ndarray


def causal(seed: int, count: int, spread: float) -> Rows:
    """A world of its own for each seed.

    Args:
        seed: draws the world and its people. count: the number of people.
        spread: the standard deviation over strata of the group's effects on school, test and outcome, as a
            share of the mean effect. 0: the same effect in all strata.
    """
    rng = np.random.default_rng(seed)
    deviation, share = rng.normal(size=(3, STRATA)), rng.uniform(0.2, 0.8, STRATA)
    plain = MeritConfig()
    effects = {
        name: getattr(plain, name) * (1 + spread * z)
        for name, z in zip(("base_gap", "bias", "direct"), deviation)
    }
    keys = jax.random.split(jax.random.key(seed), STRATA)
    found = jax.device_get(_people(keys, effects | {"share": share}, count // STRATA))
    order = rng.permutation(STRATA * (count // STRATA))
    return Rows(*(np.concatenate(leaf)[order] for leaf in found))


@functools.partial(jax.jit, static_argnums=2)
def _people(keys: Array, effects: dict[str, Array], count: int) -> tuple[Array, ...]:
    """The leaves of `Rows` for the people of each stratum, [strata, count, ...]."""

    def one(key: Array, own: dict[str, Any], stratum: Array) -> tuple[Array, ...]:
        config = MeritConfig(**own)
        drawn = draw_merit(key, count, config)
        marks = jnp.broadcast_to(jax.nn.one_hot(stratum, STRATA), (count, STRATA))
        seen, merit = [], []
        for world in (drawn.factual, drawn.counterfactual):
            columns = jnp.stack([world[name] for name in ("school", "test", "proxy")], axis=1)
            seen.append(jnp.concatenate([columns, marks], axis=1))
            merit.append(merit_posterior(config, world["group"], world["school"], world["test"])[0])
        group = drawn.factual["group"].astype(jnp.int32)
        cell = jnp.full(count, stratum)
        return (seen[0], drawn.factual["outcome"], group, cell, seen[1], jnp.stack(merit, axis=1))

    return jax.vmap(one)(keys, effects, jnp.arange(STRATA))


def adult(seed: int, count: int) -> Rows:
    """Draws of Adult by sex; subgroups by race, age and marital status."""
    people, cell = decisions("adult"), _adult_cells()
    rows = np.random.default_rng(seed).permutation(len(people.y))[:count]
    x = people.x[rows]
    unknown = np.full(x.shape, np.nan, np.float32)
    return Rows(x, people.y[rows], people.group[rows], cell[rows], unknown, unknown[:, :2])


@functools.cache
def _adult_cells() -> np.ndarray:
    parts = [load("adult", part) for part in ("train", "test")]
    race, age, status = (np.concatenate([p[c] for p in parts]) for c in ("race", "age", "marital-status"))
    married = np.isin(status, ("Married-civ-spouse", "Married-AF-spouse"))
    marital = np.where(married, 0, np.where(status == "Never-married", 1, 2))
    return ((race == "White") * 9 + np.digitize(age, (30, 45)) * 3 + marital).astype(np.int32)
