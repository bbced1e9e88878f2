"""The search over thresholds, the coordinate ascent and the reject option against brute force in NumPy."""

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.fair.confusion import overall
from lrn.fair.coordinate_search import coordinate_front
from lrn.fair.gaps import demographic_parity_difference, equal_opportunity_difference, equalized_odds_max
from lrn.fair.rates import rate
from lrn.fair.reject_option import fit_reject_option, reject_option_decision
from lrn.fair.search import Front, SearchRule, choose, search_decision, threshold_front
from tests.fair.references.peer_data import scored

BOUNDS = np.array([0.013, 0.057, 0.101, 0.204, 0.309, 0.601])


def accuracy(counts):
    return rate(overall(counts), "accuracy")[..., 0]


def table(groups, each, seed):
    """Tied scores in [0, 1], labels and groups of other sizes."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), [each + g for g in range(groups)])
    score = np.round(rng.uniform(size=len(group)) * 0.8 + 0.1 * (group % 2), 1)
    y = (rng.uniform(size=len(group)) < score).astype(int)
    for g in range(groups):
        y[np.flatnonzero(group == g)[:2]] = [0, 1]
    return score, y, group


def by_hand(score, y, group, weight, decide_row):
    """Accuracy, demographic parity difference and equalized odds of decisions."""
    d = decide_row
    rates = [
        [
            np.average(d[rows], weights=weight[rows])
            for rows in (group == g, (group == g) & (y == 1), (group == g) & (y == 0))
        ]
        for g in range(group.max() + 1)
    ]
    gaps = np.ptp(np.array(rates), axis=0)
    return np.average(d == y, weights=weight), gaps[0], max(gaps[1:])


def brute(score, y, group, weight):
    """The metrics of all combinations of thresholds."""
    cuts = [np.unique(score[group == g]) for g in range(group.max() + 1)]
    every = itertools.product(*([*c, -1.0] for c in cuts))
    return np.array([by_hand(score, y, group, weight, score > np.array(c)[group]) for c in every])


def best(found, column, bound):
    return found[found[:, column] <= bound, 0].max()


FRONT2 = jax.jit(
    lambda s, y, g, w: threshold_front(
        s, y, g, 2, accuracy, demographic_parity_difference, weights=w, levels=24
    )
)
CHOOSE = jax.jit(jax.vmap(choose, in_axes=(None, 0)))


def test_two_groups_are_searched_exactly_for_all_bounds_at_once():
    score, y, group = table(2, 20, 0)
    weight = np.random.default_rng(1).integers(1, 4, len(y)).astype(float)
    found = brute(score, y, group, weight)
    with jax.enable_x64(True):
        front = FRONT2(score, y, group, weight)
        rules = CHOOSE(front, BOUNDS)
        size = np.isfinite(front.objective).sum()
        np.testing.assert_allclose(rules.objective, [best(found, 1, b) for b in BOUNDS], atol=1e-12)
        assert (np.diff(front.objective[:size]) > 0).all()
        assert (np.diff(front.constraint[:size]) > 0).all()
        assert np.isnan(np.asarray(front.threshold)[size:]).all()
        for i, bound in enumerate(BOUNDS):
            alone = choose(front, bound)
            np.testing.assert_array_equal(rules.threshold[i], alone.threshold)
            d = np.asarray(search_decision(alone, score, group))
            wanted = by_hand(score, y, group, weight, d)
            np.testing.assert_allclose([alone.objective, alone.constraint], wanted[:2], atol=1e-12)


def test_rows_of_weight_two_are_two_rows_and_groups_may_be_permuted():
    score, y, group = table(2, 10, 2)
    weight = np.random.default_rng(3).integers(1, 4, len(y)).astype(float)
    rows = np.repeat(np.arange(len(y)), weight.astype(int))
    pad = np.zeros(60 - len(rows))  # one shape, hence one program
    two = [np.concatenate([v[rows], pad + v[0]]) for v in (score, y, group)]
    one = [np.concatenate([v, np.full(60 - len(v), v[0])]) for v in (score, y, group)]
    with jax.enable_x64(True):
        run = jax.jit(
            lambda s, y, g, w: threshold_front(
                s, y, g, 2, accuracy, demographic_parity_difference, weights=w, levels=61
            )
        )
        first = run(*one[:2], one[2].astype(int), np.concatenate([weight, np.zeros(60 - len(weight))]))
        second = run(*two[:2], two[2].astype(int), np.concatenate([np.ones(len(rows)), pad]))
        turned = run(*one[:2], 1 - one[2].astype(int), np.concatenate([weight, np.zeros(60 - len(weight))]))
        for bound in BOUNDS:
            wanted = float(choose(first, bound).objective)
            assert float(choose(second, bound).objective) == pytest.approx(wanted, abs=1e-12)
            again = choose(turned, bound)
            assert float(again.objective) == pytest.approx(wanted, abs=1e-12)


def test_three_groups_are_searched_exactly_under_equalized_odds():
    score, y, group = table(3, 9, 4)
    found = brute(score, y, group, np.ones(len(y)))
    with jax.enable_x64(True):
        front = jax.jit(lambda s: threshold_front(s, y, group, 3, accuracy, equalized_odds_max, levels=13))(
            score
        )
        rules = CHOOSE(front, BOUNDS)
    np.testing.assert_allclose(rules.objective, [best(found, 2, b) for b in BOUNDS], atol=1e-12)


@pytest.mark.slow
def test_coordinate_ascent_finds_admissible_points_near_the_best():
    score, y, group = table(4, 6, 5)
    found = brute(score, y, group, np.ones(len(y)))
    with jax.enable_x64(True):
        run = jax.jit(
            lambda s: coordinate_front(s, y, group, 4, accuracy, demographic_parity_difference, levels=11)
        )
        front = run(score)
        for bound in BOUNDS[2:]:
            rule = choose(front, bound)
            wanted = by_hand(
                score, y, group, np.ones(len(y)), np.asarray(search_decision(rule, score, group))
            )
            np.testing.assert_allclose([rule.objective, rule.constraint], wanted[:2], atol=1e-12)
            assert best(found, 1, bound) - 0.04 <= float(rule.objective) <= best(found, 1, bound) + 1e-12


def test_a_coarse_grid_has_thresholds_at_equal_ranks():
    score, y, group = np.arange(20) / 20, np.arange(20) % 2, np.repeat([0, 1], 10)
    keep = lambda c: c.tp[..., 0] + c.fp[..., 0]  # noqa: E731
    front = jax.jit(
        lambda s: threshold_front(s, y, group, 2, keep, lambda c: c.tp[..., 0] + c.fp[..., 0], levels=3)
    )(score)
    # Group 0 may have 0, 5 or 10 rows with decision 1.
    np.testing.assert_allclose(np.asarray(front.objective)[:3], [0, 5, 10])
    np.testing.assert_allclose(np.asarray(front.threshold)[:3, 0], [np.inf, 0.225, -np.inf], atol=1e-6)
    assert np.isnan(np.asarray(front.objective)[3:]).all()


@pytest.mark.parametrize(
    "gap", ["demographic_parity", pytest.param("equal_opportunity", marks=pytest.mark.slow)]
)
def test_the_search_is_at_least_as_good_as_oxonfairs(gap):
    """`references/oxonfair.json` was made by `references/make_oxonfair.py` with OxonFair 0.3."""
    stored = json.loads((Path(__file__).parent / "references" / "oxonfair.json").read_text())["two"]
    score, y, group, _ = scored("two")
    metric = {
        "demographic_parity": demographic_parity_difference,
        "equal_opportunity": equal_opportunity_difference,
    }[gap]
    with jax.enable_x64(True):
        front = jax.jit(lambda s: threshold_front(s, y, group, 2, accuracy, metric, levels=800))(score)
        for name, (wanted, found_gap) in stored.items():
            if name.startswith(gap):
                bound = float(name.split("/")[1])
                ours = float(choose(front, bound).objective)
                assert found_gap <= bound
                # OxonFair searches a coarse grid, and then a fine one around the coarse front.
                assert wanted - 1e-9 <= ours <= wanted + 0.003


def reject_by_hand(score, y, group, deprived, bound):
    """AIF360's search with its masks, and the best balanced accuracy."""
    best, chosen = -1.0, None
    for cut in np.linspace(0.01, 0.99, 20):
        for margin in np.linspace(0, min(cut, 1 - cut), 10):
            d = (score > cut).astype(int)
            critical = (score <= cut + margin) & (score > cut - margin)
            d[critical & ~deprived[group]] = 0
            d[critical & deprived[group]] = 1
            balanced = (d[y == 1].mean() + 1 - d[y == 0].mean()) / 2
            gap = abs(d[group == 0].mean() - d[group == 1].mean())
            if gap <= bound and balanced > best:
                best, chosen = balanced, d
    return best, chosen


