"""Experience replay: a ring of transitions as arrays, written in place and sampled in O(batch) (Lin 1992).

Two rings: `Replay` holds rows of anything (`init`, `add`). `Played` holds what environments that run side by
side went through (`start`, `record`): there what a step led to is what the next one begins with, so that each
observation is stored once, in the dtype that the environment gives it. `draw`, `take` and `take_n_step` read
either.

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


def check_sizes(buffer_size: int, batch_size: int) -> None:
    """Raise InputError unless a buffer holds a batch."""
    if buffer_size < batch_size:
        raise check.InputError(
            f"buffer_size must be at least batch_size, got {buffer_size:,} and {batch_size:,}; "
            "keep more transitions, or learn from fewer at once."
        )


def init(example: PyTree, capacity: int) -> Replay:
    """An empty ring.

    Args:
        example: one row: arrays, or anything with a shape and a dtype, without the leading axis.
        capacity: rows kept; the oldest are overwritten.

    Raises:
        InputError: the capacity is no whole number from 1 to 2^30, or the example holds no array.
    """
    check.integer("capacity", capacity, 1)
    if capacity > 2**30:  # so that a sum of two rows is an int32
        raise check.InputError(f"capacity must be at most 2^30, got {capacity}; keep fewer rows.")
    if not jax.tree.leaves(example):
        raise check.InputError("the example of a replay holds no array; give one transition, unbatched.")

    def empty(leaf: Any) -> Array:
        leaf = leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
        return jnp.zeros((capacity, *leaf.shape), leaf.dtype)

    return Replay(jax.tree.map(empty, example), jnp.int32(0), jnp.int32(0))


def add(replay: Replay, batch: PyTree) -> Replay:
    """Write the rows ``batch``, leaves [n, ...] from old to new, over the oldest; n need divide nothing.

    Raises:
        InputError: the batch has another structure, shapes or dtypes than the ring, or more rows than it.
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


class Row(NamedTuple):
    """A step in a `Played`: a `Transition` that names the places of its two observations, int32."""

    place: Array
    final_place: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array


class Played(NamedTuple):
    """A ring of steps played by n environments side by side: a row for each environment, step after step.

    Observations stand in a ring of their own, in the order in which they were seen: what every step led to,
    and after the end of an episode also what the next one began with. Where that ring is full its oldest
    observations go, and the rows that need them: a row that can be drawn has both of its observations.

    rows: of `Row`s. seen: [places, ...], the observations.
    here: int32 [n], the places of the observations that the next actions answer.
    oldest: the place of the oldest observation, which is that of the oldest row. used: places from there on.
    """

    rows: Replay
    seen: Array
    here: Array
    oldest: Array
    used: Array

    @property
    def capacity(self) -> int:
        """The most rows there are."""
        return self.rows.capacity

    @property
    def position(self) -> Array:
        """The row that is written next."""
        return self.rows.position

    @property
    def filled(self) -> Array:
        """How many rows hold data, the newest that were written."""
        return self.rows.filled


