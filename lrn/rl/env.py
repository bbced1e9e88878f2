"""Environments as pure functions; gymnax's, or your own, through one door.

`make("CartPole-v1", gravity=9.8)` gives an `Env`; any parameter may be a traced number, so environments are
swept like configs. gymnax takes seconds to import, so nothing but `make` imports it.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.types import Array, Key, PyTree


class Discrete(NamedTuple):
    """Actions 0 to n - 1."""

    n: int


class Box(NamedTuple):
    """Real actions of shape ``shape`` between ``low`` and ``high`` (numbers, or arrays of that shape)."""

    low: Any
    high: Any
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers make an action."""
        return math.prod(self.shape)

    def scale(self, unit: Array) -> Array:
        """Map actions [..., *shape] from [-1, 1], clipped, to the environment's units."""
        low, high = (jnp.broadcast_to(jnp.asarray(x, unit.dtype), unit.shape) for x in (self.low, self.high))
        return low + 0.5 * (jnp.clip(unit, -1.0, 1.0) + 1.0) * (high - low)


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
    horizon: the most steps of an episode; what an evaluation runs for.
    observation_dtype: of observations; bools and integers are kept as they are wherever an agent stores them,
        and become floats by `as_float` before a network.
    """

    name: str
    reset: Callable[[Key], tuple[Array, PyTree]]
    move: Callable[[Key, PyTree, Array], tuple[PyTree, Step]]
    observation_shape: tuple[int, ...]
    actions: Discrete | Box
    horizon: int
    observation_dtype: Any = np.dtype(np.float32)

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


def restart(step: Step, state: PyTree, fresh: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
    """The observation and state to go on from: those of a fresh reset where the episode ended."""
    pairs = (step.final_observation, state)
    observation, state = jax.tree.map(lambda new, old: jnp.where(step.ended, new, old), fresh, pairs)
    return observation, state


def make(name: str, *, horizon: int | None = None, **settings: Any) -> Env:
    """A registered gymnax environment.

    Args:
        name: its id, such as "CartPole-v1".
        horizon: the most steps of an episode, where its parameters do not say.
        settings: fields of its parameters (``gravity=c.gravity``; may be traced) and arguments of its
            constructor (``size=20``).

    Raises:
        ValueError: no such environment, or no such setting.
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
    params = dataclasses.replace(params, **given)  # pyright: ignore[reportArgumentType]
    return _wrapped(env, params, name, horizon, bool if name.endswith("-MinAtar") else None)


def from_gymnax(env: Any, params: Any = None, *, name: str | None = None, horizon: int | None = None) -> Env:
    """Wrap an environment with gymnax's interface, your own included.

    ``env.reset(key, params) -> (observation, state)`` and ``env.step(key, state, action, params) ->
    (observation, state, reward, terminated, truncated, info)``, with ``info["final_observation"]``;
    ``env.action_space(params)`` with ``n``, or with ``low``, ``high`` and ``shape``. Observations of a
    discrete space come one-hot in float32; bools and integers keep their dtype; all others become float32.

    Args:
        env: the environment.
        params: its parameters; ``env.default_params`` by default. Their numbers may be traced.
        name: what messages call it.
        horizon: the most steps of an episode; ``params.max_steps_in_episode`` by default.

    Raises:
        ValueError: it steps in another way (such as the old five values with one ``done``), or something
            it must have is missing.
    """
    return _wrapped(env, params, str(name or getattr(env, "name", type(env).__name__)), horizon)


def _wrapped(env: Any, params: Any, name: str, horizon: int | None, dtype: Any = None) -> Env:
    """What `from_gymnax` returns; ``dtype`` is that of observations which are given in a wider one."""
    for method in ("reset", "step", "action_space"):
        if not callable(getattr(env, method, None)):
            raise check.InputError(
                f"the environment {name} has no method {method}(); "
                "give it gymnax's reset, step and action_space."
            )
    params = getattr(env, "default_params", None) if params is None else params
    actions = _actions(name, env.action_space(params))
    horizon = _horizon(name, params, horizon)
    key = jax.eval_shape(lambda: jax.random.key(0))
    first, state = jax.eval_shape(lambda k: env.reset(k, params), key)
    example = jnp.int32(0) if isinstance(actions, Discrete) else jnp.zeros(actions.shape)
    stepped = jax.eval_shape(lambda k, s: env.step(k, s, example, params), key, state)
    _check_step(name, stepped)
    if not hasattr(first, "shape"):
        raise check.InputError(
            f"{name} observes a {type(first).__name__}; agents take one array, "
            "so flatten it in the environment."
        )
    seen = (first, stepped[0], stepped[-1]["final_observation"])
    read = _reader(env, params, dtype or _common(seen))

    def reset(key: Key) -> tuple[Array, PyTree]:
        observation, state = env.reset(key, params)
        return read(observation), state

    # gymnax's own step computes a reset each time. Where it is the inherited one its parts are called, so
    # that resets can be drawn for a whole rollout at once, which on CPU is several times cheaper.
    inherited = _inherits_step(env)

    def move(key: Key, state: PyTree, action: Array) -> tuple[PyTree, Step]:
        # Of info only the final observation is used: whatever else it holds would fill the memory.
        if inherited:
            last, state, reward, terminated, _ = env.step_env(key, state, action, params)
            truncated = env.is_truncated(state, params)
        else:
            _, state, reward, terminated, truncated, info = env.step(key, state, action, params)
            last = info["final_observation"]
        return state, Step(
            jnp.asarray(reward, jnp.float32).reshape(()),
            jnp.asarray(terminated, bool).reshape(()),
            jnp.asarray(truncated, bool).reshape(()),
            read(last),
        )

    observation = jax.eval_shape(reset, key)[0]
    return Env(name, reset, move, observation.shape, actions, horizon, np.dtype(observation.dtype))


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
            "use ppo, sac or td3, or discretise them."
        )
    return env.actions.n


