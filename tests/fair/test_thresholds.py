"""Thresholds against fairlearn's rules, a linear program, and brute force on small tables.

`references/fairlearn.npz` was made by `references/make_fairlearn.py` with fairlearn 0.15.0.
"""

import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.optimize import linprog

from lrn.check import InputError
from lrn.fair.thresholds import CONSTRAINTS, OBJECTIVES, draw_decision, expected_decision, fit_thresholds
from tests.fair.references.peer_data import NEW_SCORES, scored

PAIRS = [(c, o) for c in CONSTRAINTS for o in (OBJECTIVES[:2] if c == "equalized_odds" else OBJECTIVES)]
# One program a pair: the fast tests take some.
FEW = [
    ("demographic_parity", "accuracy"),
    ("true_positive_rate_parity", "true_negative_rate"),
    ("false_negative_rate_parity", "balanced_accuracy"),
    ("equalized_odds", "accuracy"),
    ("equalized_odds", "balanced_accuracy"),
]
# Three points of a hull lie on a line exactly (checked with fractions): fairlearn keeps the middle one by
# rounding, so it draws between other thresholds with the same rates.
COLLINEAR = {
    ("false_positive_rate_parity", "accuracy"),
    ("false_positive_rate_parity", "balanced_accuracy"),
    ("true_negative_rate_parity", "balanced_accuracy"),
}
# The objective is the constrained rate itself, so the other rate is free; ours is better than fairlearn's.
FREE = {
    ("true_positive_rate_parity", "true_positive_rate"),
    ("false_positive_rate_parity", "true_negative_rate"),
}
SOME = [pytest.param(*pair, marks=() if pair in FEW else pytest.mark.slow) for pair in PAIRS]
RATES = {
    "demographic_parity": lambda tpr, fpr, base: base * tpr + (1 - base) * fpr,
    "true_positive_rate_parity": lambda tpr, fpr, base: tpr,
    "false_positive_rate_parity": lambda tpr, fpr, base: fpr,
    "true_negative_rate_parity": lambda tpr, fpr, base: 1 - fpr,
    "false_negative_rate_parity": lambda tpr, fpr, base: 1 - tpr,
}


@pytest.fixture(scope="module")
def stored():
    with np.load(Path(__file__).parent / "references" / "fairlearn.npz") as file:
        return dict(file)


def measures(decision, y, group, groups, weights=None):
    """Each group's true-positive rate, false-positive rate, base rate and share."""
    weights = np.ones(len(y)) if weights is None else weights
    mean = lambda value, rows: np.average(value[rows], weights=weights[rows])  # noqa: E731
    return [
        (
            mean(decision, (group == g) & (y == 1)),
            mean(decision, (group == g) & (y == 0)),
            mean(y, group == g),
            weights[group == g].sum() / weights.sum(),
        )
        for g in range(groups)
    ]


def objective(found, name, constraint):
    """fairlearn's objective: the mean over groups; under equalized odds that of all data."""
    if constraint == "equalized_odds":
        tpr, fpr = found[0][:2]
        base = sum(b * p for _, _, b, p in found) if name == "accuracy" else 0.5
        return base * tpr + (1 - base) * (1 - fpr)
    one = {
        "accuracy": lambda t, f, b: b * t + (1 - b) * (1 - f),
        "balanced_accuracy": lambda t, f, b: (t + 1 - f) / 2,
        "selection_rate": lambda t, f, b: b * t + (1 - b) * f,
        "true_positive_rate": lambda t, f, b: t,
        "true_negative_rate": lambda t, f, b: 1 - f,
    }[name]
    return sum(p * one(t, f, b) for t, f, b, p in found)


def best_by_linear_program(score, y, group, groups, constraint, name):
    """The optimum over all mixtures of a group's thresholds."""
    cuts = [np.inf, *np.sort(np.unique(score))[::-1], -np.inf]
    every = [[measures_of(score, y, group, g, cut) for cut in cuts] for g in range(groups)]
    size = len(cuts)
    cost, equal = np.zeros(groups * size), []
    base = y.mean() if name == "accuracy" else 0.5
    for g, row in enumerate(every):
        share = (group == g).mean()
        for i, (t, f, b) in enumerate(row):
            if constraint == "equalized_odds":
                value = (base * t + (1 - base) * (1 - f)) if g == 0 else 0
            else:
                value = objective([(t, f, b, share)], name, constraint)
            cost[g * size + i] = -value
    total = np.kron(np.eye(groups), np.ones(size))
    rates = [lambda t, f, b: t, lambda t, f, b: f] if constraint == "equalized_odds" else [RATES[constraint]]
    for rate in rates:
        values = np.array([[rate(*m) for m in row] for row in every])
        for g in range(1, groups):
            line = np.zeros((groups, size))
            line[0], line[g] = values[0], -values[g]
            equal.append(line.ravel())
    right = np.concatenate([np.ones(groups), np.zeros(len(equal))])
    result = linprog(cost, A_eq=np.concatenate([total, equal]), b_eq=right, method="highs")
    return -result.fun


