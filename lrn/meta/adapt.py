"""The inner loop: from an initialization to a task's parameters, by a few steps of any optax optimizer.

`adapt` is a pure function of the loss, the parameters and the support set. A meta-gradient differentiates
through it (second order), or holds the inner gradients constant (first order):

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

Loss = Callable[
    ..., Array
]  # ``loss(params, support)``, or ``loss(params, support, key)`` with random numbers
ORDERS = ("first", "second")
UNROLLED = 10  # steps without a loop; below a loop costs more than it saves, above unrolling compiles slowly


@config
class InnerConfig:
    """Settings of the inner loop (Finn et al. 2017).

    steps: the number of gradient steps, 0 or more.
    rate: the learning rate of the inner optimizer.
    order: "second" differentiates through the inner gradients; "first" holds them constant (FOMAML).
    checkpoint: whether the backward pass recomputes each step: it then keeps one step's activations in memory
        instead of those of all steps.
    optimizer: ``optimizer(rate) -> optax.GradientTransformation``.

    Raises:
        InputError: a field is out of its range.
    """

    steps: int = 1
    rate: float = 0.01
    order: str = "second"
    checkpoint: bool = False
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.sgd

    def __post_init__(self) -> None:
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
    """The parameters after ``config.steps`` steps on the support set (Finn et al. 2017).

    Args:
        loss: ``loss(params, support) -> scalar``.
        params: the parameters before the first step.
        support: any pytree that ``loss`` takes.
        config: the settings of the loop.
        rates: learning rates that replace ``config.rate``: a tree like ``params`` with leaves [steps],
            one rate for each step and array (Antoniou et al. 2019), or [steps, *shape of the parameter],
            one rate for each step and number (Li et al. 2017).
        key: the key of a loss that draws random numbers. Such a loss is called ``loss(params, support, key)``
            with another key at each step.

    Returns:
        The adapted parameters, of the form of ``params``.

    Raises:
        InputError: ``rates`` is no tree like ``params``, or has another number of steps.
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
    """`adapt`, which also evaluates a function of the parameters before each step and after the last.

    Args:
        loss, params, support, config, rates, key: as for `adapt`.
        look: ``look(params)``, which returns any pytree of arrays.
        unroll: the number of steps in one iteration of the loop. 1 compiles fastest; more steps are faster
            where the loop is differentiated.

    Returns:
        The adapted parameters, and the results of ``look``, leaves [steps + 1, ...].

    Raises:
        InputError: as for `adapt`.
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
    # The first step stays outside of the loop. Under a vmap over tasks its parameters have no task axis,
    # so the products of all tasks with these parameters are one product; a loop would give the parameters
    # a task axis.
    if config.steps:
        begin, first = first_step(begin, jax.tree.map(lambda x: x[0], each))
        seen.append(jax.tree.map(lambda x: jnp.asarray(x)[None], first))
    if config.steps > 1:
        later = jax.tree.map(lambda x: x[1:], each)
        # With several checkpointed steps in one iteration XLA would keep the activations of all of them.
        unroll = 1 if config.checkpoint else min(config.steps, unroll)
        begin, rest = jax.lax.scan(step, begin, later, length=config.steps - 1, unroll=unroll)
        seen.append(rest)
    params, _ = begin
    seen.append(jax.tree.map(lambda x: jnp.asarray(x)[None], look(params)))
    return params, jax.tree.map(lambda *x: jnp.concatenate(x), *seen)


def _spread(params: Params, support: Batch) -> Params:
    """The same parameters, each large array written as a product with a factor 1 that every task has.

    The derivative by the parameters is a sum over the tasks. Under a vmap over tasks (the axis `LANES`) this
    product makes the sum a matrix product. XLA on CPU would fuse a plain sum with neighboring products
    into one kernel, in which the products take twice their time.
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
        factor = 1 + 0 * jnp.isfinite(some).astype(x.dtype)  # 1, which XLA cannot know and fold
        return (factor @ x.reshape(1, -1)).reshape(x.shape)

    return jax.tree.map(one, params)


_LARGE = 1 << 13  # the least number of entries of a large array


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
