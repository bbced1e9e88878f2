"""The study of reward shaping: it runs, its exact control holds, and its variances are variances."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from treatment import assert_treated_alike, way

from experiments.rl import reward_shaping as study
from lrn import check
from lrn.study import discover, runner
from lrn.table import concat, rows

CONFIG = study.Config()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    file, config = discover.load("rl.reward_shaping"), study.STUDY.presets["smoke"]
    out = tmp_path_factory.mktemp("runs")
    return runner.run(file, "smoke", config, [0, 1], out, progress=False, say=lambda _: None)


@pytest.mark.slow
def test_smoke_runs_and_shaping_is_initialization(finished):
    assert finished.verdict["verdict"] == "smoke"
    assert_treated_alike(finished.verdict)
    assert (finished.folder / "figure.png").is_file()
    exact = [c for c in finished.verdict["controls"] if c["metric"] == "deviation"]
    assert len(exact) == 2
    assert all(c["passed"] for c in exact)
    (slip,) = [c for c in finished.verdict["controls"] if "left in at the end" in c["statement"]]
    assert slip["effect"] > 0.05


def test_components_recover_the_variances_that_made_the_table():
    """The tables have rows of variance .04, columns of variance .01 and noise of variance .09."""
    rng = np.random.default_rng(0)
    n = 20_000
    scores = (
        0.2 * rng.normal(size=(4, 1, n)) + 0.1 * rng.normal(size=(1, 3, n)) + 0.3 * rng.normal(size=(4, 3, n))
    )
    components = study.components(scores)
    np.testing.assert_allclose([x.mean() for x in components], [0.04, 0.01, 0.09], atol=2e-3)


def test_components_of_a_table_by_hand():
    """With rows 0 and 1 and equal columns, the components of columns and noise are zero."""
    by_row, by_column, rest = study.components(np.array([[0.0, 0.0], [1.0, 1.0]])[..., None])
    np.testing.assert_allclose([by_row[0], by_column[0], rest[0]], [0.5, 0.0, 0.0])


def judged(scores: dict[tuple[str, str], float], by_reward: float = 0.0, by_algorithm: float = 0.0):
    """Outcomes of CartPole's predictions for given scores by (algorithm, reward) and two variances."""
    config = dataclasses.replace(CONFIG, tasks=("CartPole",))
    noise, seeds = np.random.default_rng(0).normal(size=10) * 1e-3, range(10)
    table = [
        rows(study.arm("CartPole", a, r), seeds, 0, "score", scores.get((a, r), 0.9) + noise)
        for a in study.ALGORITHMS
        for r in study.REWARDS
    ]
    table += [
        rows("CartPole", seeds, 0, "variance by reward", by_reward + noise),
        rows("CartPole", seeds, 0, "variance by algorithm", by_algorithm - noise),
    ]
    judgments = [p.find(concat(table)) for p in study.predictions(config)]
    return [way(f) for f in judgments]


def test_the_predictions_can_come_out_either_way():
    bad = {(a, r): 0.2 for a in study.ALGORITHMS for r in ("bad potential", "bonus")}
    assert judged(bad, by_reward=0.1, by_algorithm=0.02) == ["holds"] * 7
    assert judged({}, by_reward=0.0, by_algorithm=0.02) == ["fails"] * 7
    withstands = judged({**bad, ("PPO", "bonus"): 0.9}, by_reward=0.1)
    assert withstands.count("fails") == 1


def test_bad_settings_are_refused():
    with pytest.raises(check.InputError, match="task 'Pong' is not known"):
        study.Config(tasks=("Pong",))
    with pytest.raises(check.InputError, match="repeat none"):
        study.Config(tasks=("CartPole", "CartPole"))
    with pytest.raises(check.InputError, match="algorithms must name two"):
        study.Config(algorithms=("PPO",))
    with pytest.raises(check.InputError, match="length must be a finite number above 0"):
        study.Config(length=0.0)
