"""Rows of people for `fair.criteria`, and the same people in the other group where a causal model says how.

The plain features come first, the last of them the group. Then come the features that a counterfactually fair
predictor reads, level by level (Kusner et al. 2017). These are computed anew in the other world, from what
would be observed there, so a decision on them may flip.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.fair._fronts import real
from lrn.data import load
from lrn.fair.abduction import MetropolisConfig, metropolis
from lrn.fair.decorrelate import decorrelated, fit_decorrelation
from lrn.fair.law_school import (
    LawFit,
    LawRow,
    fit_law_school,
    knowledge_posterior,
    law_rows,
    law_scm,
    log_likelihood,
)
from lrn.fair.merit_scm import MeritConfig, draw_merit, merit_posterior
from lrn.fair.people import People, people
from lrn.fair.scm import counterfactual
from lrn.types import Array, Key

MERIT, EQUAL, LAW = "SCM", "SCM, equal base rates", "Law school"
SETS = {"Adult": "adult", "COMPAS": "compas"}
CAUSAL = (MERIT, EQUAL, LAW)
CONFIGS = {MERIT: MeritConfig(), EQUAL: MeritConfig(base_gap=0.0, direct=0.0)}
LEVELS = ("level 1", "level 2", "level 3")


class World(NamedTuple):
    """People, and their features in the other group.

    rows: the people. other: features [n, dim] of the same people in the other group; those of the rows where
        no causal model is known. plain: the number of plain features, the group the last.
    """

    rows: People
    other: Array
    plain: int

    def readings(self) -> dict[str, np.ndarray]:
        """The features that each kind of predictor reads, bool [dim], by name."""
        place, plain = np.arange(self.rows.x.shape[1]), self.plain
        seen = {"group seen": place < plain, "group not seen": place < plain - 1}
        if len(place) == plain:
            return seen
        # Level 1 has no feature left, since all follow from the group, or from other protected attributes.
        levels = place < 0, place == plain, place > plain
        return seen | dict(zip(LEVELS, levels))


def world(name: str, count: int) -> World:
    """The people of a regime.

    Args:
        name: `MERIT`, `EQUAL`, `LAW`, or a name in `SETS`. count: how many people are drawn from a model.
    """
    if name in CONFIGS:
        return _merit(CONFIGS[name], count)
    if name == LAW:
        return _law()
    rows = real(SETS[name])
    return World(rows, rows.x, rows.x.shape[1])


def _merit(config: MeritConfig, count: int) -> World:
    """People of the causal model: level 2 reads the posterior mean of merit, level 3 the features' noise."""
    drawn = draw_merit(jax.random.key(0), count, config)
    here, there = (_merit_features(config, values) for values in (drawn.factual, drawn.counterfactual))
    group = drawn.factual["group"].astype(jnp.int32)
    return _world(here, there, 4, drawn.factual["outcome"].astype(jnp.int32), group)


def _merit_features(config: MeritConfig, values: dict[str, Array]) -> Array:
    group, school, test, proxy = (values[name] for name in ("group", "school", "test", "proxy"))
    merit, _ = merit_posterior(config, group, school, test)
    own = school - config.base_gap * group, test - config.bias * group, proxy - config.proxy * group
    return jnp.stack([school, test, proxy, group, merit, *own], axis=1)


def _law() -> World:
    """Law students: level 2 reads knowledge in the model of Kusner et al., level 3 the residuals of grades.

    The causal model is fitted to all students. It knows first-year grades, and not the label.
    """
    data = load("law_school", "train")
    protected = np.column_stack([data["race"] != "White", data["male"] == 1]).astype(np.float32)
    values = data["ugpa"], np.round(data["lsat"]), protected, data["zfygpa"]
    rows = LawRow(*(jnp.asarray(value, jnp.float32) for value in values))
    fit = jax.jit(lambda row: fit_law_school(law_rows(*row)))(rows)
    other = jax.jit(_other_race)(jax.random.key(0), fit, rows)
    shift = fit_decorrelation(_grades(rows), rows.protected)

    def features(row: LawRow) -> Array:
        known = knowledge_posterior(fit.model, row._replace(zfya=None)).mean
        male = row.protected[:, 1]
        own = decorrelated(shift, _grades(row), row.protected)
        plain = jnp.concatenate([_grades(row), jnp.stack([male, 1 - row.protected[:, 0]], axis=1)], axis=1)
        return jnp.concatenate([plain, known[:, None], own], axis=1)

    here, there = (jax.jit(features)(row) for row in (rows, other))
    return _world(here, there, 4, (data["pass_bar"] == 1).astype(np.int32), 1 - protected[:, 0].astype(int))


def _grades(row: LawRow) -> Array:
    return jnp.stack([row.ugpa, row.lsat], axis=1)


def _other_race(key: Key, fit: LawFit, rows: LawRow) -> LawRow:
    """The same students with the other race; knowledge and noise are drawn from their posterior."""
    first, second = jax.random.split(key)

    def joint(u: Array, row: LawRow) -> Array:
        return log_likelihood(fit.model, u[0], row) - jnp.square(u[0]) / 2

    config = MetropolisConfig(chains=2, burn=100, steps=1)
    knowledge = metropolis(first, joint, rows._replace(zfya=None), config).value[:, 0, 0, 0]
    race, male = rows.protected.T
    known = dict(race=race, male=male, knowledge=knowledge, ugpa=rows.ugpa, lsat=rows.lsat, zfya=rows.zfya)
    model = law_scm(fit.model, {"race": 0.5, "male": 0.5})
    found = counterfactual(model, known, {"race": 1 - race}, second)
    return LawRow(found["ugpa"], found["lsat"], jnp.stack([1 - race, male], axis=1), rows.zfya)


def _world(here: Array, there: Array, plain: int, y: Any, group: Any) -> World:
    """The features standardized, by the same means and deviations in both worlds."""
    mean, deviation = jnp.mean(here, axis=0), jnp.std(here, axis=0)
    here, there = ((x - mean[None]) / deviation[None] for x in (here, there))
    return World(people(here, y, group, 2), there, plain)