def measures_of(score, y, group, g, cut):
    rows = group == g
    chosen = score > cut
    return chosen[rows & (y == 1)].mean(), chosen[rows & (y == 0)].mean(), y[rows].mean()


CHANCE, DRAW = jax.jit(expected_decision), jax.jit(draw_decision)
fit_jit = jax.jit(
    lambda score, y, group, groups, constraint, goal, grid: fit_thresholds(
        score, y, group, groups, constraint, goal, grid=grid
    ),
    static_argnums=(3, 4, 5, 6),
)


@pytest.mark.parametrize(("constraint", "goal"), SOME)
def test_rules_are_fairlearns(stored, constraint, goal):
    score, y, group, groups = scored("three")
    place = np.round(score * 100).astype(int)  # of the training scores in NEW_SCORES
    with jax.enable_x64(True):
        rule = fit_jit(score, y, group, groups, constraint, goal, 1000)
        ours = np.stack([CHANCE(rule, NEW_SCORES, np.full(202, g)) for g in range(groups)])
    wanted = stored[f"to/three/{constraint}/{goal}"]
    a, b = (np.array(measures(table[group, place], y, group, groups)) for table in (ours, wanted))
    if (constraint, goal) in FREE:
        column = 0 if goal == "true_positive_rate" else 1
        np.testing.assert_allclose(a[:, column], b[:, column], atol=1e-6)
        better = a[:, 1] < b[:, 1] if column == 0 else a[:, 0] > b[:, 0]
        assert better.all()
        return
    np.testing.assert_allclose(a, b, atol=1e-6)
    if (constraint, goal) not in COLLINEAR:
        np.testing.assert_allclose(ours, wanted, atol=1e-6)


@pytest.mark.parametrize(("constraint", "goal"), SOME)
def test_the_optimum_of_small_tables(constraint, goal):
    rng, groups, rows = np.random.default_rng(7), 3, 24
    for _ in range(8):
        score = rng.integers(0, 6, rows) / 5.0
        y, group = rng.integers(0, 2, rows), np.arange(rows) % groups
        y[: 2 * groups] = np.repeat([0, 1], groups)
        with jax.enable_x64(True):
            rule = fit_jit(score, y, group, groups, constraint, goal, 0)
            decision = np.asarray(CHANCE(rule, score, group))
        found = measures(decision, y, group, groups)
        wanted = best_by_linear_program(score, y, group, groups, constraint, goal)
        assert objective(found, goal, constraint) == pytest.approx(wanted, abs=1e-9)
        assert float(rule.objective) == pytest.approx(wanted, abs=1e-9)
        if constraint == "equalized_odds":
            np.testing.assert_allclose(np.ptp(np.array(found)[:, :2], axis=0), 0, atol=1e-9)
        else:
            assert np.ptp([RATES[constraint](*m[:3]) for m in found]) < 1e-9


def test_equalized_odds_where_two_hulls_cross():
    # Hulls (0, .5) to (1, 1), and (0, 0), (.5, 1), (1, 1) cross at (1/3, 2/3), which is no vertex of either.
    group = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    y = np.array([1, 1, 0, 0, 1, 1, 0, 0])
    score = np.array([0.9, 0.5, 0.5, 0.5, 0.9, 0.9, 0.9, 0.5], np.float32)
    fit = jax.jit(lambda s: fit_thresholds(s, y, group, 2, "equalized_odds", "balanced_accuracy"))
    rule = fit(score)
    assert float(rule.rate) == pytest.approx(1 / 3, abs=1e-6)
    assert float(rule.objective) == pytest.approx(2 / 3, abs=1e-6)
    found = measures(np.asarray(expected_decision(rule, score, group)), y, group, 2)
    np.testing.assert_allclose(np.array(found)[:, :2], [[2 / 3, 1 / 3]] * 2, atol=1e-6)


def test_no_deterministic_rule_of_a_small_table_is_better():
    # Brute force over pairs of plain thresholds whose selection rates agree.
    rng = np.random.default_rng(1)
    score, group = rng.permutation(12) / 11.0, np.arange(12) % 2
    y = (score + 0.4 * rng.normal(size=12) > 0.5).astype(int)
    y[:4] = [0, 0, 1, 1]
    cuts = np.concatenate([[-1], np.sort(score)])
    best = max(
        np.mean(np.where(group == 0, score > a, score > b) == y)
        for a, b in itertools.product(cuts, cuts)
        if np.isclose(np.mean(score[group == 0] > a), np.mean(score[group == 1] > b))
    )
    rule = jax.jit(lambda s: fit_thresholds(s, y, group, 2))(score.astype(np.float32))
    assert float(rule.objective) >= best - 1e-6
    assert float(rule.objective) < 1


