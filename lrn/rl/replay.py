"""Experience replay: a ring of transitions as arrays, written in place and sampled in O(batch) (Lin 1992).

There are two kinds of rings:

- `Replay` holds rows of any structure. `init` makes one, `add` writes to it.
- `Played` holds steps of environments that run side by side. `start` makes one, `record` writes to it. The
  observation that ends one step begins the next step, so a `Played` stores each observation once, in the
  environment's own dtype.

`draw`, `take` and `take_n_step` read both kinds.

Inside a loop XLA updates the ring in place, so the cost of a step depends on the rows it writes and reads and
not on the capacity. A `jax.lax.cond` or `jnp.where` whose result is a ring makes XLA copy the ring at every
step. Therefore write at every step, then sample, and mask the update that follows instead of skipping it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.types import Array, Key, PyTree


class Transition(NamedTuple):
    """One step of an environment, or a batch of steps with leaves [batch, ...].

    observation: the observation before the action.
    action: the action taken.
    reward: the reward paid for it.
    terminated: bool; the task ended, so the value of what follows is zero.
    truncated: bool; a time limit cut the episode.
    final_observation: the observation that the action led to, before any reset. A target bootstraps from it
        unless ``terminated``.
    """

    observation: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    final_observation: Array


class Replay(NamedTuple):
    """A ring of rows.

    data: the rows, leaves [capacity, ...].
    position: int32, the index of the row that is written next.
    filled: int32, the number of rows that hold data.
    """

    data: PyTree
    position: Array
    filled: Array

    @property
    def capacity(self) -> int:
        """The number of rows of the ring, filled or not."""
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
        capacity: the largest number of rows that the ring keeps; new rows overwrite the oldest.

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
    """Write rows over the oldest rows of the ring.

    Args:
        replay: the ring.
        batch: the rows, leaves [n, ...] from old to new. n need not divide the capacity.

    Raises:
        InputError: structure, shapes or dtypes of the batch differ from the ring's, or the batch has more
            rows than the ring.
    """
    n = _check_rows(replay, batch)
    rows = (replay.position + jnp.arange(n)) % replay.capacity
    # On CPU a scatter of n rows costs as much as one dynamic_update_slice, which vmap turns into a scatter
    # anyway. A scatter also wraps around at the end of the ring; XLA would silently shift a slice.
    if n == 1:
        # XLA turns a scatter of one row into a slice update and fuses it with the reads that follow. These
        # need the old ring, so XLA makes two copies of it. A second row, written out of bounds and dropped,
        # prevents that.
        rows = jnp.concatenate([rows, jnp.full(1, replay.capacity)])
        batch = jax.tree.map(lambda x: jnp.concatenate([x, x]), batch)
    data = jax.tree.map(
        lambda ring, new: ring.at[rows].set(new, unique_indices=True, mode="drop"), replay.data, batch
    )
    position = (replay.position + n) % replay.capacity
    return Replay(data, position, jnp.minimum(replay.filled + n, replay.capacity))


class Row(NamedTuple):
    """A step in a `Played`: a `Transition` with the places of its two observations instead of them.

    place: int32, the place of the observation before the action.
    final_place: int32, the place of the observation that the action led to.
    action, reward, terminated, truncated: as in `Transition`.
    """

    place: Array
    final_place: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array


class Played(NamedTuple):
    """A ring of steps played by n environments side by side: n rows for each step, one per environment.

    Observations have a ring of their own, in the order in which they were seen: the observation that each
    step led to and, after the end of an episode, the first observation of the next episode. When this ring
    is full, the oldest observations are dropped together with the rows that need them. So every row that can
    be drawn has both of its observations.

    rows: a ring of `Row`s.
    seen: the observations, [places, ...].
    here: int32 [n], the places of the observations that the next actions respond to.
    oldest: int32, the place of the oldest observation, which belongs to the oldest row.
    used: int32, the number of places in use, counted from ``oldest``.
    """

    rows: Replay
    seen: Array
    here: Array
    oldest: Array
    used: Array

    @property
    def capacity(self) -> int:
        """The largest number of rows that the ring holds."""
        return self.rows.capacity

    @property
    def position(self) -> Array:
        """The index of the row that is written next, int32."""
        return self.rows.position

    @property
    def filled(self) -> Array:
        """The number of rows that hold data, int32: the newest rows that were written."""
        return self.rows.filled


def start(observation: Array, action: Any, capacity: int, at_once: int) -> Played:
    """An empty ring for environments that begin with the given observations.

    The ring has room for an eighth more observations than rows, because each end of an episode takes one more
    observation (rings of up to 1,024 rows have room for twice as many observations as rows). A larger ring
    keeps fewer rows than ``capacity`` when episodes last less than eight steps on average: a little over half
    of them when every step ends an episode.

    Args:
        observation: current observations of the n environments, [n, ...].
        action: an example of one action: an array, or anything with a shape and a dtype.
        capacity: the largest number of rows that the ring keeps; it keeps the newest.
        at_once: the number of rows that one `record` writes, a multiple of n.

    Raises:
        InputError: the capacity is no whole number above 0, or below ``at_once``.
    """
    n = observation.shape[0]
    check.integer("at_once", at_once, n)
    check.integer("capacity", capacity, at_once)
    no = jnp.array(False)
    rows = init(Row(jnp.int32(0), jnp.int32(0), action, jnp.float32(0), no, no), capacity)
    # Two places for every row of one `record` and for every environment: new observations always fit.
    places = capacity + 2 * n + max(capacity // 8, min(capacity, 1024), at_once)
    seen = jnp.zeros((places, *observation.shape[1:]), observation.dtype).at[:n].set(observation)
    return Played(rows, seen, jnp.arange(n), jnp.int32(0), jnp.int32(n))


def record(played: Played, fresh: Transition, observation: Array) -> Played:
    """Write new steps of the environments over the oldest steps.

    Args:
        played: the ring.
        fresh: the steps played since the last call, leaves [time * n, ...], step after step.
        observation: current observations of the n environments, [n, ...].

    Raises:
        InputError: shapes or dtypes of the steps differ from the ring's, or the steps have more rows than the
            ring has room for.
    """
    n, places = played.here.shape[0], played.seen.shape[0]
    steps = _check_steps(played, fresh, observation)
    # The observation that a step led to takes the next place; the first one of a new episode the place after.
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
    nowhere = places + jnp.arange(steps * n)  # out of bounds, so dropped: no new episode began
    seen = played.seen.at[jnp.concatenate([final, jnp.where(ended == 1, after, nowhere)])].set(
        jnp.concatenate([fresh.final_observation, begun]), unique_indices=True, mode="drop"
    )
    # Drop the oldest rows, n at a time, until the observations fit. Each dropped row frees at least one
    # place, and each new row took at most two, so 2 * steps drops suffice.
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
    """Draw indices of rows uniformly, with replacement.

    Draw the rows of several updates in one call (``shape = (updates, batch)``): random bits are expensive on
    CPU.

    Args:
        key: key of the draw.
        replay: a ring that holds at least ``window * stride`` rows. With fewer rows the indices are
            meaningless (an empty ring gives row 0, all zeros) and nothing is raised, so mask whatever is
            computed from them.
        shape: shape of the draw.
        window: number of consecutive steps of one environment to draw each time, oldest first.
        stride: number of rows between two steps of one environment, that is the number of environments that
            write side by side.

    Returns:
        int32 [*shape] for a window of 1, else [*shape, window].

    Raises:
        InputError: the window is longer than the ring, or the stride does not divide the capacity.
    """
    check.integer("window", window, 1)
    check.integer("stride", stride, 1)
    oldest = (replay.position - replay.filled) % replay.capacity
    if window == 1:
        # In a full ring every row may be drawn, whichever is the oldest.
        begin = jnp.where(replay.filled == replay.capacity, 0, oldest)
        rows = begin + jax.random.randint(key, shape, 0, jnp.maximum(replay.filled, 1))
        return rows % replay.capacity
    if replay.capacity % stride or window * stride > replay.capacity:
        raise check.InputError(
            f"a replay of {replay.capacity} rows cannot give windows of {window} steps of {stride} "
            f"environments; choose a capacity that is a multiple of {stride} and at least {window * stride}."
        )
    starts = jnp.maximum(replay.filled - (window - 1) * stride, 1)  # rows whose whole window holds data
    first = oldest + jax.random.randint(key, shape, 0, starts)
    ahead = jnp.expand_dims(stride * jnp.arange(window), tuple(range(len(shape))))
    return (first[..., None] + ahead) % replay.capacity


def take(replay: Replay | Played, rows: Array) -> PyTree:
    """The rows with the given indices, leaves [*rows.shape, ...]; those of a `Played` are a `Transition`."""
    if isinstance(replay, Replay):
        return jax.tree.map(lambda ring: _get(ring, rows), replay.data)
    row: Row = take(replay.rows, rows)
    observation, final = _get(replay.seen, row.place), _get(replay.seen, row.final_place)
    return Transition(observation, row.action, row.reward, row.terminated, row.truncated, final)


def sample(key: Key, replay: Replay | Played, batch_size: int) -> PyTree:
    """Rows drawn uniformly, with replacement, leaves [batch_size, ...], in O(batch_size).

    Raises:
        InputError: the batch size is no whole number above 0.
    """
    check.integer("batch_size", batch_size, 1)
    return take(replay, draw(key, replay, (batch_size,)))


class NStep(NamedTuple):
    """The n-step return of a window, and how to bootstrap from it; leaves [...].

    return_: discounted sum of the rewards up to the end of the window or of the episode.
    discount: weight of the value of what follows: ``discount ** (number of rewards summed)``, 0 where the
        episode terminated.
    last: int, position in the window of the last reward summed; the row there holds the
        ``final_observation`` to bootstrap from.
    """

    return_: Array
    discount: Array
    last: Array


def n_step(reward: Array, terminated: Array, truncated: Array, discount: Any) -> NStep:
    """n-step returns of windows that may span several episodes (Sutton and Barto 2018, eq. 7.1).

    The return of a window sums rewards up to the first step that ended an episode, since the steps after it
    belong to another episode. It bootstraps from the observation that this step led to, unless the episode
    terminated there.

    Args:
        reward: rewards of consecutive steps, [..., window].
        terminated: whether each step terminated its episode, bool [..., window].
        truncated: whether a time limit cut the episode at each step, bool [..., window].
        discount: scalar, per step.

    Returns:
        The returns, leaves [...].
    """
    ended = terminated | truncated
    before = jnp.cumsum(ended, -1) - ended  # the number of ends strictly before each step
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
        windows: indices of rows from `draw`, int [batch, window]; the last axis is 1 for one-step returns.
        discount: scalar, per step.
        reward: ``reward(rows) -> [batch * window]`` computes other rewards than those stored, for example
            with a bonus. ``rows`` is a `Transition` with leaves [batch * window, ...].

    Returns:
        ``(transition, weight)`` with leaves [batch, ...]. The transition's ``reward`` is the n-step return,
        and its ``final_observation`` is the one to bootstrap from. ``weight`` multiplies the value of that
        observation; it is 0 where the episode terminated.
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

    # Observations are large, so only those at the two ends of a window are read.
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
    """The number of steps that each environment took."""
    n, m = played.here.shape[0], jnp.shape(fresh.reward)[0]
    if m % n or not 0 < 2 * (m + n) <= played.seen.shape[0]:
        raise check.InputError(
            f"{m} rows are no whole number of steps of {n} environments for which a ring of "
            f"{played.capacity} rows was made; give as many rows as `at_once` of `start`."
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
        if jnp.result_type(ring, new) != ring.dtype:  # a ring of integers would store 0.5 as 0
            raise check.InputError(
                f"a batch holds rows of {jnp.result_type(new)} for a replay of {ring.dtype}, which cannot "
                "hold them; give rows like the example."
            )
    ((count,),) = n
    if count > replay.capacity:
        raise check.InputError(
            f"{count} rows do not fit a replay of {replay.capacity} rows; "
            "enlarge it, or add fewer rows at once."
        )
    return count
