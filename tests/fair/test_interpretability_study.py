"""The measures of the study `fair.interpretability` against loops, and its methods on the host."""

import jax
import numpy as np
import pytest

from experiments.fair import _families as families
from experiments.fair import _trees as trees
from experiments.fair._families import CHANCE, chosen_at
from experiments.fair.interpretability import (
    BASE,
    CHOSEN,
    LEAST,
    VOLUME,
    WIDEST,
    judged,
    made_up,
)
from lrn.data.dataset import split
from lrn.fair.confusion import Confusion, confusion
from lrn.fair.front import Front, overall_balanced_accuracy
from lrn.fair.gaps import demographic_parity_difference
from lrn.fair.people import people
from lrn.fair.reweighing import reweighed

ROWS = made_up(400)
SHARES = (0.5, 0.25, 0.25)


def some_front(seed: int = 0) -> Front:
    """Three seeds, eight candidates, the first of them without a treatment."""
    draw = np.random.default_rng(seed).integers(5, 60, (2, 4, 3, 8, 2)).astype(np.float32)
    return Front(np.linspace(1, 0, 8), *(Confusion(*part) for part in draw))  # pyright: ignore


def points(counts: Confusion) -> tuple[np.ndarray, np.ndarray]:
    rate = (counts.tp + counts.fp) / sum(counts)
    tp, fp, fn, tn = (np.asarray(leaf).sum(-1) for leaf in counts)
    return np.abs(rate[..., 0] - rate[..., 1]), (tp / (tp + fn) + tn / (tn + fp)) / 2


def test_the_measures_of_a_family_are_those_of_loops():
    front = some_front()
    found = judged([front])
    (gap, quality), (test_gap, test_quality) = points(front.validation), points(front.test)
    limits = np.linspace(0, WIDEST, 20_001)
    for s in range(3):
        best = [
            i for i in range(8)
            if not any(
                gap[s, j] <= gap[s, i] and quality[s, j] >= quality[s, i]
                and (gap[s, j], quality[s, j]) != (gap[s, i], quality[s, i])
                for j in range(8)
            )
        ]  # fmt: skip
        reached = [max([test_quality[s, i] for i in best if test_gap[s, i] <= a] + [CHANCE]) for a in limits]
        assert found[VOLUME][s] == pytest.approx(np.mean(reached) - CHANCE, abs=1e-4)
        assert found[LEAST][s] == pytest.approx(min(test_gap[s, i] for i in best))
        assert found[BASE][s] == pytest.approx(test_quality[s, 0])


def test_the_choice_reads_validation_rows_only():
    front, limits = some_front(1), np.linspace(0, WIDEST, 41)
    given = (*points(front.validation), *points(front.test))
    value, excess = chosen_at(limits, *given)
    assert judged([front])[CHOSEN] == pytest.approx(value)
    for s in range(3):
        gap, quality, test_gap, test_quality = (part[s] for part in given)
        worth, above = [], []
        for limit in limits:
            meets = [i for i in range(8) if gap[i] <= limit]
            if not meets:
                worth.append(0.0)
                continue
            i = max(meets, key=lambda i: quality[i])
            worth.append(test_quality[i] - CHANCE)
            above.append(test_gap[i] - limit)
        assert value[s] == pytest.approx(np.mean(worth))
        assert excess[s] == pytest.approx(np.mean(above) if above else 0.0)


def test_a_front_on_the_host_is_a_loop():
    method = trees.treated_trees(1)[f"{trees.TREES}, reweighing"]
    found = trees.front_on_host(method, ROWS, 2, (1.0, 0.0), (3,), SHARES)
    train, validation, test = (
        ROWS.take(part) for part in split(jax.random.split(jax.random.key(3))[0], 400, SHARES)
    )
    share = np.asarray(train.y).mean()
    balanced = np.where(np.asarray(train.y) == 1, 1 - share, share)
    fair = reweighed(train.y, train.group, 2, balanced)
    for place, weights in enumerate((balanced, fair)):
        predict = trees.TREE(train.x, train.y, weights)
        for rows, counts in ((validation, found.validation), (test, found.test)):
            alone = confusion(rows.y, np.asarray(predict(rows.x)) > 0.5, rows.group, 2)
            np.testing.assert_array_equal(np.stack(alone), np.stack(counts)[:, 0, place])


def test_a_strong_penalty_closes_the_gap():
    rng = np.random.default_rng(1)
    group, x = rng.integers(0, 2, 4000), rng.normal(size=(4000, 2)).astype(np.float32)
    y = (rng.random(4000) < 1 / (1 + np.exp(-(3 * x[:, 0] + 3 * group + 1)))).astype(np.int32)
    x = np.concatenate([x, 2.0 * group[:, None] - 1], axis=1).astype(np.float32)
    rows = people(x, y, group.astype(np.int32), 2)
    method = families.penalized_networks(150)[f"{families.BOX}, parity penalty"]
    front = families.fairness_front(method, rows, 2, [1.0, 0.0], (0,), SHARES, level=1)
    free, strict = np.asarray(demographic_parity_difference(front.validation))[0]
    assert free > 0.3
    assert strict < 0.05
    assert np.asarray(overall_balanced_accuracy(front.validation))[0, 1] > 0.6
