"""The loop over steps of one lane, and the means of its metrics over windows of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn.types import Array, Mean, Metrics, State

# The most windows of metrics that one call can return. The number is a constant and does not depend on the
# chunk's length, so chunks of all lengths use the same program and give the same bits.
WINDOWS = 1024


class Carry(NamedTuple):
    """The values that one lane carries from step to step; the keys of the dicts are names of metrics.

    state: the learner's state.
    mean: the running mean of the window that is not full yet.
    weight: the sum of the weights in that window.
    bad: the number of steps after which the metric was first not finite; -1 if it was always finite.
    infinite: for each array of floats in the state, whether it had an infinity before the first step.
    """

    state: State
    mean: dict[str, Array]
    weight: dict[str, Array]
    bad: dict[str, Array]
    infinite: Array


class Windows(NamedTuple):
    """What `advance` reports for one lane; the keys of the dicts are names of metrics.

    mean, weight: the means and the weights of the windows, [WINDOWS]; the first window is the one that has
        the first step of the call.
    bad: see `Carry`.
    finite: whether the state is finite, see `_sound`.
    """

    mean: dict[str, Array]
    weight: dict[str, Array]
    bad: dict[str, Array]
    finite: Array


def first_carry(state: State, metrics: Sequence[str]) -> Carry:
    """The carry before the first step.

    Args:
        state: the learner's first state.
        metrics: the names of the step's metrics.
    """
    return Carry(
        state,
        {k: jnp.zeros((), jnp.float32) for k in metrics},
        {k: jnp.zeros((), jnp.float32) for k in metrics},
        {k: jnp.int32(-1) for k in metrics},
        jnp.array([jnp.isinf(x).any() for x in _floats(state)], bool),
    )


def advance(
    step_of: Callable[[Array, State], tuple[State, Metrics]],
    carry: Carry,
    start: Array,
    stop: Array,
    every: Array,
    in_order: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> tuple[Carry, Windows]:
    """Do the steps [start, stop) of one lane; metrics are averaged over windows of ``every`` steps.

    Args:
        step_of: ``step_of(step, state) -> (state, metrics)``.
        carry: the carry after ``start`` steps.
        start, stop, every: int32 scalars; the windows that [start, stop) touches are at most `WINDOWS`.
        in_order: applied to the body of the loop.
    """
    names, first = list(carry.mean), jax.lax.div(start, every)

    # The loop keeps all metrics in one row: a kernel for each would cost as much as a small network.
    def row_of(values: Mapping[str, Array]) -> Array:
        return jnp.stack([values[name] for name in names])

    def named(rows: Array) -> dict[str, Array]:
        return {name: rows[..., i] for i, name in enumerate(names)}

    def body(step: Array, loop: Any) -> Any:
        state, mean, count, bad, means, counts = loop
        state, metrics = step_of(step, state)
        pairs = {k: m if isinstance(m, Mean) else (m, 1.0) for k, m in metrics.items()}
        value, weight = (
            row_of({k: jnp.asarray(pair[i], jnp.float32) for k, pair in pairs.items()}) for i in range(2)
        )
        fresh = jax.lax.rem(step, every) == 0
        old = jnp.where(fresh, 0.0, mean)
        count = jnp.where(fresh, 0.0, count) + weight
        # The loop keeps a running mean, because a float32 sum over a long window loses digits.
        share = weight / jnp.maximum(count, 1e-30)
        mean = jnp.where(weight > 0, old + (value - old) * share, old)
        bad = jnp.where((weight > 0) & ~jnp.isfinite(value) & (bad < 0), step + 1, bad)
        row = jax.lax.div(step, every) - first
        return state, mean, count, bad, means.at[row].set(mean), counts.at[row].set(count)

    if not names:
        loop = lambda step, state: step_of(step, state)[0]  # noqa: E731
        state = jax.lax.fori_loop(start, stop, in_order(loop), carry.state)
        return carry._replace(state=state), Windows({}, {}, {}, _sound(state, carry.infinite))
    empty = jnp.zeros((WINDOWS, len(names)), jnp.float32)
    begin = (carry.state, row_of(carry.mean), row_of(carry.weight), row_of(carry.bad), empty, empty)
    after = jax.lax.fori_loop(start, stop, in_order(body), begin)
    state, mean, count, bad, means, counts = after
    carry = Carry(state, named(mean), named(count), named(bad), carry.infinite)
    return carry, Windows(named(means), named(counts), carry.bad, _sound(state, carry.infinite))


def _floats(state: State) -> list[Array]:
    return [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)]


def _sound(state: State, infinite: Array) -> Array:
    """Whether the state has no NaN, and no infinity in an array that had none before the first step.

    An array that had one may be a best-so-far, which begins at infinity.
    """
    good = [
        jnp.where(began, ~jnp.isnan(x), jnp.isfinite(x)).all() for x, began in zip(_floats(state), infinite)
    ]
    return jnp.array(good).all() if good else jnp.array(True)
