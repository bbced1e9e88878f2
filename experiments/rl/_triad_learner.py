"""A learner of values whose three factors are floats: bootstrapping, off-policy data, and how it
approximates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.rl._triad_tasks import BOUND, DISCOUNT, JUDGED
from lrn import nets
from lrn.config import config as pytree
from lrn.types import Array, Key, Learner

TABLE, LINEAR, NET = "table", "linear", "network"
STOPPED = 1000 * BOUND  # a learner beyond this has diverged; it stops before it overflows


@pytree
class Factors:
    """What arms of one approximator differ in; all are floats.

    bootstrap: 1 to learn from the reward plus the estimate of the next value, 0 from returns.
    off_policy: 1 for data off the policy. rate: of learning.
    greedy: 1 to bootstrap from the largest value, as Q-learning does.
    follow: the share by which the target network moves at each step; 1 is no target network.
    """

    bootstrap: float
    off_policy: float
    rate: float
    greedy: float = 0.0
    follow: float = 1.0


class Fitted(NamedTuple):
    """State: parameters, those of the target network, the optimizer's state, the largest |Q| seen so far."""

    params: Any
    slow: Any
    opt_state: Any
    peak: Array


def approximator(
    kind: str, actions: int, size: int
) -> tuple[Callable[[Key], Any], Callable[[Any, Array], Any]]:
    """The functions ``init(key) -> params`` and ``q(params, x [batch, 2]) -> [batch, action]``.

    Args:
        kind: "table" (a grid), "linear" (random Fourier features) or "network" (two hidden layers).
        actions: their number.
        size: cells of the grid along each dimension, features, or units of each hidden layer.
    """
    if kind == NET:
        net = nets.mlp(actions, (size, size))
        return lambda key: net.init(key, jnp.zeros((1, 2)))[0], lambda p, x: net.apply(p, (), x)[0]
    if kind == TABLE:

        def cell(x: Array) -> Array:
            at = jnp.clip(((x + 1) / 2 * size).astype(int), 0, size - 1)
            return at[:, 0] * size + at[:, 1]

        return lambda key: jnp.zeros((size * size, actions)), lambda p, x: p[cell(x)]

    def init(key: Key) -> Any:
        w_key, b_key = jax.random.split(key)
        w = jax.random.normal(w_key, (2, size)) / 0.3  # a length scale of .3 in [-1, 1]
        b = jax.random.uniform(b_key, (size,), maxval=2 * jnp.pi)
        return {"w": w, "b": b, "out": jnp.zeros((size, actions))}

    def q(p: Any, x: Array) -> Array:
        w, b = jax.lax.stop_gradient((p["w"], p["b"]))
        return jnp.sqrt(2 / size) * jnp.cos(x @ w + b[None]) @ p["out"]

    return init, q


def learner(kind: str, actions: int, size: int, batch_size: int, c: Factors) -> Learner:
    """One gradient step a batch on the squared error of values of one fixed policy.

    A batch holds rows of both data sets, leaves [2, batch, ...]. A network takes steps of Adam, linear
    features take plain gradient steps; each entry of a table moves towards the mean of its targets.
    """
    init_params, q = approximator(kind, actions, size)
    optimizer = optax.scale_by_adam() if kind == NET else optax.identity()
    rows = jnp.arange(batch_size)

    def init(key: Key, batch: Any) -> Fitted:
        del batch
        params = init_params(key)
        return Fitted(params, params, optimizer.init(params), jnp.zeros(()))

    def step(key: Key, state: Fitted, batch: Any) -> Any:
        del key
        b = jax.tree.map(lambda x: jnp.where(c.off_policy > 0.5, x[1], x[0]), batch)
        ahead = q(state.slow, b["x_next"])
        following = jnp.where(c.greedy > 0.5, ahead.max(-1), ahead[rows, b["next_action"]])
        target = b["reward"] + DISCOUNT * (1 - b["terminated"]) * following
        goal = jnp.where(c.bootstrap > 0.5, target, b["return"])

        def loss(params: Any) -> Any:
            values = q(params, b["x"])[rows, b["action"]]
            return 0.5 * ((values - goal) ** 2).sum(), values

        (total, values), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
        if kind == TABLE:
            count = jax.grad(lambda p: q(p, b["x"])[rows, b["action"]].sum())(state.params)
            gradient = gradient / jnp.maximum(count, 1)
        else:
            gradient = jax.tree.map(lambda g: g / batch_size, gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state)
        params = jax.tree.map(lambda p, u: p - c.rate * u, state.params, updates)
        slow = jax.tree.map(lambda s, p: s + c.follow * (p - s), state.slow, params)
        peak = jnp.maximum(state.peak, jnp.abs(values).max())
        after, kept = Fitted(params, slow, opt_state, peak), state._replace(peak=peak)
        state = jax.tree.map(lambda n, k: jnp.where(peak < STOPPED, n, k), after, kept)
        return state, {"loss": total / batch_size}

    return Learner(init, step)


def evaluation(kind: str, actions: int, size: int) -> Callable[..., dict[str, Array]]:
    """A function for ``evaluate=``: the error on the policy's own states, relative, and the largest |Q|.

    "off" is the root mean squared error over the root mean square of the true values; "peak" is in units of
    the bound that no policy can exceed.
    """
    _, q = approximator(kind, actions, size)

    def evaluate(learner: Any, c: Any, key: Key, state: Fitted, data: Any) -> dict[str, Array]:
        del learner, c, key
        x, action, true = (data[f"judged {k}"] for k in JUDGED)
        error = q(state.params, x)[jnp.arange(action.size), action] - true
        off = jnp.sqrt((error**2).mean() / (true**2).mean())
        return {"off": off, "peak": state.peak / BOUND}

    return evaluate
