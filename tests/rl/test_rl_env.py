"""Environments of gymnax through `make`, your own through `from_gymnax`, and errors."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, NamedTuple

import drift
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.rl import env as envs
from lrn.rl import play as plays
from lrn.rl import spaces
from lrn.rl.env import Box, Discrete, as_float, discretize, from_gymnax, make, merge_truncation, time_limit
from lrn.rl.exploration.coding import simhash
from lrn.rl.identity import continuous_echo, echo


class Space(NamedTuple):
    n: int


class Walk:
    """An environment with gymnax's interface: walk from 0; terminates at 3, truncated after five steps."""

    name = "walk"

    def __init__(self, values: int = 6, info: dict | None = None, observation: Any = None):
        self._values, self._info, self._observation = values, info, observation

    def action_space(self, params):
        return Space(2)

    def _observe(self, state):
        return self._observation or state[0][None].astype(jnp.float32)

    def reset(self, key, params):
        state = (jnp.int32(0), jnp.int32(0))
        return self._observe(state), state

    def step(self, key, state, action, params):
        place, time = state[0] + action, state[1] + 1
        terminated, truncated = place >= 3, time >= 5
        last = self._observe((place, time))
        done = terminated | truncated
        fresh, start = self.reset(key, params)
        state = jax.tree.map(lambda a, b: jnp.where(done, a, b), start, (place, time))
        observation = jax.tree.map(lambda a, b: jnp.where(done, a, b), fresh, last)
        info = {"final_observation": last} if self._info is None else self._info
        out = (observation, state, 1.0 * terminated, terminated, truncated, info)
        return out if self._values == 6 else (*out[:3], done, info)


def play(env, actions, seed=0):
    """(observation, Step) after each action."""
    actions = np.asarray(actions)

    @jax.jit
    def run(key):
        def step(state, x):
            t, action = x
            observation, state, result = env.step(jax.random.fold_in(key, t), state, action)
            return state, (observation, result)

        return jax.lax.scan(step, env.reset(key)[1], (jnp.arange(len(actions)), actions))[1]

    rows = jax.device_get(run(jax.random.key(seed)))
    return [jax.tree.map(lambda x, t=t: x[t], rows) for t in range(len(actions))]


def test_ones_own_environment_terminates_and_truncates():
    env = from_gymnax(Walk(), horizon=5)
    assert env.observation_shape == (1,)
    assert env.actions == Discrete(2)
    ended = play(env, [1, 1, 1, 0])
    assert [bool(s.terminated) for _, s in ended] == [False, False, True, False]
    # After the end the observation is that of a new episode, and the final one is that of the last step.
    assert ended[2][0] == 0
    assert ended[2][1].final_observation == 3
    cut = play(env, [0] * 6)
    assert [bool(s.truncated) for _, s in cut] == [False] * 4 + [True, False]
    assert not any(bool(s.terminated) for _, s in cut)


def test_a_step_is_a_move_and_where_that_ended_a_reset():
    """The move uses the first half of the split key, the reset the second."""
    env, key = drift.drift(Discrete(3)), jax.random.key(4)

    @jax.jit
    def parts(state):
        move_key, reset_key = jax.random.split(key)
        return env.move(move_key, state, jnp.int32(0)), env.reset(reset_key)

    whole = jax.jit(lambda state: env.step(key, state, jnp.int32(0)))
    for x, ends in ((0.9, True), (-0.9, False)):
        state = drift.Place(jnp.array([x, 0.2]), jnp.int32(1))
        (after, step), fresh = parts(state)
        assert bool(step.terminated) == ends
        expected = fresh if ends else (step.final_observation, after)
        jax.tree.map(np.testing.assert_array_equal, whole(state), (*expected, step))


def test_merge_truncation_calls_a_time_limit_an_end():
    env = merge_truncation(from_gymnax(Walk(), horizon=5))
    assert env.name == "walk (one done)"
    rows = play(env, [0] * 5)
    assert bool(rows[-1][1].terminated)


