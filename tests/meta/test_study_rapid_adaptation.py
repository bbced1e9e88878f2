"""The study of rapid adaptation: a smallest run, and its verdict from given losses."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from treatment import judge

from experiments.meta.rapid_adaptation import AT, GLYPH, SINE, STUDY, Config, arm, wrong_support
from lrn import check, table
from lrn.meta.episode import check_family, draw
from lrn.meta.families.sinusoid import sinusoid

SEEDS = list(range(10))


def test_a_wrong_support_set_is_another_tasks():
    family = wrong_support(sinusoid())
    check_family(family)
    episodes = draw(family, jax.random.key(0), 300)

    def error(batch):
        amplitude, sine, cosine = (episodes.code[:, i, None, None] for i in range(3))
        x = batch["x"]
        return abs(batch["y"] - amplitude * (np.sin(x) * cosine + np.cos(x) * sine)).mean()

    assert error(episodes.query) < 1e-4
    assert error(episodes.support) > 1


def made(sine=0.3, baseline=1.5, glyph=0.5, anil=0.0, oracle=0.1, wrong=5.0, first=0.8):
    """A table of ten seeds with these values."""
    spread = np.random.RandomState(0).randn(len(SEEDS)) * 0.01
    cells = {
        (arm(SINE, "MAML"), "share of the first step"): first,
        (arm(SINE, "best baseline"), "best loss within 10 steps"): baseline,
        (arm(GLYPH, "best baseline"), "best loss within 10 steps"): baseline,
        (arm(GLYPH, "ANIL"), "accuracy@5"): 0.7 + anil,
        (arm(GLYPH, "MAML"), "accuracy@5"): 0.7,
        (arm(GLYPH, "MAML"), "accuracy@10"): 0.7,
        (arm(GLYPH, "MAML"), "accuracy@0"): 0.2,
        (arm(GLYPH, "oracle"), "accuracy@10"): 1 - oracle,
        (arm(GLYPH, "scratch"), "accuracy@10"): 0.4,
        (arm(GLYPH, "MAML, wrong support"), "accuracy@5"): 0.2,
        (arm(SINE, "oracle"), "loss@10"): oracle,
        (arm(SINE, "scratch"), "loss@10"): 4.0,
        (arm(SINE, "pooled"), "loss@0"): 3.0,
        (arm(SINE, "MAML, wrong support"), "loss@5"): wrong,
    }
    for k in AT:
        cells[arm(SINE, "MAML"), f"loss over best baseline's@{k}"] = sine
        cells[arm(SINE, "MAML"), f"loss@{k}"] = 1.0
        cells[arm(GLYPH, "MAML"), f"loss@{k}"] = 1.0
        cells[arm(GLYPH, "best baseline"), f"loss@{k}"] = 1.0 + glyph
    return table.concat(
        [table.rows(a, SEEDS, 0, m, v + np.roll(spread, i)) for i, ((a, m), v) in enumerate(cells.items())]
    )


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({}, "supported"),
        ({"glyph": 0.0}, "mixed"),  # as on pictures: fine-tuning does as well
        ({"sine": 0.8}, "mixed"),  # better, and not by half
        ({"baseline": 0.5}, "mixed"),  # they catch up
        ({"anil": -0.2}, "mixed"),  # adaptation, not reuse
        ({"first": 0.2}, "mixed"),
        ({"oracle": 1.5}, "invalid"),  # no method may beat the oracle
        ({"wrong": 1.0}, "invalid"),  # the support set is not used
    ],
)
def test_verdict_follows_from_losses(found, verdict):
    assert judge(STUDY, Config(), "quick", made(**found))["verdict"] == verdict


@pytest.mark.parametrize("settings", [{"sine_steps": 0}, {"glyph_tests": 1}, {"glyph_rate": -1.0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(check.InputError, match=next(iter(settings))):
        Config(**settings)
