"""Environments as pure functions: `make` wraps those of gymnax, `from_gymnax` wraps your own.

`make("CartPole-v1", gravity=9.8)` returns an `Env`. Any parameter may be a traced number, so environments can
be swept like configs. Only `make` imports gymnax, because the import takes seconds.
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
    """An observation as floats for a network: integers and bools become float32, floats stay unchanged.

    Agents store observations in the environment's own dtype, bytes as bytes, and call this function right
    before a network. Numbers are not rescaled: a byte of 255 becomes 255.0. A network that needs inputs in
    [0, 1] must divide by 255 itself.
    """
    observation = jnp.asarray(observation)
    floating = jnp.issubdtype(observation.dtype, jnp.floating)
    return observation if floating else observation.astype(jnp.float32)


class Step(NamedTuple):
    """The result of an action.

    reward: float32, the reward.
    terminated: bool; the task ended, so the value of what follows is zero.
    truncated: bool; a time limit cut the episode, so a target bootstraps from ``final_observation``.
    final_observation: the observation that the action led to, before any reset.
    """

    reward: Array
    terminated: Array
    truncated: Array
    final_observation: Array

    @property
    def ended(self) -> Array:
        """Whether the episode ended with this step, bool."""
        return self.terminated | self.truncated


class Env(NamedTuple):
    """One environment, unbatched: agents apply vmap to it. Wrappers replace ``move`` or ``reset``.

    name: name of the environment, for messages.
    reset: ``reset(key) -> (observation, state)``, the start of an episode.
    move: ``move(key, state, action) -> (state, Step)``, one step, without a reset. The state after the end of
        an episode is meaningless and must not be used.
    observation_shape: shape of one observation.
    actions: the action space, `Discrete` or `Box`.
    horizon: the largest number of steps of an episode; an evaluation plays no more. `make` and `from_gymnax`
        enforce it as a time limit. In an `Env` that you make yourself, it must be at least the time limit.
    observation_dtype: dtype of observations. Agents store bools and integers as they are, and `as_float`
        converts them before a network.
    render: ``render(state)``, a picture for people: an image [height, width, 3], or a matplotlib figure. None
        for an environment that draws no pictures.
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
        """Move, and start a new episode at once if this one ended.

        Returns:
            ``(observation, state, step)``. The next action starts from the observation and the state; after
            the end of an episode they are those of a new episode. ``step.final_observation`` is the
            observation that the action led to, before the reset.
        """
        move_key, reset_key = jax.random.split(key)
        state, step = self.move(move_key, state, action)
        observation, state = restart(step, state, self.reset(reset_key))
        return observation, state, step

    def render_within(self) -> Callable[[PyTree], Any] | None:
        """The ``render`` of a wrapper whose state holds this environment's state in the field ``state``."""
        render = self.render
        return None if render is None else lambda state: render(state.state)