@pytest.mark.parametrize("name", ["CartPole-v1", "Acrobot-v1", "Breakout-MinAtar", "Pendulum-v1"])
def test_a_move_is_gymnaxs_own(name):
    """The parts of gymnax's step that `move` calls give the results of the whole step, up to the reset."""
    import gymnax

    theirs, params = gymnax.make(name)
    ours = make(name)

    @jax.jit
    def both(key):
        def step(state, t):
            key_t = jax.random.fold_in(key, t)
            action = theirs.action_space(params).sample(key_t)
            mine = ours.move(jax.random.split(key_t)[0], state, action)
            whole = theirs.step(key_t, state, action, params)
            return whole[1], (mine, whole)

        return jax.lax.scan(step, theirs.reset(key, params)[1], jnp.arange(30))[1]

    (moved, result), (_, after, reward, terminated, truncated, info) = jax.device_get(both(jax.random.key(3)))
    np.testing.assert_allclose(result.final_observation, info["final_observation"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(result.reward, reward, rtol=1e-5)
    np.testing.assert_array_equal(result.terminated, terminated)
    np.testing.assert_array_equal(result.truncated, truncated)
    on = ~(terminated | truncated).astype(bool)
    assert on.any()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[on], b[on], rtol=1e-5, atol=1e-6), moved, after)


def test_pendulum_only_truncates_and_deep_sea_sets_both():
    last = play(make("Pendulum-v1"), jnp.zeros((200, 1)))[-1][1]
    assert bool(last.truncated)
    assert not bool(last.terminated)
    both = play(make("DeepSea-bsuite", size=4), jnp.zeros(4, jnp.int32))[-1][1]
    assert bool(both.truncated)
    assert bool(both.terminated)  # so its value is zero: a truncation does not undo a termination


def test_parameters_are_swept():
    def fall(gravity):
        env = make("CartPole-v1", gravity=gravity)
        move = lambda state, _: env.move(jax.random.key(1), state, jnp.int32(1))  # noqa: E731
        _, state = env.reset(jax.random.key(0))
        return jax.lax.scan(move, state, length=5)[1].final_observation[-1]

    swept = np.asarray(jax.jit(jax.vmap(fall))(np.array([5.0, 9.8, 20.0])))
    np.testing.assert_allclose(swept[1], jax.jit(lambda: fall(9.8))(), rtol=1e-5)
    assert np.unique(swept[:, 3]).size == 3


def test_discrete_observations_come_one_hot():
    env = make("FrozenLake-misc")
    observation, _ = env.reset(jax.random.key(0))
    np.testing.assert_array_equal(observation, np.eye(16)[0])
    assert observation.dtype == env.observation_dtype == jnp.float32


class Frames(Walk):
    """`Walk` observed as pictures of four pixels: the place in one, the time in another."""

    def __init__(self, dtype: Any):
        super().__init__()
        self._dtype = dtype

    def _observe(self, state):
        place, time = state
        return jnp.stack([place, time, 200 + place, 255 - time]).reshape(2, 2).astype(self._dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "bool"])
