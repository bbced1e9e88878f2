"""Early stopping in a scan against a loop that stops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.supervised import early_stopping

NAN = float("nan")


def by_loop(metrics, patience, larger, least):
    """(best metric, evaluation of the best, evaluations, stopped), by a loop with a break."""
    best, at, n = NAN, 0, 0
    for metric in metrics:
        n += 1
        gain = metric - best if larger else best - metric
        if (np.isnan(best) and not np.isnan(metric)) or gain > least:
            best, at = metric, n
        if n - at >= patience:
            return best, at, n, True
    return best, at, n, False


def by_scan(metrics, patience, larger, least=0.0):
    def take(state, given):
        i, metric = given
        tree = {"w": jnp.full(2, i, jnp.float32), "n": i}
        state = early_stopping.update(state, tree, metric, patience, larger_is_better=larger, least=least)
        return state, state

    start = early_stopping.begin({"w": jnp.full(2, -1.0), "n": jnp.int32(-1)})
    indices = jnp.arange(1, len(metrics) + 1)
    return jax.lax.scan(take, start, (indices, jnp.asarray(metrics, jnp.float32)))[0]


@pytest.mark.parametrize("larger", [True, False])
@pytest.mark.parametrize(
    ("metrics", "patience", "least"),
    [
        ([1.0, 2.0, 3.0, 4.0], 1, 0.0),
        ([4.0, 3.0, 2.0, 1.0], 2, 0.0),
        # An equal metric is no improvement, and evaluations after the stop do not count.
        ([1.0, 1.0, 1.0, 5.0], 2, 0.0),
        ([1.0, 3.0, 2.0, 2.5, 4.0, 0.0, 0.0], 3, 0.0),
        ([1.0, 1.25, 1.5, 1.75, 2.0], 2, 0.25),  # an improvement by exactly `least` does not count
        ([2.0, 1.0, 0.25, 0.0], 2, 0.5),
        ([NAN, NAN, 1.0], 2, 0.0),
        ([NAN, 1.0, NAN, 2.0, 0.5, NAN, NAN], 3, 0.0),
        ([NAN, NAN], 5, 0.0),
    ],
)
def test_a_scan_gives_what_a_loop_that_stops_gives(metrics, patience, least, larger):
    state = by_scan(metrics, patience, larger, least)
    best, at, n, stopped = by_loop(metrics, patience, larger, least)
    np.testing.assert_equal([float(state.metric), int(state.at)], [best, at])
    assert (int(state.evaluations), bool(state.stopped)) == (n, stopped)
    np.testing.assert_array_equal(state.best["w"], at or -1)
    assert int(state.best["n"]) == (at or -1)


def test_lanes_stop_on_their_own():
    """Random metrics and patiences, with all lanes in one program."""
    rng = np.random.default_rng(0)
    metrics, patience = rng.normal(size=(40, 12)).round(1), rng.integers(1, 6, 40)
    states = jax.jit(jax.vmap(lambda m, p: by_scan(m, p, True)))(jnp.asarray(metrics), jnp.asarray(patience))
    expected = [by_loop(np.float32(m), p, True, 0.0) for m, p in zip(metrics, patience)]
    ours = zip(states.metric, states.at, states.evaluations, states.stopped)
    assert [tuple(float(x) for x in row) for row in ours] == [tuple(map(float, row)) for row in expected]
    assert 0 < sum(row[3] for row in expected) < 40
    np.testing.assert_array_equal(states.best["n"], [row[1] for row in expected])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 0}, "patience must be a finite number above 0"),
        ({"patience": 0.5}, "patience must be at least 1 evaluation"),
        ({"least": -1.0}, "least must be a finite number, 0 or more"),
        ({"larger_is_better": "max"}, "larger_is_better must be True or False"),
    ],
)
def test_bad_input(settings, message):
    state = early_stopping.begin(jnp.zeros(2))
    with pytest.raises(InputError, match=message):
        early_stopping.update(
            state, jnp.zeros(2), 1.0, **{"patience": 2, "larger_is_better": True, **settings}
        )
