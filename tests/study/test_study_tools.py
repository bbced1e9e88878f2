"""Selection on validation data, crossings, first times, and the methods of a context."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from toy import ToyConfig, toy, toy_data, toy_sampler

from lrn import check
from lrn.study.context import Context
from lrn.study.curves import crossing, first_time
from lrn.study.select import interior_choice, select
from lrn.train import program
from lrn.xla import runtime

NAN = np.nan


def test_the_best_mean_over_seeds_is_chosen():
    scores = [[1.0, 5.0], [4.0, 4.0], [3.0, 2.0]]  # [candidates, seeds]
    assert select({"a": scores}, "higher")["a"] == ((1,), 4.0, 0, 0)
    assert select({"a": scores}, "lower")["a"] == ((2,), 2.5, 0, 1)
    assert select({"a": scores}, "lower")["a"].only == 2


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("lost", [NAN, np.inf, -np.inf])
def test_divergence_is_worst_whichever_way_is_better(better, lost):
    good = 9.0 if better == "higher" else -9.0
    selection = select(
        {"a": [[good, lost, good], [0.0, 0.0, 0.0]], "b": [[lost] * 3, [good, lost, lost]]}, better
    )
    assert (selection["a"].only, selection["a"].diverged) == (1, 0)
    assert (selection["b"].only, selection["b"].diverged, selection["b"].score) == (1, 2, good)
    assert np.isnan(select({"a": [[lost], [lost]]}, better)["a"].score)


def test_edges_are_counted_along_each_ordered_axis():
    def at(i, j):
        scores = np.zeros((4, 3, 5))
        scores[i, j] = 1
        return select({"a": scores}, "higher")["a"]

    assert at(1, 1) == ((1, 1), 1.0, 0, 0)
    assert [at(0, 1).edge, at(3, 1).edge, at(1, 0).edge, at(3, 2).edge] == [1, 1, 1, 2]
    scores = np.zeros((4, 3, 5))
    scores[0, 2] = 1
    assert select({"a": scores}, "higher", free=(0,))["a"].edge == 1
    # A menu of two values has no inside.
    assert select({"a": [[0.0], [1.0]]}, "higher")["a"].edge == 0


def test_candidates_must_be_equally_many():
    with pytest.raises(check.InputError, match=r"different numbers of candidates \(a: 2, b: 3\)"):
        select({"a": np.zeros((2, 4)), "b": np.zeros((3, 4))}, "higher")
    select({"a": np.zeros((2, 3, 4)), "b": np.zeros((6, 4))}, "higher")
    with pytest.raises(check.InputError, match=r"shape \[4\]"):
        select({"a": np.zeros(4)}, "higher")
    with pytest.raises(check.InputError, match="better 'larger' is not known"):
        select({"a": np.zeros((2, 4))}, "larger")  # pyright: ignore[reportArgumentType]


def test_crossings():
    lead = [[2, 1, -1, -3], [1, -1, 1, -3], [1, 1, 1, 1], [-1, -2, -1, -1], [-1, -1, -1, 2], [1, 0, 0, 0]]
    assert crossing([0, 1, 2, 4], lead).tolist() == [1.5, 2.5, np.inf, -np.inf, np.inf, 1.0]
    for levels, values, what in (
        ([0, 0, 1], [[1, 1, 1]], "must increase"),
        ([0, 1], [[1, 1, 1]], "got"),
        ([0, 1], [[1, NAN]], "finite"),
    ):
        with pytest.raises(check.InputError, match=what):
            crossing(levels, values)


def test_first_times():
    values = [[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, NAN, 1, 1, 0], [0, 0, 0, 0, 1]]
    steps = [10, 20, 30, 40, 50]
    assert first_time(steps, values, 1.0).tolist() == [20, np.inf, 10, 30, 50]
    assert first_time(steps, values, 1.0, sustained=2).tolist() == [40, np.inf, 10, 30, np.inf]
    with pytest.raises(check.InputError, match="sustained is 6 and there are 5 steps"):
        first_time(steps, values, 1.0, sustained=6)


# A context.


@pytest.fixture
def context(tmp_path):
    return Context(tmp_path, "quick", (3, 5), say=lambda _: None, progress=False)


def test_several_metrics_are_recorded_at_once(context):
    context.record("a", {"x": [1, 2], "y": [3, 4]}, step=7)
    results = context.table()
    assert results.by_seed("a", "x", 7)[1].tolist() == [1, 2]
    assert results.by_seed("a", "y", 7)[1].tolist() == [3, 4]
    with pytest.raises(ValueError, match="x of a at step 7 was recorded before"):
        context.record("a", "x", [1, 2], step=7)


def test_what_is_found_for_each_seed_is_computed_once_and_lost_ones_are_marked(tmp_path):
    calls = []

    def squares(own, shared):
        calls.append(1)
        return {"sum": (own * shared).sum(), "all": own * shared}

    each, shared = np.array([[1.0, 2], [3, 4]]), np.array([1.0, 10])

    def begun():
        return Context(tmp_path, "quick", (3, 5), say=lambda _: None, progress=False)

    for _ in range(2):  # the second context reads the results that the first saved
        results = begun().per_seed("squares", squares, each, shared)
        assert results["sum"].tolist() == [21, 43]
        assert results["all"].tolist() == [[1, 20], [3, 40]]
    assert len(calls) == 1
    marked = begun().per_seed("again", squares, each, shared, lost=[False, True])
    np.testing.assert_array_equal(marked["sum"], [21, NAN])
    np.testing.assert_array_equal(marked["all"], [[1, 20], [NAN, NAN]])


@pytest.mark.parametrize("preset", ["smoke", "full"])
def test_smoke_alone_compiles_with_little_optimization(preset, tmp_path, monkeypatch):
    """Of the results nothing changes; the options reach the compiler of trainings and of evaluations."""
    asked = []
    monkeypatch.setattr(runtime, "brief_options", lambda level: asked.append(level))
    monkeypatch.setattr(program, "brief_options", lambda level: asked.append(level))
    context = Context(tmp_path, preset, (3, 5), say=lambda _: None, progress=False)
    context.fit(toy, {"arm": ToyConfig()}, steps=2, data=toy_data(), sampler=toy_sampler)
    assert asked == [0] * 3 * (preset == "smoke")
    context.per_seed("squares", lambda own, shared: {"x": own**2}, np.array([1.0, 2.0]))
    assert asked == [0] * 4 * (preset == "smoke")


def test_a_fit_tells_which_seeds_it_lost(context):
    arms = {"fine": ToyConfig(), "lost": ToyConfig(lr=float("nan"))}
    fit = context.fit(toy, arms, steps=4, data=toy_data(), sampler=toy_sampler)
    assert fit.lost("fine").tolist() == [False, False]
    assert fit.lost("lost").tolist() == [True, True]
    with pytest.raises(ValueError, match="arm 'fin' is not known; did you mean fine"):
        fit.lost("fin")


@pytest.mark.parametrize(("edge", "holds"), [(0, True), (1, False)])
def test_a_choice_at_the_edge_of_its_menu_is_flagged(edge, holds, context):
    scores = np.zeros((3, 2))
    scores[0 if edge else 1] = 1.0
    context.chosen("a", select({"a": scores}, "higher")["a"], len(scores))
    control = interior_choice("a")
    assert control.consequence == "flag"
    assert control.check.find(context.table()).holds is holds
    assert context.table().final("a", "given: candidates").tolist() == [3, 3]


def test_per_seed_takes_trees(context):
    each = {"w": jnp.arange(6.0).reshape(2, 3)}
    assert context.per_seed("tree", lambda own, _: {"m": own["w"].mean()}, each)["m"].tolist() == [1, 4]
