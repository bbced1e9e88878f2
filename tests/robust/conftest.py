"""Small networks with known worst cases, and jax's strict modes for every test in this folder."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.types import Net


@pytest.fixture(autouse=True, scope="module")
def _modes():
    """Key-reuse and rank-promotion checks; compilation is quick, because each of these programs runs once."""
    quick = "jax_disable_most_optimizations"
    before = jax.config.read(quick)
    jax.config.update(quick, True)
    with jax.debug_key_reuse(True), jax.numpy_rank_promotion("raise"):
        yield
    jax.config.update(quick, before)


def _mlp(*widths: int, activation=jnp.tanh) -> Net:
    """An MLP as a plain function; smooth by default, so that no gradient is exactly zero."""

    def init(key, x):
        sizes = [x[0].size, *widths]
        keys = jax.random.split(key, len(widths))
        shapes = itertools.pairwise(sizes)
        return [
            {"w": jax.random.normal(k, s) / s[0] ** 0.5, "b": jnp.zeros(s[1])} for k, s in zip(keys, shapes)
        ], ()

    def apply(params, state, x, *, key=None, train=False):
        h = x.reshape(x.shape[0], -1)
        for i, layer in enumerate(params):
            h = h @ layer["w"] + layer["b"][None]
            h = activation(h) if i < len(params) - 1 else h
        return h, state

    return Net(init, apply)


@pytest.fixture(scope="session")
def mlp():
    return _mlp


class Linear(NamedTuple):
    """Two classes with margin(x) = (2y-1)(w.x + b) up to sign: the worst case in a ball is known exactly."""

    x: jax.Array  # [batch, 8, 8, 1] in [0, 1]
    y: jax.Array  # [batch] in {0, 1}
    w: np.ndarray  # [64]
    b: float

    def logits(self, z):
        score = z.reshape(z.shape[0], -1) @ jnp.asarray(self.w, z.dtype)[:, None] + self.b
        return jnp.concatenate([-score / 2, score / 2], axis=1)

    @property
    def direction(self):
        """The gradient of the margin loss (wrong minus true logit) for each example, [batch, 64]."""
        return np.where(np.asarray(self.y)[:, None] == 1, -1, 1) * self.w[None, :]

    def margins(self, z):
        """The wrong minus the true logit, [batch], in float64."""
        z = np.asarray(z, np.float64).reshape(len(z), -1)
        return np.where(np.asarray(self.y) == 1, -1, 1) * (z @ self.w.astype(np.float64) + self.b)


@pytest.fixture(scope="session")
def linear() -> Linear:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(48, 8, 8, 1)).astype(np.float32)
    w = rng.normal(size=64).astype(np.float32)
    scores = x.reshape(48, 64) @ w
    b = -float(np.median(scores))
    return Linear(jnp.asarray(x), jnp.asarray((scores + b > 0).astype(np.int32)), w, b)