def test_float32_weights_permuted_groups_and_vmap():
    score, y, group, groups = scored("three")
    score = score.astype(np.float32)
    rng = np.random.default_rng(0)
    copies = rng.integers(1, 4, (2, len(y))).astype(np.float32)
    one = lambda s, y, g, w: fit_thresholds(s, y, g, groups, "equalized_odds", weights=w)  # noqa: E731
    swept = jax.jit(jax.vmap(one, in_axes=(None, None, None, 0)))(score, y, group, copies)
    run = jax.jit(one)
    each = [run(score, y, group, copies[i]) for i in range(2)]
    # As many rows in both cases, so that one program serves: what is left over gets no weight.
    total = int(copies.sum(axis=1).max())
    for i, alone in enumerate(each):
        np.testing.assert_allclose(swept.objective[i], alone.objective, atol=1e-6)
        rows = np.repeat(np.arange(len(y)), copies[i].astype(int))
        weights = (np.arange(total) < len(rows)).astype(np.float32)
        rows = np.resize(rows, total)
        doubled = run(score[rows], y[rows], group[rows], weights)
        np.testing.assert_allclose(doubled.objective, alone.objective, atol=2e-6)
        np.testing.assert_allclose(doubled.rate, alone.rate, atol=2e-5)
    alone = each[1]
    turned = run(score, y, (group + 1) % 3, copies[1])
    np.testing.assert_allclose(turned.objective, alone.objective, atol=1e-6)
    np.testing.assert_allclose(np.roll(turned.ignore, -1), alone.ignore, atol=1e-3)
    chance = np.asarray(CHANCE(alone, score, group))
    found = measures(chance, y, group, groups, copies[1])
    np.testing.assert_allclose(np.ptp(np.array(found)[:, :2], axis=0), 0, atol=1e-5)
    drawn = DRAW(jax.random.key(0), alone, score, group)
    assert float(np.mean(drawn)) == pytest.approx(chance.mean(), abs=0.03)


def test_bad_input():
    score, y, group = np.linspace(0, 1, 8), np.array([0, 1] * 4), np.repeat([0, 1], 4)
    with pytest.raises(InputError, match="group 1 has no row with label 1"):
        fit_thresholds(score, y * (group == 0), group, 2)
    for wrong in (np.array(list("abcdefgh")), np.array([None] * 8), [[1.0], [1.0, 2.0]] * 4):
        with pytest.raises(InputError, match="score must hold numbers, got dtype"):
            fit_thresholds(wrong, y, group, 2)
    with pytest.raises(InputError, match="score must be finite"):
        fit_thresholds(score * np.nan, y, group, 2)
    with pytest.raises(InputError, match=r"lrn\.fair\.frames"):
        fit_thresholds(score, y, group.astype(str), 2)
    with pytest.raises(InputError, match="group 2 has no row"):
        fit_thresholds(score, y, group, 3)
    with pytest.raises(InputError, match="constraint"):
        fit_thresholds(score, y, group, 2, "parity")
    with pytest.raises(InputError, match="objective"):
        fit_thresholds(score, y, group, 2, "equalized_odds", "selection_rate")
    with pytest.raises(InputError, match="must be 0 or 1"):
        fit_thresholds(score, y + 1, group, 2)
    hidden = fit_jit(score, y * (group == 0), group, 2, "demographic_parity", "accuracy", 0)
    assert np.isnan(hidden.high).all()
    assert np.isnan(CHANCE(hidden, score, group)).all()
    missing = np.where(score == 0, np.nan, score)
    assert all(np.isnan(v).all() for v in fit_jit(missing, y, group, 2, "demographic_parity", "accuracy", 0))


def test_an_unknown_group_gets_no_decision_under_jit():
    score, y, group = np.linspace(0, 1, 20, dtype=np.float32), np.arange(20) % 3 > 0, np.arange(20) % 2
    rule = fit_jit(score, y.astype(int), group, 2, "demographic_parity", "accuracy", 0)
    for unknown in (-1, 2):
        hidden = np.where(np.arange(20) == 3, unknown, group)
        chance, drawn = CHANCE(rule, score, hidden), DRAW(jax.random.key(0), rule, score, hidden)
        assert np.flatnonzero(np.isnan(chance)).tolist() == [3]
        assert np.flatnonzero(np.asarray(drawn) == -1).tolist() == [3]
        with pytest.raises(InputError, match="group must lie between 0 and 1"):
            expected_decision(rule, score, hidden)
    missing = np.where(np.arange(20) == 7, np.nan, score)
    chance = CHANCE(rule, missing.astype(np.float32), group)
    assert np.flatnonzero(np.isnan(chance)).tolist() == [7]
