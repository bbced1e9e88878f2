"""MINE (Belghazi et al., "Mutual information neural estimation", 2018)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.ssl.information.scores import checked, joint_mean, log_mean_exp, with_gradient_of
from lrn.types import Array


def start() -> Array:
    """The moving average before the first batch: the logarithm of 0."""
    return jnp.asarray(-jnp.inf, jnp.float32)


def mine(scores: Array, log_average: Array, decay: ArrayLike = 0.99) -> tuple[Array, Array]:
    """The value of Donsker and Varadhan with MINE's gradient (section 3.2), and the new moving average.

    In a batch's gradient of log mean exp(score) the denominator is the batch's own mean, which biases the
    gradient. MINE divides by an exponential moving average of these means instead.

    Bias: the value is that of `lrn.ssl.information.donsker_varadhan`, with its bias; only the gradient's bias
    is corrected, up to the delay of the moving average.

    Args:
        scores: [n, n], n of 2 or more.
        log_average: the logarithm of the moving average of mean exp(score), a scalar; `start` at first.
        decay: the weight of the old average, in [0, 1]; the first batch replaces it.

    Returns:
        The value in nats, a scalar, and the logarithm of the new average, a scalar.

    Raises:
        InputError: the scores have a wrong form, or the decay is out of range.
    """
    check.between("decay", decay, 0, 1)
    scores = checked(scores)
    joint, mean = joint_mean(scores), log_mean_exp(scores)
    batch = jax.lax.stop_gradient(mean)
    blend = jnp.logaddexp(jnp.log(decay) + log_average, jnp.log1p(-jnp.asarray(decay)) + batch)
    average = jnp.where(jnp.isneginf(log_average), batch, blend)
    return with_gradient_of(joint - mean, joint - jnp.exp(mean - average)), average
