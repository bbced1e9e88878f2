"""The study of sample complexity: its smoke preset runs, and its tasks and slopes are right."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from treatment import judge

from experiments.rl import sample_complexity
from experiments.rl.sample_complexity import SERIES, SLOPE, STUDY, Config
from lrn import check, table
from lrn.study.context import Context


def test_the_bandit_pays_for_the_right_answer():
    for task, right in (("first", [1, 0]), ("parity", [0, 1])):
        env = sample_complexity.bits(3, task)
        for shown, action in zip(([1, 1, 0], [0, 0, 1]), right):
            state = jnp.array(shown, bool)
            for a in (0, 1):
                _, step = env.move(jax.random.key(0), state, jnp.int32(a))
                assert float(step.reward) == (a == action)
                assert bool(step.terminated)


def test_optimism_takes_about_as_many_episodes_as_there_are_cells(tmp_path):
    """Each episode rules out a place at the edge of the known ones, and N^2 / 2 places can be reached."""
    context = Context(tmp_path, "smoke", (0, 1, 2), say=lambda _: None, progress=False)
    series = next(s for s in SERIES if s.method == "optimism")
    outcome = sample_complexity._solve(series, 8, Config(), context)
    assert outcome["solved"].all()
    assert (outcome["steps"] > 8).all()
    assert (outcome["steps"] < 2 * 8**2).all()


def made(fast: float, slow: float):
    """A table of ten seeds with the given doublings per unit for the series of either kind."""
    spread = np.random.RandomState(0).randn(10) * 0.01
    rows = []
    for s in SERIES:
        slope = (fast if s.exponential else slow) + spread
        rows.append(table.rows(s.name, list(range(10)), 0, SLOPE, slope))
        rows += [
            table.rows(s.name, list(range(10)), 0, f"log2 steps at {size}", slope * size + 1)
            for size in Config().sizes(s)
        ]
    return table.concat(rows)


@pytest.mark.parametrize(
    ("fast", "slow", "verdict"),
    [(1.0, 0.1, "supported"), (1.0, 0.4, "mixed"), (0.3, 0.1, "invalid"), (1.0, np.nan, "mixed")],
)
def test_the_verdict_follows_from_the_slopes(fast, slow, verdict):
    """With .3 doublings a table of ten bits would be right after eight samples, which a control detects."""
    result = judge(STUDY, Config(), "quick", made(fast, slow))
    assert result["verdict"] == verdict, result["reason"]


def test_bad_settings_are_one_sentence():
    with pytest.raises(check.InputError, match=r"short must be two or more growing sizes, got \[4, 4\]"):
        Config(short=(4, 4))
