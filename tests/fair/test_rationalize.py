"""Rationalization against all decision functions of two binary features."""

import itertools

import numpy as np
import pytest

from lrn.check import InputError
from lrn.fair.gaps import equal_opportunity_difference
from lrn.fair.model import decide
from lrn.fair.rationalize import Rows, most_faithful, rationalize, tree
from lrn.fair.reduction_game import ReductionConfig


def rows(n, seed):
    """Three binary features; the black box uses the first two, and the groups differ in the first."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 2
    x = rng.uniform(size=(n, 3)) < np.stack([0.2 + 0.6 * group, np.full(n, 0.5), np.full(n, 0.4)], axis=1)
    decision = (x[:, 0] & (x[:, 1] | x[:, 2])).astype(int)
    y = np.where(rng.uniform(size=n) < 0.2, 1 - decision, decision)
    return Rows(x.astype(np.float32), decision, group, y)


def measured(given, decision):
    rate = [decision[given.group == g].mean() for g in (0, 1)]
    return np.mean(decision == given.decision), abs(rate[0] - rate[1])


@pytest.fixture(scope="module")
def found():
    return rationalize({"depth 1": tree(1), "depth 3": tree(3)}, rows(300, 0), rows(200, 1), 2)


def test_candidates_are_measured_on_validation_rows_and_the_front_is_not_dominated(found):
    given = rows(200, 1)
    assert len(found.candidates) >= 4
    for one in found.candidates:
        wanted = measured(given, np.asarray(decide(one.predict(given.x))))
        assert (one.fidelity, one.gap) == pytest.approx(wanted, abs=1e-6)
    assert found.black_box_gap == pytest.approx(measured(given, given.decision)[1], abs=1e-6)
    gaps, fidelities = ([getattr(one, name) for one in found.front] for name in ("gap", "fidelity"))
    assert gaps == sorted(gaps)
    assert fidelities == sorted(fidelities)
    for one in found.candidates:
        assert any(two.gap <= one.gap and two.fidelity >= one.fidelity for two in found.front)
    assert {one.name for one in found.candidates} == {"depth 1", "depth 3"}


def test_the_black_box_is_imitated_exactly_and_hidden_nearly_as_well_as_possible(found):
    given = rows(200, 1)
    assert found.front[-1].fidelity == 1
    cells = (given.x @ [4, 2, 1]).astype(int)
    every = [measured(given, np.array(f)[cells]) for f in itertools.product((0, 1), repeat=8)]
    # The grid reaches the corners of the hull of (error, gap) only, so others may be better in between.
    best = max(fidelity for fidelity, gap in every if gap <= 0.35)
    one = most_faithful(found, 0.35)
    assert one.gap <= 0.35
    assert best - 0.1 <= one.fidelity <= best + 1e-6
    assert found.black_box_gap > 0.3


def test_the_grid_minimizes_the_lagrangian():
    # A tree of depth 3 can be any function of three binary features, so each fit is the best response.
    given = rows(300, 0)
    found = rationalize({"tree": tree(3)}, given, given, 2, grid=9)
    cells = (given.x @ [4, 2, 1]).astype(int)
    every = [np.array(f)[cells] for f in itertools.product((0, 1), repeat=8)]
    signed = lambda d: d[given.group == 1].mean() - d[given.group == 0].mean()  # noqa: E731
    points = np.array([[np.mean(d != given.decision), signed(d)] for d in every])
    mine = [np.asarray(decide(one.predict(given.x))) for one in found.candidates]
    mine = np.array([[np.mean(d != given.decision), signed(d)] for d in mine])
    for net in np.linspace(-2, 2, 9):
        # The violation of a group of half the rows is half the difference of the groups.
        assert (mine @ [1, net / 2]).min() == pytest.approx((points @ [1, net / 2]).min(), abs=1e-6)


@pytest.mark.slow
def test_the_reductions_models_are_candidates():
    settings = ReductionConfig(rounds=5, every_response=True)
    given, other = rows(300, 0), rows(200, 1)
    fits = {"depth 1": tree(1)}
    more = rationalize(fits, given, other, 2, [0.02, 0.1], settings, grid=3)
    assert len(more.candidates) >= len(rationalize(fits, given, other, 2, grid=3).candidates)


@pytest.mark.slow
def test_other_gaps_need_labels():
    settings = ReductionConfig(constraint="true_positive_rate_parity")
    given = rows(120, 2)
    found = rationalize(
        {"tree": tree(2)}, given, given, 2, (), settings, equal_opportunity_difference, grid=5
    )
    for one in found.candidates:
        d = np.asarray(decide(one.predict(given.x)))
        rate = [d[(given.group == g) & (given.y == 1)].mean() for g in (0, 1)]
        assert one.gap == pytest.approx(abs(rate[0] - rate[1]), abs=1e-6)


def test_bad_input(found):
    given = rows(20, 3)
    for call, message in [
        (lambda: rationalize({}, given, given, 2, [0.1]), "must not be empty"),
        (lambda: rationalize({"tree": tree(1)}, given, given, 2, grid=1), "size"),
        (
            lambda: rationalize(
                {"tree": tree(1)}, given, given._replace(decision=given.decision + 1), 2, [0.1]
            ),
            "0 or 1",
        ),
        (lambda: rationalize({"tree": tree(1)}, given, given, 2, [1.5]), "bound"),
        (lambda: most_faithful(found, -0.1), "no explanation has a gap of at most -0.1"),
        (lambda: tree(0), "max_depth"),
    ]:
        with pytest.raises(InputError, match=message):
            call()


def test_a_black_box_that_is_the_group_is_imitated():
    """Some multipliers then pay for every error, and no decision saves anything."""
    group = np.arange(40) % 2
    given = Rows(np.stack([group, np.arange(40)], axis=1).astype(np.float32), group, group)
    found = rationalize({"tree": tree(1)}, given, given, 2, grid=5)
    assert found.front[-1].fidelity == 1
    assert found.black_box_gap == 1