REJECT = jax.jit(lambda s, y, g, b, d: fit_reject_option(s, y, g, 2, d, b, thresholds=20, margins=10))


@pytest.mark.parametrize("bound", [0.02, 0.05, 0.2])
def test_the_reject_option_is_aif360s_search(bound):
    rng = np.random.default_rng(7)
    group = np.arange(400) % 2
    score = np.clip(rng.beta(2, 2, 400) + 0.15 * group, 0, 1)
    y = (rng.uniform(size=400) < score).astype(int)
    deprived = np.array([True, False])
    with jax.enable_x64(True):
        rule = REJECT(score, y, group, bound + 1e-9, deprived)
        d = np.asarray(reject_option_decision(rule, score, group))
    best, _ = reject_by_hand(score, y, group, deprived, bound + 1e-9)
    assert float(rule.objective) == pytest.approx(best, abs=1e-12)
    assert float(rule.constraint) <= bound + 1e-9
    assert (d[y == 1].mean() + 1 - d[y == 0].mean()) / 2 == pytest.approx(best, abs=1e-12)
    cut, margin = float(rule.threshold), float(rule.margin)
    critical = (score <= cut + margin) & (score > cut - margin)
    np.testing.assert_array_equal(d[critical], group[critical] == 0)
    np.testing.assert_array_equal(d[~critical], (score > cut)[~critical])