def require_continuous(env: Env, algorithm: str) -> Box:
    """The box of actions.

    Raises:
        ValueError: the environment's actions are discrete.
    """
    if not isinstance(env.actions, Box):
        raise check.InputError(
            f"{algorithm} needs continuous actions and those of {env.name} are discrete; use ppo, dqn or pqn."
        )
    return env.actions


def discretise(env: Env, bins: int) -> Env:
    """The same environment with ``bins`` evenly spaced actions, ends included, along its only dimension.

    Raises:
        ValueError: fewer than two bins, or actions that are discrete or of several dimensions.
    """
    check.integer("bins", bins, low=2)
    box = require_continuous(env, "discretise")
    if box.size != 1:
        raise check.InputError(
            f"discretise handles one dimension and actions of {env.name} have {box.size}; "
            "use a continuous agent."
        )

    def move(key: Key, state: PyTree, action: Array) -> tuple[PyTree, Step]:
        unit = -1.0 + 2.0 * action.astype(jnp.float32) / (bins - 1)
        return env.move(key, state, box.scale(jnp.broadcast_to(unit, box.shape)))

    return env._replace(name=f"{env.name} ({bins} actions)", move=move, actions=Discrete(bins))


def _inherits_step(env: Any) -> bool:
    """Whether the step is the one that gymnax's base class defines."""
    gymnax = sys.modules.get("gymnax.environments.environment")  # not imported: then nothing inherits from it
    return gymnax is not None and getattr(type(env), "step", None) is gymnax.Environment.step


def _actions(name: str, space: Any) -> Discrete | Box:
    if hasattr(space, "n"):
        return Discrete(int(space.n))
    if all(hasattr(space, part) for part in ("low", "high", "shape")):
        return Box(space.low, space.high, tuple(int(s) for s in space.shape))
    raise check.InputError(
        f"the action space of {name} is neither discrete (n) nor a box (low, high, shape), but "
        f"{type(space).__name__}; give one of the two."
    )


def _horizon(name: str, params: Any, given: int | None) -> int:
    if given is None:
        try:
            given = int(getattr(params, "max_steps_in_episode", None))  # pyright: ignore[reportArgumentType]
        except TypeError:  # it has none, or it is being traced
            raise check.InputError(
                f"how long an episode of {name} can last is not known; "
                "pass horizon= (steps), for evaluations."
            ) from None
    check.integer("horizon", given, low=1)
    return given


def _common(seen: tuple[Any, ...]) -> Any:
    """The dtype to keep observations in: that of all of ``seen`` if it is bool or integer, else float32."""
    dtypes = {x.dtype for x in seen}
    kept = len(dtypes) == 1 and not any(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes)
    return dtypes.pop() if kept else jnp.float32


def _reader(env: Any, params: Any, dtype: Any) -> Callable[[Any], Array]:
    """From what the environment observes to an array of this dtype, or one-hot."""
    space = env.observation_space(params) if callable(getattr(env, "observation_space", None)) else None
    n = getattr(space, "n", None)
    if n is None:
        return lambda observation: jnp.asarray(observation, dtype)
    return lambda observation: jax.nn.one_hot(jnp.asarray(observation), int(n), dtype=jnp.float32)


def _check_step(name: str, out: Any) -> None:
    if not isinstance(out, tuple) or len(out) != 6:
        count = len(out) if isinstance(out, tuple) else 1
        old = " (the old form, with one done)" if count == 5 else ""
        raise check.InputError(
            f"{name}.step returned {count} values{old}; return the six of gymnax 1.0: observation, state, "
            "reward, terminated, truncated, info."
        )
    info = out[-1]
    if not isinstance(info, dict) or "final_observation" not in info:
        raise check.InputError(
            f'the info of {name}.step lacks "final_observation"; put the observation before any reset there, '
            "since a truncated episode is bootstrapped from it."
        )
