"""Risk extrapolation by the variance of the environments' risks (Krueger et al. 2021, V-REx, equation 8)."""

from __future__ import annotations

import jax.numpy as jnp

from lrn.representation.environments import Seen
from lrn.representation.penalized import PenaltyConfig, example_of, example_optimizer, penalized
from lrn.supervised.losses import Loss
from lrn.types import Array, Example, Key, Learner, Net


def vrex(net: Net, loss: Loss, config: PenaltyConfig) -> Learner:
    """Minimize the mean risk plus the variance of the risks over environments.

    The paper has the sum of the risks where this has their mean, so its penalty is this one times the
    number of environments.

    Args:
        net: the network. loss: ``loss(output, target) -> [n]``.
        config: the settings; its floats may be swept.

    Returns:
        The learner of `lrn.representation.penalized`.

    Raises:
        InputError: at trace time, as `penalized`.
    """
    return penalized(net, loss, risk_variance, config)


def risk_variance(key: Key, seen: Seen) -> Array:
    """The population variance of the risks over environments, a scalar in the squared unit of the loss."""
    del key
    return jnp.var(seen.risks)


def example() -> Example:
    """The environments of `lrn.representation.penalized.example_of`."""
    return example_of(vrex, PenaltyConfig(example_optimizer(), penalty=3.0, begin=10.0, l2=1e-4))
