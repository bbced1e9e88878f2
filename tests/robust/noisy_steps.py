"""A step of training on noise in NumPy float64, on a softmax network with a running mean as in BatchNorm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Learner, Net
from tests import plain

RNG = np.random.default_rng(4)
X = RNG.uniform(size=(5, 2, 3)).astype(np.float32)
Y = RNG.integers(0, 4, 5)
BATCH = {"image": X, "label": Y}
PLAIN_SGD = OptimizerConfig("sgd", 1.0, momentum=0.0)  # the step is the gradient
LOGITS = 2 * RNG.normal(size=(5, 3, 4))  # of 3 copies, for losses alone


def net() -> Net:
    """Logits ``2 (x - mean) @ w``; the mean is the batch's in training, else a running mean from .3 on."""

    def init(key, x):
        return {"w": jax.random.normal(key, (6, 4))}, {"mean": jnp.full((1, 6), 0.3)}

    def apply(params, state, x, *, key=None, train=False):
        rows = x.reshape(len(x), 6)
        if train:
            state = {"mean": rows.mean(0, keepdims=True)}
        return 2 * (rows - state["mean"]) @ params["w"], state

    return Net(init, apply)


def softmax(z: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    return np.exp(z - z.max(-1, keepdims=True)) / np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True)


def noise(key: Any, sigma: float, samples: int) -> np.ndarray:
    """The noise of a step with this key, [5, samples, 2, 3]."""
    drawn = jax.random.normal(jax.random.split(key)[0], (5, samples, 2, 3))
    return sigma * np.asarray(drawn, np.float64)


def training_logits(w: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """Logits [5, samples, 4] of noisy copies [5, samples, 2, 3] in training mode."""
    rows = noisy.reshape(-1, 6)
    return (2 * (rows - rows.mean(0)) @ w).reshape(5, -1, 4)


def check_step(
    learner: Learner, terms: Callable[[np.ndarray], dict[str, float]], noisy: Callable[[Any, np.ndarray], Any]
) -> None:
    """Compare value, terms, accuracy, state and gradient of a first step with the reference.

    Args:
        learner: made with `PLAIN_SGD`.
        terms: from logits [5, samples, 4] to the terms of the loss.
        noisy: from the step's key and w to the noisy copies [5, samples, 2, 3].
    """
    key = jax.random.key(7)
    state = jax.jit(learner.init)(jax.random.key(1), BATCH)
    after, metrics = jax.jit(learner.step)(key, state, BATCH)
    w = np.asarray(state.params["w"], np.float64)
    copies = np.asarray(noisy(jax.random.clone(key), w), np.float64)
    gradient = plain.gradient(lambda w: sum(terms(training_logits(w, copies)).values()), w)
    logits = training_logits(w, copies)
    wanted = terms(logits)
    assert len(wanted) + 3 == len(metrics)
    for name, value in wanted.items():
        assert metrics[name] == pytest.approx(value, rel=2e-5), name
    assert metrics["loss"] == pytest.approx(sum(wanted.values()), rel=2e-5)
    assert metrics["accuracy"] == pytest.approx((logits.argmax(-1) == Y[:, None]).mean())
    assert metrics["gradient_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-4)
    np.testing.assert_allclose(w - after.params["w"], gradient, rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(after.net_state["mean"][0], copies.reshape(-1, 6).mean(0), atol=1e-6)
    assert after.step == 1


def check_loss(loss: Callable[[jax.Array], jax.Array], reference: Callable[[np.ndarray], np.ndarray]) -> None:
    """Compare a loss of `LOGITS`, [5], and the gradient of its sum with the reference."""
    value, pull = jax.vjp(jax.jit(loss), jnp.asarray(LOGITS, jnp.float32))
    np.testing.assert_allclose(value, reference(LOGITS), rtol=2e-5, atol=1e-6)
    exact = plain.gradient(lambda z: float(reference(z).sum()), LOGITS)
    np.testing.assert_allclose(pull(jnp.ones(5))[0], exact, rtol=1e-3, atol=3e-6)
