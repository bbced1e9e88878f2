"""Playing environments: n copies at once, their episodes counted, whole stretches by one scan."""

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
    """n environments in the middle of their episodes; all leaves have a leading axis [n].

    episode_return, episode_length: of the running episode until now.
    """

    state: PyTree
    observation: Array
    episode_return: Array
    episode_length: Array


class Ended(NamedTuple):
    """Episodes that ended: sums of their returns and lengths, and how many."""

    return_sum: Array
    length_sum: Array
    episodes: Array


class Trajectory(NamedTuple):
    """A stretch of play, leaves [time, n, ...].

    observation: before the action. final_observation: what the action led to, before any reset.
    extra: whatever the acting function returned beside the action.
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
        """Whether an episode ended with this step, either way."""
        return self.terminated | self.truncated


def start(env: Env, key: Key, n: int) -> Live:
    """Reset n environments."""
    observation, state = jax.vmap(env.reset)(jax.random.split(key, n))
    return Live(state, observation, jnp.zeros(n), jnp.zeros(n, jnp.int32))


def _advance(step: Step, live: Live, state: PyTree, fresh: tuple[Array, PyTree]) -> tuple[Live, Ended]:
    """What is live after a step that led to ``state``, given a reset for each environment."""
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
        key: drives the environments.
        live: where they stand.
        act: ``act(noise_t, observation [n, ...], memory) -> (action [n, ...], extra, memory)``.
        memory: what the acting carries along, such as a recurrent state; () for nothing.
        noise: leaves [length, ...], one row a step: all the random numbers of the acting, drawn by the
            caller in one go, since on CPU a call of the generator costs more than a small network.
        length: steps in each environment.
        first: [n], whether an episode begins; given by agents with a memory. Then ``act`` gets
            ``(memory, first)`` for memory.

    Returns:
        The environments after, the memory after, the trajectory, and what ended in it.
    """

    # All of them packed: see `lrn.xla.packing`. The resets of the whole stretch are drawn at once, for the
    # same reason as the noise; unless they are so large that holding them is what costs.
    move_keys, reset_keys = jax.random.split(key, (2, length, live.episode_length.shape[0]))
    ahead = length * _bytes((live.observation, live.state)) <= _MOST_AHEAD
    fresh = jax.vmap(jax.vmap(env.reset))(reset_keys) if ahead else reset_keys
    lives, resets, noises = packing(live), packing(fresh, axes=2), packing(noise)
    rows: list[Any] = []  # the packing of what a step leaves, once its shapes are known

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


_MOST_AHEAD = 2**24  # bytes of resets that a stretch holds


def _bytes(tree: PyTree) -> int:
    """How much the arrays hold; a key counts as one number."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def next_values(trajectory: Trajectory, values: Array, value_of: Callable[[Array], Array]) -> Array:
    """Values of what the actions led to [time, n], as `lrn.rl.returns` wants them.

    Where no episode ended that is the value of the next observation, which is known; where one terminated
    nothing follows, and any number will do. So the final observations are looked at only if an episode was
    cut short. (Lanes of a vmap take both branches.)

    Args:
        trajectory: from `unroll`.
        values: of its observations, [time, n].
        value_of: from observations [some, n, ...] to their values [some, n].
    """
    final = trajectory.final_observation
    cut = trajectory.truncated & ~trajectory.terminated
    return jax.lax.cond(
        jnp.any(cut[:-1]),
        lambda: value_of(final),
        lambda: jnp.concatenate([values[1:], value_of(final[-1:])]),
    )


def episode_metrics(ended: Ended) -> Metrics:
    """Mean return and length of the episodes that ended, as metrics; leaves of any shape are summed."""
    total = jax.tree.map(jnp.sum, ended)
    count = jnp.maximum(total.episodes, 1.0)
    return {
        "return": Mean(total.return_sum / count, total.episodes),
        "length": Mean(total.length_sum / count, total.episodes),
    }
