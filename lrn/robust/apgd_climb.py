"""One ascent of Auto-PGD from one start: evaluations, records and moves in one loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn.robust.apgd_rules import Plan, halving, plan_of, sparsity
from lrn.robust.attack import column
from lrn.robust.norms import by_example, narrow, widen
from lrn.robust.pgd import Objective
from lrn.types import Array

if TYPE_CHECKING:
    from lrn.robust.apgd import APGDConfig


class Found(NamedTuple):
    """What the attack has found for each example.

    x: points [batch, ...]: a misclassified one where there is one, else the one with the largest loss.
    loss: their losses [batch]. fooled: bool [batch].
    """

    x: Array
    loss: Array
    fooled: Array


class Trace(NamedTuple):
    """The course of the attack.

    losses: the loss at every evaluation [starts, evaluations, batch]. A start has steps + 1 evaluations, and
        one more for each further radius.
    step_sizes: the size of the step after each evaluation [starts, evaluations - 1, batch], in the unit of
        the pixels.
    """

    losses: Array
    step_sizes: Array


class Climb(NamedTuple):
    """One ascent: its point and the point before, and its best point with its gradient and loss."""

    z: Array
    before: Array
    best: Array
    gradient: Array
    loss: Array


def climb(
    start: Array, objective: Objective, x: Array, config: APGDConfig, found: Found
) -> tuple[Found, Trace | None]:
    """The ascent from one start; examples that were fooled before keep their points.

    Args:
        start: the first points [batch, ...], in the ball and the box.
        objective, x, config: as for `ascend`.
        found: what has been found before, with ``x`` in float32 or wider.
    """
    original, wanted = widen(x), ~found.fooled
    eps = by_example(config.eps, original)
    rule = (sparsity if config.norm == "l1" else halving)(original, eps, config)
    plan = plan_of(config)

    def total(z: Array):
        loss, fooled = objective(z)
        return jnp.sum(loss), (loss, fooled)

    def evaluate(carry, now: Plan):
        """One evaluation, its records, and the next point; the gradient is the only use of the network."""
        state, settings, found = carry
        gradient, (loss, fooled) = jax.grad(total, has_aux=True)(narrow(state.z, x))
        gradient = widen(jnp.where(jnp.isfinite(gradient), gradient, 0))
        state = _record(state, gradient, loss, now.first)
        found = _keep(found, state.z, loss, fooled & now.last & wanted, config.early_stop)
        settings, back = rule.update(settings, now, state, loss)
        z, gradient = (
            jnp.where(column(back, a), b, a) for a, b in ((state.z, state.best), (gradient, state.gradient))
        )
        after = rule.move(settings, now, state._replace(z=z), gradient)
        trace = Trace(loss, settings.step_size.reshape(-1))
        return (state._replace(z=after, before=z), settings, found), trace

    start = start.astype(original.dtype)
    state = Climb(start, start, start, jnp.zeros_like(start), jnp.full_like(found.loss, -jnp.inf))
    carry = state, rule.init(), found
    (state, _, found), trace = loop(evaluate, carry, plan, config.early_stop, lambda c: all_fooled(c[2]))
    loss, fooled = objective(narrow(state.z, x))
    state = _record(state, state.gradient, loss, False)
    found = _keep(found, state.z, loss, fooled & wanted, config.early_stop)
    better = ~found.fooled & (state.loss > found.loss)
    found = found._replace(
        x=jnp.where(column(better, state.best), state.best, found.x),
        loss=jnp.where(better, state.loss, found.loss),
    )
    if trace is not None:
        trace = trace._replace(losses=jnp.concatenate([trace.losses, loss[None]]))
    return found, trace


def _record(state: Climb, gradient: Array, loss: Array, first: Array | bool) -> Climb:
    """The best point after an evaluation; a first evaluation always is the best, any loss beats NaN."""
    better = first | (loss > state.loss) | jnp.isnan(state.loss)
    wide = column(better, state.z)
    return state._replace(
        best=jnp.where(wide, state.z, state.best),
        gradient=jnp.where(wide, gradient, state.gradient),
        loss=jnp.where(better, loss, state.loss).astype(state.loss.dtype),
    )


def _keep(found: Found, z: Array, loss: Array, hit: Array, only_first: bool) -> Found:
    hit = hit & ~found.fooled if only_first else hit
    loss = jnp.where(hit, loss, found.loss).astype(found.loss.dtype)
    return Found(jnp.where(column(hit, z), z, found.x), loss, found.fooled | hit)


def all_fooled(found: Found) -> Array:
    """Whether every example is fooled, a scalar."""
    return found.fooled.all()


def loop(body: Callable, carry: Any, xs: Any, early: bool, done: Callable[[Any], Array]) -> tuple[Any, Any]:
    """``lax.scan``; or with ``early`` a loop without outputs that ends once ``done(carry)``."""
    xs = jax.tree.map(jnp.asarray, xs)
    if not early:
        return jax.lax.scan(body, carry, xs)
    length = jax.tree.leaves(xs)[0].shape[0]

    def step(counted):
        i, carry = counted
        return i + 1, body(carry, jax.tree.map(lambda a: a[i], xs))[0]

    def unfinished(counted):
        return (counted[0] < length) & ~done(counted[1])

    return jax.lax.while_loop(unfinished, step, (jnp.zeros((), int), carry))[1], None
