"""A two-layer network with fixed weights, in NumPy float64, as the tests of robust trainings use it.

A script in PyTorch drew the same numbers from the same generator, so that its results are constants here.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrn.supervised.optimizers import OptimizerConfig
from tests import plain

_RNG = np.random.default_rng(7)
_W1, _B1 = _RNG.normal(size=(12, 6)), _RNG.normal(size=6) / 4
_W2, _B2 = _RNG.normal(size=(6, 4)), _RNG.normal(size=4) / 4
WEIGHTS: Any = [{"w": _W1, "b": _B1}, {"w": _W2, "b": _B2}]  # of the fixture mlp(6, 4)
WEIGHTS32: Any = jax.tree.map(lambda w: w.astype(np.float32), WEIGHTS)
X: Any = _RNG.uniform(size=(5, 2, 3, 2))
Y: Any = _RNG.integers(0, 4, 5)
NOISE: Any = _RNG.normal(size=X.shape)
BATCH: Any = {"image": X.astype(np.float32), "label": Y}
PLAIN_SGD = OptimizerConfig("sgd", 1.0, momentum=0.0)  # the step is the gradient


def logits(weights, x) -> np.ndarray:
    """The network, [batch, ...] -> [batch, 4]."""
    first, second = weights
    return np.tanh(x.reshape(len(x), -1) @ first["w"] + first["b"]) @ second["w"] + second["b"]


def cross_entropy(z, y=Y) -> np.ndarray:
    """Minus the log-probability of the label, [batch]."""
    return -plain.log_softmax(z)[np.arange(len(y)), y]


def kl(p, q) -> np.ndarray:
    """KL(softmax(p) || softmax(q)), [batch]."""
    p, q = plain.log_softmax(p), plain.log_softmax(q)
    return (np.exp(p) * (p - q)).sum(1)


def slope(loss, x) -> np.ndarray:
    """The gradient of the sum of ``loss(z) -> [batch]`` at x, by central differences."""
    return plain.gradient(lambda z: float(loss(z).sum()), x)


def start(learner, batch=BATCH):
    """The learner's first state, with the weights above."""
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    if hasattr(state, "training"):
        return state._replace(training=state.training._replace(params=jax.tree.map(jnp.asarray, WEIGHTS32)))
    return state._replace(params=jax.tree.map(jnp.asarray, WEIGHTS32))


def use_noise(monkeypatch) -> None:
    """Let jax draw `NOISE` as the normal noise of a start; other shapes are drawn as ever."""
    drawn = jax.random.normal

    def normal(key, shape=(), dtype=float):
        return jnp.asarray(NOISE, dtype) if shape == NOISE.shape else drawn(key, shape, dtype)

    monkeypatch.setattr(jax.random, "normal", normal)


def single(x) -> Any:
    """An array in float32."""
    return np.asarray(x, np.float32)