def restart(step: Step, state: PyTree, fresh: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
    """The observation and state to continue from: those of ``fresh``, a reset, if the episode ended."""
    pairs = (step.final_observation, state)
    observation, state = jax.tree.map(lambda new, old: jnp.where(step.ended, new, old), fresh, pairs)
    return observation, state


# Environments whose observations are zeros and ones, although gymnax gives them as floats.
_BITS = tuple(f"{game}-MinAtar" for game in ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders"))


def make(name: str, *, horizon: int | None = None, **settings: Any) -> Env:
    """A registered gymnax environment.

    MinAtar's observations, which are zeros and ones, are returned as bools (see `as_float`).

    Args:
        name: id of the environment, such as "CartPole-v1".
        horizon: a time limit in steps that replaces the environment's own and may be shorter or longer; an
            episode that reaches it is truncated (`time_limit`). If ``max_steps_in_episode`` is given too, the
            smaller of the two applies.
        settings: fields of the environment's parameters (``gravity=c.gravity``; may be traced) and arguments
            of its constructor (``size=20``).

    Raises:
        InputError: there is no such environment or setting, or no agent could act with the settings.
    """
    # gymnax's modules make arrays when they are imported. If `make` is called under a trace, as families of
    # tasks do, these arrays would belong to the trace and be useless after it.
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
    own = "max_steps_in_episode"  # the parameter of gymnax's environments for their own time limit
    if horizon is not None and own in fields and own not in given:
        check.integer("horizon", horizon, low=1)
        given[own] = horizon
    params = dataclasses.replace(params, **given)  # pyright: ignore[reportArgumentType]
    made = _wrapped(env, params, name, horizon, bool if name in _BITS else None)
    limited = horizon is None or given.get(own) is horizon
    return made if limited else time_limit(made, made.horizon)._replace(name=name)


def from_gymnax(env: Any, params: Any = None, *, name: str | None = None, horizon: int | None = None) -> Env:
    """Wrap an environment with the interface of gymnax 1.0, for example your own.

    The environment must have these methods:

    - ``env.reset(key, params) -> (observation, state)``.
    - ``env.step(key, state, action, params) -> (observation, state, reward, terminated, truncated, info)``.
      ``info["final_observation"]`` is the observation before any reset, read only where an episode ends.
    - ``env.action_space(params)`` with the attribute ``n``, or ``low``, ``high`` and ``shape``.
    - optionally ``env.render(state, params)``, which becomes the `Env`'s ``render``.

    The state must keep its structure, shapes and dtypes from reset to step. Observations of a discrete space
    become one-hot vectors in float32; bools and integers keep their dtype; all others become float32.

    Args:
        env: the environment.
        params: its parameters; ``env.default_params`` by default. Their numbers may be traced.
        name: name of the environment in messages.
        horizon: a time limit in steps; an episode that reaches it is truncated, as by `time_limit`. It
            applies beside the environment's own limit, so it can only shorten episodes. Without it the limit
            is ``params.max_steps_in_episode``.

    Raises:
        InputError: a method, value or limit is missing; a method returns something else than in gymnax 1.0
            (such as five values); or a returned array has a shape or dtype that no agent can use. The message
            names the fault.
    """
    name = str(name or getattr(env, "name", type(env).__name__))
    made = _wrapped(env, params, name, horizon)
    # The step of gymnax's base class truncates at max_steps_in_episode; other steps need not.
    limited = _inherits_step(env) and horizon is None
    return made if limited else time_limit(made, made.horizon)._replace(name=name)


def _wrapped(env: Any, params: Any, name: str, horizon: int | None, dtype: Any = None) -> Env:
    """The `Env` of a gymnax environment, without a time limit beside the environment's own.

    Args:
        env, params, name, horizon: as for `from_gymnax`.
        dtype: dtype of observations; None for the dtype that the environment gives them.
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

    # The step of gymnax's base class computes a reset every time. If the environment inherits that step, call
    # its parts instead: resets can then be drawn for a whole rollout at once, several times cheaper on CPU.
    inherited = _inherits_step(env)

    def move(key: Key, state: PyTree, action: Array) -> tuple[PyTree, Step]:
        # Only the final observation of info is kept: any other entry would take memory.
        if inherited:
            last, state, reward, terminated, _ = env.step_env(key, state, action, params)
            truncated, final = env.is_truncated(state, params), None
        else:
            last, state, reward, terminated, truncated, info = env.step(key, state, action, params)
            final = info["final_observation"]
        terminated, truncated = (jnp.asarray(x, bool).reshape(()) for x in (terminated, truncated))
        seen = read(last)
        if final is not None:  # some environments give the final observation only where an episode ends
            seen = jnp.where(terminated | truncated, read(final), seen)
        return state, Step(jnp.asarray(reward, jnp.float32).reshape(()), terminated, truncated, seen)

    render = (lambda state: env.render(state, params)) if callable(getattr(env, "render", None)) else None
    shape = given.shape if categories is None else (*given.shape, categories)
    kept = dtype if categories is None else np.dtype(np.float32)
    return Env(name, reset, move, shape, actions, most, kept, render)


class Timed(NamedTuple):
    """The state of an environment with a time limit.

    state: state of the environment within.
    time: int32, steps taken in the episode.
    """

    state: PyTree
    time: Array


def time_limit(env: Env, steps: int) -> Env:
    """Truncate episodes after ``steps`` steps; episodes that end earlier are unchanged.

    An episode that terminates with its last step is terminated, not truncated, and its value is zero. The
    value of a truncated episode goes on (`Step`), so the values that an agent learns do not depend on the
    limit. The step counter is part of the state and is not observed.

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
    """Report every truncation as a termination: the classic mistake, made on purpose.

    Interfaces with a single flag ``done`` make this mistake. An agent then learns that the value at a time
    limit is zero.
    """

    def move(key: Key, state: PyTree, action: Array) -> tuple[PyTree, Step]:
        state, step = env.move(key, state, action)
        return state, step._replace(terminated=step.ended)

    return env._replace(name=f"{env.name} (one done)", move=move)


def require_discrete(env: Env, algorithm: str) -> int:
    """The number of discrete actions of an environment.

    Args:
        env: the environment.
        algorithm: name of the algorithm that needs discrete actions, for the message.

    Raises:
        ValueError: the environment's actions are continuous.
    """
    if not isinstance(env.actions, Discrete):
        raise check.InputError(
            f"{algorithm} needs discrete actions, but those of {env.name} are continuous; "
            "use ppo, sac or td3, or discretize them."
        )
    return env.actions.n


def require_continuous(env: Env, algorithm: str) -> Box:
    """The box of continuous actions of an environment.

    Args:
        env: the environment.
        algorithm: name of the algorithm that needs continuous actions, for the message.

    Raises:
        InputError: the environment's actions are discrete, or have no finite bounds.
    """
    if not isinstance(env.actions, Box):
        raise check.InputError(
            f"{algorithm} needs continuous actions, but those of {env.name} are discrete; "
            "use ppo, dqn or pqn."
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
    """Whether an environment inherits the step of gymnax's base class."""
    gymnax = sys.modules.get("gymnax.environments.environment")  # None before any import of gymnax
    return gymnax is not None and getattr(type(env), "step", None) is gymnax.Environment.step


def _horizon(name: str, params: Any, given: int | None) -> int:
    if given is not None:
        check.integer("horizon", given, low=1)
        return given
    try:
        own = int(getattr(params, "max_steps_in_episode", None))  # pyright: ignore[reportArgumentType]
    except (TypeError, OverflowError):  # the parameter is missing, traced or infinite
        raise check.InputError(
            f"the largest length of an episode of {name} is not known; pass horizon=, a time limit in steps."
        ) from None
    check.integer(f"max_steps_in_episode of {name}", own, low=1)
    return own


def _categories(name: str, env: Any, params: Any) -> int | None:
    """The number of values of a discrete observation; None where observations are arrays."""
    if not callable(getattr(env, "observation_space", None)):
        return None
    try:
        space = env.observation_space(params)
    except NotImplementedError:  # raised by gymnax's base class
        return None
    if not hasattr(space, "n") or tuple(getattr(space, "shape", None) or ()):
        return None
    return spaces.choices(f"the observation space of {name}", space)
