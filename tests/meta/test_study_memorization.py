"""The study of memorization: a smallest run, its tasks, and its verdict from given errors."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from treatment import judge

from experiments.meta.memorization import (
    CODE,
    NONE,
    NUMBERS,
    RANDOM,
    REGULARIZED,
    STUDY,
    VARIANCE,
    Config,
    arm,
    family,
    least,
    least_on_a_grid,
)
from lrn import check, table

SEEDS = list(range(10))


def made(known=0.02, cost=0.5, cost_at_many=0.0, cured=0.7, able=0.2, wrong=1.3, least=0.7):
    """A table of ten seeds with these values."""
    noise = np.random.RandomState(0)
    few, some, many = Config().pools
    cells = {}
    for i, pool in enumerate((few, some, many)):
        for kind in (CODE, RANDOM, NONE):
            knows = kind == CODE
            paid = cost_at_many if pool == many else cost
            new = (able if kind == NONE else 0.5) + paid * knows
            cells[arm(kind, pool), "error on new tasks"] = new
            cells[arm(kind, pool), "known by heart"] = known + 0.3 * i if knows else 0.75
            cells[arm(kind, pool), "gain by the support"] = 0.0 if knows else 0.6
            cells[arm(kind, pool), "error on new tasks, untrained"] = 0.95
            cells[arm(kind, pool), "error on new tasks, wrong support"] = wrong
            cells[arm(kind, pool), "error on new tasks at once"] = 1.5
            cells[arm(kind, pool), "least that one function for all has"] = least
        if pool != many:
            cells[arm(REGULARIZED, pool), "error on new tasks"] = 0.5 + cost * (1 - cured)
            cells[arm(CODE, pool), "half of the cost left"] = 0.5 + cost / 2
    values = {cell: value + 0.01 * noise.randn(10) for cell, value in cells.items()}
    floor = "least that one function for all has"
    values |= {(a, f"{m}, on a grid"): v for (a, m), v in values.items() if m == floor}
    return table.concat([table.rows(a, SEEDS, 0, m, v) for (a, m), v in values.items()])


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({}, "supported"),
        ({"known": 0.4}, "mixed"),
        ({"cost": 0.0}, "mixed"),
        ({"cost_at_many": 0.3}, "mixed"),  # more tasks do not help
        ({"cured": 0.3}, "mixed"),  # MR-MAML helps and does not cure
        ({"able": 0.8}, "invalid"),  # MAML must be able to do the tasks
        ({"wrong": 0.3}, "invalid"),
        ({"least": 0.9}, "invalid"),  # without a code nobody can tell the tasks apart
    ],
)
def test_the_verdict_follows_from_the_table(found, verdict):
    result = judge(STUDY, Config(), "quick", made(**found))
    assert result["verdict"] == verdict, result["reason"]


def test_codes_name_the_tasks_of_a_pool():
    import jax

    from lrn.meta.episode import draw

    def codes(coded=1.0, anew=0.0, **options):
        c = SimpleNamespace(pool=3.0, coded=coded, anew=anew)
        episode = draw(family(np.uint32(5), c, **options), jax.random.key(0), 40)
        both = [np.asarray(part["x"][:, :, 1:]) for part in (episode.support, episode.query)]
        assert both[0].shape[1:] == (5, NUMBERS)
        assert both[1].shape[1:] == (10, NUMBERS)
        assert (both[0] == both[0][:, :1]).all()
        assert (both[1] == both[0][:, :1]).all()
        return {tuple(x) for x in both[0][:, 0].tolist()}

    assert len(codes()) == 3
    assert len(codes(anew=1.0)) == 40
    assert codes(coded=0.0) == {(0.0,) * NUMBERS}
    assert len(codes(new=True)) == 40
    assert not codes(new=True) & codes()


def test_a_wrong_support_set_changes_its_values_alone():
    import jax

    from lrn.meta.episode import draw

    c = SimpleNamespace(pool=3.0, coded=1.0, anew=0.0)
    right, wrong = (draw(family(np.uint32(5), c, wrong=w), jax.random.key(0), 4) for w in (False, True))
    np.testing.assert_array_equal(right.support["x"], wrong.support["x"])
    assert (np.abs(right.support["y"] - wrong.support["y"]).max(axis=(1, 2)) > 0).all()
    for name in ("x", "y"):
        np.testing.assert_array_equal(right.query[name], wrong.query[name])


def test_the_least_error_of_one_function_is_that_of_the_mean_of_a_pool():
    import jax

    from lrn.meta.episode import draw

    c = SimpleNamespace(pool=3.0, coded=1.0, anew=0.0)
    tasks = draw(family(np.uint32(5), c), jax.random.key(0), 3000).query
    x, y = (np.asarray(tasks[name], np.float64)[:, :, 0].ravel() for name in ("x", "y"))
    # Least squares on sin x and cos x, over many episodes.
    basis = np.stack([np.sin(x), np.cos(x)], 1)
    residual = y - basis @ np.linalg.lstsq(basis, y, rcond=None)[0]
    np.testing.assert_allclose(least([5], 3)[0], (residual**2).mean() / VARIANCE, rtol=0.05)
    np.testing.assert_allclose(least([5, 6], 3), least_on_a_grid([5, 6], 3), atol=1e-5)


@pytest.mark.parametrize("pools", [(10, 100), (10, 10, 100), (0, 10, 100)])
def test_bad_pools_are_told(pools):
    with pytest.raises(check.InputError, match="pools"):
        Config(pools=pools)
