"""FLO: Fenchel-Legendre optimization (Guo et al., "Tight mutual information estimation", 2022)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from lrn import check
from lrn.ssl.information.scores import checked, nan_unless_finite
from lrn.ssl.similarity import wide
from lrn.types import Array


def flo(scores: Array, u: Array) -> Array:
    """1 - mean of u_i + exp(-u_i) mean_j exp(score_ij - score_ii), j over all but i; a scalar in nats.

    FLO replaces the logarithm of InfoNCE's partition sum by its Fenchel-Legendre dual, whose variable u(x, y)
    is learned; nothing then limits the value to log n.

    Bias: in expectation a lower bound of the mutual information, for every critic, every u and every n. It is
    tight where the critic is log p(y | x) plus any function of x, and u is minus the log density ratio of the
    pair. The variance grows with the information, as that of NWJ does.

    Args:
        scores: [n, n], n of 2 or more.
        u: [n], the dual variable of the pair (x_i, y_i), in nats.

    Raises:
        InputError: the scores or the dual variables have a wrong form.
    """
    scores = checked(scores)
    n = scores.shape[0]
    if getattr(u, "shape", None) != (n,):
        raise check.InputError(
            f"u must be [{n}], got {getattr(u, 'shape', u)}; give one number a joint pair."
        )
    u = nan_unless_finite(wide(u))
    contrasts = scores - jnp.diagonal(scores)[:, None]
    others = jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, contrasts)
    log_mean = jax.nn.logsumexp(others, axis=1) - math.log(n - 1)
    return 1 - jnp.mean(u + jnp.exp(log_mean - u))
