"""Shaping: equality with initialized Q-values (Wiewiora 2003), and telescoping (Ng et al. 1999)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import stretch

from lrn.check import InputError
from lrn.rl import identity, mdp, play, tabular
from lrn.rl.shaping import shaped, shaping_term, with_bonus, with_reward

STATES, DISCOUNT = 6, 0.9


def world(terminal: bool = True) -> mdp.MDP:
    """A random MDP whose rewards have no ties, which rounding could break differently."""
    random = mdp.garnet(jax.random.key(3), STATES, 2, 3, DISCOUNT)
    end = np.arange(STATES) == STATES - 1
    start = np.eye(STATES)[0]
    return mdp.make(random.transitions, random.rewards, start, DISCOUNT, end if terminal else None)


# Phi is zero in the terminal state, whose value is zero, and arbitrary elsewhere.
PHI = jnp.array([0.7, -1.3, 2.1, 0.4, -0.6, 0.0])


def phi(observation):
    return observation @ PHI


def learned(method, env, initial, steps=300):
    """The tables after every ten updates, [steps, state, action], and all visits."""
    config = tabular.ControlConfig(
        discount=DISCOUNT, step_size=tabular.Schedule(0.2), epsilon=tabular.Schedule(0.2), interactions=10
    )
    agent = method(env, config, initial)

    @jax.jit
    def run(key):
        def body(state, t):
            state, _ = agent.step(jax.random.fold_in(key, t), state, None)
            return state, (state.q, state.visits)

        return jax.lax.scan(body, agent.init(jax.random.fold_in(key, steps), None), jnp.arange(steps))[1]

    return jax.tree.map(np.asarray, run(jax.random.key(0)))


@pytest.mark.parametrize("method", [tabular.q_learning, tabular.sarsa])
def test_shaping_is_initializing_q_with_the_potential_step_by_step(method):
    """With the same keys both learners take the same actions, and their tables always differ by Phi(s)."""
    env = mdp.as_env(world(), time_limit=7)  # both ends and cuts of episodes
    q_shaped, visits_shaped = learned(method, shaped(env, phi, DISCOUNT), jnp.zeros((STATES, 2)))
    q_plain, visits_plain = learned(method, env, jnp.broadcast_to(PHI[:, None], (STATES, 2)))
    np.testing.assert_array_equal(visits_shaped, visits_plain)
    assert (visits_shaped[-1, 0, : STATES - 1] > 5).all()
    ends = np.asarray(PHI)[None, :, None]
    np.testing.assert_allclose(q_shaped + ends, q_plain, atol=2e-5)


def test_with_a_potential_at_the_end_it_is_not():
    """If Phi(terminal) is left in, the usual mistake, learning differs by more than rounding."""
    env, lift = mdp.as_env(world(), time_limit=7), phi

    def wrong(observation, action, step):
        after = lift(step.final_observation) + 3.0 * step.terminated  # Phi(terminal) = 3
        return step.reward + DISCOUNT * after - lift(observation)

    zeros, start = jnp.zeros((STATES, 2)), jnp.broadcast_to(PHI[:, None], (STATES, 2))
    q_wrong, visits_wrong = learned(tabular.q_learning, with_reward(env, wrong, "wrong"), zeros)
    q_plain, visits_plain = learned(tabular.q_learning, env, start)
    assert (visits_wrong != visits_plain).any()
    assert np.abs(q_wrong + np.asarray(PHI)[None, :, None] - q_plain).max() > 0.1


@pytest.mark.parametrize("time_limit", [None, 5])
def test_the_return_of_an_episode_changes_by_the_potential_of_its_ends(time_limit):
    """The discounted sum of F is -Phi(s_0), plus discount^T Phi(s_T) if the episode was truncated."""
    env = mdp.as_env(world(), time_limit=time_limit, horizon=500)
    new = shaped(env, lambda o: 5.0 + phi(o), DISCOUNT)  # a potential that is not zero at the end either

    def episodes(env):
        live = play.start(env, jax.random.key(1), 64)
        first = live.observation
        act = lambda noise, observation, memory: ((noise * 2).astype(jnp.int32), (), memory)  # noqa: E731
        noise = jax.random.uniform(jax.random.key(2), (120, 64))
        return first, play.unroll(env, jax.random.key(3), live, act, (), noise, 120)[2]

    first, played = jax.jit(lambda: episodes(env))()
    _, other = jax.jit(lambda: episodes(new))()
    np.testing.assert_array_equal(played.final_observation, other.final_observation)
    ended = np.asarray(played.ended)
    assert ended.any(0).all()
    checked = {"terminated": 0, "truncated": 0}
    for i in range(64):
        last = int(np.argmax(ended[:, i]))
        extra = np.asarray(other.reward - played.reward)[: last + 1, i]
        change = (DISCOUNT ** np.arange(last + 1) * extra).sum()
        expected = -(5.0 + float(phi(first[i])))
        if bool(played.terminated[last, i]):
            checked["terminated"] += 1
        else:
            checked["truncated"] += 1
            expected += DISCOUNT ** (last + 1) * (5.0 + float(phi(played.final_observation[last, i])))
        np.testing.assert_allclose(change, expected, atol=1e-4)
    assert checked["terminated"] > 5
    assert (checked["truncated"] > 5) == (time_limit is not None)


def test_shaping_term():
    change = shaping_term(0.5, jnp.array([False, True]), jnp.array([1.0, 1.0]), jnp.array([4.0, 4.0]))
    np.testing.assert_allclose(change, [1.0, -1.0])


def test_a_bonus_sees_the_transition_it_pays_for():
    """After a reset too, the bonus gets the observation that was acted on, not the last final observation."""
    env = identity.two_state_truncating(3)
    paid = with_bonus(env, lambda o, a, after: 10 * o[0] + 100 * after[0] + 1000 * a)
    played = stretch(paid, lambda noise, observation, memory: (jnp.ones(4, jnp.int32), (), memory), 4, 9)
    plain = 1.0 + played.observation[..., 1]
    expected = plain + 10 * played.observation[..., 0] + 100 * played.final_observation[..., 0] + 1000
    np.testing.assert_allclose(played.reward, expected)
    assert bool(played.truncated.any())


def test_bytes_do_not_wrap_around_in_a_potential():
    """In arithmetic of bytes, minus 200 would be 56."""
    plain = identity.two_state_truncating(3)

    def reset(key):
        observation, state = plain.reset(key)
        return as_bytes(observation), state

    def move(key, state, action):
        state, step = plain.move(key, state, action)
        return state, step._replace(final_observation=as_bytes(step.final_observation))

    def as_bytes(observation):
        return (200 + 50 * observation).astype(jnp.uint8)

    small = plain._replace(reset=reset, move=move, observation_dtype=jnp.uint8)
    env = shaped(small, lambda o: -o[0] - 2 * o[1], 0.5)
    observation, state = env.reset(jax.random.key(0))
    assert observation.dtype == jnp.uint8
    _, step = env.move(jax.random.key(1), state, jnp.int32(0))
    assert step.final_observation.dtype == jnp.uint8
    now, after = (np.asarray(x, float) @ [-1.0, -2.0] for x in (observation, step.final_observation))
    expected = 1.0 + float(observation[1] > observation[0]) + 0.5 * after - now
    np.testing.assert_allclose(step.reward, expected, rtol=1e-6)


def test_bad_input_is_one_sentence():
    env = identity.echo(3)
    with pytest.raises(InputError, match=r"a reward for echo must be a scalar, got shape \[3\]"):
        shaped(env, lambda o: o, 0.9)
    with pytest.raises(InputError, match="discount must lie between 0 and 1"):
        shaped(env, lambda o: o.sum(), 1.1)
