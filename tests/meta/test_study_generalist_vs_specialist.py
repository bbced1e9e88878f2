"""The study of generalists and specialists: runs at its smallest, and its verdict follows from the errors."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from treatment import judge

from experiments.meta import generalist_vs_specialist as study
from experiments.meta.generalist_vs_specialist import (
    EQUAL,
    FEW,
    MAML,
    NOTHING,
    POOLED,
    REGRESSION,
    SPECIALIST,
    STUDY,
    TOLD,
    TUNED,
    WRONG,
    Config,
    arm,
)
from lrn import check, table
from lrn.meta.adapt import InnerConfig
from lrn.meta.inner import curve_of

SEEDS = list(range(10))
COUNTS = Config().counts


def made(maml=0.0, behind=0.5, known=1.0, wrong=1.0):
    """Errors over N: the specialist's falls by a power, those of generalists level out ``behind`` it."""
    spread = np.random.RandomState(0).randn(len(SEEDS), len(COUNTS)) * 0.01
    at = np.log10(COUNTS)
    specialist = 0.5 - 1.0 * (at - at[0])
    generalist = np.maximum(specialist - 1.0 + (1.0 + behind) * (at - at[0]) / (at[-1] - at[0]), -9) + maml
    arms = {
        arm(SPECIALIST, EQUAL): specialist * 0 + 0.5,
        arm(SPECIALIST, TUNED): specialist,
        arm(MAML, EQUAL): generalist + 0.1,
        arm(MAML, TUNED): generalist,
        arm(POOLED, EQUAL): generalist + 0.2,
        arm(POOLED, TUNED): generalist,
        REGRESSION: specialist - 2.0,
        TOLD: generalist - 2.0,
        NOTHING: specialist * 0 + 0.6,
        WRONG: specialist * 0 + wrong,
    }
    rows = []
    errors = {name: values[None] + spread for name, values in arms.items()}
    for name, values in errors.items():
        rows += [table.rows(name, SEEDS, 0, f"log10 error@{n}", values[:, i]) for i, n in enumerate(COUNTS)]
    for pair in study.comparisons().values():
        lead = errors[pair.specialist] - errors[pair.generalist] + spread[:, ::-1]
        for i, n in enumerate(COUNTS):
            rows.append(table.rows(str(pair), SEEDS, 0, f"log10 lead@{n}", lead[:, i]))
        rows.append(table.rows(str(pair), SEEDS, 0, "log10 N*", study.crossings(lead, COUNTS)[0]))
    rows.append(table.rows(REGRESSION, SEEDS, 0, "error over known", known + 0.1 * spread[:, 0]))
    return table.concat(rows)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({}, "supported"),
        ({"behind": -0.5}, "mixed"),  # the generalist is ahead to the end
        ({"maml": 1.2}, "mixed"),  # and behind from the start
        ({"known": 3.0}, "invalid"),
        ({"wrong": 0.0}, "invalid"),  # any points would do
    ],
)
def test_the_verdict_follows_from_the_errors(found, verdict):
    result = judge(STUDY, Config(), "quick", made(**found))
    assert result["verdict"] == verdict, result["reason"]


def test_crossings_by_hand():
    lead = np.array([[1.0, 1.0, -1.0], [-1.0, -1.0, -1.0], [1.0, -1.0, 1.0], [-1.0, 3.0, -1.0]])
    where, crossed = study.crossings(lead, (10, 100, 1000))
    np.testing.assert_allclose(where, [2.5, 1 - math.log10(3), 3 + math.log10(3), 2.75])
    np.testing.assert_array_equal(crossed, [1, 0, 0, 1])


def test_adaptation_is_plain_descent_where_a_batch_holds_all_points():
    """A batch of ten holds each of five points twice, so the gradient is that of all five points."""
    config = Config(counts=(5, 10, 40), batch=10)
    task = jax.tree.map(lambda a: a[0], study._tasks(config, np.uint32(1), study.VALIDATION, 1))
    problem = study._problem()
    params = problem.init(jax.random.key(0), task.support["x"])[0]
    five = jax.tree.map(lambda a: a[:5], task.support)
    outputs = curve_of(problem, params, (), five, task.query["x"], InnerConfig(rate=0.01), 3)
    errors = np.log10(((np.asarray(outputs) - np.asarray(task.query["y"])) ** 2).mean((1, 2)))
    for steps in (1, 3):
        setting = (np.int32(5), np.bool_(False), np.float32(0.01), np.int32(steps))
        np.testing.assert_allclose(study._adapt(config, params, task, setting), errors[steps], atol=1e-4)


def test_queries_have_no_noise_and_points_have():
    config = Config(counts=(5, 10, 2000))
    task = jax.tree.map(lambda a: np.asarray(a[0]), study._tasks(config, np.uint32(1), study.VALIDATION, 1))

    def unexplained(part):
        f = np.concatenate([np.sin(part["x"]), np.cos(part["x"])], 1)
        return np.mean((f @ np.linalg.lstsq(f, part["y"], rcond=None)[0] - part["y"]) ** 2)

    assert unexplained(task.query) < 1e-6
    assert unexplained(task.support) == pytest.approx(study.NOISE**2, rel=0.1)


def test_bad_settings_are_one_sentence():
    with pytest.raises(check.InputError, match="counts must be three or more increasing"):
        Config(counts=(10, 5, 20))
    with pytest.raises(check.InputError, match=f"with {FEW} among them"):
        Config(steps=(1, 100))
    with pytest.raises(check.InputError, match="longest must be at least 1001"):
        Config(longest=1000)
    assert Config(steps=(10,), longest=20, per_point=1).menu(5) == (10, 20)
    assert Config(steps=(10,), longest=20, per_point=1).menu(50) == (10, 50)
