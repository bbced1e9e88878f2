"""Tiny networks and tasks, in jax and in NumPy float64, for reference implementations of meta-steps.

A body maps two numbers to three features, and a linear head maps the features to outputs. Inner gradients
are complex steps, exact up to rounding (Squire and Trapp 1998). Meta-gradients are central differences
over whole inner loops, so no derivative is written by hand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from plain import Adam, Tree, as_float64, assert_trees_close, gradient, log_softmax, numbers
from scipy import special

from lrn.meta.episode import Episode
from lrn.types import Array, Key, Net
from lrn.xla.threefry import hashed

FEATURES = 3
KEPT = np.array([0.3, -0.2, 0.5])  # the statistics of a body at first


def words(seed: int) -> np.ndarray:
    """The two words of ``jax.random.key(seed)``."""
    return np.array([0, seed], np.uint32)


def _hashed(key: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    count = np.arange(np.prod(shape, dtype=int), dtype=np.uint32).reshape(shape)
    return hashed(np.array([key[0]]), np.array([key[1]]), np.zeros_like(count), count)  # pyright: ignore


def split(key: np.ndarray, shape: int | tuple[int, ...] = 2) -> np.ndarray:
    """`jax.random.split` on the words of a key, [*shape, 2], in NumPy, which needs no compilation."""
    return np.stack(_hashed(key, shape if isinstance(shape, tuple) else (shape,)), -1)


def fold_in(key: np.ndarray, data: int) -> np.ndarray:
    """`jax.random.fold_in` on the words of a key, in NumPy."""
    given = [np.array([w], np.uint32) for w in (*key, 0, data)]
    return np.concatenate(hashed(*given))  # pyright: ignore


def uniform(key: np.ndarray, shape: tuple[int, ...] = (), low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """`jax.random.uniform` from the words of a key, in NumPy float64."""
    high_bits, low_bits = _hashed(key, shape or (1,))
    mantissa = (high_bits ^ low_bits) >> np.uint32(9)
    return (low + (high - low) * (mantissa / 2.0**23)).reshape(shape)


def normal(key: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`jax.random.normal` from the words of a key, in NumPy float64."""
    return np.sqrt(2) * special.erfinv(uniform(key, shape, -1 + 2.0**-24, 1.0))


def body(noisy: bool = False, kept: bool = False, features: int = FEATURES, bias: bool = True) -> Net:
    """A linear body, whose initial weights depend on the key and on the examples.

    Args:
        noisy: whether training multiplies every feature by a number drawn from the key.
        kept: whether the mean is subtracted: that of the batch in training, a moving average at test.
        features: the number of features.
        bias: whether the body has a bias.
    """

    def init(key: Key, x: Array) -> Any:
        weights = jnp.cos(jnp.arange(x.shape[1])[:, None] + factor(key, features)[None]) + x.mean()
        state = {"mean": jnp.asarray(KEPT[:features], jnp.float32)} if kept else ()
        return ({"b": jnp.linspace(-0.2, 0.3, features)} if bias else {}) | {"w": weights}, state

    def apply(params: Any, state: Any, x: Array, *, key: Key | None = None, train: bool = False) -> Any:
        assert train or key is None, "a key is for training"
        out = x @ params["w"] + (params["b"][None] if bias else 0.0)
        if train and noisy:
            assert key is not None
            out = out * factor(key, features)[None]
        if not kept:
            return out, state
        if not train:
            return out - state["mean"][None], state
        mean = out.mean(axis=0)
        return out - mean[None], {"mean": 0.7 * state["mean"] + 0.3 * mean}

    return Net(init, apply)  # pyright: ignore[reportArgumentType]


def factor(key: Any, features: int = FEATURES) -> Any:
    """The factors on features that a key gives, [features]; from words [..., 2], in NumPy, [..., features].

    The factors are the bits of the key, because a draw would take half of a program's compilation.
    """
    typed = isinstance(key, jax.Array)
    high, low = jnp.moveaxis(jax.random.key_data(key), -1, 0) if typed else np.moveaxis(key, -1, 0)
    parts = (high, low, high ^ low)[:features]
    whole = (jnp if typed else np).stack([w % np.uint32(4096) for w in parts], -1)
    return 0.5 + whole / np.float32(4096.0)


def hidden(params: Tree, x: np.ndarray) -> np.ndarray:
    """`body` in NumPy without its noise; leaves may have leading axes."""
    return x @ params["w"] + (params["b"][..., None, :] if "b" in params else 0.0)


REST = factor(words(0))  # the factors with which statistics are computed at test