def test_bytes_stay_bytes(dtype):
    """Bytes stay bytes through reset, step and a rollout; only `as_float` makes them floats."""
    env = from_gymnax(Frames(dtype), horizon=5)
    assert env.observation_dtype == dtype
    assert env.observation_shape == (2, 2)

    def right(noise, observation, memory):
        return jnp.ones(3, jnp.int32), observation, memory

    @jax.jit
    def run():
        live = plays.start(env, jax.random.key(0), 3)
        _, _, seen, _ = plays.unroll(env, jax.random.key(1), live, right, (), (), 4)
        return seen, as_float(seen.observation)

    seen, as_floats = jax.device_get(run())
    expected = np.array([[place, place, 200 + place, 255 - place] for place in (0, 1, 2, 0)]).astype(dtype)
    final = np.array([[place, place, 200 + place, 255 - place] for place in (1, 2, 3, 1)]).astype(dtype)
    for stored, right_one in (
        (seen.observation, expected), (seen.extra, expected), (seen.final_observation, final),
    ):  # fmt: skip
        assert stored.dtype == dtype
        np.testing.assert_array_equal(stored[:, 1].reshape(4, 4), right_one)
    assert as_floats.dtype == jnp.float32
    np.testing.assert_array_equal(as_floats[:, 1].reshape(4, 4), expected.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_floats_are_not_converted_twice(dtype, request):
    if dtype == "float16":
        request.getfixturevalue("float16")
    x = jnp.array([0.5, 3.0], dtype)
    assert as_float(x).dtype == x.dtype
    np.testing.assert_array_equal(as_float(x), x)
    # Floats of other dtypes become float32.
    env = from_gymnax(Frames(dtype), horizon=5)
    assert env.observation_dtype == jnp.float32
    assert env.reset(jax.random.key(0))[0].dtype == jnp.float32


def test_observations_of_two_dtypes_are_floats():
    """A reset in bytes and steps in floats give floats, so that nothing is cut off."""

    class Mixed(Walk):
        def reset(self, key, params):
            return jnp.zeros(1, jnp.uint8), super().reset(key, params)[1]

        def _observe(self, state):
            return state[0][None] - 0.5

    env = from_gymnax(Mixed(), horizon=5)
    assert env.observation_dtype == jnp.float32
    assert play(env, [0] * 1)[0][0] == -0.5


@pytest.mark.parametrize("game", ["Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders"])
def test_minatar_is_kept_in_bits(game):
    """gymnax gives the zeros and ones of the frames as floats, which would take four times the memory."""
    import gymnax

    theirs, params = gymnax.make(f"{game}-MinAtar")
    env = make(f"{game}-MinAtar")
    assert env.observation_dtype == jnp.bool_

    @jax.jit
    def both(key):
        (observation, state), (frame, _) = env.reset(key), theirs.reset(key, params)
        moved = env.move(key, state, jnp.int32(1))[1].final_observation
        after = theirs.step_env(key, state, jnp.int32(1), params)[0]
        return as_float(observation), frame, as_float(moved), after

    observation, frame, moved, after = both(jax.random.key(0))
    np.testing.assert_array_equal(observation, frame)
    assert np.asarray(after).sum() > 0
    np.testing.assert_array_equal(moved, after)


def test_a_hash_of_bytes_is_that_of_floats():
    """The center of the projections is half a pixel, which a byte cannot represent."""
    frames = jnp.asarray(np.random.default_rng(0).integers(0, 3, (50, 2, 3)), jnp.uint8)
    coding = simhash(8, center=1.5, scale=0.5)

    @jax.jit
    def codes_of(frames):
        params = coding.init(jax.random.key(1), frames)
        return coding.encode(params, frames), coding.encode(params, frames.astype(jnp.float32))

    codes, of_floats = map(np.asarray, codes_of(frames))
    np.testing.assert_array_equal(codes, of_floats)
    assert np.unique(codes).size > 20


def test_scale_clips_into_the_box():
    box = Box(jnp.array([-1.0, 0.0]), jnp.array([1.0, 10.0]), (2,))
    unit = jnp.array([[-1.0, -1.0], [0.0, 0.0], [5.0, 5.0]])
    np.testing.assert_allclose(box.scale(unit), [[-1, 0], [0, 5], [1, 10]])


def test_discretize_covers_the_range():
    env = discretize(continuous_echo(), 5)
    assert env.actions == Discrete(5)
    assert env.name == f"{continuous_echo().name} (5 actions)"
    assert discretize(continuous_echo(), 2).actions == Discrete(2)
    first, rewards = rewards_of(env)
    np.testing.assert_allclose(rewards, 1 - np.abs(np.array([-2, -1, 0, 1, 2]) - first[0]), rtol=1e-5)


def rewards_of(env):
    """The first observation, and the reward of each first action."""

    @jax.jit
    def run(actions):
        first, state = env.reset(jax.random.key(0))
        return first, jax.vmap(lambda a: env.move(jax.random.key(1), state, a)[1].reward)(actions)

    return jax.device_get(run(np.arange(env.actions.n, dtype=np.int32)))


def two_arms():
    """Pays the first component of the action plus ten times the second, in [-1, 1] and [0, 2]."""
    box = Box(jnp.array([-1.0, 0.0]), jnp.array([1.0, 2.0]), (2,))

    def move(key, state, action):
        reward = action[0] + 10.0 * action[1]
        return state, envs.Step(reward, jnp.array(True), jnp.array(False), jnp.zeros(1))

    return envs.Env("two arms", lambda key: (jnp.zeros(1), jnp.int32(0)), move, (1,), box, 1)


def test_discretize_numbers_all_combinations():
    """The levels of several dimensions are the digits of the action, the last dimension's last."""
    env = discretize(two_arms(), 3)
    assert env.actions == Discrete(9)
    _, paid = rewards_of(env)
    np.testing.assert_allclose(paid, [a + 10 * b for a in (-1, 0, 1) for b in (0, 1, 2)])
    actions = np.arange(9).reshape(3, 3)
    levels = np.asarray(jax.jit(lambda a: spaces.levels_of(a, 3, 2))(actions))
    assert levels.shape == (3, 3, 2)
    assert levels[1].tolist() == [[1, 0], [1, 1], [1, 2]]
    np.testing.assert_array_equal(jax.jit(lambda x: spaces.action_of(x, 3))(levels), actions)


def flags(env, actions):
    """(terminated, truncated) of each step."""
    return [(bool(step.terminated), bool(step.truncated)) for _, step in play(env, actions)]


NOT, END, CUT = (False, False), (True, False), (False, True)


def test_a_time_limit_truncates_and_begins_anew():
    env = time_limit(from_gymnax(Walk(), horizon=5), 2)
    assert (env.horizon, env.name) == (2, "walk (2 steps)")
    rows = play(env, [1, 0, 1, 1, 0])
    assert [(bool(s.terminated), bool(s.truncated)) for _, s in rows] == [NOT, CUT, NOT, CUT, NOT]
    # The final observation of the truncated episode, then the new episode with a new clock.
    assert [float(s.final_observation[0]) for _, s in rows] == [1, 1, 1, 2, 0]
    assert [float(o[0]) for o, _ in rows] == [1, 0, 1, 0, 0]
    assert [float(s.reward) for _, s in rows] == [0, 0, 0, 0, 0]


def test_an_end_at_the_limit_stays_an_end():
    assert flags(time_limit(from_gymnax(Walk(), horizon=5), 3), [1, 1, 1, 0, 1, 1]) == [
        NOT, NOT, END, NOT, NOT, CUT,
    ]  # fmt: skip


def test_limits_compose():
    """The shorter limit truncates, inside or outside; a longer one changes nothing."""
    walk = from_gymnax(Walk(), horizon=5)  # truncated after five steps by its own limit
    still = [0] * 6
    for env in (time_limit(time_limit(walk, 4), 2), time_limit(time_limit(walk, 2), 4)):
        assert env.horizon == 2
        assert flags(env, still) == [NOT, CUT] * 3
    longer = time_limit(walk, 9)
    assert longer.horizon == 5
    assert flags(longer, still) == [NOT, NOT, NOT, NOT, CUT, NOT]
    with pytest.raises(ValueError, match="steps must be at least 1"):
        time_limit(walk, 0)


def test_horizon_is_a_time_limit():
    """``horizon`` truncates episodes in training too, not only in evaluations."""
    assert flags(from_gymnax(Walk(), horizon=2), [0, 0, 0, 0]) == [NOT, CUT, NOT, CUT]

    class Endless(Walk):
        def step(self, key, state, action, params):
            moved = (state[0] + action, state[1])
            seen = self._observe(moved)
            return seen, moved, 0.0, False, False, {"final_observation": seen}

    env = from_gymnax(Endless(), horizon=3)
    assert env.name == "walk"
    assert flags(env, [1] * 7) == [NOT, NOT, CUT, NOT, NOT, CUT, NOT]
    # A limit in the parameters is enforced even if the environment ignores it.
    from_params = from_gymnax(Endless(), Limit(max_steps_in_episode=2))
    assert from_params.horizon == 2
    assert flags(from_params, [1] * 4) == [NOT, CUT, NOT, CUT]


class Limit(NamedTuple):
    max_steps_in_episode: Any


@pytest.mark.parametrize("limit", [None, float("inf")])
def test_no_limit_at_all(limit):
    with pytest.raises(ValueError, match="the largest length of an episode of walk is not known"):
        from_gymnax(Walk(), Limit(limit))


def moves(env, steps):
    """The first state, and whether each move without a force truncated the episode."""

    @jax.jit
    def run(key):
        _, state = env.reset(key)
        return state, jax.lax.scan(lambda s, a: env.move(key, s, a), state, jnp.zeros((steps, 1)))[1]

    state, rows = run(jax.random.key(0))
    return state, np.asarray(rows.truncated)


def test_horizon_replaces_the_limit_of_a_registered_one():
    """``horizon`` may be shorter or longer; with max_steps_in_episode the smaller of the two applies."""
    for settings, cut in (
        ({"horizon": 3}, 3), ({"horizon": 250}, 250), ({"max_steps_in_episode": 4}, 4),
        ({"horizon": 3, "max_steps_in_episode": 6}, 3), ({"horizon": 6, "max_steps_in_episode": 3}, 3),
    ):  # fmt: skip
        env = make("Pendulum-v1", **settings)
        assert env.horizon == settings.get("horizon", 4)
        state, truncated = moves(env, 260)
        assert truncated.argmax() == cut - 1
        assert env.name == "Pendulum-v1"
        assert isinstance(state, envs.Timed) == (
            len(settings) == 2
        )  # a second clock only if there are two limits


def test_horizon_of_an_environment_of_gymnaxs_own_class():
    """Such an environment truncates at its parameters' limit itself, and needs a clock for another limit."""
    import gymnax

    pendulum, params = gymnax.make("Pendulum-v1")
    for horizon, cut in ((None, 200), (3, 3), (1, 1)):
        env = from_gymnax(pendulum, params, horizon=horizon)
        state, truncated = moves(env, 200)
        assert isinstance(state, envs.Timed) == (horizon is not None)
        assert truncated.argmax() == cut - 1


def test_episodes_of_one_step():
    assert make("Pendulum-v1", horizon=1).horizon == 1
    assert make("Pendulum-v1", max_steps_in_episode=1).horizon == 1
    assert flags(from_gymnax(Walk(), horizon=1), [0, 0]) == [CUT, CUT]
    with pytest.raises(ValueError, match="horizon must be at least 1"):
        make("Pendulum-v1", horizon=0)
    with pytest.raises(ValueError, match="max_steps_in_episode of Pendulum-v1 must be at least 1"):
        make("Pendulum-v1", max_steps_in_episode=0)


BAD = {
    "unknown environment": (lambda: make("CartPol-v1"), "did you mean CartPole-v1"),
    "unknown setting": (lambda: make("CartPole-v1", gravty=1.0), "did you mean gravity"),
    "old step": (lambda: from_gymnax(Walk(values=5), horizon=5), "5 values (the old form, with one done)"),
    "no final observation": (lambda: from_gymnax(Walk(info={}), horizon=5), 'lacks "final_observation"'),
    "no horizon": (lambda: from_gymnax(Walk()), "pass horizon="),
    "no whole horizon": (lambda: from_gymnax(Walk(), horizon=5.0), "horizon must be a whole number"),  # pyright: ignore[reportArgumentType]
    "no whole horizon of a registered one": (
        lambda: make("Pendulum-v1", horizon=0.5),  # pyright: ignore[reportArgumentType]
        "horizon must be a whole number",
    ),  # pyright: ignore[reportArgumentType]
    "zero horizon": (lambda: from_gymnax(Walk(), horizon=0), "horizon must be at least 1"),
    "no reset": (lambda: from_gymnax(object(), horizon=5), "has no method reset()"),
    "dict observation": (
        lambda: from_gymnax(Walk(observation={"a": jnp.zeros(1)}), horizon=5),
        "agents take one array",
    ),
    "discrete agent": (lambda: envs.require_discrete(make("Pendulum-v1"), "dqn"), "dqn needs discrete"),
    "continuous agent": (lambda: envs.require_continuous(echo(), "sac"), "sac needs continuous"),
    "too many levels": (lambda: discretize(two_arms(), 50_000), "more than an int32 can number"),
    "one bin": (lambda: discretize(continuous_echo(), 1), "bins must be at least 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_environment(case):
    call, sentence = BAD[case]
    with pytest.raises(ValueError, match=r".") as error:
        call()
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_making_the_first_environment_under_a_trace_leaves_nothing_of_it_behind():
    """gymnax makes arrays during its import; the test needs a new process, where gymnax is not imported."""
    program = """
import jax
from lrn.rl.env import make

jax.eval_shape(lambda g: make("CartPole-v1", gravity=g).reset(jax.random.key(0))[0], 9.8)
lake = make("FrozenLake-misc")
_, state = lake.reset(jax.random.key(0))
jax.jit(lake.move)(jax.random.key(1), state, 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
