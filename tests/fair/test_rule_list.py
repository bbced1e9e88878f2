"""Rule lists against brute force, planted lists and copies of rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lrn.check import InputError
from lrn.fair.model import decide
from lrn.fair.rationalize import Rows, most_faithful, rationalize
from lrn.fair.rule_list import RuleList, rule_list


def data(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels that follow them with noise, and whole weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    y = (x[:, 0] + 0.5 * x[:, 1] + rng.normal(size=n) > 0).astype(int)
    return x, y, rng.integers(1, 4, n)


def test_the_first_rule_of_one_condition_is_the_best_of_all():
    x, y, w = data(60)

    def impurity(rows):
        share = np.average(y[rows], weights=w[rows])
        return w[rows].sum() * share * (1 - share)

    cuts = [(f, (a + b) / 2) for f in range(3) for a, b in itertools.pairwise(np.sort(x[:, f]))]
    least = min(impurity(x[:, f] > t) + impurity(x[:, f] <= t) for f, t in cuts)
    rule = RuleList(1, conditions=1).fit(x, y, w).rules[0]
    rows = rule.holds(x)
    assert impurity(rows) + impurity(~rows) == pytest.approx(least, rel=1e-9)
    assert rule.chance == pytest.approx(np.average(y[rows], weights=w[rows]))


def test_a_planted_list_is_found_and_said():
    x = np.array(list(itertools.product((0, 1), repeat=4)) * 3, np.float32)
    y = np.where(x[:, 0] == 1, 1, np.where((x[:, 1] == 1) & (x[:, 2] == 1), 1, 0)).astype(int)
    learned = RuleList(3).fit(x, y)
    assert ((learned.predict_proba(x)[:, 1] > 0.5) == y).all()
    said = "if a > 0.5: 1.00\nif b > 0.5 and c > 0.5: 1.00\nelse: 0.00"
    assert learned.said(["a", "b", "c", "d"]) == said


def test_whole_weights_are_copies_of_rows():
    x, y, w = data()
    weighted = RuleList(4).fit(x, y, w)
    copied = RuleList(4).fit(*(np.repeat(v, w, axis=0) for v in (x, y)))
    assert [rule.conditions for rule in weighted.rules] == [rule.conditions for rule in copied.rules]
    np.testing.assert_allclose(weighted.predict_proba(x), copied.predict_proba(x), atol=1e-12)


def test_more_rules_fit_better_and_sizes_are_kept():
    x, y, w = data()
    lists = [RuleList(k, min_rows=20).fit(x, y, w) for k in (1, 3, 6)]
    losses = [np.average((m.predict_proba(x)[:, 1] - y) ** 2, weights=w) for m in lists]
    assert losses == sorted(losses, reverse=True)
    left = np.ones(len(x), bool)
    for rule in lists[-1].rules:
        held = rule.holds(x) & left
        assert held.sum() >= 20
        assert len(rule.conditions) <= 2
        left &= ~held


def test_labels_of_one_class_and_equal_features():
    x, y, w = data()
    assert float(rule_list(2)(x, np.ones_like(y), w)(x).min()) == 1
    flat = RuleList(2).fit(np.zeros_like(x), y, w)
    assert flat.rules == ()
    assert flat.default == pytest.approx(np.average(y, weights=w))


def test_a_rule_list_hides_a_gap():
    """Fairwashing by rule lists (Aivodji et al. 2019): faithful to the black box, with half of its gap."""
    rng = np.random.default_rng(0)
    group = np.arange(400) % 2
    x = np.stack([rng.normal(size=400) + group, rng.normal(size=400)], axis=1).astype(np.float32)
    black_box = (x.sum(1) > 0.5).astype(int)
    rows = Rows(x, black_box, group)
    washed = rationalize({"rules": rule_list(5, min_rows=5)}, rows, rows, 2)
    one = most_faithful(washed, washed.black_box_gap / 2)
    assert one.fidelity > max(black_box.mean(), 1 - black_box.mean()) + 0.15  # than a constant decision has
    decision = np.asarray(decide(one.predict(x)))
    gap = abs(decision[group == 1].mean() - decision[group == 0].mean())
    assert gap == pytest.approx(one.gap, abs=1e-6)
    assert gap <= washed.black_box_gap / 2


@pytest.mark.parametrize("settings", [(0,), (2, 0), (2, 2, 0)])
def test_numbers_below_one_are_refused(settings):
    with pytest.raises(InputError, match="1"):
        rule_list(*settings)
