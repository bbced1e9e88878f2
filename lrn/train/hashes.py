"""Hashes of arrays and of traced functions, which tell trainings apart."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from lrn.types import PyTree, is_key


def sha256(tree: PyTree) -> str:
    """A hash of the structure and of every bit of a pytree of arrays."""
    digest = hashlib.sha256(str(jax.tree.structure(tree)).encode())
    for leaf in jax.tree.leaves(tree):
        host = np.ascontiguousarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        digest.update(f"{host.dtype}{host.shape}".encode() + host.tobytes())
    return digest.hexdigest()


def sha256_of_function(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """A hash of a function's jaxpr, and of the arrays that the jaxpr closes over, at any depth."""
    closed = jax.make_jaxpr(function)(*args)
    # A function in a jaxpr prints with its address, which differs between processes.
    digest = hashlib.sha256(re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr)).encode())
    for constant in _constants(closed):
        digest.update(sha256(constant).encode())
    return digest.hexdigest()


def _constants(closed: Any) -> Iterator[Any]:
    """The arrays that a jaxpr and the jaxprs it calls close over; a printed jaxpr does not show them."""
    yield from getattr(closed, "consts", ())
    for equation in getattr(closed, "jaxpr", closed).eqns:
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(getattr(part, "jaxpr", part), "eqns"):
                yield from _constants(part)
