"""Effects on a linear causal model with known path coefficients, and flips by counting."""

import jax
import numpy as np
import pytest
from fair_rows import WEIGHT

from lrn.check import InputError
from lrn.fair.counterfactual import effects, flip_rate

N = len(WEIGHT)
ALL = jax.jit(lambda f, c, d, i, w: (effects(f, c, d, i, w), flip_rate(f, c, w)))
FLIPS = jax.jit(flip_rate)


def test_effects_of_a_linear_model_are_its_path_coefficients():
    # M = .2 A + U and f = .3 + .1 A + .5 M + .04 A M.
    u = np.random.default_rng(0).uniform(0, 0.5, N)

    def f(a, m):
        return 0.3 + 0.1 * a + 0.5 * m + 0.04 * a * m

    with jax.enable_x64(True):
        found, _ = ALL(f(0, u), f(1, 0.2 + u), f(1, u), f(0, 0.2 + u), WEIGHT)
    mean = np.average(u, weights=WEIGHT)
    wanted = (0.2 + 0.04 * mean + 0.008, 0.1 + 0.04 * mean, 0.1, 0.008)
    assert [float(v) for v in found] == pytest.approx(wanted, abs=1e-12)


def test_flips_are_counted_and_hide_in_a_total_effect_of_zero():
    factual = np.tile([0, 1, 1, 0, 0], N // 5)
    other = np.tile([1, 0, 1, 0, 0], N // 5)
    with jax.enable_x64(True):
        found, flips = ALL(factual, other, other, factual, np.ones(N))
        weighted = FLIPS(factual, other, WEIGHT)
        chance = FLIPS(np.full(N, 0.2), np.full(N, 0.5), WEIGHT)
    assert float(found.total) == pytest.approx(0, abs=1e-12)
    assert float(flips) == pytest.approx(0.4, abs=1e-12)
    assert float(weighted) == pytest.approx(np.average(factual != other, weights=WEIGHT), abs=1e-12)
    assert float(chance) == pytest.approx(0.3, abs=1e-12)


def test_wrong_values_are_refused_and_nan_under_jit():
    fine = np.full(N, 0.5)
    found = ALL(fine, fine * 3, fine, fine, WEIGHT)
    assert np.isnan(jax.tree.leaves(found)).all()
    with pytest.raises(InputError, match="counterfactual must be a decision"):
        flip_rate(fine, fine * 3)
    with pytest.raises(InputError, match="indirect must be numbers"):
        effects(fine, fine, fine, fine[:-1])
