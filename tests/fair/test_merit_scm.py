"""The model of merit: its closed forms against the joint normal distribution and against counts."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.stats import norm

from lrn.check import InputError
from lrn.fair import scm as causal
from lrn.fair.merit_scm import (
    FEATURES,
    MeritConfig,
    base_rates,
    chance_given_merit,
    draw_merit,
    merit_posterior,
    merit_scm,
    outcome_chance,
)

N = 20_000
GRID = np.linspace(-8, 8, 321)
CONFIG = MeritConfig(share=0.3, threshold=0.2, bias=-0.3, spread=0.6)
DRAW = jax.jit(lambda key, config: draw_merit(key, N, config))
FORMS = jax.jit(
    lambda config, u: (
        base_rates(config),
        outcome_chance(config, u, 1),
        chance_given_merit(config, u),
        merit_posterior(config, 1, 0.4, u),
    )
)


@pytest.fixture(scope="module")
def rows():
    return jax.device_get(DRAW(jax.random.key(0), CONFIG))


def close(share, chance, n):
    return abs(share - chance) < 5 * np.sqrt(0.25 / n)


def test_chances_are_integrals_over_the_school_and_the_merit(rows):
    u = np.linspace(-2, 2, 5).astype(np.float32)
    rates, given_both, given_merit, _ = jax.device_get(FORMS(CONFIG, u))
    c = CONFIG

    def chance(u, group):
        school = c.base_gap * group + c.loading * u[:, None] + c.spread * GRID[None]
        level = c.merit_slope * u[:, None] + c.school_slope * school + c.direct * group - c.threshold
        return np.trapezoid(norm.pdf(GRID) * norm.cdf(level), GRID, axis=1)

    assert given_both == pytest.approx(chance(u, 1), abs=1e-5)
    assert given_merit == pytest.approx(0.7 * chance(u, 0) + 0.3 * chance(u, 1), abs=1e-5)
    whole = [np.trapezoid(norm.pdf(GRID) * chance(GRID, g), GRID) for g in (0, 1)]
    assert rates == pytest.approx(whole, abs=1e-5)
    y, a = rows.factual["outcome"], rows.factual["group"]
    for g in (0, 1):
        assert close(y[a == g].mean(), rates[g], (a == g).sum())
    assert close(y.mean(), rows.chance.mean(), N)
    high = rows.chance > 0.7
    assert close(y[high].mean(), rows.chance[high].mean(), high.sum())


def test_the_posterior_is_that_of_the_joint_normal_distribution(rows):
    c = CONFIG
    # The covariance of (merit, school, test) within a group.
    load = np.array([[1, 0, 0], [c.loading, c.spread, 0], [1, 0, c.spread]])
    cov = load @ load.T
    slope = np.linalg.solve(cov[1:, 1:], cov[1:, 0])
    found = rows.factual
    away = np.array([found["school"] - c.base_gap * found["group"], found["test"] - c.bias * found["group"]])
    np.testing.assert_allclose(rows.posterior_mean, slope @ away, atol=1e-5)
    np.testing.assert_allclose(rows.posterior_sd, np.sqrt(1 - slope @ cov[1:, 0]), rtol=1e-5)
    score = (found["merit"] - rows.posterior_mean) / rows.posterior_sd
    assert abs(score.mean()) < 5 / np.sqrt(N)
    assert abs(score.std() - 1) < 5 / np.sqrt(2 * N)


def test_counterfactual_rows_move_by_the_dials(rows):
    before, after = rows.factual, rows.counterfactual
    step = after["group"] - before["group"]
    assert (np.abs(step) == 1).all()
    np.testing.assert_array_equal(after["merit"], before["merit"])
    for name, dial in (("school", CONFIG.base_gap), ("test", CONFIG.bias), ("proxy", CONFIG.proxy)):
        np.testing.assert_allclose(after[name] - before[name], dial * step, atol=2e-6)
    # All effects on the outcome harm group 1, so nobody gains by joining it.
    assert ((after["outcome"] - before["outcome"]) * step <= 0).all()
    assert (after["outcome"] != before["outcome"]).mean() > 0.15


def test_abduction_by_the_model_gives_back_rows_and_counterfactuals(rows):
    def run(config, values, key):
        return causal.counterfactual(merit_scm(config), values, {"group": 1 - values["group"]}, key)

    found = jax.jit(run)(CONFIG, rows.factual, jax.random.key(1))
    for name in ("group", "merit", *FEATURES):
        np.testing.assert_allclose(found[name], rows.counterfactual[name], atol=1e-5)
    # The outcome's noise is drawn: the flips agree in number, not for each individual.
    flips = [np.mean(v["outcome"] != rows.factual["outcome"]) for v in (found, rows.counterfactual)]
    assert abs(flips[0] - flips[1]) < 5 * np.sqrt(0.5 / N)


@pytest.mark.slow
def test_dials_at_zero_leave_nothing_and_are_swept_in_one_program():
    blank = dataclasses.replace(CONFIG, base_gap=0.0, direct=0.0, bias=0.0, proxy=0.0)
    both = jax.tree.map(lambda *v: np.asarray(v, np.float32), CONFIG, blank)
    key = jax.random.key(2)
    found = jax.device_get(jax.jit(jax.vmap(lambda key, c: draw_merit(key, 200, c), (None, 0)))(key, both))
    factual, other = ({k: v[1] for k, v in world.items()} for world in found[:2])
    for name in ("school", "test", "proxy", "outcome"):
        np.testing.assert_allclose(factual[name], other[name], atol=1e-6)
    assert (found.factual["school"][0] != found.counterfactual["school"][0]).all()


def test_bad_config():
    with pytest.raises(InputError, match="share must lie between 0 and 1"):
        MeritConfig(share=1.2)
    with pytest.raises(InputError, match="spread must be"):
        MeritConfig(spread=0.0)
    with pytest.raises(InputError, match="direct must be a finite"):
        MeritConfig(direct=np.inf)


def test_a_group_other_than_0_and_1_is_refused():
    with pytest.raises(InputError, match="group must be 0 or 1"):
        merit_posterior(CONFIG, np.array([0, 2]), np.ones(2), np.ones(2))
    hidden = jax.jit(lambda g: merit_posterior(CONFIG, g, np.ones(2), np.ones(2))[0])(np.array([0, 2]))
    np.testing.assert_array_equal(np.isnan(hidden), [False, True])
