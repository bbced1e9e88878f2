"""Action selection and schedules, compared with closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.rl.exploration import (
    boltzmann,
    boltzmann_probabilities,
    epsilon_greedy,
    epsilon_greedy_probabilities,
    exponential_schedule,
    linear_schedule,
    random_argmax,
    ucb,
)

Q = jnp.array([0.1, 0.7, 0.7, -1.0])


def fractions(choose, q, n=20_000):
    """The fractions of each action, from one call on [n, actions]."""
    chosen = choose(jax.random.key(0), jnp.broadcast_to(q, (n, *q.shape)))
    assert chosen.dtype == jnp.int32
    assert chosen.shape == (n,)
    return np.bincount(np.asarray(chosen), minlength=q.shape[0]) / n


def test_random_argmax_is_even_among_the_best():
    np.testing.assert_allclose(fractions(random_argmax, Q), [0, 0.5, 0.5, 0], atol=0.015)


def test_epsilon_greedy():
    expected = [0.075, 0.425, 0.425, 0.075]
    np.testing.assert_allclose(fractions(lambda k, q: epsilon_greedy(k, q, 0.3), Q), expected, atol=0.015)
    np.testing.assert_allclose(epsilon_greedy_probabilities(Q, 0.3), expected, rtol=1e-6)
    assert fractions(lambda k, q: epsilon_greedy(k, q, 0.0), Q)[[0, 3]].tolist() == [0, 0]
    np.testing.assert_allclose(fractions(lambda k, q: epsilon_greedy(k, q, 1.0), Q), 0.25, atol=0.015)


def test_epsilon_may_differ_between_environments():
    """An epsilon for each actor (Horgan et al. 2018)."""
    q = jnp.broadcast_to(jnp.array([0.0, 1.0]), (3, 5000, 2))
    epsilon = jnp.array([0.0, 0.4, 1.0])[:, None]
    chosen = epsilon_greedy(jax.random.key(1), q, epsilon)
    np.testing.assert_allclose((chosen == 0).mean(1), [0, 0.2, 0.5], atol=0.03)
    chances = epsilon_greedy_probabilities(q[:, :1], epsilon)
    np.testing.assert_allclose(chances[:, 0, 0], [0, 0.2, 0.5], rtol=1e-6)


def test_boltzmann():
    e = np.exp(np.asarray(Q) / 0.5)
    np.testing.assert_allclose(fractions(lambda k, q: boltzmann(k, q, 0.5), Q), e / e.sum(), atol=0.015)
    np.testing.assert_allclose(boltzmann_probabilities(Q, 0.5), e / e.sum(), rtol=1e-5)
    # Large values do not overflow, and a low temperature is greedy.
    assert boltzmann_probabilities(1e4 * Q[:2], 0.01).tolist() == [0, 1]


def test_ucb_by_hand():
    q, counts = jnp.array([0.5, 0.6, 0.2]), jnp.array([4, 50, 2])
    width = np.sqrt(np.log(56) / np.array([4, 50, 2]))
    assert int(ucb(jax.random.key(0), q, counts, 0.1)) == np.argmax(np.asarray(q) + 0.1 * width) == 1
    assert int(ucb(jax.random.key(0), q, counts, 1.0)) == np.argmax(np.asarray(q) + 1.0 * width) == 2
    assert int(ucb(jax.random.key(0), q, jnp.array([4, 50, 0]), 0.0)) == 2
    assert fractions(lambda k, q: ucb(k, q, jnp.zeros_like(q, jnp.int32), 0.1), q).min() > 0.31


def test_a_masked_action_is_never_taken_where_another_is_possible():
    q = jnp.array([-jnp.inf, 0.5, -jnp.inf, 0.2])
    for epsilon in (0.0, 0.6, 1.0):
        expected = [0, 1 - epsilon / 2, 0, epsilon / 2]
        np.testing.assert_allclose(epsilon_greedy_probabilities(q, epsilon), expected, rtol=1e-6)
        chances = fractions(lambda k, q, epsilon=epsilon: epsilon_greedy(k, q, epsilon), q)
        np.testing.assert_allclose(chances, expected, atol=0.015)
    e = np.exp(0.3 / 0.5)
    np.testing.assert_allclose(boltzmann_probabilities(q, 0.5), [0, e / (1 + e), 0, 1 / (1 + e)], rtol=1e-5)
    assert fractions(lambda k, q: boltzmann(k, q, 0.5), q)[[0, 2]].tolist() == [0, 0]
    assert fractions(lambda k, q: random_argmax(k, q), q)[1] == 1
    assert fractions(lambda k, q: ucb(k, q, jnp.zeros_like(q, jnp.int32), 1.0), q)[[0, 2]].tolist() == [0, 0]
    # If no action is allowed, all actions are equally likely.
    np.testing.assert_allclose(epsilon_greedy_probabilities(q[:1], 0.3), [1.0])


@pytest.mark.parametrize(
    ("choose", "words"),
    [
        (lambda k: epsilon_greedy(k, Q, 1.1), "epsilon must lie between 0 and 1, got 1.1"),
        (lambda k: epsilon_greedy(k, Q, np.nan), "epsilon must lie between 0 and 1, got nan"),
        (lambda k: epsilon_greedy_probabilities(Q, -0.1), "epsilon must lie between 0 and 1"),
        (lambda k: boltzmann(k, Q, 0.0), "temperature must be a finite number above 0"),
        (lambda k: boltzmann_probabilities(Q, np.inf), "temperature must be a finite number above 0"),
        (lambda k: ucb(k, Q, jnp.ones(4), -1.0), "scale must be a finite number, 0 or more"),
    ],
)
def test_bad_input(choose, words):
    with pytest.raises(InputError, match=words):
        choose(jax.random.key(0))


def test_linear_schedule():
    steps = jnp.array([0, 25, 50, 100, 1000])
    values = jax.vmap(lambda t: linear_schedule(t, 1.0, 0.2, 100))(steps)
    np.testing.assert_allclose(values, [1.0, 0.8, 0.6, 0.2, 0.2], rtol=1e-6)
    assert float(linear_schedule(7, 0.3, 0.3, 10)) == pytest.approx(0.3)


def test_exponential_schedule():
    values = [float(exponential_schedule(t, 1.0, 0.2, 10)) for t in (0, 10, 20, 1000)]
    np.testing.assert_allclose(values, [1.0, 0.6, 0.4, 0.2], rtol=1e-6)


def test_keys_are_used_once(key_reuse_checks):
    for choose in (
        lambda k: epsilon_greedy(k, Q, 0.1),
        lambda k: boltzmann(k, Q, 0.1),
        lambda k: ucb(k, Q, jnp.zeros(4, jnp.int32), 1.0),
    ):
        jax.block_until_ready(jax.jit(choose)(jax.random.key(0)))
