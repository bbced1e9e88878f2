"""NWJ (Nguyen, Wainwright and Jordan, "Estimating divergence functionals and the likelihood ratio", 2010)."""

from __future__ import annotations

import jax.numpy as jnp

from lrn.ssl.information.scores import checked, joint_mean, log_mean_exp
from lrn.types import Array


def nwj(scores: Array) -> Array:
    """The mean score of joint pairs, minus the mean of exp(score - 1) over all others; a scalar in nats.

    Bias: in expectation a lower bound of the mutual information, for every critic and every n. It is tight at
    the critic 1 + log p(x, y) / (p(x) p(y)). The variance grows like exp(I) / n (Song and Ermon 2020): above
    a few nats the value rests on a few pairs, and most batches overestimate.

    Args:
        scores: [n, n], n of 2 or more. The value is -inf where the mean of exp exceeds the floats.

    Raises:
        InputError: the scores have a wrong form.
    """
    scores = checked(scores)
    return joint_mean(scores) - jnp.exp(log_mean_exp(scores) - 1)
