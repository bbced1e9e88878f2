"""What a study's ``run`` is given: training that resumes, results that are computed once, rows."""

from __future__ import annotations

import numpy as np
import pytest
from toy import ToyConfig, same, toy, toy_data, toy_sampler

from lrn import runner


@pytest.fixture
def make(tmp_path):
    def make():
        return runner.Context(tmp_path, "quick", (3, 5), say=lambda _: None, progress=False)

    return make


def fit(context, **options):
    return context.fit(
        toy, {"arm": ToyConfig()}, steps=10, log_every=5, data=toy_data(), sampler=toy_sampler, **options
    )


def test_fit_trains_the_runs_seeds_and_records_them(make):
    context = make()
    result = fit(context)
    assert result.seeds == (3, 5)
    table = context.table()
    assert table.seeds == [3, 5]
    assert same(table, result.table)


def test_fit_and_once_remember(make):
    first = make()
    trained = fit(first)
    computed = first.once("answers", lambda: {"b": np.arange(3.0), "a": np.float32(2)})
    again = make()
    assert fit(again).timing["train"] == 0

    def never():
        raise AssertionError("computed twice")

    read = again.once("answers", never)
    assert sorted(read) == ["a", "b"]
    assert all(same(read[k], computed[k]) for k in read)
    assert same(fit(make()).state, trained.state)


def test_record_takes_one_value_a_seed(make):
    context = make()
    context.record("a", "score", [1.0, 2.0], step=7)
    assert context.table().final("a", "score").tolist() == [1.0, 2.0]
    assert set(context.table().step) == {7}
    with pytest.raises(ValueError, match="score of a at step 7 was recorded before"):
        context.record("a", "score", [1.0, 2.0], step=7)
    with pytest.raises(ValueError, match=r"values of shape \[3\] for 2 seeds; give one number a seed"):
        context.record("a", "score", [1.0, 2.0, 3.0])


def test_a_part_has_its_own_name(make):
    context = make()
    fit(context)
    with pytest.raises(ValueError, match="already has a part named 'arm'"):
        fit(context)
    with pytest.raises(ValueError, match="already has a part named 'arm'"):
        context.once("arm", dict)
    fit(context, name="arm, again")


def test_over_seeds_maps_with_shared_data(make):
    mapped = make().over_seeds(lambda one, shared: (one * shared).sum())
    got = mapped(np.arange(6.0).reshape(2, 3), np.ones(3) * 2)
    np.testing.assert_allclose(got, [6, 24])


def test_failures_are_kept(make):
    context = make()
    context.fit(toy, {"nan": ToyConfig(lr=float("nan"))}, steps=4, data=toy_data(), sampler=toy_sampler)
    assert [(f["arm"], f["seed"]) for f in context.failures] == [("nan", 3), ("nan", 5)]
