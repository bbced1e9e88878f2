"""The helpers of the studies of objectives and of batches."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from experiments.ssl._interpolation import POWERS, interpolated
from experiments.ssl._masked_chain import chain
from experiments.ssl._passed import Lane, learner
from experiments.ssl._pretexts import FAMILIES, MAE, MOCO, cost, steps_of
from experiments.ssl.scale_vs_quality import ARMS, BUDGETS, HALF, SAMPLES, STEPS, STUDY
from lrn.nets.patches import patchify


def test_interpolation_is_a_weighted_mean_of_visible_pixels():
    """A double loop over the pixels of four patches gives the same values at hidden patches."""
    x = np.random.default_rng(0).uniform(size=(2, 4, 4, 1)).astype(np.float32)
    hidden = np.array([[True, False, False, True], [False, True, False, False]])
    found = jax.device_get(
        jax.jit(lambda x, hidden: interpolated(lambda x: patchify(x, 2), x, hidden))(x, hidden)
    )
    places = [(r, c) for r in range(4) for c in range(4)]
    patch = {(r, c): (r // 2) * 2 + c // 2 for r, c in places}
    for power, values in zip(POWERS, found):
        for n in range(2):
            for r, c in places:
                if not hidden[n, patch[r, c]]:
                    continue
                total = weight = 0.0
                for i, j in places:
                    if not hidden[n, patch[i, j]]:
                        w = float(np.hypot(r - i, c - j)) ** -power
                        total, weight = total + w * float(x[n, i, j, 0]), weight + w
                own = values[n, patch[r, c], (r % 2) * 2 + c % 2]
                np.testing.assert_allclose(own, total / weight, rtol=2e-5)


@pytest.mark.parametrize("depth", [1, 2])
def test_all_methods_cost_the_same(depth):
    """Passes counted by hand: a step of two views has 6; as many steps as cost 360 of these.

    MoCo's key has no backward pass: 4. MAE's trunk sees half of the places, 1.5, and its decoder is one block
    of half the width, so a quarter of the cost of a block of the trunk.
    """
    passes = {MOCO: 4, MAE: 1.5 + 0.75 / depth}
    for method in (m for methods in FAMILIES.values() for m in methods):
        assert cost(method, depth) == pytest.approx(passes.get(method, 6)), method
        assert steps_of(method, depth, 360) == {MOCO: 540, MAE: 960 if depth == 1 else 1152}.get(method, 360)


def test_symbols_of_the_chain_are_uniform():
    """So a prediction without context has a loss of log 6."""
    model = jax.device_get(jax.jit(chain)())
    np.testing.assert_allclose(model.initial @ model.transition, model.initial, atol=1e-6)
    np.testing.assert_allclose(model.initial @ model.emission, np.full(6, 1 / 6), atol=1e-6)
    np.testing.assert_allclose(model.emission.sum(1), np.ones(3), atol=1e-6)


def test_budgets_are_what_they_are_called():
    """Equal samples, their halves, and equal steps, in each arm."""
    config = STUDY.presets["full"]
    for batch, group in ARMS:
        steps = {budget: config.steps_at(budget, batch, group) for budget in BUDGETS}
        assert steps[SAMPLES] * batch == 2 * steps[HALF] * batch == config.samples
        assert steps[STEPS] == config.steps


@pytest.mark.slow  # compiles a training step
def test_encoders_are_kept_at_their_steps():
    """The encoder kept at step 1 is that after one step, and the last that of the training."""
    made = learner(0, (1, 2), Lane(1e-2))
    keys = jax.random.split(jax.random.key(0), 4)
    batch = {"x": jax.random.normal(keys[0], (4, 40, 1))}
    state, step = jax.jit(made.init)(keys[1], batch), jax.jit(made.step)
    first, _ = step(keys[2], state, batch)
    second, _ = step(keys[3], first, batch)
    for place, passed in enumerate((first, second)):
        own = passed.training.training.params["encoder"]
        for x, kept in zip(jax.tree.leaves(own), jax.tree.leaves(second.kept)):
            np.testing.assert_array_equal(x, kept[place])
