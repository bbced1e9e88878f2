"""Playing and evaluating: what is counted, and what is masked."""

from __future__ import annotations

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
    key, start = jax.random.split(jax.random.key(seed))
    noise = jnp.zeros((length, n))
    return play.unroll(env, key, play.start(env, start, n), act, (), noise, length)


def mean(ended, name) -> Mean:
    metric = play.episode_metrics(ended)[name]
    assert isinstance(metric, Mean)
    return metric


def right_answer(noise, observation, memory):
    return jnp.argmax(observation, -1), (), memory


def test_unroll_tells_the_final_observation_from_the_next():
    env = two_state_truncating(length=3)
    _, _, trajectory, ended = unroll(env, lambda z, x, m: (jnp.zeros(4, jnp.int32), x[:, 0], m), 4, 12)
    # The chain alternates, and starts at random: so the final observation is always the other state...
    np.testing.assert_array_equal(trajectory.final_observation, 1 - trajectory.observation)
    np.testing.assert_array_equal(trajectory.reward, 1 + trajectory.observation[..., 1])
    np.testing.assert_array_equal(trajectory.truncated[:, 0], [False, False, True] * 4)
    assert not trajectory.terminated.any()
    # ...and where nothing ended it is what comes next.
    final, observation = np.asarray(trajectory.final_observation), np.asarray(trajectory.observation)
    same = (final[:-1] == observation[1:]).all(-1)
    assert same[~np.asarray(trajectory.ended[:-1])].all()
    assert not same[np.asarray(trajectory.ended[:-1])].all()
    np.testing.assert_array_equal(trajectory.extra, trajectory.observation[..., 0])
    assert mean(ended, "length") == (3.0, 16.0)
    returns = np.asarray(trajectory.reward).T.reshape(4, 4, 3).sum(-1)
    np.testing.assert_allclose(mean(ended, "return").value, returns.mean(), rtol=1e-6)


def test_returns_go_on_from_one_stretch_to_the_next():
    env = two_state_truncating(length=5)
    key = jax.random.key(0)
    live = play.start(env, key, 2)
    ends, returns = [], []
    for t in range(5):
        live, _, ended = play.advance(env, jax.random.fold_in(key, t), live, jnp.zeros(2, jnp.int32))
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
    """Starts within one stretch are independent draws, not one draw repeated."""
    env = echo(n=10, length=1)
    _, _, trajectory, _ = unroll(env, right_answer, 3, 200)
    symbols = np.asarray(jnp.argmax(trajectory.observation, -1))
    counts = np.bincount(symbols.reshape(-1), minlength=10)
    assert counts.min() > 30  # of 60 expected
    assert abs(np.corrcoef(symbols[:-1, 0], symbols[1:, 0])[0, 1]) < 0.25


@pytest.mark.parametrize("length", [5, 12, 50], ids=["cut within", "cut at the end", "not cut"])
def test_next_values_are_those_of_final_observations(length):
    env = two_state_truncating(length=length)
    _, _, trajectory, _ = unroll(env, lambda z, x, m: (jnp.zeros(4, jnp.int32), (), m), 4, 12)

    def value_of(observation):
        return 1.0 + observation @ jnp.array([10.0, 20.0])

    values = value_of(trajectory.observation)
    expected = value_of(trajectory.final_observation)
    np.testing.assert_allclose(play.next_values(trajectory, values, value_of), expected)
    batched = jax.vmap(lambda t, v: play.next_values(t, v, value_of))
    lanes = jax.tree.map(lambda x: jnp.stack([x, x]), (trajectory, values))
    np.testing.assert_allclose(batched(*lanes), jnp.stack([expected, expected]))
    # Had the cuts been overlooked, the test would know.
    shifted = jnp.concatenate([values[1:], expected[-1:]])
    assert bool((shifted != expected).any()) == (length == 5)


def test_next_values_look_once_where_nothing_was_cut():
    """Terminated episodes alone do not make it look at every final observation."""
    env = echo(n=2, length=3)
    _, _, trajectory, _ = unroll(env, right_answer, 4, 12)
    looked = []

    def value_of(observation):
        jax.debug.callback(lambda: looked.append(observation.shape[0]))
        return observation[..., 0]

    ended = trajectory._replace(terminated=trajectory.ended, truncated=jnp.zeros_like(trajectory.ended))
    jax.jit(lambda t: play.next_values(t, t.reward, value_of))(ended).block_until_ready()
    jax.effects_barrier()
    assert looked == [1]
    looked.clear()
    cut = trajectory._replace(truncated=trajectory.ended, terminated=jnp.zeros_like(trajectory.ended))
    jax.jit(lambda t: play.next_values(t, t.reward, value_of))(cut).block_until_ready()
    jax.effects_barrier()
    assert looked == [12]


def test_rollouts_count_whole_episodes_and_nothing_after():
    policy = memoryless(lambda state, x: jnp.argmax(x, -1))
    played = rollouts(echo(length=4)._replace(horizon=50), policy, jax.random.key(0), (), 7)
    np.testing.assert_array_equal(played.returns, 4.0)
    np.testing.assert_array_equal(played.lengths, 4)
    assert played.finished.all()
    one = rollouts(constant_reward()._replace(horizon=9), policy, jax.random.key(0), (), 3)
    np.testing.assert_array_equal(one.returns, 1.0)


def test_rollouts_say_which_episodes_did_not_end():
    policy = memoryless(lambda state, x: jnp.argmax(x, -1))
    played = rollouts(echo(length=9)._replace(horizon=6), policy, jax.random.key(0), (), 5)
    np.testing.assert_array_equal(played.returns, 6.0)
    assert not played.finished.any()


def test_rollouts_carry_the_memory():
    def act(key, state, seen, x):
        seen = jnp.where(x[:, :2].any(-1), jnp.argmax(x[:, :2], -1), seen)
        return seen, seen

    policy = Policy(lambda n: jnp.zeros(n, jnp.int32), act)
    played = rollouts(memory(gap=5), policy, jax.random.key(0), (), 40)
    np.testing.assert_array_equal(played.returns, 1.0)


def test_delayed_reward_pays_the_first_choice_at_the_end():
    env = delayed_reward(delay=3)
    for first, paid in ((0, 0.0), (1, 1.0)):
        policy = memoryless(
            lambda state, x, first=first: jnp.where(x[:, 0] > 0, first, 1 - first).astype(jnp.int32)
        )
        played = rollouts(env, policy, jax.random.key(0), (), 2)
        np.testing.assert_array_equal(played.returns, paid)
        np.testing.assert_array_equal(played.lengths, 4)


def test_evaluator_measures_another_environment_than_the_one_trained_on():
    from lrn.rl.agent import Agent

    agent = Agent(
        lambda k, b=None: (), lambda k, s, b=None: (s, {}), memoryless(lambda s, x: jnp.argmax(x, -1))
    )
    for env, value in ((echo(), 5.0), (lambda c: echo(length=c), 3.0)):
        found = evaluator(lambda c: agent, env, 4)(3, jax.random.key(0), (), None)
        assert {k: float(v) for k, v in found.items()} == {
            "greedy_return": value, "greedy_length": value, "greedy_finished": 1.0,
        }  # fmt: skip
    with pytest.raises(ValueError, match="episodes must be at least 1"):
        evaluator(lambda c: agent, echo(), 0)
