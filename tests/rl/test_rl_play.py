"""Playing and evaluating: which steps and episodes count."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.rl import play
from lrn.rl.agent import Policy, memoryless
from lrn.rl.evaluate import evaluator, rollouts
from lrn.rl.identity import constant_reward, delayed_reward, echo, memory, two_state_truncating
from lrn.types import Mean


def unroll(env, act, n, length, seed=0):
    """A stretch of play in fresh environments, by one program."""

    def run(key):
        key, start = jax.random.split(key)
        noise = jnp.zeros((length, n))
        return play.unroll(env, key, play.start(env, start, n), act, (), noise, length)

    return jax.device_get(jax.jit(run)(jax.random.key(seed)))


def roll(env, policy, seed, state, episodes):
    """`rollouts`, by one program."""
    run = jax.jit(lambda key, state: rollouts(env, policy, key, state, episodes))
    return jax.device_get(run(jax.random.key(seed), state))


episode_metrics = jax.jit(play.episode_metrics)


def mean(ended, name) -> Mean:
    metric = episode_metrics(ended)[name]
    assert isinstance(metric, Mean)
    return metric


def right_answer(noise, observation, memory):
    return jnp.argmax(observation, -1), (), memory


def test_unroll_tells_the_final_observation_from_the_next():
    env = two_state_truncating(length=3)
    _, _, trajectory, ended = unroll(env, lambda z, x, m: (jnp.zeros(4, jnp.int32), x[:, 0], m), 4, 12)
    # The chain alternates from a random start, so the final observation is always the other state.
    np.testing.assert_array_equal(trajectory.final_observation, 1 - trajectory.observation)
    np.testing.assert_array_equal(trajectory.reward, 1 + trajectory.observation[..., 1])
    np.testing.assert_array_equal(trajectory.truncated[:, 0], [False, False, True] * 4)
    assert not trajectory.terminated.any()
    # Where no episode ended, the final observation is the next observation.
    same = (trajectory.final_observation[:-1] == trajectory.observation[1:]).all(-1)
    assert same[~trajectory.ended[:-1]].all()
    assert not same[trajectory.ended[:-1]].all()
    np.testing.assert_array_equal(trajectory.extra, trajectory.observation[..., 0])
    assert mean(ended, "length") == (3.0, 16.0)
    returns = trajectory.reward.T.reshape(4, 4, 3).sum(-1)
    np.testing.assert_allclose(mean(ended, "return").value, returns.mean(), rtol=1e-6)


def test_returns_go_on_from_one_stretch_to_the_next():
    env = two_state_truncating(length=5)
    start = jax.jit(lambda key: play.start(env, key, 2))
    advance = jax.jit(
        lambda key, t, live: play.advance(env, jax.random.fold_in(key, t), live, jnp.zeros(2, jnp.int32))
    )
    key = jax.random.key(0)
    live, ends, returns = start(key), [], []
    for t in range(5):
        live, _, ended = advance(key, t, live)
        ends.append(float(ended.episodes))
        returns.append(float(ended.return_sum))
    assert ends == [0, 0, 0, 0, 2]
    assert 7 <= returns[-1] / 2 <= 8  # five steps of 1 and 2 in turn
    np.testing.assert_array_equal(live.episode_return, 0)


def test_no_episode_ended_is_weight_zero():
    env = two_state_truncating(length=50)
    *_, ended = unroll(env, lambda z, x, m: (jnp.zeros(1, jnp.int32), (), m), 1, 3)
    assert mean(ended, "return").weight == 0


def test_resets_are_fresh_each_time():
    """Starts of episodes within a stretch are independent draws, not one repeated draw."""
    env = echo(n=10, length=1)
    _, _, trajectory, _ = unroll(env, right_answer, 3, 200)
    symbols = trajectory.observation.argmax(-1)
    counts = np.bincount(symbols.reshape(-1), minlength=10)
    assert counts.min() > 30  # of 60 expected
    assert abs(np.corrcoef(symbols[:-1, 0], symbols[1:, 0])[0, 1]) < 0.25


def wide(numbers):
    """`two_state_truncating` with three steps, whose state also holds ``numbers`` random numbers."""
    base = two_state_truncating(length=3)

    def reset(key):
        observation, state = base.reset(key)
        return observation, (state, jax.random.uniform(key, (numbers,)))

    def move(key, state, action):
        after, step = base.move(key, state[0], action)
        return (after, state[1]), step._replace(reward=state[1].sum())

    return base._replace(reset=reset, move=move)


def test_resets_in_the_loop_are_those_drawn_ahead(monkeypatch):
    env = wide(30)
    runs = []
    for most in (0, 2**24):
        monkeypatch.setattr(play, "_MOST_AHEAD", most)
        runs.append(unroll(env, lambda z, x, m: (jnp.zeros(4, jnp.int32), (), m), 4, 10))
    jax.tree.map(np.testing.assert_array_equal, *runs)
    assert np.unique(runs[0][2].reward).size == 4 * 4  # a fresh draw for each of the episodes


def test_a_large_state_is_held_once():
    """Eight environments of 40 kB for 512 steps; with every reset drawn ahead they would take 656 MB."""
    env = wide(10_000)

    def run(key):
        return unroll(env, lambda z, x, m: (jnp.zeros(8, jnp.int32), (), m), 8, 512)[2].reward.sum() + 0 * key

    analysis = jax.jit(run).lower(jnp.float32(0)).compile().memory_analysis()
    assert analysis.temp_size_in_bytes < 10 * 8 * 40_000  # pyright: ignore[reportOptionalMemberAccess]


def value_of(observation):
    return 1.0 + observation @ np.array([10, 20], np.float32)


@jax.jit
def next_values(trajectory, values):
    return play.next_values(trajectory, values, value_of)


next_values_of_lanes = jax.jit(jax.vmap(next_values))


@pytest.mark.parametrize("length", [5, 12, 50], ids=["cut within", "cut at the end", "not cut"])
def test_next_values_are_those_of_final_observations(length):
    env = two_state_truncating(length=length)
    _, _, trajectory, _ = unroll(env, lambda z, x, m: (jnp.zeros(4, jnp.int32), (), m), 4, 12)
    values = value_of(trajectory.observation)
    expected = value_of(trajectory.final_observation)
    np.testing.assert_allclose(next_values(trajectory, values), expected)
    lanes = jax.tree.map(lambda x: np.stack([x, x]), (trajectory, values))
    np.testing.assert_allclose(next_values_of_lanes(*lanes), np.stack([expected, expected]))
    # The values without bootstrapping at truncations differ, so that the test would detect them.
    shifted = np.concatenate([values[1:], expected[-1:]])
    assert bool((shifted != expected).any()) == (length == 5)


@jax.jit
def next_values_of_numbers(trajectory, values):
    return play.next_values(trajectory, values, lambda observation: observation)


@pytest.mark.parametrize(
    ("truncated", "terminated", "expected"),
    [
        ([1, 0, 0], [0, 0, 0], [10, 3, 4]),
        ([0, 1, 0], [0, 0, 0], [2, 10, 4]),
        ([0, 0, 1], [0, 0, 0], [2, 3, 10]),
        ([1, 0, 1], [0, 0, 0], [10, 3, 10]),
        ([0, 0, 0], [0, 0, 0], [2, 3, 4]),
    ],
)
def test_next_values_of_a_cut_at_any_step(truncated, terminated, expected):
    """Observations have values 1, 2, 3; a truncation leads to value 10, the last step to value 4."""
    seen = np.array([1, 2, 3], np.float32)[:, None]
    cut, over = (np.array(x, bool)[:, None] for x in (truncated, terminated))
    final = np.where(cut, np.float32(10), np.array([2, 3, 4], np.float32)[:, None])
    zeros = np.zeros((3, 1), np.float32)
    seen, zeros, over, cut, final = map(jnp.asarray, (seen, zeros, over, cut, final))
    trajectory = play.Trajectory(seen, zeros, zeros, over, cut, final, ())
    np.testing.assert_array_equal(next_values_of_numbers(trajectory, seen)[:, 0], expected)


def test_next_values_look_once_where_nothing_was_cut():
    """If episodes only terminate, the network does not evaluate every final observation."""
    env = echo(n=2, length=3)
    _, _, trajectory, _ = unroll(env, right_answer, 4, 12)
    looked = []

    def value_of(observation):
        jax.debug.callback(lambda: looked.append(observation.shape[0]))
        return observation[..., 0]

    ended = trajectory._replace(terminated=trajectory.ended, truncated=np.zeros_like(trajectory.ended))
    run = jax.jit(lambda t: play.next_values(t, t.reward, value_of))
    run(ended).block_until_ready()
    jax.effects_barrier()
    assert looked == [1]
    looked.clear()
    cut = trajectory._replace(truncated=trajectory.ended, terminated=np.zeros_like(trajectory.ended))
    run(cut).block_until_ready()
    jax.effects_barrier()
    assert looked == [12]


def test_rollouts_count_whole_episodes_and_nothing_after():
    policy = memoryless(lambda state, x: jnp.argmax(x, -1))
    played = roll(echo(length=4)._replace(horizon=50), policy, 0, (), 7)
    np.testing.assert_array_equal(played.returns, 4.0)
    np.testing.assert_array_equal(played.lengths, 4)
    assert played.finished.all()
    one = roll(constant_reward()._replace(horizon=9), policy, 0, (), 3)
    np.testing.assert_array_equal(one.returns, 1.0)


def test_rollouts_stop_at_a_truncation():
    """With a truncation after 2 steps and a horizon of 5, steps after the truncation do not count."""
    policy = memoryless(lambda state, x: jnp.zeros(x.shape[0], jnp.int32))
    played = roll(two_state_truncating(length=2)._replace(horizon=5), policy, 0, (), 6)
    np.testing.assert_array_equal(played.returns, 3.0)
    np.testing.assert_array_equal(played.lengths, 2)
    assert played.finished.all()


def counted(env):
    """The environment, and a list to which each move appends the time of its step."""
    moves = []

    def move(key, state, action):
        jax.debug.callback(lambda time: moves.append(int(time)), state.time)
        return env.move(key, state, action)

    return env._replace(move=move), moves


def lasting(steps):
    """Episodes whose number of steps is the action of their first step, at most ``steps``."""
    base = echo(n=9, length=steps)

    def move(key, state, action):
        wanted = jnp.where(state.time == 0, action, state.symbol)
        after, step = base.move(key, state, action)
        over = after.time >= wanted
        return after._replace(symbol=wanted), step._replace(
            reward=jnp.float32(1), terminated=over, truncated=jnp.array(False)
        )

    return base._replace(move=move)


def test_rollouts_stop_when_the_last_episode_is_over():
    """Episodes of 2, 3 and 4 steps with a horizon of 50 take four steps, in each lane of a vmap too."""
    env, moves = counted(lasting(50))
    policy = memoryless(lambda state, x: state + jnp.arange(3, dtype=jnp.int32))
    played = jax.jit(lambda key: rollouts(env, policy, key, jnp.int32(2), 3))(jax.random.key(0))
    jax.effects_barrier()
    assert sorted(moves) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    np.testing.assert_array_equal(played.lengths, [2, 3, 4])
    np.testing.assert_array_equal(played.returns, [2, 3, 4])
    lanes = jax.jit(jax.vmap(lambda key, least: rollouts(lasting(50), policy, key, least, 3)))(
        jax.random.split(jax.random.key(1), 2), np.array([1, 6], np.int32)
    )
    np.testing.assert_array_equal(lanes.lengths, [[1, 2, 3], [6, 7, 8]])
    np.testing.assert_array_equal(lanes.returns, [[1, 2, 3], [6, 7, 8]])
    assert lanes.finished.all()


def test_rollouts_draw_a_key_for_each_step_and_episode():
    """Keys are split from the second half of fold_in(second half of the key, step)."""
    n = 3

    def move(key, state, action):
        _, step = base.move(key, state, action)
        reward = jax.random.uniform(key) + action.astype(jnp.float32)
        return state._replace(time=state.time + 1), step._replace(
            reward=reward, terminated=state.time >= 1, truncated=jnp.array(False)
        )

    base = echo(n=3, length=9)
    policy = Policy(
        lambda n: jnp.zeros(n),
        lambda key, s, m, x: (10.0 * jax.random.uniform(key, (x.shape[0],)) + m, m + 100),
    )

    @jax.jit
    def expected(key):
        _, step_key = jax.random.split(key)
        returns = jnp.zeros(n)
        for t in range(2):
            act_key, env_key = jax.random.split(jax.random.fold_in(step_key, t))
            action = 10.0 * jax.random.uniform(act_key, (n,)) + 100 * t
            returns += action + jax.vmap(jax.random.uniform)(jax.random.split(env_key, n))
        return returns

    played = roll(base._replace(move=move), policy, 7, (), n)
    np.testing.assert_allclose(played.returns, expected(jax.random.key(7)), rtol=1e-5)


def test_rollouts_say_which_episodes_did_not_end():
    policy = memoryless(lambda state, x: jnp.argmax(x, -1))
    played = roll(echo(length=9)._replace(horizon=6), policy, 0, (), 5)
    np.testing.assert_array_equal(played.returns, 6.0)
    assert not played.finished.any()


def test_rollouts_carry_the_memory():
    def act(key, state, seen, x):
        seen = jnp.where(x[:, :2].any(-1), jnp.argmax(x[:, :2], -1), seen)
        return seen, seen

    policy = Policy(lambda n: jnp.zeros(n, jnp.int32), act)
    played = roll(memory(gap=5), policy, 0, (), 40)
    np.testing.assert_array_equal(played.returns, 1.0)


def test_delayed_reward_pays_the_first_choice_at_the_end():
    env = delayed_reward(delay=3)
    policy = memoryless(lambda first, x: jnp.where(x[:, 0] > 0, first, 1 - first).astype(jnp.int32))
    run = jax.jit(jax.vmap(lambda first: rollouts(env, policy, jax.random.key(0), first, 2)))
    played = run(np.array([0, 1], np.int32))
    np.testing.assert_array_equal(played.returns, [[0.0, 0.0], [1.0, 1.0]])
    np.testing.assert_array_equal(played.lengths, np.full((2, 2), 4))


def test_evaluator_measures_another_environment_than_the_one_trained_on():
    from lrn.rl.agent import Agent

    agent = Agent(
        lambda k, b=None: (), lambda k, s, b=None: (s, {}), memoryless(lambda s, x: jnp.argmax(x, -1))
    )
    for env, value in ((echo(), 5.0), (lambda c: echo(length=c), 3.0)):
        metrics = jax.jit(partial(evaluator(env, 4), agent, 3))(jax.random.key(0), (), None)
        assert {k: float(v) for k, v in metrics.items()} == {
            "greedy_return": value, "greedy_length": value, "greedy_finished": 1.0,
        }  # fmt: skip
    with pytest.raises(ValueError, match="episodes must be at least 1"):
        evaluator(echo(), 0)
    with pytest.raises(ValueError, match="episodes must be at least 1"):
        rollouts(echo(), agent.policy, jax.random.key(0), (), 0)
