"""Environments, a linear network and its risks in NumPy, as the tests of invariance use them."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Net

RNG = np.random.default_rng(7)
E, N, DIM = 3, 8, 2
X: Any = RNG.normal(size=(E, N, DIM))
Y: Any = (RNG.random((E, N)) < 0.5).astype(int)
PARAMS: Any = {"w": RNG.normal(size=(DIM, 1)), "b": np.array([0.3])}
PLAIN_SGD = OptimizerConfig("sgd", 1.0, momentum=0.0)  # the step is the gradient


def linear(params: Any = None) -> Net:
    """``x @ w + b``, one logit a row; the parameters are given, or random."""

    def init(key, x):
        start = {"w": jax.random.normal(key, (x.shape[1], 1), x.dtype), "b": np.zeros(1, x.dtype)}
        return (start if params is None else jax.tree.map(lambda a: np.asarray(a, x.dtype), params)), ()

    def apply(params, state, x, *, key=None, train=False):
        return jax.numpy.dot(x, params["w"], precision="highest") + params["b"][None], state

    return Net(init, apply)


def batch(order: Any = slice(None)) -> dict[str, Any]:
    """The environments, in an order, as a float32 batch."""
    return {"x": X[order].astype(np.float32), "y": Y[order].astype(np.int32)}


def losses(params: Any, x: Any = X, y: Any = Y, scale: float = 1.0) -> np.ndarray:
    """The logistic loss of each row, [environments, n], of logits times a scale."""
    z = scale * (x @ params["w"] + params["b"])[..., 0]
    return np.logaddexp(0, z) - y * z


def slopes(params: Any) -> np.ndarray:
    """The derivative of each row's loss by the scale at 1: z (sigmoid(z) - y)."""
    z = (X @ params["w"] + params["b"])[..., 0]
    return z * (1 / (1 + np.exp(-z)) - Y)


def squares(params: Any) -> float:
    return float(sum(np.sum(np.square(leaf)) for leaf in params.values()))
