"""Q-learning on coded observations, and DeepSea with bsuite's score."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats as reference

from lrn import check, train
from lrn.rl import identity
from lrn.rl.agent import Agent, memoryless
from lrn.rl.env import discretize, make
from lrn.rl.evaluate import rollouts
from lrn.rl.exploration import CountConfig, count_bonus, grid, one_hot, white
from lrn.rl.exploration.ascent import ascent
from lrn.rl.exploration.coded_q import CodedQConfig, coded_q
from lrn.rl.exploration.deep_sea import beats_dithering, deep_sea, score, scored, table, tabular
from lrn.types import Mean

# Optimism: all values start at the treasure's reward, so that every action is tried until its value falls.
OPTIMISTIC = CodedQConfig(epsilon_start=0.0, epsilon_end=0.0, initial=1.0, learning_rate=1.0)


def fit(factory, config, steps, seeds=(0, 1), **options):
    return train.fit(factory, config, seeds, steps=steps, progress=False, **options)


def stepped(agent, key, state) -> tuple[Any, Any]:
    """The state and the metrics after one step, typed loosely."""
    return agent.step(key, state, None)


def tables(env):
    """A coding for a small environment whose observations are zeros and ones."""
    n = env.observation_shape[0]
    return grid([0.0] * n, [1.0] * n, [2] * n)


def test_it_learns_the_analytic_values_of_a_truncating_chain():
    """A truncated episode is bootstrapped from its final observation; else the time limit lowers values."""
    env = identity.two_state_truncating(length=5)
    config = CodedQConfig(
        discount=0.8, learning_rate=0.1, epsilon_start=1.0, epsilon_end=1.0, num_envs=2, total_steps=25_600
    )
    result = fit(lambda c: coded_q(env, tables(env), c), config, steps=100)
    weights = np.asarray(result.arm("default").weights)  # [seeds, features, actions]; features 1 and 2 occur
    exact = {
        2: (1 + 2 * 0.8) / (1 - 0.64),
        1: (2 + 0.8) / (1 - 0.64),
    }  # one-hot: first state is 10, second 01
    for feature, value in exact.items():
        np.testing.assert_allclose(weights[:, feature], value, rtol=1e-3)


@pytest.mark.parametrize("select", ["epsilon_greedy", "boltzmann", "ucb"])
def test_it_solves_delayed_reward(select):
    env = identity.delayed_reward(3)
    config = CodedQConfig(select=select, epsilon_start=1.0, total_steps=2000, num_envs=2, rollout_length=50)
    agent = coded_q(env, tables(env), config)
    result = fit(lambda c: coded_q(env, tables(env), c), config, steps=20)
    state = jax.tree.map(lambda x: x[0], result.arm("default"))
    played = jax.jit(lambda key, state: rollouts(env, agent.policy, key, state, 4))(jax.random.key(0), state)
    assert played.returns.tolist() == [1.0] * 4
    assert config.interactions * 20 == int(state.steps)


def test_one_update_by_hand():
    """Q(s, a) += lr (r + bonus + g max Q(s') - Q(s, a)), the bonus of a first visit being beta."""
    env = identity.constant_reward(2)
    config = CodedQConfig(learning_rate=0.25, rollout_length=1, initial=2.0)
    coding = grid([0.0], [1.0], [1])
    agent = coded_q(env, coding, config, count_bonus(coding, CountConfig(beta=0.5), 2))
    state, metrics = stepped(agent, jax.random.key(1), jax.jit(agent.init)(jax.random.key(0), None))
    assert sorted(state.weights[0].tolist()) == [2.0 + 0.25 * (1 + 0.5 - 2.0), 2.0]
    assert sorted(state.visits[0].tolist()) == [0, 1]
    assert float(metrics["bonus"]) == 0.5
    assert float(metrics["return"].value) == 1.0  # the reported return is without the bonus
    assert float(metrics["td_error"]) == 0.5


def test_epsilon_falls_over_its_fraction_of_the_training():
    env = identity.constant_reward(2)
    config = CodedQConfig(
        epsilon_start=1.0, epsilon_end=0.0, exploration_fraction=0.5, total_steps=4000, rollout_length=1000,
        initial=0.0, learning_rate=0.0,
    )  # fmt: skip
    agent = coded_q(env, grid([0.0], [1.0], [1]), config)
    state = jax.jit(agent.init)(jax.random.key(0), None)
    state = state._replace(weights=jnp.array([[0.0, 1.0]]))
    greedy, seen, step = [], 0, jax.jit(agent.step)
    for t in range(4):
        state, _ = step(jax.random.key(t), state, None)
        greedy.append((int(state.visits[0, 1]) - seen) / 1000)
        seen = int(state.visits[0, 1])
    # A random action is right half of the time; epsilon is .75 on average, then .25, then 0.
    np.testing.assert_allclose(greedy, [0.625, 0.875, 1, 1], atol=0.05)


# DeepSea.


def test_deep_sea_is_gymnaxs():
    """Rewards and ends are equal for every sequence of moves, given which action goes right in each."""
    size = 5
    ours, theirs = deep_sea(size), make("DeepSea-bsuite", size=size)
    key = jax.random.key(0)
    our_move, their_move = jax.jit(ours.move), jax.jit(theirs.move)
    rights = [probe(ours, size), probe(theirs, size)]
    for plan in range(2**size):
        wants = [bool(plan >> t & 1) for t in range(size)]
        rows = [run(e, m, wants, r, key) for e, m, r in zip((ours, theirs), (our_move, their_move), rights)]
        np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    assert ours.horizon == theirs.horizon == size


def probe(env, size):
    """The action that goes right at each (row, column), found by its cost."""
    right = {}

    def visit(state, row, column):
        if row == size or (row, column) in right:
            return
        results = [env.move(jax.random.key(0), state, jnp.int32(a)) for a in (0, 1)]
        lands = [float(step.reward) for _, step in results]
        # Going right costs or finds the treasure, so its reward is not zero; that of going left is zero.
        right[row, column] = int(lands[1] != 0)
        assert (lands[0] != 0) != (lands[1] != 0)
        a = right[row, column]
        visit(results[a][0], row + 1, min(column + 1, size - 1))
        visit(results[1 - a][0], row + 1, max(column - 1, 0))

    visit(env.reset(jax.random.key(0))[1], 0, 0)
    return right


def run(env, move, wants, right, key):
    """Rewards and ends along a path that goes right where ``wants`` is true."""
    state, column, rows = env.reset(key)[1], 0, []
    for row, goes in enumerate(wants):
        a = right[row, column] if goes else 1 - right[row, column]
        column = min(column + 1, len(wants) - 1) if goes else max(column - 1, 0)
        state, step = move(key, state, jnp.int32(a))
        rows.append([float(step.reward), float(step.ended)])
    return rows


def test_the_double_flag_of_gymnaxs_deep_sea_does_no_harm():
    """gymnax sets terminated and truncated on the last step: its value is 0, and nothing is bootstrapped."""
    size = 4
    env = make("DeepSea-bsuite", size=size)
    config = dataclasses.replace(OPTIMISTIC, rollout_length=size, discount=1.0, total_steps=100 * size)
    result = fit(lambda c: scored(coded_q(env, one_hot(size**2), c)), config, steps=100, evaluate=score)
    weights = np.asarray(result.arm("default").agent.weights)
    assert result.table.final("default", "solved").tolist() == [1, 1]
    np.testing.assert_allclose(weights[:, 0].max(-1), 0.99, rtol=1e-5)
    np.testing.assert_allclose(result.table.final("default", "return"), 0.99, rtol=1e-5)


def test_optimism_solves_what_dithering_does_not():
    """The table of size 12 is solved within 600 episodes, while random actions need about 2^12 = 4096."""
    optimistic = dataclasses.replace(OPTIMISTIC, rollout_length=1, total_steps=12 * 600)
    dithering = dataclasses.replace(optimistic, epsilon_start=0.1, epsilon_end=0.1, initial=0.0)
    arms = {"optimistic": optimistic, "dithering": dithering}
    result = fit(lambda c: tabular(12, c), arms, steps=12 * 600, evaluate=score)
    at = result.table.final("optimistic", "solved_at")
    assert result.table.final("optimistic", "solved").tolist() == [1, 1]
    assert (at < 300).all()
    assert beats_dithering(12, jnp.ones(2), jnp.asarray(at)).all()
    assert result.table.final("dithering", "solved").tolist() == [0, 0]
    assert result.table.final("dithering", "solved_at").tolist() == [600, 600]
    assert not beats_dithering(12, jnp.zeros(2), jnp.full(2, 600.0)).any()


def test_counts_with_ucb_solve_deep_sea():
    bonus = count_bonus(table(8), CountConfig(beta=0.1), actions=2)
    config = CodedQConfig(
        select="ucb", ucb_scale=0.1, learning_rate=1.0, rollout_length=1, total_steps=8 * 400
    )
    result = fit(lambda c: tabular(8, c, bonus), config, steps=8 * 400, evaluate=score)
    assert result.table.final("default", "solved").tolist() == [1, 1]


def test_the_score_is_bsuites():
    """DeepSea is solved at the first episode by which fewer than 9 in 10 were bad, not at the first good one.

    Every second step ends an episode.
    """
    good = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 1])

    def step(key, state, batch):
        value = jnp.where(jnp.asarray(good)[state // 2] == 1, 0.99, -0.01)
        return state + 1, {"return": Mean(value, (state % 2).astype(jnp.float32))}

    agent = scored(Agent(lambda key, batch: jnp.int32(0), step, memoryless(lambda s, x: x)))
    state = jax.jit(agent.init)(jax.random.key(0), None)
    for t in range(2 * len(good)):
        state, metrics = stepped(agent, jax.random.key(t), state)
        if t % 2:
            assert float(metrics["bad"].value) == 1 - good[t // 2]
        assert float(metrics["bad"].weight) == t % 2
    shares = 1 - np.cumsum(good) / np.arange(1, len(good) + 1)
    assert int(state.solved_at) == int(np.argmax(shares < 0.9)) + 1 == 14
    assert int(state.episodes) == len(good)
    assert float(score(None, None, jax.random.key(0), state, None)["solved_at"]) == 14
    assert beats_dithering(3, jnp.ones(2), jnp.array([107.0, 108.0])).tolist() == [True, False]


def test_the_size_of_deep_sea_may_be_swept():
    """Padded to the largest size, each problem equals the problem made with its own size."""
    for size in (3, 5):
        exact, padded = deep_sea(size), deep_sea(size, largest=5)
        rows = []
        for env in (exact, padded):
            state, rewards = env.reset(jax.random.key(0))[1], []
            for t in range(size):
                state, step = env.move(jax.random.key(t), state, jnp.int32(t % 2))
                rewards.append((float(step.reward), bool(step.terminated), int(state.column)))
            rows.append(rewards)
        assert [r[1] for r in rows[1]] == [False] * (size - 1) + [True]
        assert size != 5 or rows[0] == rows[1]
    sizes = jnp.array([3.0, 5.0])

    def lane(size, key):
        agent = tabular(size, OPTIMISTIC, largest=5)
        state = agent.init(key, None)
        state = jax.lax.fori_loop(
            0, 400, lambda t, s: agent.step(jax.random.fold_in(key, t), s, None)[0], state
        )
        return state.episodes, state.solved_at

    episodes, at = jax.jit(jax.vmap(lane))(sizes, jax.random.split(jax.random.key(0), 2))
    assert episodes.tolist() == [400 // 3, 400 // 5]
    assert (at > 0).all()


def test_noise_moves_along_ordered_actions():
    """Noise, in units of half the range, is rounded to the nearest level and clipped at the ends."""
    env = discretize(identity.continuous_echo(length=1), 5)
    config = CodedQConfig(
        epsilon_start=0.0, epsilon_end=0.0, noise_scale=0.5, num_envs=2000, rollout_length=1
    )
    agent = coded_q(env, grid([-1.0], [1.0], [1]), config, noise=white())
    state = jax.jit(agent.init)(jax.random.key(0), None)
    state = state._replace(weights=jnp.array([[0.0, 0.0, 0.0, 1.0, 0.0]]))
    state, _ = jax.jit(agent.step)(jax.random.key(1), state, None)
    # Noise moves level 3 by a standard normal in levels; the action stays 3 within half a level.
    phi = reference.norm.cdf
    expected = [phi(-2.5), phi(-1.5) - phi(-2.5), phi(-0.5) - phi(-1.5), phi(0.5) - phi(-0.5), 1 - phi(0.5)]
    np.testing.assert_allclose(np.asarray(state.visits[0]) / 2000, expected, atol=0.035)


def test_noise_moves_each_dimension_by_itself():
    """From the middle of a 3 x 3 grid the two levels move independently, with the chances of a normal."""
    env = discretize(ascent(3, 2), 3)
    config = CodedQConfig(
        epsilon_start=0.0, epsilon_end=0.0, noise_scale=0.8, num_envs=4000, rollout_length=1
    )
    agent = coded_q(env, grid([-0.5], [3.5], [4]), config, noise=white(), dimensions=2)
    state = jax.jit(agent.init)(jax.random.key(0), None)
    state = state._replace(weights=jnp.zeros((4, 9)).at[0, 4].set(1.0))
    state, _ = jax.jit(agent.step)(jax.random.key(1), state, None)
    tail = reference.norm.cdf(-0.5 / 0.8)
    one = np.array([tail, 1 - 2 * tail, tail])
    np.testing.assert_allclose(np.asarray(state.visits[0]) / 4000, np.outer(one, one).ravel(), atol=0.025)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: coded_q(discretize(ascent(2, 2), 3), one_hot(2), CodedQConfig(), dimensions=3),
            "9 actions are no power of 3",
        ),
        (lambda: CodedQConfig(select="greedy"), "select 'greedy' is not known"),
        (lambda: CodedQConfig(rollout_length=0), "rollout_length must be at least 1"),
        (lambda: CodedQConfig(total_steps=2**31), "total_steps must be at most 2,147,483,647"),
        (lambda: coded_q(identity.continuous_echo(), one_hot(2), CodedQConfig()), "needs discrete actions"),
        (lambda: deep_sea(1), "size must be at least 2"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(check.InputError, match=words):
        make()