def test_bad_input():
    score, y, group = table(2, 4, 0)
    front = Front(*(jnp.asarray(v) for v in ([[0.5, 0.5]], [0.8], [0.1])))

    def run(score, y, group, groups, levels=3):
        return threshold_front(
            score, y, group, groups, accuracy, demographic_parity_difference, levels=levels
        )

    for call, message in [
        (lambda: run(score, y, group, 4), "group 2 has no rows|needs 2 or 3 groups"),
        (lambda: run(score, y, group, 3), "group 2 has no rows"),
        (lambda: run(score, y, np.arange(len(y)) == 0, 2), "group 1 has 1 row"),
        (lambda: run(score, y + 1, group, 2), "must be 0 or 1"),
        (lambda: run(score * np.nan, y, group, 2), "score must be finite"),
        (lambda: run(score, y, group, 3, levels=1000), "choose fewer levels"),
        (
            lambda: threshold_front(score, y, group, 2, lambda c: c.tp, lambda c: c.tp),
            "one number for counts",
        ),
        (lambda: choose(front, -1.0), "no thresholds keep the constraint at or below -1"),
        (lambda: fit_reject_option(score, y, group, 2, [True, True]), "true for some groups"),
        (lambda: fit_reject_option(score, y, group, 2, [1, 0]), "deprived must be bools"),
        (lambda: fit_reject_option(score + 1, y, group, 2, [True, False]), "between 0 and 1"),
        (lambda: search_decision(choose(front, 1.0), score, group + 5), "group must lie"),
    ]:
        with pytest.raises(InputError, match=message):
            call()


def test_wrong_values_give_nan_under_jit():
    score, y, group = table(2, 20, 0)
    ones = np.ones(len(y))
    for wrong in [(score * np.nan, y, group, ones), (score, y * 2, group, ones), (score, y, group + 1, ones)]:
        with jax.enable_x64(True):
            front = FRONT2(wrong[0], wrong[1], wrong[2], wrong[3])
            assert np.isnan(front.objective).all()
            assert np.isnan(CHOOSE(front, BOUNDS).threshold).all()
    rule = SearchRule(*(jnp.asarray(v) for v in ([0.5, 0.5], 0.8, 0.1)))
    unknown = np.where(np.arange(len(y)) == 3, 2, group)
    found = np.asarray(jax.jit(lambda g: search_decision(rule, score, g))(unknown))
    assert np.flatnonzero(np.isnan(found)).tolist() == [3]
