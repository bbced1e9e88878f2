"""Few-shot evaluation: the measures over tasks, on tasks that are the same for all compared methods."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets, stats, train
from lrn.meta import maml, scratch
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import draw, episodes
from lrn.meta.evaluate import evaluator, per_seed_and_task, per_task, summary
from lrn.meta.families.blobs import blobs
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.learner import MetaLearner
from lrn.meta.maml import MAMLConfig
from lrn.meta.problem import classification, regression

PROBLEM = regression(nets.mlp(None, (8,)))
CONFIG = MAMLConfig(inner=InnerConfig(steps=1, rate=0.01))


def learner_of(config):
    return maml.maml(PROBLEM, config)


@pytest.fixture(scope="module")
def state():
    init = jax.jit(learner_of(CONFIG).init)
    return jax.device_get(init(jax.random.key(0), drawn(sinusoid(), jax.random.key(1), 2)))


def drawn(family, key, count):
    """Tasks in host memory."""
    return jax.device_get(jax.jit(lambda key: draw(family, key, count))(key))


def losses_of(learner, state, given, steps, **options):
    """`per_task`, compiled."""
    score = jax.jit(lambda state, given: per_task(learner, PROBLEM, state, given, steps, **options))
    return np.asarray(score(state, given)["loss"])


def metrics_of(learner, state, key, **options):
    """The metrics of the evaluator on sinusoids, compiled."""
    measure = evaluator(PROBLEM, sinusoid(), **options)
    return jax.jit(lambda key, state: measure(learner, CONFIG, key, state, None))(key, state)


def test_each_task_is_scored_by_itself(state):
    given = drawn(sinusoid(), jax.random.key(2), 6)
    learner = learner_of(CONFIG)
    losses = losses_of(learner, state, given, 3)
    assert losses.shape == (6, 4)
    curve = jax.jit(learner.curve, static_argnums=4)
    for i in range(6):
        task = jax.tree.map(lambda x: x[i], given)  # noqa: B023
        outputs = np.asarray(curve(state, task.support, task.query["x"], task.code, 3))
        expected = ((outputs - task.query["y"]) ** 2).mean((1, 2))
        np.testing.assert_allclose(losses[i], expected, rtol=1e-5)
    in_groups = losses_of(learner, state, given, 3, tasks_at_once=4)
    np.testing.assert_allclose(in_groups, losses, rtol=1e-5)


def test_the_evaluator_gives_the_mean_its_interval_and_the_median(state):
    key = jax.random.key(5)
    metrics = metrics_of(learner_of(CONFIG), state, key, tasks=600, at=(0, 2))
    values = losses_of(learner_of(CONFIG), state, drawn(sinusoid(), key, 600), 2)
    for k in (0, 2):
        interval = stats.t_interval(values[:, k])
        np.testing.assert_allclose(metrics[f"loss@{k}"], interval.estimate, rtol=1e-4)
        np.testing.assert_allclose(
            metrics[f"loss@{k} halfwidth"], (interval.high - interval.low) / 2, rtol=5e-3
        )
        np.testing.assert_allclose(metrics[f"loss@{k} median"], np.median(values[:, k]), rtol=1e-4)
        assert metrics[f"diverged@{k}"] == 0


def test_diverged_tasks_are_counted_and_left_out_of_the_mean(state):
    """A learner that diverges on tasks with an amplitude above 2.5, about half of all tasks."""
    broken = learner_of(CONFIG)

    def curve(state, support, x, code, steps):
        return jnp.where(code[0] > 2.5, jnp.nan, broken.curve(state, support, x, code, steps))

    made = MetaLearner(broken.init, broken.step, curve)
    key = jax.random.key(5)
    metrics = metrics_of(made, state, key, tasks=200, at=(1,))
    fresh = drawn(sinusoid(), key, 200)
    low = fresh.code[:, 0] <= 2.5
    np.testing.assert_allclose(metrics["diverged@1"], 1 - low.mean(), rtol=1e-5)
    values = losses_of(broken, state, fresh, 1)[low, 1]
    np.testing.assert_allclose(metrics["loss@1"], values.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["loss@1 median"], np.median(values), rtol=1e-4)


def test_where_all_tasks_diverge_nothing_is_the_mean(state):
    """Least of all a perfect score."""
    wild = learner_of(MAMLConfig(inner=InnerConfig(steps=1, rate=1e6)))
    metrics = metrics_of(wild, state, jax.random.key(0), tasks=10, at=(0, 30))
    assert metrics["diverged@30"] == 1
    for name in ("loss@30", "loss@30 median", "loss@30 halfwidth"):
        assert np.isnan(metrics[name])
    assert np.isfinite(metrics["loss@0"])


def test_tasks_of_other_outputs_and_seeds_without_states(state):
    problem = classification(nets.mlp(None, (4,)), 3)
    with pytest.raises(ValueError, match="6 outputs and the problem 3"):
        evaluator(problem, blobs(ways=6))(learner_of(CONFIG), CONFIG, jax.random.key(0), state, None)
    states = jax.tree.map(lambda x: np.stack([x, x]), state)
    for seeds in ([], [0], [0, 1, 2]):
        with pytest.raises(ValueError, match=f"there are {len(seeds)} seeds and states of"):
            per_seed_and_task(learner_of, PROBLEM, CONFIG, states, sinusoid(), seeds, tasks=2)


def test_accuracy_of_a_classification():
    problem = classification(nets.mlp(None, (16,)), 3)
    config = MAMLConfig(inner=InnerConfig(steps=1, rate=0.1), meta_rate=3e-3)
    family = blobs(ways=3, shots=3)

    def learner_of(config):
        return maml.maml(problem, config)

    fit = train.fit(
        learner_of, config, [0], steps=300, sampler=episodes(family, 8), progress=False,
        evaluate=evaluator(problem, family, tasks=100, at=(0, 1)),
    )  # fmt: skip
    assert abs(fit.table.final("default", "accuracy@0")[0] - 1 / 3) < 0.1  # the labels are still traced
    assert fit.table.final("default", "accuracy@1")[0] > 0.6


def test_methods_are_compared_on_the_same_tasks():
    """Two learners without learning and with equal initial weights score equally on every task and seed."""
    settings = scratch.ScratchConfig(train=InnerConfig(rate=0.01))

    def other(config):
        return scratch.scratch(PROBLEM, config)

    given = drawn(sinusoid(), jax.random.key(1), 2)
    keys = jax.random.split(jax.random.key(0), 2)
    states = [
        jax.jit(jax.vmap(lambda k: made.init(k, given)))(keys)  # noqa: B023
        for made in (learner_of(CONFIG), other(settings))
    ]
    one = per_seed_and_task(learner_of, PROBLEM, CONFIG, states[0], sinusoid(), [3, 4], tasks=5, steps=2)
    two = per_seed_and_task(other, PROBLEM, settings, states[1], sinusoid(), [3, 4], tasks=5, steps=2)
    assert one["loss"].shape == (2, 5, 3)
    np.testing.assert_allclose(one["loss"], two["loss"], rtol=1e-5)
    assert not np.allclose(one["loss"][0], one["loss"][1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(tasks=1), "tasks must be at least 2"),
        (dict(at=()), "at must hold at least one"),
        (dict(at=(-1,)), "a number of steps in at must be at least 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        evaluator(PROBLEM, sinusoid(), **settings)


def test_a_task_that_all_but_diverged_leaves_a_mean_and_an_interval():
    """The square of 1e30 overflows float32, as does a sum of many of the largest floats."""
    values = np.array([1.0, 2.0, 1e30, np.inf], np.float32)
    summarize = jax.jit(lambda values, finite: summary("loss", values, finite))
    metrics = summarize(values, np.isfinite(values))
    kept = values[:3].astype(np.float64)
    np.testing.assert_allclose(metrics["loss"], kept.mean(), rtol=1e-6)
    expected = stats.t_interval(kept)
    np.testing.assert_allclose(metrics["loss halfwidth"], (expected.high - expected.low) / 2, rtol=1e-5)
    assert metrics["loss median"] == 2
    large = summarize(np.full(600, 3e38, np.float32), np.ones(600, bool))
    np.testing.assert_allclose(large["loss"], 3e38, rtol=1e-5)
    none = summarize(np.full(3, np.inf, np.float32), np.zeros(3, bool))
    assert np.isnan(none["loss"])
