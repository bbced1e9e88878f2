"""Penalties against their definitions, SciPy, and finite differences."""

import jax
import numpy as np
import pytest
from scipy.stats import entropy, wasserstein_distance

from lrn.check import InputError
from lrn.fair.penalties import (
    covariance_penalty,
    hsic_penalty,
    mmd_penalty,
    mutual_information_penalty,
    wasserstein_penalty,
)

RNG = np.random.default_rng(0)
GROUP = np.arange(40) % 3
SCORE = RNG.normal(size=40) + 0.5 * GROUP
WEIGHTS = RNG.integers(0, 3, 40).astype(float)
ROWS = np.repeat(np.arange(40), WEIGHTS.astype(int))
KERNEL = np.exp(-((SCORE[ROWS, None] - SCORE[ROWS][None]) ** 2) / (2 * 0.7**2))


def covariance():
    score, member = SCORE[ROWS], np.eye(3)[GROUP[ROWS]]
    return (np.array([np.cov(score, member[:, g], bias=True)[0, 1] for g in range(3)]) ** 2).sum()


def mmd():
    found = 0
    for g in range(3):
        own = GROUP[ROWS] == g
        found += KERNEL[np.ix_(own, own)].mean() - 2 * KERNEL[own].mean() + KERNEL.mean()
    return found


def hsic():
    n = len(ROWS)
    center = np.eye(n) - 1 / n
    same = (GROUP[ROWS][:, None] == GROUP[ROWS][None]).astype(float)
    return np.trace(KERNEL @ center @ same @ center) / n**2


def wasserstein():
    score, group = SCORE[ROWS], GROUP[ROWS]
    return sum((group == g).mean() * wasserstein_distance(score[group == g], score) for g in range(3))


PENALTIES = {
    "covariance": (covariance_penalty, covariance),
    "mmd": (lambda *args: mmd_penalty(*args, width=0.7), mmd),
    "hsic": (lambda *args: hsic_penalty(*args, width=0.7), hsic),
    "wasserstein": (wasserstein_penalty, wasserstein),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_values_and_gradients(name):
    penalty, wanted = PENALTIES[name]
    with jax.enable_x64(True):
        run = jax.jit(jax.value_and_grad(lambda s, group: penalty(s, group, 3, WEIGHTS)))
        value, gradient = run(SCORE, GROUP)
        assert float(value) == pytest.approx(wanted(), rel=1e-9)
        assert float(run(SCORE, (GROUP + 1) % 3)[0]) == pytest.approx(float(value), rel=1e-9)
        for row in (0, 7, 23):
            move = np.zeros(40)
            move[row] = 1e-6
            slope = (run(SCORE + move, GROUP)[0] - run(SCORE - move, GROUP)[0]) / 2e-6
            assert float(gradient[row]) == pytest.approx(float(slope), abs=1e-7)
        constant, flat = run(np.ones(40), GROUP)
        assert float(constant) == pytest.approx(0, abs=1e-12)
        assert np.isfinite(flat).all()
        # A wrong group or score: of one row, of all rows, and where all scores are equal.
        for score, group in [
            (SCORE, GROUP + 1),
            (SCORE, GROUP + 9),
            (0 * SCORE, GROUP - 1),
            (np.where(np.arange(40) == 3, np.nan, SCORE), GROUP),
        ]:
            value, gradient = run(score, group)
            assert np.isnan(value)
            assert np.isnan(gradient).all()
        # A group that a minibatch lacks.
        value, gradient = run(SCORE, np.minimum(GROUP, 1))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def information(table):
    """The mutual information of the two axes of a table."""
    return entropy(table.sum(0)) + entropy(table.sum(1)) - entropy(table.ravel())


def test_mutual_information():
    rng = np.random.default_rng(1)
    score = rng.uniform(size=40)
    with jax.enable_x64(True):
        run = jax.jit(jax.value_and_grad(lambda s, g, w: mutual_information_penalty(s, g, 3, w)))
        value, gradient = run(score, GROUP, WEIGHTS)
        # The table of group and decision, whose cells are sums of chances.
        table = np.array([[(WEIGHTS * p)[g == GROUP].sum() for p in (1 - score, score)] for g in range(3)])
        assert float(value) == pytest.approx(information(table), rel=1e-9)
        assert float(run(score, (GROUP + 1) % 3, WEIGHTS)[0]) == pytest.approx(float(value), rel=1e-9)
        for row in (0, 7, 23):
            move = np.zeros(40)
            move[row] = 1e-6
            high, low = (run(score + sign * move, GROUP, WEIGHTS)[0] for sign in (1, -1))
            assert float(gradient[row]) == pytest.approx(float(high - low) / 2e-6, abs=1e-8)
        # Decisions that tell the group have its entropy, and equal means have none.
        two = np.minimum(GROUP, 1)
        told, steep = run(two.astype(float), two, np.ones(40))
        assert float(told) == pytest.approx(entropy([two.mean(), 1 - two.mean()]), rel=1e-9)
        assert np.isfinite(steep).all()
        for constant in (0.0, 0.3, 1.0):
            none, flat = run(np.full(40, constant), GROUP, WEIGHTS)
            assert float(none) == pytest.approx(0, abs=1e-12)
            assert np.isfinite(flat).all()
        assert np.isnan(run(score + 1, GROUP, WEIGHTS)[0])
        assert np.isnan(run(score, GROUP + 1, WEIGHTS)[0])
        # A group without weight counts nothing.
        absent = np.where(GROUP == 2, 0.0, 1.0)
        table = np.array([[p[g == GROUP].sum() for p in (1 - score, score)] for g in range(2)])
        found = run(score, GROUP, absent)
        assert float(found[0]) == pytest.approx(information(table), rel=1e-9)
        assert np.isfinite(found[1]).all()


def test_bad_input():
    with pytest.raises(InputError, match="score must have shape"):
        mmd_penalty(np.ones((3, 1)), np.zeros(3, int), 1)
    with pytest.raises(InputError, match="score must hold numbers, got dtype <U1"):
        mmd_penalty(np.array(["a", "b"]), np.zeros(2, int), 1)
    with pytest.raises(InputError, match="width"):
        hsic_penalty(SCORE, GROUP, 3, width=0.0)
    with pytest.raises(InputError, match="group must lie"):
        covariance_penalty(SCORE, GROUP, 2)
    with pytest.raises(InputError, match="score must be finite and between 0 and 1"):
        mutual_information_penalty(SCORE, GROUP, 3)
