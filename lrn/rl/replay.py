"""Experience replay: a ring of transitions as arrays, written in place and sampled in O(batch) (Lin 1992).

Inside a loop XLA aliases the ring with itself, so that a step costs the rows it writes and reads, whatever
the capacity. A `jax.lax.cond` or `jnp.where` whose result is a ring undoes that and copies the ring at every
step. So write at every step, then sample, and mask the update that follows instead of skipping it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.types import Array, Key, PyTree


class Transition(NamedTuple):
    """One step of an environment, or arrays of them.

    final_observation: what the action led to, before any reset; a target bootstraps from it, unless
        ``terminated``.
    """

    observation: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    final_observation: Array


class Replay(NamedTuple):
    """A ring of rows.

    data: leaves [capacity, ...]. position: the row that is written next. filled: how many rows hold data.
    """

    data: PyTree
    position: Array
    filled: Array

    @property
    def capacity(self) -> int:
        """How many rows there are."""
        return jax.tree.leaves(self.data)[0].shape[0]


def init(example: PyTree, capacity: int) -> Replay:
    """An empty ring.

    Args:
        example: one row: arrays, or anything with a shape and a dtype, without the leading axis.
        capacity: rows kept; the oldest are overwritten.

    Raises:
        InputError: the capacity is no whole number above 0, or the example holds no array.
    """
    check.integer("capacity", capacity, 1)
    if not jax.tree.leaves(example):
        raise check.InputError("the example of a replay holds no array; give one transition, unbatched.")

    def empty(leaf: Any) -> Array:
        leaf = leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
        return jnp.zeros((capacity, *leaf.shape), leaf.dtype)

    return Replay(jax.tree.map(empty, example), jnp.int32(0), jnp.int32(0))


def add(replay: Replay, batch: PyTree) -> Replay:
    """Write the rows ``batch``, leaves [n, ...] from old to new, over the oldest; n need divide nothing.

    Raises:
        InputError: the batch has another structure or other shapes than the ring, or more rows than it.
    """
    n = _check_rows(replay, batch)
    rows = (replay.position + jnp.arange(n)) % replay.capacity
    # A scatter of n rows costs on CPU what one dynamic_update_slice does (which under vmap is a scatter
    # itself), and wraps around at the end where a slice would silently be moved.
    if n == 1:
        # XLA makes a slice of a scatter of one row, and merges it into the reads that follow, which then need
        # the ring as it was: two copies of all of it. So there is a second row, which goes nowhere.
        rows = jnp.concatenate([rows, jnp.full(1, replay.capacity)])
        batch = jax.tree.map(lambda x: jnp.concatenate([x, x]), batch)
    data = jax.tree.map(
        lambda ring, new: ring.at[rows].set(new, unique_indices=True, mode="drop"), replay.data, batch
    )
    position = (replay.position + n) % replay.capacity
    return Replay(data, position, jnp.minimum(replay.filled + n, replay.capacity))


def draw(key: Key, replay: Replay, shape: tuple[int, ...], window: int = 1, stride: int = 1) -> Array:
    """Draw rows uniformly, with replacement: int [*shape], or [*shape, window] of consecutive steps.

    Draw the rows of several updates at once (``shape = (updates, batch)``): random bits are dear on CPU.

    Args:
        key: of the draw.
        replay: a ring that holds at least ``window * stride`` rows. With fewer the rows mean nothing (an
            empty ring gives row 0, all zeros); nothing is raised, so mask what is computed from them.
        shape: of the draw.
        window: how many consecutive steps of one environment to give for each draw, oldest first. Without one
            (1) the last axis is left out.
        stride: rows between two steps of one environment: how many environments write side by side, each step
            being one row for each.

    Raises:
        InputError: the window is longer than the ring, or the stride does not divide its capacity.
    """
    check.integer("window", window, 1)
    check.integer("stride", stride, 1)
    if window == 1:
        return jax.random.randint(key, shape, 0, jnp.maximum(replay.filled, 1))
    if replay.capacity % stride or window * stride > replay.capacity:
        raise check.InputError(
            f"a replay of {replay.capacity} rows cannot give windows of {window} steps of {stride} "
            f"environments; choose a capacity that is a multiple of {stride} and at least {window * stride}."
        )
    starts = jnp.maximum(replay.filled - (window - 1) * stride, 1)  # whose window is written to its end
    oldest = jnp.where(replay.filled == replay.capacity, replay.position, 0)
    first = oldest + jax.random.randint(key, shape, 0, starts)
    ahead = jnp.expand_dims(stride * jnp.arange(window), tuple(range(len(shape))))
    return (first[..., None] + ahead) % replay.capacity


def take(replay: Replay, rows: Array) -> PyTree:
    """The given rows: leaves [*rows.shape, ...]."""
    return jax.tree.map(lambda ring: _get(ring, rows), replay.data)


def sample(key: Key, replay: Replay, batch_size: int) -> PyTree:
    """Rows drawn uniformly, with replacement: leaves [batch_size, ...]. Costs O(batch_size).

    Raises:
        InputError: the batch size is no whole number above 0.
    """
    check.integer("batch_size", batch_size, 1)
    return take(replay, draw(key, replay, (batch_size,)))


class NStep(NamedTuple):
    """The first n rewards of a window, and what comes after them.

    return_: discounted sum of the rewards up to the end of the window or of the episode.
    discount: the weight of the value that follows: discount ** (rewards summed), 0 when terminated.
    last: position in the window of the last reward summed; its row holds the ``final_observation``.
    """

    return_: Array
    discount: Array
    last: Array


def n_step(reward: Array, terminated: Array, truncated: Array, discount: Any) -> NStep:
    """n-step returns within windows [..., window], right across the ends of episodes (Sutton and Barto, 7.1).

    A window stops at the first step at which the episode ended: after it come steps of another episode. It
    bootstraps from what that step led to, unless the episode terminated there.

    Args:
        reward: [..., window].
        terminated: bool [..., window].
        truncated: bool [..., window].
        discount: a scalar, per step.

    Returns:
        Leaves [...].
    """
    ended = terminated | truncated
    before = jnp.cumsum(ended, -1) - ended  # ends strictly before each step
    alive = before == 0
    powers = discount ** jnp.arange(reward.shape[-1], dtype=jnp.float32)
    return_ = jnp.sum(
        jnp.where(alive, reward, 0.0) * jnp.expand_dims(powers, tuple(range(reward.ndim - 1))), -1
    )
    count = jnp.sum(alive, -1)
    died = jnp.any(terminated & alive, -1)
    return NStep(return_, jnp.where(died, 0.0, discount * powers[count - 1]), count - 1)


def take_n_step(
    replay: Replay,
    windows: Array,
    discount: Any,
    reward: Callable[[Transition], Array] | None = None,
) -> tuple[Transition, Array]:
    """n-step transitions of a ring of `Transition`.

    Args:
        replay: its data is a `Transition`.
        windows: int [batch, window], from `draw` (with a last axis of 1 for one step).
        discount: a scalar, per step.
        reward: ``reward(rows) -> [batch * window]``, for other rewards than those stored; adds a bonus, say.

    Returns:
        (transition, weight), leaves [batch, ...]: ``reward`` is the n-step return, ``final_observation`` what
        to bootstrap from, and ``weight`` what its value counts, 0 where terminated.
    """
    data: Transition = replay.data
    if reward is None:
        rewards = _get(data.reward, windows)
    else:
        rewards = reward(take(replay, windows.reshape(-1))).reshape(windows.shape)
    terminated, truncated = _get(data.terminated, windows), _get(data.truncated, windows)
    steps = n_step(rewards, terminated, truncated, discount)

    def at_last(x: Array) -> Array:
        return jnp.take_along_axis(x, steps.last[:, None], 1)[:, 0]

    # Observations are large, and only those at the two ends of a window are read.
    transition = Transition(
        observation=_get(data.observation, windows[:, 0]),
        action=_get(data.action, windows[:, 0]),
        reward=steps.return_,
        terminated=at_last(terminated),
        truncated=at_last(truncated),
        final_observation=_get(data.final_observation, at_last(windows)),
    )
    return transition, steps.discount


def _get(ring: Array, rows: Array) -> Array:
    return ring.at[rows].get(mode="promise_in_bounds")


def _check_rows(replay: Replay, batch: PyTree) -> int:
    if jax.tree.structure(batch) != jax.tree.structure(replay.data):
        raise check.InputError(
            f"a batch of structure {jax.tree.structure(batch)} does not fit a replay of "
            f"{jax.tree.structure(replay.data)}; give rows like the example."
        )
    n = {jnp.shape(x)[:1] for x in jax.tree.leaves(batch)}
    if len(n) != 1 or n == {()} or n == {(0,)}:
        raise check.InputError(
            f"the leaves of a batch must share their number of rows, got {sorted(n)}; give leaves [n, ...]."
        )
    for ring, new in zip(jax.tree.leaves(replay.data), jax.tree.leaves(batch)):
        if ring.shape[1:] != jnp.shape(new)[1:]:
            raise check.InputError(
                f"a batch holds rows of shape {list(jnp.shape(new)[1:])} for a replay of rows "
                f"{list(ring.shape[1:])}; give rows like the example."
            )
    ((count,),) = n
    if count > replay.capacity:
        raise check.InputError(
            f"{count} rows do not fit a replay of {replay.capacity}; enlarge it, or add fewer at once."
        )
    return count
