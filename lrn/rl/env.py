"""Environments as pure functions; gymnax's, or your own, through one door.

`make("CartPole-v1", gravity=9.8)` gives an `Env`; any parameter may be a traced number, so environments are
swept like configs. gymnax takes seconds to import, so nothing but `make` imports it.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.rl import door, spaces
from lrn.rl.spaces import Box, Discrete
from lrn.types import Array, Key, PyTree


def as_float(observation: Array) -> Array:
    """An observation as a network takes it: float32 where it is of integers or bools, else as it is.

    Agents keep observations in the environment's dtype, bytes as bytes, and call this right before a network.
    The numbers stay what they are: a byte of 255 becomes 255.0, and a network that wants [0, 1] divides.
    """
    observation = jnp.asarray(observation)
    floating = jnp.issubdtype(observation.dtype, jnp.floating)
    return observation if floating else observation.astype(jnp.float32)


class Step(NamedTuple):
    """What an action led to.

    reward: float. terminated: bool; nothing can follow, so its value is zero.
    truncated: bool; a time limit cut the episode, and its value goes on: bootstrap.
    final_observation: the observation that the action led to, before any reset.
    """

    reward: Array
    terminated: Array
    truncated: Array
    final_observation: Array

    @property
    def ended(self) -> Array:
        """Whether a new episode begins."""
        return self.terminated | self.truncated


class Env(NamedTuple):
    """One environment, unbatched; whoever plays it applies vmap. Wrappers replace ``move`` or ``reset``.

    reset: ``reset(key) -> (observation, state)``.
    move: ``move(key, state, action) -> (state, Step)``, without any reset; after an end the state is
        whatever, and is not used again.
    observation_shape: of one observation.
    actions: `Discrete` or `Box`.
    horizon: the most steps of an episode; an evaluation plays no more. It is what `make` and `from_gymnax`
        hold an environment to; of one that you make yourself, it must be no less than its time limit.
    observation_dtype: of observations; bools and integers are kept as they are wherever an agent stores them,
        and become floats by `as_float` before a network.
    render: ``render(state)``, a picture for people: an image [height, width, 3], or a matplotlib figure; None
        if it draws none.
    """

    name: str
    reset: Callable[[Key], tuple[Array, PyTree]]
    move: Callable[[Key, PyTree, Array], tuple[PyTree, Step]]
    observation_shape: tuple[int, ...]
    actions: Discrete | Box
    horizon: int
    observation_dtype: Any = np.dtype(np.float32)
    render: Callable[[PyTree], Any] | None = None

    def step(self, key: Key, state: PyTree, action: Array) -> tuple[Array, PyTree, Step]:
        """Move, and start a new episode at once where one ended.

        Returns:
            The observation for the next action (the first of the next episode after an end), the state,
            and the `Step`, whose ``final_observation`` is what the action led to.
        """
        move_key, reset_key = jax.random.split(key)
        state, step = self.move(move_key, state, action)
        observation, state = restart(step, state, self.reset(reset_key))
        return observation, state, step

    def render_within(self) -> Callable[[PyTree], Any] | None:
        """The ``render`` of a wrapper whose state holds that of this environment in its field ``state``."""
        render = self.render
        return None if render is None else lambda state: render(state.state)


def restart(step: Step, state: PyTree, fresh: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
    """The observation and state to go on from: those of a fresh reset where the episode ended."""
    pairs = (step.final_observation, state)
    observation, state = jax.tree.map(lambda new, old: jnp.where(step.ended, new, old), fresh, pairs)
    return observation, state


# What gymnax gives as floats and are zeros and ones.
_BITS = tuple(f"{game}-MinAtar" for game in ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders"))


def make(name: str, *, horizon: int | None = None, **settings: Any) -> Env:
    """A registered gymnax environment.

    MinAtar's observations, which are zeros and ones, come as bools (see `as_float`).

    Args:
        name: its id, such as "CartPole-v1".
        horizon: a time limit in place of the environment's own, shorter or longer: an episode that lasts so
            many steps is truncated (`time_limit`). With ``max_steps_in_episode`` beside it, the smaller of
            the two holds.
        settings: fields of its parameters (``gravity=c.gravity``; may be traced) and arguments of its
            constructor (``size=20``).

    Raises:
        InputError: no such environment, no such setting, or a setting with which no agent could act.
    """
    # Its modules make arrays when they are imported. Where this is called under a trace, as families of tasks
    # do, those would be the trace's, and useless after it.
    with jax.ensure_compile_time_eval():
        import gymnax

    check.choice("environment", name, gymnax.registered_envs)
    plain, params = gymnax.make(name)
    fields = [f.name for f in dataclasses.fields(params)]
    arguments = [p for p in inspect.signature(type(plain).__init__).parameters if p != "self"]
    for setting in settings:
        if setting not in fields and setting not in arguments:
            raise check.InputError(
                f"{name} has no setting {setting!r}; {check.nearest(setting, [*fields, *arguments])}"
            )
    built = {k: v for k, v in settings.items() if k in arguments and k not in fields}
    env, params = gymnax.make(name, **built) if built else (plain, params)
    given = {k: v for k, v in settings.items() if k in fields}
    own = "max_steps_in_episode"  # where an environment of gymnax's truncates
    if horizon is not None and own in fields and own not in given:
        check.integer("horizon", horizon, low=1)
        given[own] = horizon
    params = dataclasses.replace(params, **given)  # pyright: ignore[reportArgumentType]
    made = _wrapped(env, params, name, horizon, bool if name in _BITS else None)
    limited = horizon is None or given.get(own) is horizon
    return made if limited else time_limit(made, made.horizon)._replace(name=name)


def from_gymnax(env: Any, params: Any = None, *, name: str | None = None, horizon: int | None = None) -> Env:
    """Wrap an environment with gymnax's interface, your own included.

    ``env.reset(key, params) -> (observation, state)`` and ``env.step(key, state, action, params) ->
    (observation, state, reward, terminated, truncated, info)``, with ``info["final_observation"]``, which
    need be right only where an episode ends. ``env.action_space(params)`` has ``n``, or ``low``, ``high`` and
    ``shape``. Observations of a discrete space come one-hot in float32; bools and integers keep their dtype;
    all others become float32. The state keeps its structure, shapes and dtypes from reset to step. An
    ``env.render(state, params)`` becomes the `Env`'s.

    Args:
        env: the environment.
        params: its parameters; ``env.default_params`` by default. Their numbers may be traced.
        name: what messages call it.
        horizon: a time limit: an episode that lasts so many steps is truncated, as by `time_limit`. The
            environment's own limit stays, so this can only shorten its episodes. Without it the limit is
            ``params.max_steps_in_episode``.

    Raises:
        InputError: a method, value or limit is missing; it returns something else than gymnax's 1.0 (such as
            five values); or what it returns has a shape or dtype that no agent can use. One sentence says
            which.
    """
    name = str(name or getattr(env, "name", type(env).__name__))
    made = _wrapped(env, params, name, horizon)
    # gymnax's own step ends episodes at max_steps_in_episode; any other need not.
    limited = _inherits_step(env) and horizon is None
    return made if limited else time_limit(made, made.horizon)._replace(name=name)


def _wrapped(env: Any, params: Any, name: str, horizon: int | None, dtype: Any = None) -> Env:
    """What `from_gymnax` returns, without a time limit but the environment's own.

    ``dtype``: of observations that are given in a wider one.
    """
    for method in ("reset", "step", "action_space"):
        if not callable(getattr(env, method, None)):
            raise check.InputError(
                f"the environment {name} has no method {method}(); "
                "give it gymnax's reset, step and action_space."
            )
    params = getattr(env, "default_params", None) if params is None else params
    actions = spaces.read_actions(name, env.action_space(params))
    categories = _categories(name, env, params)
    given = door.look(
        name,
        lambda key: env.reset(key, params),
        lambda key, state, action: env.step(key, state, action, params),
        jnp.int32(0) if isinstance(actions, Discrete) else jnp.zeros(actions.shape),
        one_hot=categories is not None,
    )
    most = _horizon(name, params, horizon)
    dtype = np.dtype(given.dtype if dtype is None else dtype)

    def read(observation: Any) -> Array:
        if categories is None:
            return jnp.asarray(observation, dtype)
        return jax.nn.one_hot(jnp.asarray(observation), categories, dtype=jnp.float32)

    def reset(key: Key) -> tuple[Array, PyTree]:
        observation, state = env.reset(key, params)
        return read(observation), given.settle(state)

    # gymnax's own step computes a reset each time. Where it is the inherited one its parts are called, so
    # that resets can be drawn for a whole rollout at once, which on CPU is several times cheaper.
    inherited = _inherits_step(env)

    def move(key: Key, state: PyTree, action: Array) -> tuple[PyTree, Step]:
        # Of info only the final observation is used: whatever else it holds would fill the memory.
        if inherited:
            last, state, reward, terminated, _ = env.step_env(key, state, action, params)
            truncated, final = env.is_truncated(state, params), None
        else:
            last, state, reward, terminated, truncated, info = env.step(key, state, action, params)
            final = info["final_observation"]
        terminated, truncated = (jnp.asarray(x, bool).reshape(()) for x in (terminated, truncated))
        seen = read(last)
        if final is not None:  # some environments fill it in only at an end
            seen = jnp.where(terminated | truncated, read(final), seen)
        return state, Step(jnp.asarray(reward, jnp.float32).reshape(()), terminated, truncated, seen)

    render = (lambda state: env.render(state, params)) if callable(getattr(env, "render", None)) else None
    shape = given.shape if categories is None else (*given.shape, categories)
    kept = dtype if categories is None else np.dtype(np.float32)
    return Env(name, reset, move, shape, actions, most, kept, render)


class Timed(NamedTuple):
    """The state of an environment, and the steps taken in the episode."""

    state: PyTree
    time: Array


def time_limit(env: Env, steps: int) -> Env:
    """Truncate episodes after ``steps`` steps; those that end earlier, by whatever, stay as they are.

    An episode that terminates with its last step is terminated, not truncated: its value is zero. The values
    of truncated ones go on, so what an agent learns does not depend on the limit (`Step`). The counter is
    part of the state, and is not observed.

    Raises:
        InputError: ``steps`` is no whole number of at least 1.
    """
    check.integer("steps", steps, low=1)

    def reset(key: Key) -> tuple[Array, Timed]:
        observation, state = env.reset(key)
        return observation, Timed(state, jnp.int32(0))

    def move(key: Key, state: Timed, action: Array) -> tuple[Timed, Step]:
        inner, step = env.move(key, state.state, action)
        time = state.time + 1
        truncated = step.truncated | ((time >= steps) & ~step.terminated)
        return Timed(inner, time), step._replace(truncated=truncated)

    return env._replace(
        name=f"{env.name} ({steps} steps)",
        reset=reset,
        move=move,
        horizon=min(env.horizon, steps),
        render=env.render_within(),
    )


def merge_truncation(env: Env) -> Env:
    """The classic mistake, on purpose: every truncation is reported as a termination.

    What interfaces with a single ``done`` do; an agent then learns that time limits are worth nothing.
    """

    def move(key: Key, state: PyTree, action: Array) -> tuple[PyTree, Step]:
        state, step = env.move(key, state, action)
        return state, step._replace(terminated=step.ended)

    return env._replace(name=f"{env.name} (one done)", move=move)


def require_discrete(env: Env, algorithm: str) -> int:
    """The number of actions.

    Raises:
        ValueError: the environment's actions are continuous.
    """
    if not isinstance(env.actions, Discrete):
        raise check.InputError(
            f"{algorithm} needs discrete actions and those of {env.name} are continuous; "
            "use ppo, sac or td3, or discretize them."
        )
    return env.actions.n


def require_continuous(env: Env, algorithm: str) -> Box:
    """The box of actions.

    Raises:
        InputError: the environment's actions are discrete, or without finite bounds.
    """
    if not isinstance(env.actions, Box):
        raise check.InputError(
            f"{algorithm} needs continuous actions and those of {env.name} are discrete; use ppo, dqn or pqn."
        )
    spaces.check_box(env.name, env.actions)
    return env.actions


def discretize(env: Env, bins: int) -> Env:
    """The same environment with ``bins`` evenly spaced levels, ends included, in each dimension of an action.

    An action is then a number from 0 to bins^dimensions - 1, whose digits to the base of ``bins`` are the
    levels, the last dimension's last (`lrn.rl.spaces.levels_of`).

    Raises:
        InputError: fewer than two bins, actions that are discrete, or more of them than an int32 can number.
    """
    check.integer("bins", bins, low=2)
    box = require_continuous(env, "discretize")
    if bins**box.size >= 2**31:
        raise check.InputError(
            f"{bins} levels in each of the {box.size} dimensions of an action of {env.name} make "
            f"{bins**box.size:.1e} actions, more than an int32 can number; use a continuous agent."
        )

    def move(key: Key, state: PyTree, action: Array) -> tuple[PyTree, Step]:
        levels = spaces.levels_of(action, bins, box.size).astype(jnp.float32)
        unit = -1.0 + 2.0 * levels / (bins - 1)
        return env.move(key, state, box.scale(unit.reshape(box.shape)))

    actions = bins**box.size
    return env._replace(name=f"{env.name} ({actions} actions)", move=move, actions=Discrete(actions))


def _inherits_step(env: Any) -> bool:
    """Whether the step is the one that gymnax's base class defines."""
    gymnax = sys.modules.get("gymnax.environments.environment")  # not imported: then nothing inherits from it
    return gymnax is not None and getattr(type(env), "step", None) is gymnax.Environment.step


def _horizon(name: str, params: Any, given: int | None) -> int:
    if given is not None:
        check.integer("horizon", given, low=1)
        return given
    try:
        own = int(getattr(params, "max_steps_in_episode", None))  # pyright: ignore[reportArgumentType]
    except (TypeError, OverflowError):  # there is none, it is being traced, or it is infinite
        raise check.InputError(
            f"how long an episode of {name} can last is not known; pass horizon=, a time limit in steps."
        ) from None
    check.integer(f"max_steps_in_episode of {name}", own, low=1)
    return own


def _categories(name: str, env: Any, params: Any) -> int | None:
    """How many values a discrete observation has; None where observations are arrays."""
    if not callable(getattr(env, "observation_space", None)):
        return None
    try:
        space = env.observation_space(params)
    except NotImplementedError:  # of gymnax's base class
        return None
    if not hasattr(space, "n") or tuple(getattr(space, "shape", None) or ()):
        return None
    return spaces.choices(f"the observation space of {name}", space)
