"""The helpers of `robust.adversarial_training`: each seed's own images, and budgets of the trainings."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.robust import _trainings as trainings
from lrn import nets
from lrn.check import InputError


def test_each_seed_of_the_digits_has_its_own_images_and_trains_on_others():
    parts = trainings.own_images("digits", [3, 4], 50)
    assert parts.test_rows.shape == (2, 50)
    assert set(parts.test_rows[0]) != set(parts.test_rows[1])
    for train, test in zip(parts.train_rows, parts.test_rows):
        assert not np.isin(test, train).any()


def test_free_training_has_as_many_updates_as_the_others():
    updates, net = 16, nets.mlp(10, (4,))
    learner = trainings.learner_of(net, "free", 0.01, updates, 0.1)
    batch = {"image": jnp.zeros((2, 3)), "label": jnp.zeros(2, jnp.int32)}
    state = learner.init(jax.random.key(0), batch)
    for i in range(trainings.steps_of("free", updates)):
        state, _ = learner.step(jax.random.key(i), state, batch)
    assert int(state.training.step) == updates


def test_an_unknown_training_is_refused():
    with pytest.raises(InputError, match="training"):
        trainings.learner_of(nets.mlp(10, (4,)), "slow", 0.01, 8, 0.1)
