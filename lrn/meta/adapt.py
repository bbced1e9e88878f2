"""The inner loop: from an initialization to a task's parameters, by a few steps of any optax optimizer.

A pure function of the loss, the parameters and the support set, to be differentiated through (second order),
or with the inner gradients held constant (first order):

    adapted = adapt(loss, params, support, InnerConfig(steps=5, rate=0.01))
    meta_gradient = jax.grad(lambda p: loss(adapt(loss, p, support, inner), query))(params)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.meta.slopes import finite_slopes
from lrn.types import LANES, Array, Batch, Key, Params, PyTree, is_key
from lrn.xla.parts import axis_size

Loss = Callable[..., Array]  # of the parameters and the support set; with a key also of that
ORDERS = ("first", "second")
UNROLLED = 10  # steps; a loop costs more than it saves below, and compile time above


@config
class InnerConfig:
    """Settings of the inner loop (Finn et al. 2017).

    steps: gradient steps, 0 or more.
    rate: of the inner optimizer.
    order: "second" differentiates through the inner gradients; "first" holds them constant (FOMAML).
    checkpoint: recompute each step on the way back: memory of one step's activations instead of all.
    optimizer: ``optimizer(rate) -> optax.GradientTransformation``.
    """

    steps: int = 1
    rate: float = 0.01
    order: str = "second"
    checkpoint: bool = False
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.sgd

    def __post_init__(self):
        check.integer("steps", self.steps, low=0)
        check.positive("rate", self.rate)
        check.choice("order", self.order, ORDERS)
        if not callable(self.optimizer):
            raise check.InputError(
                f"optimizer must make an optax optimizer of a rate, got {self.optimizer!r}; give optax.sgd."
            )


def check_inner(name: str, value: Any) -> None:
    """Raise InputError unless ``value`` is an `InnerConfig`."""
    if not isinstance(value, InnerConfig):
        raise check.InputError(
            f"{name} must be an InnerConfig, got {value!r}; write InnerConfig(steps=5, rate=0.01)."
        )


def adapt(
    loss: Loss,
    params: Params,
    support: Batch,
    config: InnerConfig,
    rates: PyTree = None,
    key: Key | None = None,
) -> Params:
    """The parameters after ``config.steps`` steps on the support set.

    Args:
        loss: ``loss(params, support) -> scalar``.
        params: where to start.
        support: any pytree that ``loss`` takes.
        config: of the loop.
        rates: multiply the update instead of ``config.rate``: as ``params``, leaves [steps] or
            [steps, *shape of the parameter]: a rate a step and array, or a number (Li et al. 2017,
            Antoniou et al. 2019).
        key: of a loss that draws random numbers, which is then called ``loss(params, support, key)``, with
            another key at each step.

    Returns:
        As ``params``.

    Raises:
        ValueError: ``rates`` have another number of steps.
    """
    return adapt_path(loss, params, support, config, lambda params: (), rates, key=key)[0]


def adapt_path(
    loss: Loss,
    params: Params,
    support: Batch,
    config: InnerConfig,
    look: Callable[[Params], PyTree],
    rates: PyTree = None,
    unroll: int = UNROLLED,
    key: Key | None = None,
) -> tuple[Params, PyTree]:
    """As `adapt`, with a look at the parameters before each step and after the last.

    Args:
        loss, params, support, config, rates, key: as for `adapt`.
        look: ``look(params)``, any pytree.
        unroll: steps in one go of the loop; 1 compiles fastest, more are for what is differentiated.

    Returns:
        The adapted parameters, and what ``look(params)`` gave, leaves [steps + 1, ...].
    """
    optimizer = config.optimizer(config.rate if rates is None else 1.0)
    update = finite_slopes(optimizer.update)
    _check_rates(rates, params, config.steps)

    def step(carry: Any, given: PyTree, first: bool = False) -> Any:
        params, opt_state = carry
        rate, *drawn = given
        seen = look(params)
        gradient = jax.grad(loss)(params, support, *drawn)
        if config.order == "first":
            gradient = jax.lax.stop_gradient(gradient)
        updates, opt_state = update(gradient, opt_state, params)
        if rates is not None:
            updates = jax.tree.map(_times, rate, updates)
        begin = _spread(params, support) if first else params
        return (optax.apply_updates(begin, updates), opt_state), seen

    first_step = functools.partial(step, first=True)
    each = (rates,) if key is None else (rates, jax.random.split(key, config.steps))
    if config.checkpoint:
        step, first_step = jax.checkpoint(step), jax.checkpoint(first_step)
    begin, seen = (params, optimizer.init(params)), []
    # The first step by itself: under a vmap over tasks its parameters are not batched, as a loop would make
    # them, and what all tasks do with the same parameters stays one product.
    if config.steps:
        begin, first = first_step(begin, jax.tree.map(lambda x: x[0], each))
        seen.append(jax.tree.map(lambda x: jnp.asarray(x)[None], first))
    if config.steps > 1:
        later = jax.tree.map(lambda x: x[1:], each)
        # Of several steps in one go XLA would keep the activations that it computes again, together.
        unroll = 1 if config.checkpoint else min(config.steps, unroll)
        begin, rest = jax.lax.scan(step, begin, later, length=config.steps - 1, unroll=unroll)
        seen.append(rest)
    params, _ = begin
    seen.append(jax.tree.map(lambda x: jnp.asarray(x)[None], look(params)))
    return params, jax.tree.map(lambda *x: jnp.concatenate(x), *seen)


def _spread(params: Params, support: Batch) -> Params:
    """The parameters as they are, large ones written as a product with a one that each task has for itself.

    Under a vmap over tasks (the axis `LANES`) its derivative, a sum over the tasks, is a product then. XLA
    on CPU would make one kernel of a plain sum and the products beside it, in which these take twice their
    time.
    """
    if jax.default_backend() != "cpu" or axis_size(LANES) == 1:
        return params
    numbers = [x for x in jax.tree.leaves(support) if jnp.size(x) and not is_key(x)]
    if not numbers:
        return params
    some = jnp.ravel(numbers[0])[:1]

    def one(x: Array) -> Array:
        if x.size < _LARGE or not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        factor = 1 + 0 * jnp.isfinite(some).astype(x.dtype)  # that it is one, XLA does not know
        return (factor @ x.reshape(1, -1)).reshape(x.shape)

    return jax.tree.map(one, params)


_LARGE = 1 << 13  # numbers


def _times(rate: Array, update: Array) -> Array:
    return rate.reshape(rate.shape + (1,) * (update.ndim - rate.ndim)) * update


def _check_rates(rates: PyTree, params: Params, steps: int) -> None:
    if rates is None:
        return
    if jax.tree.structure(rates) != jax.tree.structure(params):
        raise check.InputError("rates must be a tree like the parameters; give one leaf for each array.")
    for rate, value in zip(jax.tree.leaves(rates), jax.tree.leaves(params)):
        if jnp.shape(rate) not in ((steps,), (steps, *jnp.shape(value))):
            raise check.InputError(
                f"rates must have shape [{steps}] or {[steps, *jnp.shape(value)]} for a parameter of shape "
                f"{list(jnp.shape(value))}, got {list(jnp.shape(rate))}; give one for each inner step."
            )
