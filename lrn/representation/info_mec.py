"""InfoMEC: modularity, explicitness and compactness in nats (Hsu et al. 2023, "Latent quantization").

The three are ratios of mutual information, estimated without bins for continuous codes (nearest neighbors
within a factor's value; Ross 2014). They separate models that MIG and DCI do not. Definitions are those of
the authors' ``infomec.py``.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import digamma

from lrn import check
from lrn.arrays import nan_where
from lrn.representation import factors as given
from lrn.representation import logistic
from lrn.representation.histogram import entropy
from lrn.representation.sorted_codes import first_true, groups, take
from lrn.representation.standard import standardized
from lrn.types import Array

NEIGHBORS = 10
_ACTIVE = 1 / 20  # the least range of a code that counts, in units of the largest range
_JITTER = 1e-10  # of the standard deviation, breaks ties, as in scikit-learn


class InfoMEC(NamedTuple):
    """The three scores.

    modularity: scalar, how much each active code knows of one factor only; 1 is best, 0 no preference.
    explicitness: scalar, 1 less the cross-entropy of a linear classifier in units of that of none; may be
        negative for factors whose values are not equally frequent.
    compactness: scalar, how much each factor is known to one active code only; NaN with one active code.
    information: [dim, factors], mutual information in units of the factor's entropy.
    active: bools [dim], whether a code's range is over a twentieth of the largest.
    """

    modularity: Array
    explicitness: Array
    compactness: Array
    information: Array
    active: Array


def info_mec(codes: Any, factors: Any, neighbors: int = NEIGHBORS, sizes: Any = None) -> InfoMEC:
    """InfoMEC of continuous codes and discrete factors.

    Args:
        codes: floats [n, dim].
        factors: whole numbers [n, factors], two factors or more.
        neighbors: the number of nearest neighbors of the estimator.
        sizes: the number of values of each factor, needed where the factors are traced.

    Raises:
        InputError: codes, factors or the number of neighbors are wrong.
    """
    check.integer("neighbors", neighbors, 1)
    rows, sizes = given.rows(codes, factors, sizes)
    given.several("InfoMEC", len(sizes), "factors")
    return scores(rows, sizes, neighbors)


@functools.partial(jax.jit, static_argnames=("sizes", "neighbors"))
def scores(rows: given.Rows, sizes: given.Sizes, neighbors: int = NEIGHBORS) -> InfoMEC:
    """`info_mec` of checked rows."""
    (x,) = standardized(rows.codes)
    table = information(x, rows.factors, sizes, neighbors) / entropy(rows.factors, sizes)[None]
    spread = jnp.max(rows.codes, axis=0) - jnp.min(rows.codes, axis=0)
    active = spread > _ACTIVE * jnp.max(spread)
    kept = jnp.where(active[:, None], table, 0.0)
    by_code = _peak(kept, axis=1)
    modular = jnp.sum(jnp.where(active, by_code, 0.0)) / jnp.sum(active)
    compact = jnp.mean(_peak(kept, axis=0))
    explicit = jnp.mean(jax.lax.map(lambda y: _explicit(x, y, max(sizes)), rows.factors.T))
    dims = jnp.sum(active).astype(x.dtype)
    modular, compact = _above_chance(modular, float(len(sizes))), _above_chance(compact, dims)
    modular, explicit, compact, table = (
        nan_where(rows.bad, value) for value in (modular, explicit, compact, table)
    )
    return InfoMEC(modular, explicit, compact, table, active)


def information(x: Array, index: Array, sizes: given.Sizes, neighbors: int = NEIGHBORS) -> Array:
    """The mutual information [dim, factors] in nats of continuous codes and discrete factors (Ross 2014).

    For each row let d be the distance to its k-th nearest neighbor of the same value, and m the number of
    rows closer than d, the row itself among them. The estimate is the mean of
    ``psi(n) + psi(k) - psi(rows of the value) - psi(m)``, and at least 0. Values of one row are left out.

    Args:
        x: standardized codes [n, dim]. Equal codes are put apart by noise far below their resolution.
        index: int32 [n, factors].
        sizes: the number of values of each factor.
        neighbors: k; fewer where a value has fewer rows.
    """
    n, dim = x.shape
    noise = _JITTER * jax.random.normal(jax.random.key(0), (dim, n), x.dtype)
    place = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32)[None], (dim, n))
    values, noise, order = jax.lax.sort((x.T, noise, place), dimension=1, num_keys=2)
    psi = jnp.asarray(np.concatenate([[0.0], digamma(np.arange(1, n + 1))]), x.dtype)

    def of_factor(y: Array) -> Array:
        of = groups(order, y, max(sizes))
        group = jnp.searchsorted(of.start + of.length, jnp.arange(n), side="right")
        first, count = of.start[group], of.length[group]
        k = jnp.minimum(neighbors, count - 1)
        own = _at((values, noise), of.place)

        def nearer(shift: Array, best: Pair) -> Pair:
            """The distance to the k-th neighbor: that to the ends of windows of k + 1 rows."""
            low = jnp.arange(n) - shift
            inside = (low >= first) & (low + k < first + count) & (shift <= k)
            left, right = (_at(own, jnp.broadcast_to(end[None], (dim, n))) for end in (low, low + k))
            below, above = _apart(left, own), _apart(own, right)
            reach = _where(_less(below, above), above, below)
            return _where(inside[None] & _less(reach, best), reach, best)

        far = jnp.full((dim, n), jnp.inf, x.dtype)
        radius = jax.lax.fori_loop(0, neighbors + 1, nearer, (far, far))
        none, every = jnp.zeros((dim, n), jnp.int32), jnp.full((dim, n), n, jnp.int32)
        ordered = values, noise
        low = first_true(lambda t: _less(_apart(_at(ordered, t), own), radius), none, of.place, n)
        high = first_true(lambda t: ~_less(_apart(own, _at(ordered, t)), radius), of.place, every, n)
        there = count > 1
        kept = jnp.sum(there)
        terms = (psi[k] - psi[count])[None] - psi[jnp.maximum(high - low, 1)]
        mean = jnp.sum(jnp.where(there[None], terms, 0.0), axis=1) / jnp.maximum(kept, 1)
        return jnp.maximum(psi[kept] + mean, 0.0)

    return jax.lax.map(of_factor, index.T).T


# A code and its noise, or the difference of two of them; the noise decides where the first are equal. Sums of
# both would lose the noise's digits.
Pair = tuple[Array, Array]


def _at(parts: Pair, places: Array) -> Pair:
    return take(parts[0], places), take(parts[1], places)


def _apart(a: Pair, b: Pair) -> Pair:
    """How far b lies above a."""
    return b[0] - a[0], b[1] - a[1]


def _less(a: Pair, b: Pair) -> Array:
    return (a[0] < b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))


def _where(condition: Array, a: Pair, b: Pair) -> Pair:
    return jnp.where(condition, a[0], b[0]), jnp.where(condition, a[1], b[1])


def _peak(table: Array, axis: int) -> Array:
    """The largest entry's share of its row's sum; the chance level where nothing is known."""
    top, total = jnp.max(table, axis=axis), jnp.sum(table, axis=axis)
    return jnp.where(total > 0, top / jnp.where(total > 0, total, 1), 1 / table.shape[axis])


def _above_chance(mean: Array, count: Any) -> Array:
    return (mean - 1 / count) / (1 - 1 / count)


def _explicit(x: Array, y: Array, most: int) -> Array:
    """One less the cross-entropy of a balanced classifier in units of log(values), for values y [n]."""
    log_p = jax.nn.log_softmax(logistic.logits(logistic.fit(x, y, most, 0.0, balanced=True), x))
    loss = -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))
    return 1 - loss / jnp.log(jnp.sum(given.counts(y, most) > 0).astype(x.dtype))
