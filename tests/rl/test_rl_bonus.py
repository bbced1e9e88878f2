"""Bonuses: counts are exact, and RND's bonus falls in visited places and nowhere else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import jitted

from lrn import check, nets
from lrn.rl.exploration import CountConfig, RNDConfig, Transitions, count_bonus, grid, one_hot, rnd, tiles
from lrn.rl.exploration import bonus as bonuses
from lrn.rl.exploration.counts import CountState


def transitions(observation, action, following):
    return Transitions(jnp.asarray(observation), jnp.asarray(action), jnp.asarray(following))


def test_counts_of_pairs_are_exact():
    """Counts of pairs are exact, also if a batch visits one pair several times."""
    bonus = jitted(count_bonus(one_hot(3), CountConfig(beta=0.5), actions=2))
    rng = np.random.default_rng(0)
    state = bonus.init(jax.random.key(0), jnp.eye(3))
    expected = np.zeros((4, 2), int)
    for _ in range(5):
        s, a = rng.integers(0, 3, 20), rng.integers(0, 2, 20)
        batch = transitions(np.eye(3)[s], a, np.eye(3)[s])
        state = bonus.update(jax.random.key(1), state, batch)
        np.add.at(expected, (s, a), 1)
        np.testing.assert_allclose(bonus.bonus(state, *batch), 0.5 / np.sqrt(expected[s, a]), rtol=1e-6)
    assert state.counts.tolist() == expected.tolist()
    assert state.counts.dtype == jnp.int32


def test_counts_of_next_observations():
    bonus = jitted(count_bonus(grid([0.0], [1.0], [4]), CountConfig(beta=1.0)))
    x = jnp.array([[0.1], [0.3], [0.35], [0.9]])
    state = bonus.update(
        jax.random.key(0), bonus.init(jax.random.key(0), x), Transitions(x, jnp.zeros(4), x[::-1])
    )
    assert state.counts.tolist() == [1, 2, 0, 1]
    np.testing.assert_allclose(bonus.bonus(state, x, jnp.zeros(4), x), [1, 0.5**0.5, 0.5**0.5, 1], rtol=1e-6)
    # The bonus of a pair that was never visited is that of a first visit.
    np.testing.assert_allclose(bonus.bonus(state, x, jnp.zeros(4), x * 0 + 0.6), 1.0)


def test_a_count_stops_before_it_would_turn_negative():
    bonus = jitted(count_bonus(one_hot(3), CountConfig(beta=1.0), actions=2))
    most = np.iinfo(np.int32).max
    batch = transitions(np.eye(3)[[0, 0, 0, 1]], [1, 1, 1, 0], np.eye(3)[[0, 0, 0, 1]])
    state = bonus.init(jax.random.key(0), jnp.eye(3))
    counts = np.array(state.counts)
    counts[0, 1], counts[1, 0] = most - 5, 7
    state = state._replace(counts=jnp.asarray(counts))
    for _ in range(3):
        state = bonus.update(jax.random.key(1), state, batch)
    counts = np.asarray(state.counts)
    assert most - 5 < counts[0, 1] <= most
    assert counts[1, 0] == 10
    np.testing.assert_allclose(bonus.bonus(state, *batch), [most**-0.5] * 3 + [10**-0.5], rtol=1e-6)


def test_an_action_that_does_not_exist_is_paid_nan():
    bonus = jitted(count_bonus(one_hot(3), CountConfig(), actions=2))
    batch = transitions(np.eye(3), [0, 2, -1], np.eye(3))
    state = bonus.update(jax.random.key(1), bonus.init(jax.random.key(0), jnp.eye(3)), batch)
    assert np.isnan(bonus.bonus(state, *batch)).tolist() == [False, True, True]


def test_counts_over_tiles_generalize():
    bonus = jitted(count_bonus(tiles([0.0], [1.0], [4], tilings=4), CountConfig(beta=1.0)))
    x = jnp.full((9, 1), 0.5)
    state = bonus.update(jax.random.key(0), bonus.init(jax.random.key(0), x), Transitions(x, jnp.zeros(9), x))
    at = lambda v: float(bonus.bonus(state, x[:1], x[0, :1], jnp.full((1, 1), v))[0])  # noqa: E731
    assert at(0.5) == pytest.approx(1 / 3)
    assert at(0.5) < at(0.6) < at(0.95) == 1


@pytest.fixture(scope="module")
def distilled():
    """RND trained on one corner of the square: its states before, after one update, and after many."""
    bonus = jitted(rnd(nets.mlp(8, (32,)), nets.mlp(8, (32,)), RNDConfig(learning_rate=3e-3)))

    rng = np.random.default_rng(0)
    corner = lambda: jnp.asarray(rng.uniform(0, 0.3, (64, 2)), jnp.float32)  # noqa: E731
    elsewhere = jnp.asarray(rng.uniform(0.7, 1.0, (64, 2)), jnp.float32)
    state = bonus.init(jax.random.key(0), corner())
    # The first update sees the whole square, to set the scale of observations as a random walk would.
    everywhere = jnp.asarray(rng.uniform(0, 1, (4096, 2)), jnp.float32)
    state = first = bonus.update(jax.random.key(1), state, Transitions(everywhere, everywhere, everywhere))
    for t in range(400):
        x = corner()
        state = bonus.update(jax.random.key(t), state, Transitions(x, x, x))
    return bonus, first, state, corner(), elsewhere


def raw(bonus, state, x):
    """The error of RND: the bonus multiplied by its running scale."""
    return np.asarray(bonus.bonus(state, x, x, x)) * np.sqrt(np.asarray(state.error.var) + 1e-8)


def test_rnds_bonus_falls_where_one_was_and_stays_where_not(distilled):
    bonus, first, state, visited, elsewhere = distilled
    assert raw(bonus, state, visited).mean() < 0.02 * raw(bonus, first, visited).mean()
    assert raw(bonus, state, elsewhere).mean() > 0.3 * raw(bonus, first, elsewhere).mean()
    paid = [np.asarray(bonus.bonus(state, x, x, x)) for x in (elsewhere, visited)]
    assert np.median(paid[0] / paid[1]) > 10


def test_rnds_target_never_moves(distilled):
    _, first, state, *_ = distilled
    jax.tree.map(np.testing.assert_array_equal, first.target, state.target)
    same = jax.tree.map(np.array_equal, first.predictor, state.predictor)
    assert not all(jax.tree.leaves(same))


def test_rnds_scale_is_the_running_deviation_of_the_error():
    """The scale pools the errors before each fit, and the bonus includes the coefficient."""
    config = RNDConfig(coefficient=3.0, learning_rate=1e-2)
    bonus = jitted(rnd(nets.mlp(4, (8,)), nets.mlp(4, (8,)), config))
    rng = np.random.default_rng(1)
    state = bonus.init(jax.random.key(0), jnp.zeros((5, 2)))
    errors, seen, x, apply = [], [], jnp.zeros((5, 2)), jax.jit(nets.mlp(4, (8,)).apply)
    for t in range(4):
        x = jnp.asarray(rng.normal(2.0, 3.0, (5, 2)), jnp.float32)
        seen.append(np.asarray(x))
        mean, std = np.concatenate(seen).mean(0), np.concatenate(seen).std(0)
        z = np.clip((seen[-1] - mean) / std, -5, 5)
        one, other = (np.asarray(apply(p, n, z)[0]) for p, n in (state.predictor, state.target))
        errors.append(np.square(one - other).mean(1))
        state = bonus.update(jax.random.key(t), state, Transitions(x, x, x))
        np.testing.assert_allclose(state.error.var, np.concatenate(errors).var(), rtol=1e-3)
    np.testing.assert_allclose(
        bonus.bonus(state, x, x, x),
        3.0 * raw(bonus, state, x) / 3.0 / np.sqrt(np.concatenate(errors).var()),
        rtol=1e-3,
    )


def test_rnds_error_is_not_scaled_by_a_spread_that_is_not_there():
    """Equal observations have no spread of errors; dividing by a tiny constant would pay thousands."""
    bonus = jitted(rnd(nets.mlp(4, (8,)), nets.mlp(4, (8,)), RNDConfig(coefficient=0.5)))
    x = jnp.full((3, 2), 0.7)
    state = bonus.update(jax.random.key(1), bonus.init(jax.random.key(0), x), Transitions(x, x, x))
    z = jnp.zeros((3, 2))  # less the mean
    apply = jax.jit(nets.mlp(4, (8,)).apply)
    prediction, goal = (np.asarray(apply(*net, z)[0]) for net in (state.predictor, state.target))
    np.testing.assert_allclose(
        bonus.bonus(state, x, x, x), 0.5 * np.square(prediction - goal).mean(1), rtol=1e-4
    )


def test_no_gradient_flows_through_a_bonus(distilled):
    bonus, _, state, visited, _ = distilled
    slope = jax.jit(jax.grad(lambda x: bonus.bonus(state, x, x, x).sum()))(visited)
    assert np.abs(slope).max() == 0


def test_keep_nothing_learns_nothing():
    bonus = jitted(rnd(nets.mlp(4, (8,)), nets.mlp(4, (8,)), RNDConfig(keep=0.0)))
    x = jnp.ones((5, 2))
    state = bonus.init(jax.random.key(0), x)
    after = bonus.update(jax.random.key(1), state, Transitions(x, x, x))
    jax.tree.map(np.testing.assert_array_equal, state.predictor, after.predictor)


def both(key, coefficient):
    """The bonuses of each kind after an update."""
    x = jnp.linspace(0, 1, 6)[:, None]
    results = []
    for bonus in (
        rnd(nets.mlp(2, (4,)), nets.mlp(2, (4,)), RNDConfig(coefficient=coefficient, epochs=2)),
        count_bonus(grid([0.0], [1.0], [4]), CountConfig(beta=coefficient)),
    ):
        init, update, key = jax.random.split(key, 3)
        state = bonus.update(update, bonus.init(init, x), Transitions(x, x[:, 0], x))
        results.append(bonus.bonus(state, x, x[:, 0], x))
    return results


def test_keys_are_used_once(key_reuse_checks):
    jax.block_until_ready(jax.jit(both)(jax.random.key(0), 1.0))


def test_coefficients_are_swept():
    """Under vmap and jit the bonus is proportional to the coefficient."""
    keys = jnp.stack([jax.random.key(0)] * 2)
    for results in jax.jit(jax.vmap(both))(keys, jnp.array([0.1, 1.0])):
        assert results.shape == (2, 6)
        np.testing.assert_allclose(results[1], 10 * results[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CountConfig(beta=-1.0), "beta must be a finite number, 0 or more"),
        (lambda: count_bonus(one_hot(3), CountConfig(), actions=0), "actions must be at least 1"),
        (
            lambda: count_bonus(one_hot(3), CountConfig(), actions=2).update(
                jax.random.key(0),
                CountState((), jnp.zeros((4, 2), jnp.int32)),
                Transitions(jnp.eye(3), jnp.zeros((3, 1)), jnp.eye(3)),
            ),
            r"counts discrete actions \[n\], got float32 \[3, 1\]",
        ),
        (lambda: RNDConfig(keep=1.5), "keep must lie between 0 and 1"),
        (lambda: RNDConfig(epochs=0), "epochs must be at least 1"),
        (
            lambda: rnd(nets.mlp(4), nets.mlp(5), RNDConfig()).init(jax.random.key(0), jnp.ones((2, 3))),
            r"predictor gives shape \[2, 4\] and its target \[2, 5\]",
        ),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(check.InputError, match=words):
        make()


def test_both_is_the_sum_of_two_bonuses():
    """Each with its own counts: of pairs, and of where an action led."""
    coding = grid([0.0], [4.0], [4])
    pairs, places = count_bonus(coding, CountConfig(beta=1.0), 2), count_bonus(coding, CountConfig(beta=10.0))
    bonus = jitted(bonuses.both(pairs, places))
    here, after = jnp.array([[0.5], [0.5], [1.5]]), jnp.array([[1.5], [2.5], [1.5]])
    action = jnp.array([0, 1, 0])
    state = bonus.init(jax.random.key(0), here)
    state = bonus.update(jax.random.key(1), state, Transitions(here, action, after))
    paid = bonus.bonus(state, here, action, after)
    np.testing.assert_allclose(paid, 1.0 + 10.0 / np.sqrt([2.0, 1.0, 2.0]), rtol=1e-6)
