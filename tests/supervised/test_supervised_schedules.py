"""Schedules against optax's, closed forms, and their own values under vmap."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrn.check import InputError
from lrn.supervised import schedules

COUNTS = jnp.arange(40)


def each(schedule) -> np.ndarray:
    return np.array([schedule(int(n)) for n in COUNTS])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (schedules.constant(0.3), optax.constant_schedule(0.3)),
        (schedules.linear(0.5, 0.1, 20), optax.linear_schedule(0.5, 0.1, 20)),
        (schedules.linear(0.0, 2.0, 60), optax.linear_schedule(0.0, 2.0, 60)),
        (schedules.cosine(0.5, 0.0, 20), optax.cosine_decay_schedule(0.5, 20)),
        (schedules.cosine(0.5, 0.05, 33), optax.cosine_decay_schedule(0.5, 33, alpha=0.1)),
        (schedules.inverse_power(0.5, 0.3, 1.0), lambda n: 0.5 / (1 + 0.3 * n)),
        (schedules.inverse_power(0.5, 1.0, 0.5), lambda n: 0.5 / np.sqrt(1 + n)),
        (
            schedules.piecewise([0.5, 0.05, 0.01], [10, 25]),
            optax.piecewise_constant_schedule(0.5, {10: 0.1, 25: 0.2}),
        ),
        (
            schedules.warm_up(schedules.cosine(0.4, 0.1, 20), 8),
            optax.join_schedules(
                [optax.linear_schedule(0.05, 0.4, 7), optax.cosine_decay_schedule(0.4, 20, 0.25)], [8]
            ),
        ),
    ],
)
def test_equal_to_optax(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours(COUNTS)), each(theirs), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(np.asarray(jax.jit(ours)(COUNTS)), ours(COUNTS), rtol=1e-6)
    assert ours(3).dtype == jnp.float32
    assert ours(3).shape == ()


def test_exponential_halves_its_distance():
    at = schedules.exponential(1.0, 0.2, 2.5)
    np.testing.assert_allclose([at(n) for n in (0, 2.5, 5, 1000)], [1.0, 0.6, 0.4, 0.2], rtol=1e-6)


def test_lengths_need_not_be_whole_and_may_be_nothing():
    np.testing.assert_allclose(
        schedules.linear(1.0, 0.0, 2.5)(jnp.arange(4)), [1.0, 0.6, 0.2, 0.0], atol=1e-7
    )
    for falling in (schedules.linear(1.0, 0.25, 0), schedules.cosine(1.0, 0.25, 0)):
        np.testing.assert_array_equal(falling(jnp.arange(3)), 0.25)
    np.testing.assert_array_equal(
        schedules.warm_up(schedules.constant(0.7), 0)(jnp.arange(3)), np.float32(0.7)
    )
    np.testing.assert_allclose(
        schedules.warm_up(schedules.linear(1.0, 0.0, 2.0), 1.5)(jnp.arange(4)),
        [1 / 1.5, 1.0, 0.75, 0.25],
        rtol=1e-6,
    )


def test_every_number_may_be_swept():
    """One program covers all values and lengths, in each schedule and their composition."""

    def at(start, end, steps, warm):
        falls = [
            schedules.linear(start, end, steps),
            schedules.cosine(start, end, steps),
            schedules.exponential(start, end, steps + 1),
            schedules.inverse_power(start, end, warm),
            schedules.piecewise([start, end, start], [steps, steps + warm + 1]),
        ]
        return jnp.stack([schedules.warm_up(fall, warm)(COUNTS) for fall in falls])

    grid = [(1.0, 0.1, 20.0, 0.0), (0.5, 0.0, 0.0, 3.5), (0.2, 0.9, 7.25, 8.0)]
    together = jax.jit(jax.vmap(at))(*(jnp.array(c) for c in zip(*grid)))
    for swept, numbers in zip(together, grid):
        np.testing.assert_allclose(swept, at(*numbers), rtol=1e-6, atol=1e-7)


def test_gradients_are_finite():
    """This includes the slope with respect to the length of a warm-up of length 0."""
    slope = jax.grad(lambda w, s: schedules.warm_up(schedules.linear(1.0, 0.0, s), w)(3), argnums=(0, 1))
    for warm in (0.0, 2.0, 9.0):
        assert np.isfinite(slope(warm, 10.0)).all()
    np.testing.assert_allclose(slope(2.0, 10.0), [1 / 10, 1 / 100], rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.linear(1.0, 0.0, -1), "steps must be a finite number, 0 or more"),
        (lambda: schedules.cosine(1.0, 0.0, float("nan")), "steps must be a finite number, 0 or more"),
        (lambda: schedules.exponential(1.0, 0.0, 0), "half_life must be a finite number above 0"),
        (lambda: schedules.inverse_power(1.0, -0.1, 1), "rate must be a finite number, 0 or more"),
        (lambda: schedules.inverse_power(1.0, 0.1, -1), "power must be a finite number, 0 or more"),
        (lambda: schedules.piecewise([1.0, 0.1], [10, 20]), "one more than boundaries, got 2 and 2"),
        (lambda: schedules.piecewise([1.0, 0.1, 0.2], [20, 10]), "boundaries must ascend"),
        (lambda: schedules.piecewise([1.0, 0.1], [float("nan")]), "every boundary must be a finite number"),
        (lambda: schedules.warm_up(schedules.constant(1.0), -1), "steps must be a finite number, 0 or more"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
