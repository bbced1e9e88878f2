"""Fair comparison: validation tasks choose candidates for each number of steps, test tasks measure them."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from lrn import nets
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import draw
from lrn.meta.evaluate import TEST, VALIDATION, per_seed_and_task, scorer
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.problem import classification, regression
from lrn.meta.scratch import ScratchConfig, scratch
from lrn.meta.tune import tuned

PROBLEM = regression(nets.mlp(None, (8,)))
FAMILY = sinusoid()
SEEDS = (3, 4)


def learner_of(config):
    return scratch(PROBLEM, config)


def settings(rate, steps=1):
    return ScratchConfig(train=InnerConfig(rate=rate, steps=steps))


@pytest.fixture(scope="module")
def states():
    keys = jax.random.split(jax.random.key(0), 2)
    return jax.vmap(lambda k: learner_of(settings(0.01)).init(k, draw(FAMILY, k, 2)))(keys)


def find(candidates, **options):
    given = {"validation": FAMILY, "test": FAMILY, "steps": 3, "validation_tasks": 20, "test_tasks": 30}
    return tuned(learner_of, PROBLEM, candidates, SEEDS, **{**given, **options})


def test_the_choice_is_that_of_an_exhaustive_search_on_the_validation_tasks(states):
    rates = (1e-4, 0.01, 0.03)
    tuning = find([(settings(rate), states) for rate in rates])
    score = scorer(learner_of, PROBLEM, FAMILY, tasks=20, steps=3, stream=VALIDATION)
    losses = []
    for rate in rates:
        each = [
            np.asarray(score(settings(rate), seed, jax.tree.map(lambda x: x[i], states))["loss"])  # noqa: B023
            for i, seed in enumerate(SEEDS)
        ]
        losses.append(np.mean(each, axis=(0, 1)))
    np.testing.assert_array_equal(tuning["chosen"], np.argmin(losses, axis=0))
    # The reported scores are those of the chosen candidate on the test tasks, which are other tasks.
    for k, chosen in enumerate(tuning["chosen"]):
        alone = per_seed_and_task(
            learner_of, PROBLEM, settings(rates[chosen]), states, FAMILY, SEEDS, tasks=30, steps=3
        )
        np.testing.assert_allclose(tuning["loss"][:, k], alone["loss"][:, :, k].mean(1), rtol=1e-5)
    assert TEST != VALIDATION


def test_steps_are_chosen_for_apart(states):
    """A rate that suits one step is too high for many steps, so each number of steps gets its own rate."""
    tuning = find([(settings(0.02), states), (settings(0.2), states), (settings(1.0), states)], steps=8)
    assert tuning["chosen"].shape == (9,)
    best = np.array([find([(settings(r), states)], steps=8)["loss"].mean(0) for r in (0.02, 0.2, 1.0)])
    assert (tuning["loss"].mean(0) <= np.nanmax(best, axis=0) + 1e-6).all()


def test_a_candidate_that_diverges_is_not_chosen_and_its_tasks_are_counted(states):
    tuning = find([(settings(1e6), states), (settings(0.01), states)])
    np.testing.assert_array_equal(tuning["chosen"][1:], 1)
    np.testing.assert_array_equal(tuning["diverged"], 0)
    wild = find([(settings(1e30), states)])
    assert (wild["diverged"][:, 3] > 0.9).all()
    np.testing.assert_array_equal(wild["diverged"][:, 0], 0)


def test_several_families_are_measured_with_one_choice(states):
    candidates = [(settings(0.001), states), (settings(0.01), states)]
    both = find(candidates, test={"near": FAMILY, "far": sinusoid(amplitude=(5.0, 10.0))})
    alone = find(candidates)
    np.testing.assert_array_equal(both["chosen"], alone["chosen"])
    np.testing.assert_allclose(both["near: loss"], alone["loss"], rtol=1e-6)
    assert (both["far: loss"] > both["near: loss"]).all()


def test_what_does_not_fit_together_is_said(states):
    with pytest.raises(ValueError, match="no candidates to choose from"):
        find([])
    with pytest.raises(ValueError, match="differ in more than floats"):
        find([(settings(0.1), states), (settings(0.1, steps=2), states)])
    with pytest.raises(ValueError, match="there are 2 seeds and states of"):
        find([(settings(0.1), jax.tree.map(lambda x: x[:1], states))])
    with pytest.raises(ValueError, match="have 1 outputs and the problem 3"):
        tuned(
            learner_of, classification(nets.mlp(None, (8,)), 3), [(settings(0.1), states)], SEEDS,
            validation=FAMILY, test=FAMILY,
        )  # fmt: skip
