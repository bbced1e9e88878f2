"""Shared by the references of on-policy agents: networks, policies and optimizers in plain NumPy.

The networks are linear and keep a state that scales their outputs. Their initial parameters depend on the
example observations and on the key, so that a wrong observation or key shows in the test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import plain
import walk

from lrn.rl import running
from lrn.types import Key, Mean, Net


def linear(outputs: int) -> Net:
    """A linear network from [batch, 2] to [batch, outputs]."""

    def init(key: Key, x: jax.Array) -> Any:
        return {"w": jax.random.normal(key, (2, outputs)) + x.sum(), "b": jnp.arange(outputs) - 0.5}, x.mean()

    def apply(params: Any, state: Any, x: jax.Array, *, key: Any = None, train: bool = False) -> Any:
        return (x @ params["w"] + params["b"][None]) * state, state + train

    return Net(init, apply)


def forward(params: Any, state: Any, x: np.ndarray) -> np.ndarray:
    """The outputs of a linear network for x [..., 2], in NumPy."""
    return (x @ params["w"] + params["b"]) * state


def linear_init(key: Key, outputs: int, x: np.ndarray) -> Any:
    """Parameters and state of a linear network after init, in NumPy."""
    drawn = np.asarray(jax.random.normal(key, (2, outputs)), np.float64)
    return {"w": drawn + x.sum(), "b": np.arange(outputs) - 0.5}, x.mean()


def pair(k: int) -> Net:
    """An actor-critic from [batch, 2] to ([batch, k], [batch])."""
    both = linear(k + 1)

    def apply(params: Any, state: Any, x: jax.Array, *, key: Any = None, train: bool = False) -> Any:
        out, state = both.apply(params, state, x, key=key, train=train)
        return (out[:, :k], out[:, k]), state

    return Net(both.init, apply)


class Policy(NamedTuple):
    """A policy over a network's outputs [..., k], in NumPy; ``extra`` is the log deviation."""

    k: int
    extra: Any
    noise: Callable[[Key, tuple[int, ...]], np.ndarray]
    sample: Callable[[Any, Any, Any], np.ndarray]
    log_prob: Callable[[Any, Any, Any], np.ndarray]
    entropy: Callable[[Any, Any], np.ndarray]
    mode: Callable[[Any, Any], np.ndarray]
    send: Callable[[Any], np.ndarray]


def _normal_log_prob(extra: Any, out: Any, action: Any) -> np.ndarray:
    z = (action - out) / np.exp(extra)
    return (-0.5 * z**2 - extra - 0.5 * np.log(2 * np.pi)).sum(-1)


def _entropy(extra: Any, out: Any) -> np.ndarray:
    log_p = plain.log_softmax(out)
    return -(np.exp(log_p) * log_p).sum(-1)


DISCRETE = Policy(
    3,
    (),
    lambda key, shape: np.asarray(jax.random.gumbel(key, (*shape, 3)), np.float64),
    lambda extra, out, noise: np.argmax(out + noise, -1),
    lambda extra, out, action: np.take_along_axis(plain.log_softmax(out), action[..., None], -1)[..., 0],
    _entropy,
    lambda extra, out: np.argmax(out, -1),
    lambda action: action,
)
CONTINUOUS = Policy(
    2,
    np.array([-0.4, 0.3]),
    lambda key, shape: np.asarray(jax.random.normal(key, (*shape, 2)), np.float64),
    lambda extra, out, noise: out + np.exp(extra) * noise,
    _normal_log_prob,
    lambda extra, out: np.broadcast_to((extra + 0.5 * (1 + np.log(2 * np.pi))).sum(), out.shape[:-1]),
    lambda extra, out: out,
    lambda action: walk.LOW + 0.5 * (np.clip(action, -1, 1) + 1) * (walk.HIGH - walk.LOW),
)


def numbers(tree: Any, size: float, seed: int = 0) -> Any:
    """A tree of the same shapes, filled with different float32 numbers of about ``size``."""
    rng = np.random.default_rng(seed)

    def fill(x: Any) -> jax.Array:
        drawn = rng.uniform(0.5, 1.5, np.shape(x)) * rng.choice([-1, 1], np.shape(x))
        return jnp.asarray(size * drawn, jnp.float32)

    return jax.tree.map(fill, tree)


def moved(opt_state: Any, seed: int = 1) -> Any:
    """The state of an optimizer and its schedule in the middle of a training, with different counts."""
    adam, schedule = opt_state
    nu = jax.tree.map(jnp.abs, numbers(adam.nu, 0.003, seed))
    count = jnp.int32(5)
    if isinstance(adam, optax.ScaleByRmsState):
        return adam._replace(nu=nu), schedule._replace(count=count)
    return adam._replace(count=count, mu=numbers(adam.mu, 0.1, seed + 1), nu=nu), schedule._replace(
        count=count + 2
    )


class RMSprop:
    """Hinton's RMSprop with epsilon inside the root, and the decay of OpenAI's baselines."""

    def __init__(self, nu: Any, eps: float):
        self.nu, self.eps = nu, eps

    def step(self, params: Any, gradient: Any, rate: float) -> Any:
        """The parameters after one step; updates the moment."""
        self.nu = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g**2, self.nu, gradient)
        return jax.tree.map(lambda p, v, g: p - rate * g / np.sqrt(v + self.eps), params, self.nu, gradient)


