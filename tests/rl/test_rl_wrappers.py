"""Wrappers of environments: each against a loop over the environment within."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.rl.env import Box, Discrete, Env, Step
from lrn.rl.wrappers import action_repeat, clip_reward, frame_stack, scale_reward, sticky_actions

END = 5


THREE = Discrete(3)


def counter(actions: Discrete | Box = THREE) -> Env:
    """Observes the time and the last action; pays the action; terminates after 5 steps."""

    def observe(time, action):
        return jnp.stack([time.astype(jnp.float32), action.astype(jnp.float32)])

    def reset(key):
        return observe(jnp.int32(0), jnp.int32(-1)), jnp.int32(0)

    def move(key, time, action):
        time, number = time + 1, jnp.asarray(action).reshape(-1)[0]
        over = time >= END
        return time, Step(number.astype(jnp.float32), over, jnp.array(False), observe(time, number))

    return Env("counter", reset, move, (2,), actions, END)


def played(env: Env, actions, seed: int = 0):
    """Observations, rewards and ends of a sequence of actions, with resets."""

    def body(carry, given):
        observation, state, step = env.step(given[0], carry, given[1])
        return state, (observation, step)

    first, state = env.reset(jax.random.key(seed))
    keys = jax.random.split(jax.random.key(seed + 1), len(actions))
    _, (observations, steps) = jax.jit(lambda s: jax.lax.scan(body, s, (keys, jnp.asarray(actions))))(state)
    return np.asarray(first), np.asarray(observations), jax.device_get(steps)


ACTIONS = np.array([0, 1, 2, 2, 1, 0, 2])


def test_frames_are_stacked_and_start_anew_with_an_episode():
    env = frame_stack(counter(), 3)
    first, observations, steps = played(env, ACTIONS)
    assert env.observation_shape == (6,)
    np.testing.assert_array_equal(first, [0, -1] * 3)
    np.testing.assert_array_equal(observations[1], [0, -1, 1, 0, 2, 1])
    # Step 5 terminates: the next action sees the first observation, the target the last three frames.
    np.testing.assert_array_equal(steps.final_observation[4], [3, 2, 4, 2, 5, 1])
    np.testing.assert_array_equal(observations[4], [0, -1] * 3)
    np.testing.assert_array_equal(observations[5], [0, -1, 0, -1, 1, 0])


@pytest.mark.parametrize("times", [1, 2, 3])
def test_an_action_is_repeated_until_the_episode_ends(times):
    env = action_repeat(counter(), times)
    _, _, steps = played(env, ACTIONS)
    time, rewards, ends = 0, [], []
    for action in ACTIONS:
        total = 0
        for _ in range(times):
            time, total = time + 1, total + action
            if time == END:
                break
        rewards.append(total)
        ends.append(time == END)
        time %= END
    np.testing.assert_array_equal(steps.reward, rewards)
    np.testing.assert_array_equal(steps.terminated, ends)
    assert env.horizon == -(-END // times)
    assert np.argmax(ends) == env.horizon - 1


def test_rewards_are_scaled_and_clipped():
    plain = played(counter(), ACTIONS)[2].reward
    np.testing.assert_array_equal(
        played(scale_reward(counter(), 2.0, -1.0), ACTIONS)[2].reward, 2 * plain - 1
    )
    np.testing.assert_array_equal(
        played(clip_reward(counter(), 0.5, 1.5), ACTIONS)[2].reward, plain.clip(0.5, 1.5)
    )

    def paid(scale):
        zero = jnp.int32(0)
        return scale_reward(counter(), scale).move(jax.random.key(0), zero, zero + 2)[1].reward

    swept = jax.jit(jax.vmap(paid))
    np.testing.assert_array_equal(swept(jnp.array([1.0, 3.0])), [2, 6])


@pytest.mark.parametrize("box", [False, True])
def test_actions_stick_as_often_as_said(box):
    actions = np.random.default_rng(0).integers(0, 3, 6000)
    given = actions[:, None].astype(np.float32) if box else actions
    space = Box(0.0, 2.0, (1,)) if box else Discrete(3)
    _, _, steps = played(sticky_actions(counter(space), 0.25), given)
    taken, fresh = steps.reward, np.arange(6000) % END == 0
    assert (taken[fresh] == actions[fresh]).all()  # an episode's first action is always taken
    before = np.concatenate([[0], taken[:-1]])
    assert ((taken == actions) | (taken == before)).all()
    differ = ~fresh & (before != actions)
    stuck = (taken != actions)[differ].mean()
    assert abs(stuck - 0.25) < 4 * np.sqrt(0.25 * 0.75 / differ.sum())
    for chance, expected in ((0.0, actions), (1.0, np.repeat(actions[::END], END))):
        _, _, steps = played(sticky_actions(counter(space), chance), given)
        np.testing.assert_array_equal(steps.reward, expected)


@pytest.mark.parametrize(
    "wrap", [lambda e: frame_stack(e, 2), lambda e: action_repeat(e, 2), sticky_actions, clip_reward]
)
def test_the_state_keeps_its_form(wrap):
    env = wrap(counter())
    observation, state = jax.eval_shape(env.reset, jax.random.key(0))
    after, step = jax.eval_shape(env.move, jax.random.key(0), state, jnp.int32(0))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert step.final_observation.shape == observation.shape == env.observation_shape


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda e: frame_stack(e, 0), "frames must be at least 1"),
        (lambda e: frame_stack(e._replace(observation_shape=()), 2), "are scalars, which cannot be stacked"),
        (lambda e: action_repeat(e, 0), "times must be at least 1"),
        (lambda e: sticky_actions(e, 1.5), "chance must lie between 0 and 1"),
        (lambda e: scale_reward(e, float("nan")), "scale"),
        (lambda e: clip_reward(e, 1.0, 0.0), "low must be at most high, got 1.0 and 0.0"),
    ],
)
def test_wrong_settings(wrap, message):
    with pytest.raises(InputError, match=message):
        wrap(counter())
