"""Ascent against arithmetic: every sequence of actions, every set of actions, values in closed form."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check
from lrn.rl.env import discretize
from lrn.rl.exploration.ascent import BEST, COST, ascent, heights
from lrn.rl.exploration.explorer import Explorer, explorer

KEY = jax.random.key(0)


def play(env, actions):
    """Rewards and ends until an episode is over, as floats and bools."""
    move = jax.jit(env.move)
    _, state = env.reset(KEY)
    rows = []
    for action in actions:
        state, step = move(KEY, state, jnp.asarray(action))
        rows.append((float(step.reward), bool(step.terminated)))
        if rows[-1][1]:
            break
    return rows


def rising(env):
    """Which actions rise from the ground, bool [actions]."""
    _, ground = env.reset(KEY)
    actions = jnp.arange(env.actions.n, dtype=jnp.int32)
    return ~np.asarray(jax.vmap(lambda a: env.move(KEY, ground, a)[1].terminated)(actions))


def test_every_sequence_of_actions_pays_what_it_should():
    """One that falls costs what it rose; one that never falls has the treasure, less the whole cost."""
    depth = 4
    env = discretize(ascent(depth), 2)
    for plan in itertools.product((0, 1), repeat=depth):
        rows = play(env, plan)
        rose = next((i for i, action in enumerate(plan) if not action), depth)
        assert len(rows) == min(rose + 1, depth)
        assert [end for _, end in rows] == [False] * (len(rows) - 1) + [True]
        expected = BEST if rose == depth else -COST * rose / depth
        np.testing.assert_allclose(sum(reward for reward, _ in rows), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("levels", "engines", "right"),
    [(2, 1, 1 / 2), (5, 1, 2 / 5), (9, 1, 3 / 9), (2, 3, 1 / 8), (5, 2, 6 / 25), (5, 3, 20 / 125)],
)
def test_as_many_actions_are_right_as_can_be_counted(levels, engines, right):
    """A thrust of exactly one half in the mean is enough: 5 levels of 2 engines have 1 + 2 + 3 such pairs."""
    env = discretize(ascent(3, engines), levels)
    rises = rising(env)
    assert rises.mean() == pytest.approx(right)
    assert rises[-1]  # full thrust of all
    assert not rises[0]


@pytest.mark.parametrize(
    ("levels", "engines", "right"), [(2, 1, 1 / 2), (4, 1, 1 / 2), (4, 3, 1 / 2), (5, 1, 3 / 5)]
)
def test_from_no_thrust_on_half_of_an_even_number_of_levels_is_right(levels, engines, right):
    """Odd thirds never add up to 0, so every combination or its opposite rises; five levels have the 0."""
    assert rising(discretize(ascent(3, engines, least=0.0), levels)).mean() == pytest.approx(right)


def test_the_best_return_is_that_of_every_set_of_actions_and_depth():
    for depth, levels, engines in itertools.product((1, 5, 20), (2, 5), (1, 3)):
        env = discretize(ascent(depth, engines), levels)
        rows = play(env, [levels**engines - 1] * depth)
        np.testing.assert_allclose(sum(reward for reward, _ in rows), BEST, atol=1e-6)


def test_a_thrust_beyond_the_range_counts_as_its_end():
    """Three engines, one far beyond: mean thrust would be 1, and is 0."""
    (row,) = play(ascent(2, 3), [[5.0, -1.0, 0.0]])
    assert row == (0.0, True)
    assert play(ascent(2, 3), [[1.0, 0.25, 0.25]])[0] == (pytest.approx(-COST / 2), False)


def test_depth_and_the_cost_of_a_fall_can_be_swept():
    """One compile for several depths; each is the task of that depth."""

    def lane(depth, fall):
        env = ascent(depth, 1, largest=6, fall=fall)
        _, state = env.reset(KEY)

        def one(carry, _):
            state, over = carry
            state, step = env.move(KEY, state, jnp.ones(1))
            return (state, over | step.terminated), jnp.where(over, 0.0, step.reward)

        _, rewards = jax.lax.scan(one, (state, jnp.array(False)), None, 6)
        return rewards, env.move(KEY, jnp.int32(1), -jnp.ones(1))[1].reward

    rewards, fallen = jax.jit(jax.vmap(lane))(jnp.array([2.0, 6.0]), jnp.array([0.0, 0.3]))
    np.testing.assert_allclose(rewards.sum(1), [BEST, BEST], atol=1e-6)
    np.testing.assert_allclose(rewards[0], [-COST / 2, 1 - COST / 2, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(fallen, [0.0, -0.3], atol=1e-6)


def learned(way, depth, steps, seed=0, fall=0.0):
    """The table [heights, actions] of a learner after so many steps, five levels of one engine."""
    env = discretize(ascent(depth, fall=fall), 5)
    agent = explorer(env, heights(depth), way, steps)
    state = jax.jit(agent.init)(jax.random.key(seed), None)
    keys = jax.random.split(jax.random.key(seed + 1), steps)
    return jax.jit(
        lambda state: jax.lax.scan(lambda s, k: (agent.step(k, s, None)[0], None), state, keys)[0].weights
    )(state)


def test_a_table_learns_the_values_in_closed_form():
    """From height h: the treasure discounted, less the discounted costs; a fall is worth nothing."""
    depth, discount = 6, 0.99
    table = np.asarray(learned(Explorer(initial=2.0, epsilon=0.5, epsilon_end=0.5), depth, 6000))
    for h in range(depth):
        left = np.arange(depth - h)
        value = discount ** left[-1] - COST / depth * (discount**left).sum()
        np.testing.assert_allclose(table[h, 3:], value, rtol=1e-4)
        np.testing.assert_allclose(table[h, :3], 0.0, atol=1e-6)


def test_luck_alone_does_not_reach_the_top_and_a_hint_does():
    """Greedy from zeros: silent where falls are free, but values of 0 are optimistic where they cost."""
    silent, told = (learned(Explorer(), 20, 4000, fall=fall) for fall in (0.0, 0.1))
    assert float(silent.max()) == 0.0
    assert float(told[0].max()) > 0.5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ascent(0), "depth must be at least 1"),
        (lambda: ascent(3, 0), "engines must be at least 1"),
        (lambda: ascent(3, 1, 2), "largest must be at least 3"),
        (lambda: ascent(3, fall=-1.0), "fall"),
        (lambda: ascent(3, least=1.5), "least must lie between -1 and 1"),
        (lambda: ascent(jnp.int32(3)), "pass largest="),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(check.InputError, match=words):
        call()
