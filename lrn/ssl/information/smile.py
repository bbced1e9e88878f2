"""SMILE (Song and Ermon, "Understanding the limitations of variational MI estimators", 2020)."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, nan_where
from lrn.ssl.information.jensen_shannon import jensen_shannon_divergence
from lrn.ssl.information.scores import checked, joint_mean, log_mean_exp, with_gradient_of
from lrn.types import Array


def smile(scores: Array, clip: ArrayLike = 5.0) -> Array:
    """Donsker and Varadhan's value with the density ratio clipped in its second term, a scalar in nats.

    The gradient is twice that of the Jensen-Shannon divergence, as in the authors' code.

    Bias: no bound. Clipping the ratio to [exp(-clip), exp(clip)] bounds the variance of its mean over n
    independent pairs by exp(2 clip) / (4 n). With the optimal critic the value tends to the information minus
    log E[clipped ratio], an expectation under the product distribution. Where ratios above exp(clip) carry
    much of that expectation, as they do at high information, the value is too large. A large clip gives
    Donsker and Varadhan's value.

    Args:
        scores: [n, n], n of 2 or more; log density ratios.
        clip: the paper's tau, above 0, in nats; may be traced, and gives NaN where it is not above 0.

    Raises:
        InputError: the scores have a wrong form, or the clip is not positive.
    """
    check.positive("clip", clip)
    limit = jnp.asarray(above_zero(clip), jnp.float32)
    scores = nan_where(jnp.isnan(limit), checked(scores))  # the gradient does not depend on the limit
    value = joint_mean(scores) - log_mean_exp(jnp.clip(scores, -limit, limit))
    return with_gradient_of(value, 2 * jensen_shannon_divergence(scores))
