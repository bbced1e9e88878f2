"""The posterior of one latent variable with a standard normal prior, by adaptive Gauss-Hermite quadrature.

The nodes of each row are centered at the mode of its posterior and scaled by the curvature there (Naylor &
Smith 1982; Liu & Pierce 1994), so that few nodes suffice for a posterior of any width. The result is
deterministic, differentiable, and exact where the posterior is normal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.fair import arguments
from lrn.types import Array, PyTree

_NEWTON = 12  # steps to the mode
# Where one node has more than this share, the nodes have missed the posterior.
_MISSED = 0.75


class Quadrature(NamedTuple):
    """The posterior of each individual on its nodes.

    node, weight: the nodes and their posterior chances, [n, nodes].
    log_evidence: the log of the row's chance with the latent variable integrated out, [n].
    mean, sd: of the posterior, [n].

    A row is NaN where the nodes miss the posterior, which a log-likelihood that is concave in u excludes.
    """

    node: Array
    weight: Array
    log_evidence: Array
    mean: Array
    sd: Array


def normal_nodes(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights, [nodes] each, of the expectation under the standard normal distribution.

    Raises:
        InputError: ``nodes`` is not between 2 and 128.
    """
    check.integer("nodes", nodes, 2)
    check.between("nodes", nodes, 2, 128)
    node, weight = np.polynomial.hermite_e.hermegauss(nodes)
    return node, weight / weight.sum()


def quadrature(log_likelihood: Callable[[Array, Any], Array], rows: PyTree, nodes: int = 20) -> Quadrature:
    """The posterior of a latent variable u ~ N(0, 1) for each row; jit, vmap and grad safe.

    Args:
        log_likelihood: ``log_likelihood(u, row)``, the log of the row's chance given a scalar u, a scalar;
            twice differentiable in u.
        rows: what was observed, leaves [n, ...].
        nodes: the number of nodes of each row.

    Raises:
        InputError: ``nodes`` is out of its range, the rows differ in length or hold values that are not
            finite, or the log-likelihood is no scalar.
    """
    rows, _ = arguments.individuals(rows)
    standard, mass = normal_nodes(nodes)
    standard, log_mass = (jnp.asarray(v, jnp.result_type(float)) for v in (standard, np.log(mass)))

    def one(row: Any) -> Quadrature:
        def log_joint(u: Array) -> Array:
            found = jnp.asarray(log_likelihood(u, row))
            if found.shape != ():
                raise check.InputError(f"log_likelihood must give a scalar, got shape {found.shape}; sum it.")
            return found - jnp.square(u) / 2

        center, scale = jax.lax.stop_gradient(_mode(log_joint))
        node = center + scale * standard
        level = jax.vmap(log_joint)(node) + jnp.square(standard) / 2 + jnp.log(scale) + log_mass
        evidence = jax.nn.logsumexp(level)
        weight = jnp.exp(level - evidence)
        mean = jnp.sum(weight * node)
        sd = jnp.sqrt(jnp.sum(weight * jnp.square(node - mean)))
        hit = jnp.where(jnp.max(weight) > _MISSED, jnp.nan, 1).astype(evidence.dtype)
        return Quadrature(node, weight * hit, evidence * hit, mean * hit, sd * hit)

    return jax.vmap(one)(rows)


def _mode(log_joint: Callable[[Array], Array]) -> tuple[Array, Array]:
    """The mode by Newton's method from 0, and one over the root of the curvature there, at most 1.

    The prior alone has curvature 1; where the likelihood is not concave, the step is that of the prior.
    """
    slope = jax.grad(log_joint)

    def curvature(u: Array) -> Array:
        return jnp.maximum(-jax.grad(slope)(u), 1)

    def advance(u: Array, _: None) -> tuple[Array, None]:
        return u + jnp.clip(slope(u) / curvature(u), -4, 4), None

    center, _ = jax.lax.scan(advance, jnp.zeros((), jnp.result_type(float)), None, length=_NEWTON)
    return center, 1 / jnp.sqrt(curvature(center))