class Optimizer:
    """Adam or RMSprop from a state of optax; the rate may fall to zero over ``updates`` steps."""

    def __init__(self, opt_state: Any, params: Any, rate: float, updates: float | None, eps: float):
        moments, schedule = plain.as_float64(opt_state)
        if isinstance(moments, optax.ScaleByRmsState):
            self.inner = RMSprop(moments.nu, eps)
        else:
            self.inner = plain.Adam(params, eps=eps)
            self.inner.count, self.inner.mu, self.inner.nu = int(moments.count), moments.mu, moments.nu
        self.count, self.rate, self.updates = int(schedule.count), rate, updates

    def step(self, params: Any, gradient: Any) -> Any:
        """The parameters after one step."""
        left = 1.0 if self.updates is None else max(1 - self.count / self.updates, 0)
        self.count += 1
        return self.inner.step(params, gradient, self.rate * left)

    def state(self) -> Any:
        """The state in optax's form."""
        inner: Any = self.inner
        if isinstance(inner, RMSprop):
            moments = optax.ScaleByRmsState(inner.nu)
        else:
            moments = optax.ScaleByAdamState(inner.count, inner.mu, inner.nu)
        return moments, optax.ScaleByScheduleState(self.count)  # pyright: ignore[reportArgumentType]


def orders(key: Key, n: int, times: int) -> np.ndarray:
    """``times`` random orders of n rows: the orders of random bits whose low bits hold the row's number."""
    size = 1 << max(n - 1, 1).bit_length()
    bits = np.asarray(jax.random.bits(key, (times, n)), np.int64)
    return np.argsort(bits // size * size + np.arange(n)[None], axis=1)


def normalized(stats: running.Moments, x: np.ndarray, on: bool) -> np.ndarray:
    """Observations as the network gets them."""
    mean, var = np.asarray(stats.mean, np.float64), np.asarray(stats.var, np.float64)
    return np.clip((x - mean) / np.sqrt(var + 1e-8), -10, 10) if on else x


def pooled(stats: running.Moments, batch: np.ndarray) -> running.Moments:
    """Moments of all earlier arrays and the batch [..., *shape], all with equal weight."""
    rows = batch.reshape(-1, *np.shape(stats.mean)).astype(np.float64)
    seen, mean, var = (np.asarray(x, np.float64) for x in (stats.seen, stats.mean, stats.var))
    total = seen + len(rows)
    first = (seen * mean + rows.sum(0)) / total
    second = (seen * (var + mean**2) + (rows**2).sum(0)) / total
    return running.Moments(first, second - first**2, total)  # pyright: ignore[reportArgumentType]


def scaled_rewards(scale: Any, reward: np.ndarray, ended: np.ndarray, discount: float) -> Any:
    """The running discounted return and its moments after a rollout, and rewards divided by its deviation."""
    total, seen = np.asarray(scale[0], np.float64), []
    for t in range(len(reward)):
        total = discount * total + reward[t]
        seen.append(total)
        total = total * ~ended[t]
    stats = pooled(scale[1], np.stack(seen))
    return (total, stats), np.clip(reward / np.sqrt(np.asarray(stats.var) + 1e-8), -10, 10)


def episodes(played: walk.Played) -> dict[str, Any]:
    """The metrics of the episodes that ended."""
    n = len(played.returns)
    return {"return": Mean(np.mean(played.returns), n), "length": Mean(np.mean(played.lengths), n)}  # pyright: ignore


def ppo_loss(
    c: Any,
    policy: Policy,
    head: Any,
    out: Any,
    value: Any,
    action: Any,
    old_log_prob: Any,
    old_value: Any,
    advantage: Any,
    target: Any,
) -> tuple[float, tuple[float, ...]]:
    """The loss of a minibatch (Schulman et al. 2017, eq. 9) and its parts; ``c`` is the config."""
    log_prob = policy.log_prob(head, out, action)
    if c.normalize_advantages:
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = np.exp(log_prob - old_log_prob)
    near = np.clip(ratio, 1 - c.clip, 1 + c.clip)
    policy_loss = -np.minimum(ratio * advantage, near * advantage).mean()
    error = (value - target) ** 2
    if c.clip_value:
        error = np.maximum(error, (old_value + np.clip(value - old_value, -c.clip, c.clip) - target) ** 2)
    value_loss, entropy = error.mean() / 2, policy.entropy(head, out).mean()
    total = policy_loss + c.value_coefficient * value_loss - c.entropy_coefficient * entropy
    kl, clipped = (ratio - 1 - np.log(ratio)).mean(), (np.abs(ratio - 1) > c.clip).mean()
    return total, (policy_loss, value_loss, entropy, kl, clipped)  # fmt: skip


def ppo_metrics(measured: list[tuple[float, ...]]) -> dict[str, float]:
    """Means of the metrics over gradient steps, by name."""
    names = ("policy_loss", "value_loss", "entropy", "approximate_kl", "clipped")
    return dict(zip(names, np.mean(measured, axis=0)))
