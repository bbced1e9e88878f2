"""The study of on-policy gradients: its smoke preset runs, and its judgments follow from its figures."""

from __future__ import annotations

import numpy as np
import pytest
from treatment import judge

from experiments.rl import policy_gradient
from experiments.rl.policy_gradient import ESTIMATORS, STUDY, TASKS, Config, arm, gae_arm, judged, pairs
from lrn import check, table
from lrn.study.context import Context

CARTPOLE = TASKS["CartPole"]


def test_the_estimators_have_their_exact_means(tmp_path):
    """The part without deep learning, run on small Garnets."""
    context = Context(tmp_path, "smoke", (0, 1, 2), say=lambda _: None, progress=False)
    policy_gradient._estimate(Config(thousands=4, length=60), context)
    table = context.table()
    assert table.final(policy_gradient.WRONG, "squared t").min() > 2
    noise = {a: table.final(a, "log10 noise to signal").mean() for a in ESTIMATORS}
    assert noise["whole return"] > noise["rewards to go"] > noise["rewards to go - V"]
    assert noise[gae_arm(0.0)] < noise[gae_arm(1.0)]
    assert (table.final(gae_arm(0.0), "bias") > 0.02).all()
    assert (table.final(gae_arm(1.0), "bias") < 1e-3).all()
    assert (table.final("whole return", "bias") == 0).all()


def test_what_a_training_comes_to():
    steps = np.array([0, 100, 200, 400])
    values = np.array(
        [
            [0.0, 480.0, 500.0, 440.0],  # solved at 100; 440 is a dip, no relapse
            [0.0, 0.0, 480.0, 400.0],  # at 200, then a relapse
            [0.0, 0.0, 0.0, 0.0],  # never
            [0.0, 480.0, np.nan, np.nan],  # failed after it was solved
        ]
    )
    figures = judged(steps, values, CARTPOLE, 1600)
    np.testing.assert_array_equal(figures["solved"], [1, 1, 0, 1])
    np.testing.assert_allclose(figures["log2 steps"], np.log2([100, 200, 1600, 100]))
    np.testing.assert_allclose(figures["relapses"], [0, 1 / 2, 1, 2 / 3])


def made(hungry: float, relapses: float, noise: float):
    """A table of ten seeds: on-policy needs ``hungry`` doublings more, off-policy has more ``relapses``."""
    spread = np.random.RandomState(0).randn(10) * 0.02
    seeds, rows = range(10), []

    def add(name, metric, value):
        rows.append(table.rows(name, list(seeds), 0, metric, np.asarray(value + spread)))

    for name in (
        "whole return",
        "rewards to go",
        "rewards to go - V",
        *map(gae_arm, policy_gradient.LAMBDAS),
    ):
        lambda_ = float(name.split()[-1]) if name.startswith("GAE") else 0.0
        add(name, "log10 noise to signal", noise + lambda_)
        rows.append(table.rows(name, list(seeds), 0, "bias", np.full(10, 0.5 * (1 - lambda_))))
        add(name, "squared t", 1.0)
    add(policy_gradient.WRONG, "squared t", 30.0)
    for task, spec in TASKS.items():
        for method in (*spec.on_policy, spec.off_policy):
            on = method in spec.on_policy
            add(arm(task, method), "log2 steps", 10 + on * hungry)
            add(arm(task, method), "relapses", 0.2 + (not on) * relapses)
            rows.append(table.rows(arm(task, method), list(seeds), 0, "solved", np.ones(10)))
    return table.concat(rows)


@pytest.mark.parametrize(
    ("hungry", "relapses", "noise", "verdict"),
    [
        (2.0, 0.4, 2.0, "supported"),
        (0.0, 0.0, 0.0, "refuted"),
        (2.0, 0.0, 2.0, "mixed"),
        (0.0, 0.4, 2.0, "mixed"),
    ],
)
def test_the_verdict_follows_from_the_numbers(hungry, relapses, noise, verdict):
    result = judge(STUDY, Config(), "quick", made(hungry, relapses, noise))
    assert result["verdict"] == verdict, result["reason"]


def test_every_pair_is_predicted_twice():
    statements = [p.statement for p in STUDY.predicted(Config())]
    assert len(set(statements)) == len(statements) == 2 + 2 * len(pairs())


def test_bad_settings_are_one_sentence():
    with pytest.raises(check.InputError, match="thousands must be at least 2"):
        Config(thousands=1)
