"""The training that keeps its best weights, on which studies of robustness rest."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from experiments.robust._watched import images, take, watched, whole
from experiments.robust.accuracy_tradeoff import log_odds
from lrn import nets
from lrn.robust.adversarial_training import AdversarialTrainingConfig, adversarial_training
from lrn.robust.attack import no_attack
from lrn.robust.losses import is_correct

NET, STEPS, MARKS = nets.mlp(10, (16,)), 3, (2, 4)


@pytest.fixture(scope="module")
def parts():
    return images("digits", [3, 4], 40, 60, 50)


def trained(parts, labels, count):
    """The states and validation accuracies of four epochs of the first seed."""
    learner = adversarial_training(NET, AdversarialTrainingConfig(learning_rate=0.3), None)
    watching = watched(learner, NET, no_attack, STEPS, MARKS, count)
    data = {"image": parts.data["image"], "label": labels, "train": parts.train[0], "valid": parts.valid[0]}
    draw, step, keys = whole(STEPS * 8).draw, jax.jit(watching.step), jax.random.split(jax.random.key(0), 9)
    states, accuracies = [jax.jit(watching.init)(keys[0], draw(keys[1], data))], []
    for epoch in range(4):
        state, metrics = step(keys[2 + epoch], states[-1], draw(jax.random.key(epoch), data))
        states.append(state)
        accuracies.append(float(metrics["validation"]))
    return states, np.array(accuracies)


def test_rows_of_a_seed_are_disjoint_and_differ_between_seeds(parts):
    for seed in (0, 1):
        rows = np.concatenate([parts.train[seed], parts.valid[seed], parts.test[seed]])
        assert len(set(rows.tolist())) == 150
    assert (parts.train[0] != parts.train[1]).any()


def test_the_weights_kept_are_those_with_the_best_validation_accuracy(parts):
    states, accuracies = trained(parts, parts.data["label"], 40.0)
    final, (x, y) = states[-1], take(parts.data, parts.valid[0])
    assert np.allclose(final.kept.accuracy, [accuracies[:2].max(), accuracies.max()])
    for i, mark in enumerate(MARKS):
        best, last = (jax.tree.map(lambda leaf, i=i: leaf[i], tree) for tree in final.kept[:2])
        jax.tree.map(np.testing.assert_array_equal, last[0], states[mark].state.params)
        right = is_correct(NET.apply(best[0], best[1], x)[0], y).mean()
        assert right == pytest.approx(accuracies[:mark].max())
        at = 1 + int(accuracies[:mark].argmax())
        jax.tree.map(np.testing.assert_array_equal, best[0], states[at].state.params)


def test_only_so_many_training_images_are_read(parts):
    """A label of a row beyond the count would make the parameters NaN."""
    labels = np.array(parts.data["label"])
    labels[parts.train[0][10:]] = -1
    for count, finite in ((10.0, True), (40.0, False)):
        states, _ = trained(parts, labels, count)
        leaves = jax.tree.leaves(states[-1].state.params)
        assert all(np.isfinite(leaf).all() for leaf in leaves) == finite


def test_log_odds():
    assert log_odds(np.array([0.5]), 100) == pytest.approx(0)
    assert log_odds(np.array([1.0]), 100) == pytest.approx(np.log(201))
