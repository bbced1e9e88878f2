"""Playing n copies of an environment side by side, a stretch of steps in one scan, with episodes counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn.rl.env import Env, Step, restart
from lrn.types import Array, Key, Mean, Metrics, PyTree
from lrn.xla.packing import packing


class Live(NamedTuple):
    """n environments in the middle of their episodes, leaves [n, ...].

    state: states of the environments.
    observation: current observations, which the next actions respond to.
    episode_return: undiscounted return of the current episode so far.
    episode_length: int32, steps of the current episode so far.
    """

    state: PyTree
    observation: Array
    episode_return: Array
    episode_length: Array


class Ended(NamedTuple):
    """Sums over the episodes that ended, scalars.

    return_sum: sum of the undiscounted returns.
    length_sum: sum of the lengths in steps.
    episodes: the number of episodes.
    """

    return_sum: Array
    length_sum: Array
    episodes: Array


class Trajectory(NamedTuple):
    """A stretch of play, leaves [time, n, ...].

    observation: observations before the action.
    action: actions.
    reward: rewards.
    terminated: bool, whether the step terminated the episode.
    truncated: bool, whether a time limit cut the episode at this step.
    final_observation: observations that the actions led to, before any reset.
    extra: the second result of the function ``act`` of `unroll`.
    """

    observation: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    final_observation: Array
    extra: PyTree

    @property
    def ended(self) -> Array:
        """Whether an episode ended with this step, by termination or truncation, bool."""
        return self.terminated | self.truncated


def start(env: Env, key: Key, n: int) -> Live:
    """n environments at the start of episodes, each reset by a key of its own."""
    observation, state = jax.vmap(env.reset)(jax.random.split(key, n))
    return Live(state, observation, jnp.zeros(n), jnp.zeros(n, jnp.int32))


def _advance(step: Step, live: Live, state: PyTree, fresh: tuple[Array, PyTree]) -> tuple[Live, Ended]:
    """The environments after a step that led to ``state``, and the sums over episodes that ended with it.

    ``fresh`` holds a reset for each environment, used where the episode ended.
    """
    observation, state = jax.vmap(restart)(step, state, fresh)
    so_far = live.episode_return + step.reward
    length = live.episode_length + 1
    ended = step.ended.astype(jnp.float32)
    counted = Ended(*(jnp.stack([so_far, length, jnp.ones_like(ended)]) * ended[None]).sum(axis=1))
    return Live(state, observation, so_far * (1 - ended), jnp.where(step.ended, 0, length)), counted


def advance(env: Env, key: Key, live: Live, action: Array) -> tuple[Live, Step, Ended]:
    """One step of each environment, with actions [n, ...]; the `Step`'s leaves are [n, ...]."""
    move_keys, reset_keys = jax.random.split(key, (2, live.episode_length.shape[0]))
    state, step = jax.vmap(env.move)(move_keys, live.state, action)
    live, ended = _advance(step, live, state, jax.vmap(env.reset)(reset_keys))
    return live, step, ended


def unroll(
    env: Env,
    key: Key,
    live: Live,
    act: Callable[[Any, Array, PyTree], tuple[Array, PyTree, PyTree]],
    memory: PyTree,
    noise: PyTree,
    length: int,
    first: Array | None = None,
) -> tuple[Live, PyTree, Trajectory, Ended]:
    """Play ``length`` steps in each of n environments.

    Args:
        env: the environment.
        key: key of the environments.
        live: the environments at the start of the stretch.
        act: ``act(noise_t, observation [n, ...], memory) -> (action [n, ...], extra, memory)``. ``extra`` is
            stored in the trajectory.
        memory: memory of ``act``, such as a recurrent state; () for none.
        noise: the random numbers of ``act``, leaves [length, ...], one row per step. The caller draws them in
            one call, since on CPU a call of the generator costs more than a small network.
        length: steps in each environment.
        first: bool [n], whether an episode begins with the first step; given by agents with a memory. ``act``
            then gets ``(memory, first)`` in place of ``memory``.

    Returns:
        ``(live, memory, trajectory, ended)``: environments and memory after the stretch, the trajectory, and
        sums over the episodes that ended in it.
    """

    # Loop state and inputs are packed into few arrays: see `lrn.xla.packing`. As with the noise, the resets
    # of the whole stretch are drawn in one call, unless they take more memory than `_MOST_AHEAD`.
    move_keys, reset_keys = jax.random.split(key, (2, length, live.episode_length.shape[0]))
    ahead = length * _bytes((live.observation, live.state)) <= _MOST_AHEAD
    fresh = jax.vmap(jax.vmap(env.reset))(reset_keys) if ahead else reset_keys
    lives, resets, noises = packing(live), packing(fresh, axes=2), packing(noise)
    rows: list[Any] = []  # the packing of a step's row; set while tracing, when its shapes are known

    def body(carry: Any, x: Any) -> Any:
        packed, memory, begins, total = carry
        live = lives.unpack(packed)
        move_keys, drawn, noise_t = x
        fresh = resets.unpack(drawn)
        carried = memory if first is None else (memory, begins)
        action, extra, memory = act(noises.unpack(noise_t), live.observation, carried)
        state, step = jax.vmap(env.move)(move_keys, live.state, action)
        after, ended = _advance(step, live, state, fresh if ahead else jax.vmap(env.reset)(fresh))
        row = Trajectory(
            live.observation, action, step.reward, step.terminated, step.truncated,
            step.final_observation, extra,
        )  # fmt: skip
        rows[:] = [packing(row)]
        total = total + jnp.stack(ended)
        return (lives.pack(after), memory, begins if first is None else step.ended, total), rows[0].pack(row)

    (packed, memory, _, ended), steps = jax.lax.scan(
        body,
        (lives.pack(live), memory, first, jnp.zeros(3)),
        (move_keys, resets.pack(fresh), noises.pack(noise)),
        length=length,
    )
    return lives.unpack(packed), memory, rows[0].unpack(steps), Ended(*ended)


_MOST_AHEAD = 2**24  # the most bytes of resets that are drawn ahead for a stretch


def _bytes(tree: PyTree) -> int:
    """The size of the arrays in bytes; a key counts as one number."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def next_values(trajectory: Trajectory, values: Array, value_of: Callable[[Array], Array]) -> Array:
    """Values of the final observations of each step, [time, n]: the ``next_values`` of `lrn.rl.returns`.

    Where no episode ended, this is the value of the next observation, which is known. Where an episode
    terminated, the value is not used, and any number will do. So the network evaluates all final observations
    only if a time limit cut an episode short, else only the last ones. (Under vmap both branches run.)

    Args:
        trajectory: the stretch, from `unroll`.
        values: values of its observations, [time, n].
        value_of: a function from observations [steps, n, ...] to their values [steps, n].
    """
    final = trajectory.final_observation
    cut = trajectory.truncated & ~trajectory.terminated
    return jax.lax.cond(
        jnp.any(cut[:-1]),
        lambda: value_of(final),
        lambda: jnp.concatenate([values[1:], value_of(final[-1:])]),
    )


def episode_metrics(ended: Ended) -> Metrics:
    """Mean ``return`` and ``length`` of the episodes that ended, as metrics weighted by their number.

    Leaves of ``ended`` may have any shape; they are summed first.
    """
    total = jax.tree.map(jnp.sum, ended)
    count = jnp.maximum(total.episodes, 1.0)
    return {
        "return": Mean(total.return_sum / count, total.episodes),
        "length": Mean(total.length_sum / count, total.episodes),
    }
