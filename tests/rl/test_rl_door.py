"""Checks of an environment's returns: each fault gives one sentence, before any agent compiles."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import stretch

from lrn import nets
from lrn.check import InputError
from lrn.rl import play
from lrn.rl.continuous import check_networks
from lrn.rl.env import Box, Discrete, from_gymnax
from lrn.rl.heads import actor_critic
from lrn.rl.identity import two_state_truncating
from lrn.rl.ppo import PPOConfig, ppo
from lrn.xla.packing import packing


class Space:
    """A space with the given attributes."""

    def __init__(self, **given: Any):
        self.__dict__.update(given)


class Place(NamedTuple):
    x: Any
    time: Any


class Odd:
    """A correct environment, in which each test breaks one thing."""

    name = "odd"

    def __init__(self, **spoiled: Any):
        self.spoiled = spoiled

    def _or(self, name, value):
        return self.spoiled.get(name, value)

    def action_space(self, params):
        return self._or("actions", Space(n=2))

    def observation_space(self, params):
        return self._or("observations", None)

    def reset(self, key, params):
        state = self._or("start", Place(jnp.zeros(3), jnp.int32(0)))
        return self._or("reset", (self._or("first", jnp.zeros(3)), state))

    def step(self, key, state, action, params):
        moved = self._or("move", lambda s: s)(state)
        seen = self._or("seen", jnp.ones(3))
        values = {
            "observation": seen, "state": moved, "reward": self._or("reward", 1.0),
            "terminated": self._or("terminated", False), "truncated": self._or("truncated", False),
            "info": self._or("info", {"final_observation": self._or("final", seen)}),
        }  # fmt: skip
        return self._or("form", lambda v: tuple(v.values()))(values)


def refusal(**spoiled: Any) -> str:
    with pytest.raises(InputError) as error:
        from_gymnax(Odd(**spoiled), horizon=5)
    sentence = str(error.value)
    assert "odd" in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def box(low: Any, high: Any, shape: Any = (2,), **more: Any) -> Space:
    return Space(low=low, high=high, shape=shape, **more)


INF = float("inf")
BOUNDS = {
    "infinite": (box(-INF, INF), "between -inf and inf, and agents need finite bounds"),
    "half infinite": (box(0.0, INF), "between 0.0 and inf, and agents need finite bounds"),
    "one of two infinite": (box(np.zeros(2), np.array([1.0, INF])), "[1.0, inf]"),
    "not a number": (box(0.0, float("nan")), "finite bounds"),
    "the largest floats": (box(-3.4e38, 3.4e38), "finite bounds"),
    "beyond float32": (box(-1e39, 0.0), "finite bounds"),
    "equal": (box(1.0, 1.0), "low is not below high"),
    "swapped": (box(2.0, -2.0), "between 2.0 and -2.0, where low is not below high"),
    "one of two equal": (box(np.zeros(2), np.array([1.0, 0.0])), "low is not below high"),
    "too near for float32": (box(1e8, 1e8 + 1), "low is not below high"),
    "no numbers": (box(-1.0, 1.0, (2, 0)), "shape [2, 0] and hold no number"),
    "other shape": (
        box(np.zeros(3), np.ones(3)),
        "low of the actions of odd has shape [3], but an action has shape [2]",
    ),
    "other shape of high": (box(0.0, np.ones((1, 2))), "high of the actions of odd has shape [1, 2]"),
    "no tuple": (box(-1.0, 1.0, 2), "must be a tuple of ints, got 2"),
    "whole numbers": (box(0, 5, dtype=np.int32), "a box of int32"),
}


@pytest.mark.parametrize("case", BOUNDS)
def test_bounds_without_room(case):
    space, sentence = BOUNDS[case]
    assert sentence in refusal(actions=space)


@pytest.mark.parametrize(
    "space",
    [
        box(-1, 2), box(np.array([-1.0, 0.0]), jnp.ones(2)), box(-1.0, np.ones(1)),
        box([-1.0, -2.0], [1.0, 2.0]), gymnasium.spaces.Box(-1.0, 1.0, (2,)), box(0.0, 1e37),
    ],
)  # fmt: skip
def test_bounds_with_room(space):
    env = from_gymnax(Odd(actions=space), horizon=5)
    assert isinstance(env.actions, Box)
    low, high = np.broadcast_to(space.low, 2), np.broadcast_to(space.high, 2)
    np.testing.assert_allclose(env.actions.scale(jnp.array([-1.0, 1.0])), [low[0], high[1]], rtol=1e-6)


def test_traced_bounds_pass():
    def middle(high):
        env = from_gymnax(Odd(actions=box(-1.0, high)), horizon=5)
        assert isinstance(env.actions, Box)
        return env.actions.scale(jnp.zeros(2))

    np.testing.assert_array_equal(jax.jit(middle)(jnp.array([3.0, INF])), [1.0, INF])
    # The shapes of traced bounds are known and checked.
    with pytest.raises(InputError, match=r"high of the actions of odd has shape \[3\]"):
        jax.eval_shape(middle, jnp.ones(3))


def test_an_env_of_ones_own_is_looked_at_by_its_agents():
    env = two_state_truncating(actions=Box(-INF, INF, (1,)))
    with pytest.raises(InputError, match="finite bounds"):
        ppo(env, actor_critic(nets.mlp(1), nets.mlp(1)), PPOConfig())
    with pytest.raises(InputError, match="finite bounds"):
        check_networks("sac", env, nets.mlp(2), nets.mlp(1), 2)


CHOICES = {
    "Gymnasium's multi-discrete": (gymnasium.spaces.MultiDiscrete([2, 3]), "multi-discrete (nvec = [2, 3])"),
    "several n": (Space(n=np.array([2, 3])), "multi-discrete (n = [2, 3])"),
    "a list of n": (Space(n=[4]), "multi-discrete (n = [4])"),
    "multi-binary": (gymnasium.spaces.MultiBinary(4), "multi-binary (n = 4)"),
    "no choice": (Space(n=0), "must be at least 1, got 0"),
    "half a choice": (Space(n=2.5), "must be a whole number, got 2.5"),
    "not from 0": (gymnasium.spaces.Discrete(3, start=-1), "counts from -1"),
    "a dict": (gymnasium.spaces.Dict({"a": gymnasium.spaces.Discrete(2)}), "neither discrete (n) nor a box"),
}


@pytest.mark.parametrize("case", CHOICES)
def test_choices_that_are_not_one_of_n(case):
    space, sentence = CHOICES[case]
    assert sentence in refusal(actions=space)


@pytest.mark.parametrize("n", [3, np.int64(3), jnp.int32(3)])
def test_one_of_n(n):
    actions = from_gymnax(Odd(actions=Space(n=n)), horizon=5).actions
    assert actions == Discrete(3)
    assert type(actions.n) is int  # pyright: ignore[reportAttributeAccessIssue]


def test_a_traced_number_of_actions():
    with pytest.raises(InputError, match="n of the action space of odd is traced"):
        jax.eval_shape(lambda n: from_gymnax(Odd(actions=Space(n=n)), horizon=5).reset(jax.random.key(0)), 3)


ZEROS = jnp.zeros(3)
STATE = Place(ZEROS, jnp.int32(0))
RESETS = {
    "one value": (ZEROS, "reset returned an array of shape [3]; return two"),
    "two numbers in an array": (jnp.zeros(2), "reset returned an array of shape [2]; return two"),
    "three values": ((ZEROS, STATE, {}), "reset returned 3 values; return two in a tuple"),
    "one in a tuple": ((ZEROS,), "reset returned 1 value; return two in a tuple"),
    "a list": ([ZEROS, STATE], "reset returned a list of 2; return two in a tuple"),
    "a dict": ({"observation": ZEROS}, "reset returned a dict"),
}


@pytest.mark.parametrize("case", RESETS)
def test_reset_gives_two_values(case):
    given, sentence = RESETS[case]
    assert sentence in refusal(reset=given)


def some(*names: str):
    return lambda values: tuple(values[name] for name in names)


STEPS = {
    "the old five": (
        lambda v: (v["observation"], v["state"], v["reward"], v["terminated"], v["info"]),
        "5 values (the old form, with one done)",
    ),
    "Gymnasium's five": (
        some("observation", "reward", "terminated", "truncated", "info"), "5 values (Gymnasium's",
    ),
    "four": (some("observation", "reward", "terminated", "info"), "4 values; return the six"),
    "two": (some("observation", "state"), "step returned 2 values; return the six"),
    "a list": (lambda v: list(v.values()), "step returned a list of 6; return the six"),
    "a dict": (lambda v: v, "step returned a dict; return the six"),
}  # fmt: skip


@pytest.mark.parametrize("case", STEPS)
def test_step_gives_six_values(case):
    form, sentence = STEPS[case]
    assert sentence in refusal(form=form)


@pytest.mark.parametrize("what", ["reward", "terminated", "truncated"])
def test_one_number_a_step(what):
    for value, shown in ((jnp.zeros(2), "shape [2]"), (jnp.zeros(0), "shape [0]"), ({}, "a dict")):
        assert f"{what} of odd.step must be one number, got a" in (found := refusal(**{what: value}))
        assert shown in found
    assert "real number, got complex64" in refusal(**{what: 1j})
    env = from_gymnax(Odd(**{what: jnp.ones(1)}), horizon=5)  # an array of one number is allowed
    _, step = env.move(jax.random.key(0), env.reset(jax.random.key(0))[1], jnp.int32(0))
    assert getattr(step, what).shape == ()
    assert getattr(step, what) == 1


OBSERVATIONS = {
    "a dict": ({"first": {"a": ZEROS}}, "observes a dict; agents take one array"),
    "a whole number": (
        {"first": jnp.int32(0), "seen": jnp.int32(1)}, "observes one whole number, whose range is not known",
    ),
    "a Python number": ({"first": 0, "seen": 1}, "observes one whole number"),
    "complex": ({"first": 1j * ZEROS}, "observes an array of complex64"),
    "a key": ({"first": jax.random.key(0)}, "agents take real numbers"),
    "nothing": ({"first": jnp.zeros((3, 0))}, "shape [3, 0], which is empty"),
    "another shape after a step": (
        {"seen": jnp.ones(4), "final": ZEROS},
        "shape [3] at reset and an array of shape [4] after a step",
    ),
    "a dict after a step": ({"seen": {"a": ZEROS}, "final": ZEROS}, "and a dict after a step"),
    "another final shape": ({"final": jnp.ones(1)}, 'an array of shape [1] as info["final_observation"]'),
    "no final shape": ({"final": None}, 'a NoneType as info["final_observation"]'),
    "no final observation": ({"info": {}}, 'lacks "final_observation"'),
    "no info": ({"info": None}, 'lacks "final_observation"'),
    "several numbers": (
        {"observations": Space(n=[2, 3]), "first": jnp.int32(0)},
        "the observation space of odd is multi-discrete",
    ),
    "numbers from 1": (
        {"observations": gymnasium.spaces.Discrete(3, start=1), "first": jnp.int32(0)}, "counts from 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OBSERVATIONS)
def test_observations(case):
    spoiled, sentence = OBSERVATIONS[case]
    assert sentence in refusal(**spoiled)


def test_observations_that_pass():
    """A number of a discrete space becomes one-hot; bits and floats without an axis stay unchanged."""
    place = from_gymnax(Odd(observations=Space(n=4), first=jnp.int32(2), seen=jnp.int32(3)), horizon=5)
    assert place.observation_shape == (4,)
    np.testing.assert_array_equal(place.reset(jax.random.key(0))[0], [0, 0, 1, 0])

    class Silent(Odd):
        def observation_space(self, params):
            raise NotImplementedError

    assert from_gymnax(Silent(), horizon=5).observation_shape == (3,)
    bits = jnp.array([True, False, True])
    env = from_gymnax(Odd(observations=gymnasium.spaces.MultiBinary(3), first=bits, seen=bits), horizon=5)
    np.testing.assert_array_equal(env.reset(jax.random.key(0))[0], bits)
    assert from_gymnax(Odd(first=0.5, seen=0.25), horizon=5).observation_shape == ()


CHANGES = {
    "int to float": (
        {"start": Place(ZEROS, jnp.int32(0)), "move": lambda s: s._replace(time=s.time + 0.5)},
        "changes from reset to step: .time is int32 at reset and float32 after a step",
    ),
    "float to int": (
        {"start": Place(ZEROS, 0.0), "move": lambda s: s._replace(time=jnp.int32(s.time))},
        ".time is float32 at reset and int32 after a step",
    ),
    "bytes to int": (
        {"start": Place(jnp.zeros(3, jnp.uint8), 0), "move": lambda s: s._replace(x=s.x + jnp.int32(1))},
        ".x is uint8[3] at reset and int32[3] after a step",
    ),
    "shape": (
        {"move": lambda s: s._replace(x=s.x[:2])}, ".x is float32[3] at reset and float32[2] after a step",
    ),
    "a field more": (
        {"start": {"x": ZEROS}, "move": lambda s: {**s, "y": ZEROS}}, "only a step has ['y']",
    ),
    "a field less": (
        {"start": {"x": ZEROS, "y": ZEROS}, "move": lambda s: {"x": s["x"]}}, "only a reset has ['y']",
    ),
    "a list for a tuple": (
        {"start": (ZEROS, ZEROS), "move": list}, "tuple at reset, list after a step",
    ),
    "only at the second step": (
        # A Python number becomes a float at a step, after which the other leaf becomes an int.
        {
            "start": Place(0.5 * ZEROS, 0),
            "move": lambda s: Place(s.x if s.time.dtype == jnp.int32 else jnp.int32(s.x), s.time + 0.5),
        },
        ".x is float32[3] at reset and int32[3] after a step",
    ),
    "a single number, at the second step": (
        {"start": 0, "move": lambda s: s + 0.5 if s.dtype == jnp.int32 else jnp.int32(s)},
        "it is float32 at reset and int32 after a step",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_a_state_that_changes(case):
    spoiled, sentence = CHANGES[case]
    assert sentence in refusal(**spoiled)


def test_python_numbers_take_the_dtype_of_a_step():
    """`time=0` at reset and a float after a step is allowed, as in the carry of a scan, and counts right."""
    env = from_gymnax(Odd(start=Place(0, 0), move=lambda s: Place(s.x + 0.5, s.time + 1)), horizon=50)

    @jax.jit
    def run(key):
        live = play.start(env, key, 2)
        return play.unroll(env, key, live, lambda z, x, m: (jnp.zeros(2, jnp.int32), (), m), (), (), 7)[0]

    state = run(jax.random.key(0)).state.state  # inside the state of the time limit
    np.testing.assert_array_equal(state.x, [3.5, 3.5])
    np.testing.assert_array_equal(state.time, [7, 7])
    assert (state.x.dtype, state.time.dtype) == (jnp.float32, jnp.int32)


def test_states_of_keys_and_nothing_pass():
    for start in ((), jax.random.key(3), {"key": jax.random.key(3), "none": None}):
        env = from_gymnax(Odd(start=start), horizon=5)
        assert env.reset(jax.random.key(0))[0].shape == (3,)


class Sparse(Odd):
    """Episodes of two steps; info has the final observation at the end of an episode, and zeros elsewhere."""

    def reset(self, key, params):
        return jnp.full(1, 10.0), jnp.int32(0)

    def step(self, key, state, action, params):
        time = state + 1
        over, moved = time >= 2, 10.0 + time[None]
        info = {"final_observation": jnp.where(over, moved, 0.0)}
        observation = jnp.where(over, self.reset(key, params)[0], moved)
        return observation, jnp.where(over, 0, time), 1.0, False, over, info


def test_a_final_observation_that_is_right_only_at_an_end():
    env = from_gymnax(Sparse(), horizon=9)
    seen = stretch(env, lambda z, x, m: (jnp.zeros(1, jnp.int32), (), m), 1, 4)
    np.testing.assert_array_equal(seen.observation[:, 0, 0], [10, 11, 10, 11])
    np.testing.assert_array_equal(seen.final_observation[:, 0, 0], [11, 12, 11, 12])
    np.testing.assert_array_equal(seen.truncated[:, 0], [False, True, False, True])


def test_what_no_door_has_seen_is_refused_by_the_table():
    """An `Env` made by hand whose state is int at reset and float after a step; as bits it would be 5e9."""
    form = packing({"time": jnp.zeros(2, jnp.int32)})
    with pytest.raises(InputError, match=r"\['time'\] is int32 in the example and float32 now"):
        form.pack({"time": jnp.zeros(2)})
    two = packing({"place": jnp.zeros((2, 3)), "time": jnp.zeros(2)})
    with pytest.raises(InputError, match=r"\['time'\] is float32 in the example and float32\[1\] now"):
        two.pack({"place": jnp.zeros((2, 3)), "time": jnp.zeros((2, 1))})
    with pytest.raises(InputError, match="the tree has the structure"):
        form.pack({"clock": jnp.zeros(2, jnp.int32)})
    env = two_state_truncating()
    drifts = env._replace(move=lambda k, s, a: (s._replace(time=s.time + 0.5), env.move(k, s, a)[1]))
    live = play.start(drifts, jax.random.key(0), 2)
    with pytest.raises(InputError, match=r"time is int32 in the example and float32 now"):
        play.unroll(
            drifts, jax.random.key(1), live, lambda z, x, m: (jnp.zeros(2, jnp.int32), (), m), (), (), 4
        )
