"""A linear network, its rows and its losses in NumPy, as the tests of fair training use them."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Net

RNG = np.random.default_rng(11)
N, DIM, GROUPS = 24, 3, 2
X: Any = RNG.normal(size=(N, DIM))
Y: Any = (RNG.random(N) < 0.5).astype(int)
GROUP: Any = RNG.integers(0, GROUPS, N)
WEIGHT: Any = RNG.integers(1, 4, N).astype(float)
PARAMS: Any = {"w": RNG.normal(size=(DIM, 1)), "b": np.array([0.3])}
PLAIN_SGD = OptimizerConfig("sgd", 1.0, momentum=0.0)  # the step is the gradient


def linear(outputs: int = 1, params: Any = None) -> Net:
    """``x @ w + b`` with outputs [n, outputs]; the parameters are given, or random."""

    def init(key, x):
        start = jax.random.normal(key, (x.shape[1], outputs), x.dtype)
        if params is not None:
            return jax.tree.map(lambda leaf: np.asarray(leaf, x.dtype), params), ()
        return {"w": start, "b": np.zeros(outputs, x.dtype)}, ()

    def apply(params, state, x, *, key=None, train=False):
        return jax.numpy.dot(x, params["w"], precision="highest") + params["b"][None], state

    return Net(init, apply)


def batch(rows: Any = slice(None), **changes: Any) -> dict[str, Any]:
    """The rows as a float32 batch."""
    whole = {
        "x": X.astype(np.float32), "y": Y.astype(np.int32), "group": GROUP.astype(np.int32),
        "weight": WEIGHT.astype(np.float32),
    }  # fmt: skip
    return {name: value[rows] for name, value in (whole | changes).items()}


def logit(params: Any, x: Any = X) -> np.ndarray:
    return (x @ params["w"] + params["b"])[:, 0]


def sigmoid(z: Any) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def loss(params: Any) -> float:
    """The weighted mean logistic loss."""
    z = logit(params)
    return float(np.average(np.logaddexp(0, z) - Y * z, weights=WEIGHT))


def moved(before: Any, after: Any) -> Any:
    """The step of plain descent at rate 1: the gradient."""
    return jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), before, after)