class Plain(NamedTuple):
    """A problem in NumPy: a `body`, a linear head, and a loss; leaves of parameters may have leading axes.

    labels: whether y are labels. statistics: "none", "support" or "transductive".
    """

    labels: bool = False
    statistics: str = "none"
    noisy: bool = False

    def features(self, params: Tree, support: np.ndarray, x: np.ndarray, noise: Any = None) -> np.ndarray:
        """Features of x, with the noise [features] of a pass in training, None after it."""
        out = hidden(params, x)
        if self.statistics == "none":
            return out if noise is None else out * noise
        known = x if self.statistics == "transductive" else support
        drawn = (REST if noise is None else noise) if self.noisy else 1.0
        trains = known is x and (noise is not None or not self.noisy)
        return (out * drawn if trains else out) - (hidden(params, known) * drawn).mean(-2, keepdims=True)

    def predict(self, params: Tree, support: np.ndarray, x: np.ndarray, noise: Any = None) -> np.ndarray:
        """Outputs [..., n, outputs] for x."""
        return linear(params["head"], self.features(params["body"], support, x, noise))

    def loss(self, outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The mean loss, [...]."""
        if self.labels:
            return -log_softmax(outputs)[..., np.arange(len(y)), y].mean(-1)
        return ((outputs - y) ** 2).mean((-2, -1))

    def loss_on(self, params: Tree, support: np.ndarray, batch: Tree, noise: Any = None) -> Any:
        """The mean loss on a batch, [...]."""
        return self.loss(self.predict(params, support, batch["x"], noise), batch["y"])

    def scores(self, outputs: np.ndarray, y: np.ndarray) -> dict[str, float]:
        """What is reported of outputs [n, outputs]: means."""
        metrics = {"loss": float(self.loss(outputs, y))}
        return metrics | ({"accuracy": np.mean(outputs.argmax(-1) == y)} if self.labels else {})


def linear(head: Tree, features: np.ndarray) -> np.ndarray:
    """The head: outputs [..., n, outputs]."""
    return features @ head["kernel"] + head["bias"][..., None, :]


def tasks(seed: int, count: int = 3, *, ways: int = 0, code: str = "") -> Episode:
    """Tasks whose numbers all differ: 4 examples and 5 queries of 2 numbers, with two outputs or labels.

    Args:
        seed: the seed of the tasks.
        count: the number of tasks.
        ways: 3 for a classification, whose second task lacks the last class in its support set; 0 for a
            regression.
        code: "numbers" [1], or "classes" [3], out of 5.
    """
    rng = np.random.default_rng(seed)

    def part(n: int, offset: int) -> Any:
        x = rng.normal(size=(count, n, 2)) + np.arange(count)[:, None, None] / 3
        y = x @ rng.normal(size=(count, 2, 2)) + rng.normal(size=(count, n, 2))
        labels = (np.arange(n) ** 2 + offset + np.arange(count)[:, None]) % 3
        if n == 4:
            labels[1] = [1, 0, 0, 1]
        y = labels.astype(np.int32) if ways else np.asarray(y, np.float32)
        return {"x": np.asarray(x, np.float32), "y": y}

    codes: Any = {
        "": (),
        "numbers": np.asarray(rng.normal(size=(count, 1)), np.float32),
        "classes": np.stack([rng.permutation(5)[:3] for _ in range(count)]).astype(np.int32),
    }
    return Episode(part(4, 0), part(5, 1), codes[code])


def each(episodes: Episode) -> list[Episode]:
    """The tasks one by one, in float64."""
    count = len(episodes.support["x"])
    wide = jax.tree.map(lambda x: numbers(x) if x.dtype == np.float32 else np.asarray(x), episodes)
    return [jax.tree.map(lambda x, i=i: x[i], wide) for i in range(count)]


def begin(key: np.ndarray, x: np.ndarray, outputs: int, features: int = FEATURES) -> Tree:
    """The first parameters of a problem on `body`, from its keys and the first examples it sees."""
    body_key, head_key = split(key)
    kernel = normal(head_key, (features, outputs)) / np.sqrt(features)
    weights = np.cos(np.arange(x.shape[1])[:, None] + factor(body_key, features)) + x.mean()
    return {
        "body": {"b": np.linspace(-0.2, 0.3, features), "w": weights},
        "head": {"bias": np.zeros(outputs), "kernel": kernel},
    }


def slope(loss: Callable[[Tree], Any], params: Tree) -> Tree:
    """The gradient by complex steps, of a loss that takes all steps together on a leading axis."""
    leaves, form = jax.tree.flatten(params)
    total, at, moved = sum(x.size for x in leaves), 0, []
    for leaf in leaves:
        many = np.repeat(leaf[None].astype(complex), total, axis=0)
        many.reshape(total, -1)[at + np.arange(leaf.size), np.arange(leaf.size)] += 1e-30j
        moved.append(many)
        at += leaf.size
    flat = np.imag(loss(jax.tree.unflatten(form, moved))) / 1e-30
    ends = np.cumsum([x.size for x in leaves])[:-1]
    parts = [s.reshape(x.shape) for s, x in zip(np.split(flat, ends), leaves)]
    return jax.tree.unflatten(form, parts)


class Momentum:
    """Gradient descent with momentum (Polyak 1964); rates are a number, or a tree like the parameters."""

    def __init__(self, params: Tree, decay: float):
        self.decay, self.trace = decay, jax.tree.map(np.zeros_like, as_float64(params))

    def step(self, params: Tree, slope: Tree, rate: Any) -> Tree:
        """The parameters after one step; the trace moves."""
        self.trace = jax.tree.map(lambda m, g: g + self.decay * m, self.trace, slope)
        if not isinstance(rate, dict):
            rate = jax.tree.map(lambda x: rate, params)
        return jax.tree.map(lambda p, r, m: p - r * m, params, rate, self.trace)


momentum = functools.partial(optax.sgd, momentum=0.6)


def adapted(
    loss: Callable[[Tree, int], Any],
    params: Tree,
    steps: int,
    optimizer: Callable[[Tree], Any],
    rates: Callable[[int], Any],
    held: list[Tree] | None = None,
) -> tuple[list[Tree], list[Tree]]:
    """The inner loop: parameters before each step and after the last, and the gradients.

    Args:
        loss: ``loss(params, t)``, the loss of step t, in the form for `slope`.
        params: the first parameters.
        steps: the number of steps.
        optimizer: ``optimizer(params)``, which makes an optimizer.
        rates: ``rates(t)``, the rates of step t.
        held: gradients in place of the loss's, which first order holds constant.
    """
    stepper, path, slopes = optimizer(params), [params], []
    for t in range(steps):
        slopes.append(held[t] if held else slope(lambda p: loss(p, t), path[-1]))  # noqa: B023
        path.append(stepper.step(path[-1], slopes[-1], rates(t)))
    return path, slopes


class Outer:
    """A learner's state: the meta-parameters, their optimizer, and the number of meta-steps taken."""

    def __init__(self, meta: Tree, rate: Any, optimizer: str = "adam", decay: float = 0.6):
        self.meta, self.rate, self.taken = as_float64(meta), rate, 0
        self.optimizer: Any = Adam(self.meta) if optimizer == "adam" else Momentum(self.meta, decay)

    def follow(self, slope: Tree) -> None:
        """One step along a meta-gradient."""
        rate = self.rate(self.taken) if callable(self.rate) else self.rate
        self.meta = self.optimizer.step(self.meta, slope, rate)
        self.taken += 1

    def check(self, state: Any, net_state: Tree = ()) -> None:
        """Every leaf of a learner's state."""
        assert_trees_close(state.meta, self.meta)
        assert int(state.taken) == self.taken
        assert_trees_close(state.net_state, net_state)
        parts = {type(part).__name__: part for part in state.opt_state}
        if isinstance(self.optimizer, Momentum):
            assert set(parts) == {"TraceState", "EmptyState"}
            assert_trees_close(parts["TraceState"].trace, self.optimizer.trace)
            return
        adam = parts.pop("ScaleByAdamState")
        assert_trees_close((adam.mu, adam.nu), (self.optimizer.mu, self.optimizer.nu))
        assert int(adam.count) == self.taken
        scheduled = parts.pop("ScaleByScheduleState", None)
        assert (scheduled is not None) == callable(self.rate)
        assert scheduled is None or int(scheduled.count) == self.taken
        assert set(parts) <= {"EmptyState"}


def nudged(tree: Tree, seed: int = 11) -> Tree:
    """Numbers near the given ones, all different and none of them 0."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x) + 0.4 * rng.normal(size=x.shape), x.dtype), tree)


# ``task(meta, drawn, episode, count, held) -> (loss, metrics, gradients that first order holds constant)``
Task = Callable[[Tree, Any, Episode, int, Any], tuple[float, dict[str, float], Any]]


def meta_step(outer: Outer, task: Task, drawn: list[Any], episodes: Episode) -> dict[str, float]:
    """Step along the gradient of the mean loss over tasks, by central differences; returns mean metrics."""
    given = list(zip(drawn, each(episodes), strict=True))
    results = [task(outer.meta, d, e, outer.taken, None) for d, e in given]
    held = [h for _, _, h in results]

    def mean(meta: Tree) -> float:
        return float(np.mean([task(meta, d, e, outer.taken, h)[0] for (d, e), h in zip(given, held)]))

    outer.follow(gradient(mean, outer.meta))
    return {name: float(np.mean([m[name] for _, m, _ in results])) for name in results[0][1]}


def check_metrics(metrics: Any, expected: dict[str, Any]) -> None:
    """The same metrics, and no others."""
    assert set(metrics) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
