"""Fronts against loops, and the hypervolume against a count of small squares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.data.dataset import split
from lrn.fair import gaps
from lrn.fair.confusion import Confusion, confusion
from lrn.fair.exponentiated_gradient import expected_decision, exponentiated_gradient
from lrn.fair.front import (
    Front,
    choose,
    fairness_front,
    hypervolume,
    overall_accuracy,
    overall_balanced_accuracy,
)
from lrn.fair.logistic import logistic
from lrn.fair.methods import post_processing, reduction, reweighed, unconstrained
from lrn.fair.people import people
from lrn.fair.reduction_game import ReductionConfig
from lrn.fair.thresholds import expected_decision as thresholds_decision
from lrn.fair.thresholds import fit_bounded_thresholds, fit_thresholds
from tests.fair.references.peer_data import data

X, Y, GROUP = data(600, 3, 2, 4)
ROWS = people(X.astype(np.float32), Y, GROUP, 2)
FIT = logistic()
BOUNDS = np.array([0.02, 0.1, 1.0])


@pytest.fixture(scope="module")
def reduced():
    return fairness_front(reduction(FIT, ReductionConfig(rounds=10)), ROWS, 2, BOUNDS, (3, 4))


def test_a_front_is_a_loop(reduced):
    assert reduced.test.tp.shape == (2, 3, 2)

    @jax.jit
    def alone(rows, bound):
        key = jax.random.split(jax.random.key(4))[0]
        train, *held = (rows.take(part) for part in split(key, 600, (0.6, 0.2, 0.2)))
        config = ReductionConfig(rounds=10, bound=bound)
        found = exponentiated_gradient(FIT, train.x, train.y, train.group, 2, config)
        return [confusion(part.y, expected_decision(found, part.x), part.group, 2) for part in held]

    for own, counts in zip(alone(ROWS, BOUNDS[1] / 2), (reduced.validation, reduced.test)):
        np.testing.assert_allclose(np.stack(own), np.stack(counts)[:, 1, 1], atol=0.2)


def test_a_front_that_compiles_sooner_has_the_same_counts(reduced):
    method = reduction(FIT, ReductionConfig(rounds=10))
    alone = fairness_front(method, ROWS, 2, BOUNDS, (4,), level=0)  # and a seed does not hang on the others
    for found, known in ((alone.validation, reduced.validation), (alone.test, reduced.test)):
        for leaf, other in zip(found, known):
            np.testing.assert_allclose(leaf[0], other[1], atol=0.2)


def test_a_tighter_bound_gives_a_smaller_gap(reduced):
    gap = np.asarray(gaps.demographic_parity_difference(reduced.test)).mean(0)
    free = fairness_front(unconstrained(FIT), ROWS, 2, 1.0, (3, 4))
    without = float(np.asarray(gaps.demographic_parity_difference(free.test)).mean())
    assert without > 0.15
    assert gap[0] < without - 0.08
    assert gap[2] == pytest.approx(without, abs=0.02)


def test_post_processing_and_reweighing_have_a_front():
    for method in (post_processing(FIT), reweighed(FIT)):
        found = fairness_front(method, ROWS, 2, [0.0, 1.0], (0, 1, 2))
        gap = np.asarray(gaps.demographic_parity_difference(found.test)).mean(0)
        assert gap[0] < gap[1] - 0.02, method


def test_thresholds_are_those_of_the_validation_rows_and_odds_are_mixed():
    train, held = ROWS.take(np.arange(300)), ROWS.take(np.arange(300, 600))
    method = post_processing(FIT, "equalized_odds")

    @jax.jit
    def chances(bound):
        return method(jax.random.key(0), train, held, 2, bound)(held.x, held.group)

    @jax.jit
    def by_hand():
        score = FIT(train.x, train.y)(held.x)
        exact = fit_thresholds(score, held.y, held.group, 2, "equalized_odds")
        free = fit_bounded_thresholds(score, held.y, held.group, 2, 1.0)
        return [thresholds_decision(rule, score, held.group) for rule in (exact, free)]

    exact, free = map(np.asarray, by_hand())
    np.testing.assert_allclose(chances(0.0), exact, atol=1e-6)
    np.testing.assert_allclose(chances(0.25), 0.75 * exact + 0.25 * free, atol=1e-6)
    assert np.abs(exact - free).max() > 0.1


def test_the_choice_reads_validation_rows_only(reduced):
    counts = np.zeros((4, 1, 3, 2))  # tp, fp, fn, tn of one seed, three bounds, two groups
    counts[0, 0] = [[5, 5], [6, 8], [8, 9]]  # true positives; the gap is their difference over 10
    counts[2, 0] = 10 - counts[0, 0]
    counts[3, 0], counts[1, 0] = 9, 1
    validation = Confusion(*jnp.asarray(counts))
    test = Confusion(*jnp.asarray(counts[:, :, ::-1]))
    front = Front(jnp.asarray(BOUNDS), validation, test)
    quality = overall_accuracy
    gap = gaps.equal_opportunity_difference
    for limit, place in ((0.05, 0), (0.15, 2), (0.5, 2)):
        assert int(choose(front, quality, gap, limit).place[0]) == place
    np.testing.assert_array_equal(choose(front, quality, gap, 0.05).test.tp[0], counts[0, 0, 2])
    both = np.concatenate([counts, counts], axis=1)
    both[0, 1], both[2, 1] = [10, 0], [0, 10]  # a seed whose gap is 1 at every bound
    two = Confusion(*jnp.asarray(both))
    found = choose(Front(front.bounds, two, two), quality, gap, 0.5)
    assert found.place.tolist() == [2, -1]
    assert np.isnan(found.test.tp[1]).all()


def test_overall_measures():
    y, d, group = np.array([1, 1, 0, 0, 0, 1]), np.array([1, 0, 0, 1, 0, 1]), np.array([0, 0, 0, 1, 1, 1])
    counts = confusion(y, d, group, 2)
    assert float(overall_accuracy(counts)) == pytest.approx(4 / 6)
    assert float(overall_balanced_accuracy(counts)) == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_hypervolume():
    rng = np.random.default_rng(0)
    gap, quality = rng.uniform(size=(3, 5)), rng.uniform(size=(3, 5))
    side = (np.arange(1000) + 0.5) / 1000
    g, q = side * 0.8, 0.2 + side * 0.8
    for i in range(3):
        inside = np.zeros((1000, 1000), bool)
        for a, b in zip(gap[i], quality[i]):
            inside |= (g[:, None] >= a) & (q[None] <= b)
        assert float(hypervolume(gap, quality, (0.8, 0.2))[i]) == pytest.approx(
            inside.mean() * 0.64, abs=2e-3
        )
    assert float(hypervolume([0.9], [0.9], (0.8, 0.2))) == 0
    assert float(hypervolume([0.1], [0.1], (0.8, 0.2))) == 0
    assert np.isnan(float(hypervolume([0.1, np.nan], [0.5, 0.5], (0.8, 0.2))))


def test_bad_input():
    with pytest.raises(InputError, match="bounds must lie between 0 and 1"):
        fairness_front(unconstrained(FIT), ROWS, 2, [0.1, 2.0], (0,))
    with pytest.raises(InputError, match="seeds is empty"):
        fairness_front(unconstrained(FIT), ROWS, 2, [0.1], ())
    with pytest.raises(InputError, match=r"seeds must be a list of seeds, got 3; give range\(3\)"):
        fairness_front(unconstrained(FIT), ROWS, 2, [0.1], 3)  # pyright: ignore
    with pytest.raises(InputError, match=r"rows must be the result of .* got tuple"):
        fairness_front(unconstrained(FIT), (X, Y), 2, [0.1], (0,))  # pyright: ignore
    same = ROWS._replace(y=jnp.where(ROWS.group == 1, 1, ROWS.y))
    with pytest.raises(InputError, match="group 1 has labels of class 1 only"):
        fairness_front(unconstrained(FIT), same, 2, [0.1], (0,))
    counts = Confusion(*jnp.ones((4, 1, 3, 2)))
    front = Front(jnp.asarray(BOUNDS), counts, counts)
    with pytest.raises(InputError, match="no bound keeps the gap at or below -1 on"):
        choose(front, overall_accuracy, gaps.equal_opportunity_difference, -1.0)
    with pytest.raises(InputError, match="limit must be a finite number"):
        choose(front, overall_accuracy, gaps.equal_opportunity_difference, float("nan"))
    empty = front._replace(validation=Confusion(*jnp.zeros((4, 1, 3, 2))))
    with pytest.raises(InputError, match="gap is unknown at every bound"):
        choose(empty, overall_accuracy, gaps.equal_opportunity_difference, 0.1)
    with pytest.raises(InputError, match="one shape"):
        hypervolume([0.1], [0.1, 0.2], (1, 0))