def start(observation: Array, action: Any, capacity: int, at_once: int) -> Played:
    """An empty ring for environments that begin with these observations.

    There is room for an eighth more observations than rows, for the ends of episodes (in rings of up to 1,024
    rows, for twice as many). So where episodes last less than eight steps on average, a larger ring keeps
    fewer rows than ``capacity``: a little over half of them where each step is an episode.

    Args:
        observation: [n, ...], what the n environments show now.
        action: an action of one of them: an array, or anything with a shape and a dtype.
        capacity: rows kept at most, the newest.
        at_once: rows that one `record` brings, a multiple of n.

    Raises:
        InputError: the capacity is no whole number above 0, or below ``at_once``.
    """
    n = observation.shape[0]
    check.integer("at_once", at_once, n)
    check.integer("capacity", capacity, at_once)
    no = jnp.array(False)
    rows = init(Row(jnp.int32(0), jnp.int32(0), action, jnp.float32(0), no, no), capacity)
    # Two for every row of one `record` and for every environment: then what is new always has its place.
    places = capacity + 2 * n + max(capacity // 8, min(capacity, 1024), at_once)
    seen = jnp.zeros((places, *observation.shape[1:]), observation.dtype).at[:n].set(observation)
    return Played(rows, seen, jnp.arange(n), jnp.int32(0), jnp.int32(n))


def record(played: Played, fresh: Transition, observation: Array) -> Played:
    """Write steps of the environments over the oldest.

    Args:
        played: the ring.
        fresh: what was played since the last time: leaves [time * n, ...], step after step.
        observation: [n, ...], what the environments show now.

    Raises:
        InputError: leaves of other shapes or dtypes than the ring's, or more rows than it has room for.
    """
    n, places = played.here.shape[0], played.seen.shape[0]
    steps = _check_steps(played, fresh, observation)
    # What each step led to has the next place, what a new episode began with the place after.
    ended = (fresh.terminated | fresh.truncated).astype(jnp.int32)
    taken = jnp.cumsum(1 + ended)
    final = (played.oldest + played.used + taken - 1 - ended) % places
    after = (final + ended) % places
    place = jnp.concatenate([played.here, after])[: steps * n]
    rows = add(
        played.rows,
        Row(place, final, fresh.action, fresh.reward, fresh.terminated, fresh.truncated),
    )
    begun = jnp.concatenate([fresh.observation, observation])[n:]
    nowhere = places + jnp.arange(steps * n)  # where no episode ended there is no other observation
    seen = played.seen.at[jnp.concatenate([final, jnp.where(ended == 1, after, nowhere)])].set(
        jnp.concatenate([fresh.final_observation, begun]), unique_indices=True, mode="drop"
    )
    # Rows give way by n, until those that are left have their observations. Each has at least one to itself,
    # and this needed two a row at most.
    given_up = n * jnp.arange(2 * steps + 1)
    first = (rows.position - rows.filled + given_up) % played.capacity
    freed = (_get(rows.data.place, first) - played.oldest) % places
    used = played.used + taken[-1] - freed
    at = jnp.argmax(used <= places)
    return Played(
        rows._replace(filled=rows.filled - given_up[at]),
        seen,
        after[-n:],
        (played.oldest + freed[at]) % places,
        used[at],
    )


def draw(
    key: Key, replay: Replay | Played, shape: tuple[int, ...], window: int = 1, stride: int = 1
) -> Array:
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
    oldest = (replay.position - replay.filled) % replay.capacity
    if window == 1:
        # Where all rows hold data, where the oldest is makes no difference.
        begin = jnp.where(replay.filled == replay.capacity, 0, oldest)
        rows = begin + jax.random.randint(key, shape, 0, jnp.maximum(replay.filled, 1))
        return rows % replay.capacity
    if replay.capacity % stride or window * stride > replay.capacity:
        raise check.InputError(
            f"a replay of {replay.capacity} rows cannot give windows of {window} steps of {stride} "
            f"environments; choose a capacity that is a multiple of {stride} and at least {window * stride}."
        )
    starts = jnp.maximum(replay.filled - (window - 1) * stride, 1)  # whose window is written to its end
    first = oldest + jax.random.randint(key, shape, 0, starts)
    ahead = jnp.expand_dims(stride * jnp.arange(window), tuple(range(len(shape))))
    return (first[..., None] + ahead) % replay.capacity


def take(replay: Replay | Played, rows: Array) -> PyTree:
    """The given rows: leaves [*rows.shape, ...]; of a `Played` a `Transition`."""
    if isinstance(replay, Replay):
        return jax.tree.map(lambda ring: _get(ring, rows), replay.data)
    row: Row = take(replay.rows, rows)
    observation, final = _get(replay.seen, row.place), _get(replay.seen, row.final_place)
    return Transition(observation, row.action, row.reward, row.terminated, row.truncated, final)


def sample(key: Key, replay: Replay | Played, batch_size: int) -> PyTree:
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
    replay: Replay | Played,
    windows: Array,
    discount: Any,
    reward: Callable[[Transition], Array] | None = None,
) -> tuple[Transition, Array]:
    """n-step transitions of a ring of `Transition`s.

    Args:
        replay: a `Played`, or a `Replay` whose data is a `Transition`.
        windows: int [batch, window], from `draw` (with a last axis of 1 for one step).
        discount: a scalar, per step.
        reward: ``reward(rows) -> [batch * window]``, for other rewards than those stored; adds a bonus, say.

    Returns:
        (transition, weight), leaves [batch, ...]: ``reward`` is the n-step return, ``final_observation`` what
        to bootstrap from, and ``weight`` what its value counts, 0 where terminated.
    """
    data = replay.data if isinstance(replay, Replay) else replay.rows.data
    if reward is None:
        rewards = _get(data.reward, windows)
    else:
        rewards = reward(take(replay, windows.reshape(-1))).reshape(windows.shape)
    terminated, truncated = _get(data.terminated, windows), _get(data.truncated, windows)
    steps = n_step(rewards, terminated, truncated, discount)

    def at_last(x: Array) -> Array:
        return jnp.take_along_axis(x, steps.last[:, None], 1)[:, 0]

    # Observations are large, and only those at the two ends of a window are read.
    first, last = windows[:, 0], at_last(windows)
    if isinstance(data, Transition):
        observation, final = _get(data.observation, first), _get(data.final_observation, last)
    else:
        seen = replay.seen  # pyright: ignore[reportAttributeAccessIssue]
        observation, final = _get(seen, _get(data.place, first)), _get(seen, _get(data.final_place, last))
    transition = Transition(
        observation=observation,
        action=_get(data.action, first),
        reward=steps.return_,
        terminated=at_last(terminated),
        truncated=at_last(truncated),
        final_observation=final,
    )
    return transition, steps.discount


def _get(ring: Array, rows: Array) -> Array:
    return ring.at[rows].get(mode="promise_in_bounds")


def _check_steps(played: Played, fresh: Transition, observation: Array) -> int:
    """How many steps each environment took."""
    n, m = played.here.shape[0], jnp.shape(fresh.reward)[0]
    if m % n or not 0 < 2 * (m + n) <= played.seen.shape[0]:
        raise check.InputError(
            f"{m} rows are no whole number of steps of {n} environments for which a ring of "
            f"{played.capacity} was made; give rows like `at_once` of `start`."
        )
    for x, rows in ((fresh.observation, m), (fresh.final_observation, m), (observation, n)):
        if (x.shape, x.dtype) != ((rows, *played.seen.shape[1:]), played.seen.dtype):
            raise check.InputError(
                f"observations {x.dtype}{list(x.shape)} do not fit a ring of observations {played.seen.dtype}"
                f"{list(played.seen.shape[1:])}; give {[rows, *played.seen.shape[1:]]} of that dtype."
            )
    return m // n


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
        if jnp.result_type(ring, new) != ring.dtype:  # such as 0.5 into a ring of integers: it would be 0
            raise check.InputError(
                f"a batch holds rows of {jnp.result_type(new)} for a replay of {ring.dtype}, which cannot "
                "hold them; give rows like the example."
            )
    ((count,),) = n
    if count > replay.capacity:
        raise check.InputError(
            f"{count} rows do not fit a replay of {replay.capacity}; enlarge it, or add fewer at once."
        )
    return count
