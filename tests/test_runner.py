"""The services of a study's context: training that resumes, results computed once, and rows."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from toy import ToyConfig, same, toy, toy_data, toy_sampler

from lrn import table as tables
from lrn.rl.ppo import PPOConfig
from lrn.study import (
    MISTAKEN,
    OVERLAP,
    equal_budgets,
    exact_budget,
    given,
    no_overlap,
    own_state,
)
from lrn.study.context import Context, budgets
from lrn.types import Sampler


@pytest.fixture
def make(tmp_path):
    def make():
        return Context(tmp_path, "quick", (3, 5), say=lambda _: None, progress=False)

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
    trained = np.isin(table.metric, result.table.metrics)
    assert same(type(table)(*(column[trained] for column in table)), result.table)


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
    results = mapped(np.arange(6.0).reshape(2, 3), np.ones(3) * 2)
    np.testing.assert_allclose(results, [6, 24])


def test_failures_are_kept(make):
    context = make()
    context.fit(toy, {"nan": ToyConfig(lr=float("nan"))}, steps=4, data=toy_data(), sampler=toy_sampler)
    assert [(f["arm"], f["seed"]) for f in context.failures] == [("nan", 3), ("nan", 5)]


def test_fit_records_what_an_arm_was_given(make):
    context = make()
    fit(context, name="first")
    batch = len(next(iter(toy_sampler.draw(jax.random.key(0), toy_data()).values())))
    assert context.table().final("arm", given("steps")).tolist() == [10, 10]
    assert context.table().final("arm", given("samples")).tolist() == [10 * batch, 10 * batch]
    fit(context, name="and again")
    assert context.table().final("arm", given("steps")).tolist() == [20, 20]


def test_the_environment_steps_of_an_agent_are_recorded():
    options = {"steps": 7}
    assert budgets(PPOConfig(num_envs=3, rollout_length=5, minibatches=1), options) == {
        "steps": 7,
        "environment steps": 105,
    }
    assert budgets(object(), options) == {"steps": 7}


def test_a_sampler_of_keys_alone_draws_no_samples():
    """As for learners that draw their tasks themselves."""
    drawn = Sampler(lambda key, data: {"key": key, "pool": data["pool"]})
    options = {"steps": 7, "sampler": drawn, "per_seed": {"pool": np.arange(3)}}
    assert budgets(object(), options) == {"steps": 7}


def test_budgets_that_are_counted_elsewhere_add_up(make):
    context = make()
    context.given("bandit", {"pulls": [10, 20]})
    context.given("bandit", {"pulls": 5, "candidates": 3})
    table = context.table()
    assert table.final("bandit", given("pulls")).tolist() == [15, 25]
    assert table.final("bandit", given("candidates")).tolist() == [3, 3]
    with pytest.raises(ValueError, match="budget 'pull' is not known; did you mean pulls"):
        context.given("bandit", {"pull": 1})


def test_equal_budgets_are_a_control():
    both = {name: np.full(10, 4.0) for name in "ab"}
    check = equal_budgets("pulls", "ab").check
    table = lambda values: tables.concat(  # noqa: E731
        [tables.rows(arm, np.arange(10), 0, given("pulls"), v) for arm, v in values.items()]
    )
    assert check.find(table(both)).holds
    both["b"] = both["b"].copy()
    both["b"][3] += 1  # in one seed only
    assert not check.find(table(both)).holds
    assert exact_budget("pulls", "a", 4).check.find(table(both)).holds
    assert not exact_budget("pulls", "b", 4).check.find(table(both)).holds


def test_an_overlap_of_training_and_test_is_found(make):
    items = toy_data()["x"]
    context = make()
    # The sampler draws from the first half only, although the arm receives all of the data.
    half = Sampler(lambda key, data: toy_sampler.draw(key, {k: v[:100] for k, v in data.items()}))
    context.fit(toy, {"arm": ToyConfig()}, steps=1, data=toy_data(), sampler=half)
    context.fit(toy, {"apart": ToyConfig()}, steps=1, data=toy_data(), sampler=half)
    context.judged_on("arm", items[80:])
    context.judged_on("apart", items[100:])
    table = context.table()
    assert 0 < table.final("arm", OVERLAP)[0] <= 20
    assert not no_overlap("arm").check.find(table).holds
    assert no_overlap("apart").check.find(table).holds
    context.judged_on("elsewhere", np.ones((2, 3, 3), np.uint8), trained_on=np.ones((5, 4, 3, 3)))
    assert context.table().final("elsewhere", OVERLAP).tolist() == [2, 2]
    context.judged_on(
        "seeds", np.arange(8.0).reshape(2, 2, 2), trained_on=np.arange(6.0, 12).reshape(3, 2), by_seed=True
    )
    assert context.table().final("seeds", OVERLAP).tolist() == [0, 1]
    with pytest.raises(ValueError, match="nothing that 'arm' was trained on has the shape"):
        context.judged_on("arm", np.ones((2, 7, 7)))


def test_an_overlap_of_rows_is_counted_for_each_seed(make):
    context = make()
    context.judged_on_rows("arm", [[0, 1, 2], [3, 4, 5]], [[7, 8], [5, 3]])
    assert context.table().final("arm", OVERLAP).tolist() == [0, 2]


def test_a_state_of_another_training_is_found(make):
    context = make()
    trained = {"w": np.arange(6.0).reshape(2, 3), "b": np.array([[1.0], [np.nan]])}
    other = {**trained, "w": trained["w"] + [[0], [1]]}  # the second seed has different weights
    context.judged_state("right", trained, trained)
    context.judged_state("wrong", other, trained)
    assert own_state("right").check.find(context.table()).holds
    assert context.table().final("wrong", MISTAKEN).tolist() == [0, 1]
