"""Counts that never wrap around, and rates that fall with them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.rl import rates
from lrn.rl.rates import LARGEST


def test_counts_stop_at_the_largest_number():
    steps = jnp.array([0, 5, LARGEST - 7, LARGEST - 6, LARGEST], jnp.int32)
    np.testing.assert_array_equal(rates.count(steps, 7), [7, 12, LARGEST, LARGEST, LARGEST])
    ahead = jnp.array([0, 1, 9], jnp.int32)
    np.testing.assert_array_equal(rates.count(jnp.int32(LARGEST - 1), ahead), [LARGEST - 1, LARGEST, LARGEST])
    assert rates.count(steps, 7).dtype == jnp.int32


@pytest.mark.parametrize("period", [1, 2, 3, 50, 1000])
def test_periods_go_on_in_phase(period):
    """From just before the largest number, 40,000 steps keep the phase of every period."""

    def step(count, _):
        count = rates.count_in_periods(count, period)
        return count, count

    begin, n = LARGEST - 2 * period - 3, 5 * period + 20
    counts = np.asarray(jax.lax.scan(step, jnp.int32(begin), None, length=n)[1]).astype(np.int64)
    np.testing.assert_array_equal(counts % period, (begin + 1 + np.arange(n)) % period)
    assert counts.min() > begin
    assert counts.max() <= LARGEST
    assert int(rates.count_in_periods(jnp.int32(41), period)) == 42


def test_the_rate_falls_to_zero_over_its_gradient_steps():
    at = rates.learning_rate(0.5, 8.5, True)
    np.testing.assert_allclose([at(n) for n in (0, 1, 8, 9)], [0.5, 0.5 * 7.5 / 8.5, 0.5 * 0.5 / 8.5, 0.0])
    assert [float(rates.learning_rate(0.5, 8.5, False)(n)) for n in (0, 9)] == [0.5, 0.5]


def test_a_rate_that_falls_beyond_the_counter_is_refused():
    with pytest.raises(InputError, match="fall over 2,147,483,648 gradient steps"):
        rates.learning_rate(1e-3, 2.0**31, True)
    assert float(rates.learning_rate(1e-3, 2.0**31, False)(LARGEST)) == pytest.approx(1e-3)
    assert float(rates.learning_rate(1e-3, float(LARGEST), True)(2**30)) == pytest.approx(5e-4)


@pytest.mark.parametrize(
    ("learning_starts", "total_steps", "interactions"),
    [(10, 10, 1), (11, 10, 1), (91, 100, 30), (20_000, 10_000, 10), (7, 8, 5), (5, 5, 5)],
)
def test_a_warm_up_after_which_nothing_is_left(learning_starts, total_steps, interactions):
    with pytest.raises(
        InputError, match=f"learning_starts must be below total_steps, got {learning_starts:,}"
    ):
        rates.check_warm_up(learning_starts, total_steps, interactions)


@pytest.mark.parametrize(
    ("learning_starts", "total_steps", "interactions"), [(9, 10, 1), (90, 100, 30), (0, 5, 5), (4, 5, 2)]
)
def test_a_warm_up_that_ends(learning_starts, total_steps, interactions):
    rates.check_warm_up(learning_starts, total_steps, interactions)
