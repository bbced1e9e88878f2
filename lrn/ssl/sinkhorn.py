"""Sinkhorn's algorithm in logarithms: assignments of a batch to prototypes, and plans of optimal transport.

A matrix of positive numbers is scaled to given sums of rows and columns by normalizing its columns and its
rows in turn (Cuturi 2013). In logarithms nothing overflows: exp(1 / .05) of SwAV is 5e8, and in float16 its
sums overflow.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero
from lrn.ssl.similarity import wide
from lrn.types import Array


def assignments(
    scores: Array, epsilon: ArrayLike = 0.05, iterations: int = 3, used: Array | None = None
) -> Array:
    """Soft assignments [n, prototypes] that use all prototypes about equally; each row sums to 1.

    This is ``distributed_sinkhorn`` of SwAV (Caron et al. 2020, section 3.1 and appendix A): the columns of
    ``exp(scores / epsilon)`` are normalized, then the rows, ``iterations`` times.

    Args:
        scores: [n, prototypes], inner products of embeddings and prototypes.
        epsilon: above 0; a smaller one gives harder assignments. May be traced; NaN
            follows where it is not above 0.
        iterations: 1 or more; the prototypes' shares approach 1 / prototypes with more of them.
        used: bool [n], the rows that take part; others have zeros. None: all rows.

    Raises:
        InputError: the scores are not [n, prototypes] with two prototypes or more, or an argument is out of
            its range.
    """
    if scores.ndim != 2 or scores.shape[1] < 2 or scores.shape[0] < 1:
        raise check.InputError(
            f"scores must be [n, prototypes] with two prototypes or more, got {scores.shape}; one prototype "
            "tells nothing."
        )
    check.positive("epsilon", epsilon)
    check.integer("iterations", iterations, 1)
    n, prototypes = scores.shape
    rows = jnp.ones(n, bool) if used is None else used
    log = jnp.where(rows, 0.0, -jnp.inf)
    scaled = scaling(wide(scores) / above_zero(epsilon), log, jnp.zeros(prototypes), iterations)
    return jnp.exp(scaled)


def scaling(log_kernel: Array, log_rows: Array, log_columns: Array, iterations: int) -> Array:
    """The logarithm of a matrix [n, m] scaled to given sums: columns first, then rows, in turn.

    The last step normalizes rows, so the sums of rows are exact, and those of columns up to a factor as near
    as the iterations bring them. A row or column of sum 0 becomes 0.

    Args:
        log_kernel: the logarithm of the matrix, [n, m].
        log_rows, log_columns: logarithms of the sums, [n] and [m]; -inf for 0.
        iterations: the number of times that both are normalized.
    """
    tall, broad = jnp.isfinite(log_rows)[:, None], jnp.isfinite(log_columns)[None]
    log = jnp.where(tall & broad, log_kernel, -jnp.inf)

    def normalized(log: Array, goal: Array, axis: int) -> Array:
        total = jax.nn.logsumexp(log, axis=axis, keepdims=True)
        shift = jnp.expand_dims(goal, axis) - total
        # A total of NaN stays, so that a row of NaN does not leave the columns unscaled without a word.
        return jnp.where(tall & broad, log + jnp.where(total == -jnp.inf, 0, shift), -jnp.inf)

    def both(_: int, log: Array) -> Array:
        return normalized(normalized(log, log_columns, 0), log_rows, 1)

    return jax.lax.fori_loop(0, iterations, both, log)
