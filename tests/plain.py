"""Shared parts of reference steps: gradients, optimizers and small networks in NumPy float64.

A reference follows the paper and calls no function of lrn. Gradients are central differences, so a reference
copies no derivation of the code under test. Networks are linear, so they have few numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Tree = Any  # nested dicts, tuples, lists and NamedTuples of arrays


def as_float64(tree: Tree) -> Tree:
    """The same tree with float64 NumPy arrays."""
    return jax.tree.map(lambda x: np.array(x, np.float64), tree)


def compiled(f: Callable[..., Any], *args: Any) -> Callable[..., Any]:
    """``jit(f)`` for arguments of this form, compiled quickly, because it runs a few times."""
    haste: Any = {"xla_backend_optimization_level": "0", "xla_cpu_use_fusion_emitters": False}
    return jax.jit(f).lower(*args).compile(compiler_options=haste if jax.default_backend() == "cpu" else None)


def numbers(x: Any) -> np.ndarray:
    """The leaves in float64."""
    return np.asarray(x, np.float64)


def gradient(loss: Callable[[Tree], float], params: Tree, step: float = 1e-6) -> Tree:
    """The gradient of a scalar loss by central differences, for a few dozen numbers."""
    leaves, form = jax.tree.flatten(as_float64(params))
    slopes = [np.zeros_like(leaf) for leaf in leaves]
    for leaf, slope in zip(leaves, slopes):
        for index in np.ndindex(leaf.shape):
            here = leaf[index]
            leaf[index] = here + step
            above = float(loss(jax.tree.unflatten(form, leaves)))
            leaf[index] = here - step
            below = float(loss(jax.tree.unflatten(form, leaves)))
            leaf[index] = here
            slope[index] = (above - below) / (2 * step)
    return jax.tree.unflatten(form, slopes)


def global_norm(tree: Tree) -> float:
    """The root of the sum of all squares."""
    return float(np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(tree))))


def clipped(tree: Tree, largest: float) -> Tree:
    """The gradient, scaled down to a global norm of ``largest`` where its norm exceeds that."""
    norm = global_norm(tree)
    return tree if norm < largest else jax.tree.map(lambda x: x * largest / norm, tree)


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1): its moments and its number of steps."""

    def __init__(self, params: Tree, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8):
        self.b1, self.b2, self.eps, self.count = b1, b2, eps, 0
        self.mu = jax.tree.map(lambda x: np.zeros(np.shape(x)), params)
        self.nu = jax.tree.map(lambda x: np.zeros(np.shape(x)), params)

    def step(self, params: Tree, gradient: Tree, rate: float) -> Tree:
        """The parameters after one step; the moments change in place."""
        self.count += 1
        self.mu = jax.tree.map(lambda m, g: self.b1 * m + (1 - self.b1) * g, self.mu, gradient)
        self.nu = jax.tree.map(lambda v, g: self.b2 * v + (1 - self.b2) * g**2, self.nu, gradient)
        first, second = 1 - self.b1**self.count, 1 - self.b2**self.count
        return jax.tree.map(
            lambda p, m, v: p - rate * (m / first) / (np.sqrt(v / second) + self.eps),
            as_float64(params), self.mu, self.nu,
        )  # fmt: skip


def log_softmax(x: np.ndarray) -> np.ndarray:
    """Log-probabilities over the last axis."""
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def assert_trees_close(actual: Tree, expected: Tree, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Assert equal structures with equal leaves; the message names the leaf."""
    paths, form = jax.tree_util.tree_flatten_with_path(actual)
    wanted, other = jax.tree.flatten(expected)
    assert form == other, f"{form}\nis not\n{other}"
    for (path, a), b in zip(paths, wanted):
        np.testing.assert_allclose(
            np.asarray(a), np.asarray(b), rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path)
        )
