"""Deep CORAL across environments: features with equal means and covariances (Sun and Saenko 2016)."""

from __future__ import annotations

import jax.numpy as jnp

from lrn import check
from lrn.representation.environments import body_and_head
from lrn.representation.penalized import PenaltyConfig, example_of, example_optimizer, penalized
from lrn.supervised.losses import Loss
from lrn.types import Array, Example, Learner, Net


def coral(body: Net, head: Net, loss: Loss, config: PenaltyConfig) -> Learner:
    """Minimize the mean risk plus the distance of the features' first two moments between environments.

    Args:
        body: maps inputs to features [n, ...]. head: maps features to outputs.
        loss: ``loss(output, target) -> [n]``.
        config: the settings; its floats may be swept.

    Returns:
        The learner of `lrn.representation.penalized`; its parameters are ``{"body": ..., "head": ...}``.

    Raises:
        InputError: at trace time, as `penalized`, or if an environment has fewer than two rows.
    """
    net = body_and_head(body, head)
    return penalized(net, loss, lambda key, seen: moment_distance(seen.features), config, with_features=True)


def moment_distance(features: Array | None) -> Array:
    """The distance of means and covariances between environments, a scalar, the mean over pairs.

    The distance of a pair is the mean squared difference of the means over dimensions, plus the mean squared
    difference of the unbiased covariances over pairs of dimensions, as in DomainBed (Gulrajani and Lopez-Paz
    2021). The mean over all pairs is 2 / (environments - 1) times the summed distance to the mean moments.

    Args:
        features: [environments, n, dim], two environments and two rows or more.

    Raises:
        InputError: there are fewer environments or rows.
    """
    z = _check(features)
    mean = jnp.mean(z, axis=1)
    centered = z - mean[:, None]
    covariance = jnp.einsum("eni,enj->eij", centered, centered, precision="highest") / (z.shape[1] - 1)
    return _spread(mean) + _spread(covariance)


def _spread(moments: Array) -> Array:
    """The mean over pairs of environments of the mean squared difference, of [environments, ...]."""
    off = moments - jnp.mean(moments, axis=0, keepdims=True)
    return 2 * jnp.mean(jnp.sum(jnp.square(off), axis=0)) / (moments.shape[0] - 1)


def _check(features: Array | None) -> Array:
    if features is None or features.ndim != 3 or features.shape[0] < 2 or features.shape[1] < 2:
        shape = None if features is None else tuple(features.shape)
        raise check.InputError(
            f"features must be [environments, n, dim], two environments and two rows or more, got {shape}; "
            "give more environments or larger batches."
        )
    return features


def example() -> Example:
    """The environments of `lrn.representation.penalized.example_of`."""
    from lrn import nets

    config = PenaltyConfig(example_optimizer(), penalty=0.3, l2=1e-4)
    body, head = nets.mlp(None, (8,)), nets.mlp(2, (), initial_scale=0.1)
    return example_of(lambda net, loss, config: coral(body, head, loss, config), config)
