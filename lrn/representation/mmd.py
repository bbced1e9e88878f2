"""Equal distributions of features in all environments, by the maximum mean discrepancy (Li et al. 2018)."""

from __future__ import annotations

import jax.numpy as jnp

from lrn import check
from lrn.representation.environments import Seen, body_and_head
from lrn.representation.penalized import PenaltyConfig, example_of, example_optimizer, penalized
from lrn.supervised.losses import Loss
from lrn.types import Array, Example, Key, Learner, Net

GAMMAS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)  # those of DomainBed


def mmd(
    body: Net, head: Net, loss: Loss, config: PenaltyConfig, *, gammas: tuple[float, ...] = GAMMAS
) -> Learner:
    """Minimize the mean risk plus the maximum mean discrepancy of the features between environments.

    Args:
        body: maps inputs to features [n, ...]. head: maps features to outputs.
        loss: ``loss(output, target) -> [n]``.
        config: the settings; its floats may be swept.
        gammas: the kernel is the sum over gammas of ``exp(-gamma |a - b|^2)``.

    Returns:
        The learner of `lrn.representation.penalized`; its parameters are ``{"body": ..., "head": ...}``.

    Raises:
        InputError: a gamma is not above 0; at trace time, as `penalized`.
    """
    _check_gammas(gammas)

    def penalty(key: Key, seen: Seen) -> Array:
        return discrepancy(seen.features, gammas)

    return penalized(body_and_head(body, head), loss, penalty, config, with_features=True)


def discrepancy(features: Array | None, gammas: tuple[float, ...] = GAMMAS) -> Array:
    """The squared maximum mean discrepancy between environments, a scalar, the mean over pairs.

    The estimate of a pair is ``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)`` over all rows, a row with
    itself among them (the biased estimate of Gretton et al. 2012), so it is 0 or more. Memory is
    O((environments n)^2).

    Args:
        features: [environments, n, dim], two environments or more.
        gammas: one or more, above 0.

    Raises:
        InputError: there are fewer than two environments, or a gamma is not above 0.
    """
    _check_gammas(gammas)
    if features is None or features.ndim != 3 or features.shape[0] < 2:
        shape = None if features is None else tuple(features.shape)
        raise check.InputError(
            f"features must be [environments, n, dim], two environments or more, got {shape}; give more."
        )
    environments, n, dim = features.shape
    rows = features.reshape(-1, dim)
    rows = rows - jnp.mean(rows, axis=0, keepdims=True)  # else far from 0 the product loses short distances
    norms = jnp.sum(jnp.square(rows), axis=1)
    inner = jnp.matmul(rows, rows.T, precision="highest")
    square = jnp.maximum(norms[:, None] + norms[None] - 2 * inner, 0)
    kernel = sum((jnp.exp(-gamma * square) for gamma in gammas), jnp.zeros_like(square))
    mean = jnp.mean(kernel.reshape(environments, n, environments, n), axis=(1, 3))
    # The sum over pairs i < j of K_ii + K_jj - 2 K_ij is (environments) trace(K) - sum(K).
    return 2 * (environments * jnp.trace(mean) - jnp.sum(mean)) / (environments * (environments - 1))


def _check_gammas(gammas: tuple[float, ...]) -> None:
    if not gammas:
        raise check.InputError("gammas must have one value or more, got none; give one, such as (1.0,).")
    for gamma in gammas:
        check.positive("every entry of gammas", gamma)


def example() -> Example:
    """The environments of `lrn.representation.penalized.example_of`, with three widths of the kernel."""
    from lrn import nets

    config = PenaltyConfig(example_optimizer(), penalty=0.3, l2=1e-4)
    body, head = nets.mlp(None, (8,)), nets.mlp(2, (), initial_scale=0.1)
    return example_of(
        lambda net, loss, config: mmd(body, head, loss, config, gammas=(0.1, 1.0, 10.0)), config
    )
