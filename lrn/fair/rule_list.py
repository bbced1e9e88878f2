"""Rule lists: "if a then 1, else if b and c then 0, else 1", which a person can read from top to bottom.

Rules are learned greedily (Rivest, "Learning decision lists", 1987, with the impurity of CART). Each rule
is a leaf of a small decision tree on the rows for which no earlier rule holds: the leaf that, put apart
from the other rows, leaves the least impurity. `imodels` has rule lists too, but none whose ``fit`` takes
weights, which reductions to weighted classification need. All runs on the host, outside of jit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lrn import check
from lrn.fair.model import Fit, from_sklearn


class Condition(NamedTuple):
    """Whether a feature is above a threshold (``above``), or at most the threshold."""

    feature: int
    above: bool
    threshold: float

    def holds(self, x: np.ndarray) -> np.ndarray:
        """For which rows [n, dim] the condition holds, bool [n]."""
        higher = x[:, self.feature] > self.threshold
        return higher if self.above else ~higher


class Rule(NamedTuple):
    """Conditions that hold together, and the chance of label 1 among the rows that reach the rule."""

    conditions: tuple[Condition, ...]
    chance: float

    def holds(self, x: np.ndarray) -> np.ndarray:
        """For which rows [n, dim] all conditions hold, bool [n]."""
        return np.all([condition.holds(x) for condition in self.conditions], axis=0)


class RuleList:
    """A classifier with scikit-learn's interface: the first rule that holds decides.

    rules: the rules in order. default: the chance of label 1 where no rule holds.
    """

    def __init__(self, max_rules: int, conditions: int = 2, min_rows: int = 1):
        self.max_rules, self.conditions, self.min_rows = max_rules, conditions, min_rows
        self.rules: tuple[Rule, ...] = ()
        self.default: float = 0.5

    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> RuleList:
        """Learn the rules from features [n, dim], labels 0 or 1 [n] and weights above 0 [n]."""
        x, y = np.asarray(x, np.float32), np.asarray(y).astype(int)
        weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
        rules: list[Rule] = []
        left = np.arange(len(y))
        while len(rules) < self.max_rules and len(np.unique(y[left])) == 2:
            best = self._best_rule(x[left], y[left], weight[left])
            if best is None:
                break
            rules.append(best)
            left = left[~best.holds(x[left])]
        self.rules = tuple(rules)
        self.default = float(np.average(y[left], weights=weight[left]))
        return self

    def predict_proba(self, x: Any) -> np.ndarray:
        """The chances of labels 0 and 1 of rows [n, dim], [n, 2]."""
        x = np.asarray(x, np.float32)
        chance = np.full(len(x), self.default)
        for rule in reversed(self.rules):
            chance = np.where(rule.holds(x), rule.chance, chance)
        return np.stack([1 - chance, chance], axis=1)

    def said(self, names: Sequence[str]) -> str:
        """The rules in words, one a line, with the names of the features."""
        lines = []
        for rule in self.rules:
            parts = (
                f"{names[c.feature]} {'>' if c.above else '<='} {c.threshold:g}" for c in rule.conditions
            )
            lines.append(f"if {' and '.join(parts)}: {rule.chance:.2f}")
        return "\n".join([*lines, f"else: {self.default:.2f}"])

    def _best_rule(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Rule | None:
        """The leaf that leaves the least impurity when it is put apart; None if no tree divides the rows."""
        from sklearn.tree import DecisionTreeClassifier

        tree = DecisionTreeClassifier(
            max_depth=self.conditions, min_samples_leaf=self.min_rows, random_state=0
        ).fit(x, y, sample_weight=weight)
        leaf_of_row = tree.apply(x)
        leaves = np.unique(leaf_of_row)
        if len(leaves) == 1:
            return None

        def impurity(rows: np.ndarray) -> float:
            share = np.average(y[rows], weights=weight[rows])
            return float(weight[rows].sum() * share * (1 - share))

        apart = [impurity(leaf_of_row == leaf) + impurity(leaf_of_row != leaf) for leaf in leaves]
        leaf = leaves[int(np.argmin(apart))]
        rows = leaf_of_row == leaf
        return Rule(_path(tree.tree_, int(leaf)), float(np.average(y[rows], weights=weight[rows])))


def rule_list(max_rules: int, conditions: int = 2, min_rows: int = 1) -> Fit:
    """A ``fit`` of a rule list, on the host; the same data give the same list.

    Args:
        max_rules: the largest number of rules, beside the last "else".
        conditions: the largest number of conditions of a rule.
        min_rows: the least rows that a rule holds for when it is learned.

    Raises:
        InputError: a number is below 1.
    """
    for name, value in (("max_rules", max_rules), ("conditions", conditions), ("min_rows", min_rows)):
        check.integer(name, value, 1)
    return from_sklearn(lambda: RuleList(max_rules, conditions, min_rows))


def _path(tree: Any, leaf: int) -> tuple[Condition, ...]:
    """The conditions from the root of a tree of scikit-learn to a leaf."""
    parents = {}
    for node in range(tree.node_count):
        for child, above in ((tree.children_left[node], False), (tree.children_right[node], True)):
            if child >= 0:
                parents[int(child)] = (node, above)
    path: list[Condition] = []
    node = leaf
    while node in parents:
        node, above = parents[node]
        path.append(Condition(int(tree.feature[node]), above, float(tree.threshold[node])))
    return tuple(reversed(path))
