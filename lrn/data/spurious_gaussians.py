"""Environments of Gaussians with known invariant and spurious features, and every accuracy in closed form.

The model of Rosenfeld et al. 2021 ("The risks of invariant risk minimization"). A label s is +1 or -1 with
equal chances. Invariant features are normal around s times a mean that all environments share, spurious
features around s times a mean that is the environment's own. An orthogonal matrix mixes both into the
observed x. The best predictor of an environment is linear; so is the best one that holds in every
environment, which reads the invariant features alone. Linear predictors that use spurious features and look
invariant exist where the environments are no more than the spurious dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array, Key


class World(NamedTuple):
    """The distribution of all environments.

    invariant: the mean of the invariant features of the label +1, [invariant dim].
    spurious: the mean of the spurious features of the label +1 in each environment, [environments, spurious
        dim]. sd_invariant, sd_spurious: standard deviations of each feature around the means, scalars.
    mixing: orthogonal [dim, dim], dim the sum of both: ``x = features @ mixing``.
    """

    invariant: Array
    spurious: Array
    sd_invariant: ArrayLike
    sd_spurious: ArrayLike
    mixing: Array


def draw(
    key: Key,
    environments: int,
    invariant_dim: int,
    spurious_dim: int,
    *,
    signal: ArrayLike = 1.0,
    shared: ArrayLike = 1.0,
    own: ArrayLike = 1.0,
    sd: ArrayLike = 1.0,
) -> World:
    """A random world.

    Args:
        key: the key.
        environments, invariant_dim, spurious_dim: numbers, 1 or more.
        signal: the length of the mean of the invariant features, whose direction is random.
        shared: the length of the part of the spurious means that all environments share.
        own: the expected length, nearly, of the part that is the environment's own, with a normal direction.
        sd: the standard deviation of each feature around its mean.

    Raises:
        InputError: a number is below 1, or the standard deviation is not above 0.
    """
    for name, value in {"environments": environments, "invariant_dim": invariant_dim}.items():
        check.integer(name, value, 1)
    check.integer("spurious_dim", spurious_dim, 1)
    check.positive("sd", sd)
    keys = jax.random.split(key, 4)
    common = _unit(jax.random.normal(keys[1], (1, spurious_dim)))
    apart = jax.random.normal(keys[2], (environments, spurious_dim)) / jnp.sqrt(spurious_dim)
    invariant = jnp.asarray(signal) * _unit(jax.random.normal(keys[0], (1, invariant_dim)))[0]
    spurious = jnp.asarray(shared) * common + jnp.asarray(own) * apart
    return World(invariant, spurious, sd, sd, jax.random.orthogonal(keys[3], invariant_dim + spurious_dim))


def reversed_means(world: World) -> World:
    """One environment whose spurious mean is minus the mean of the world's environments."""
    return world._replace(spurious=-jnp.mean(world.spurious, axis=0, keepdims=True))


def sample(key: Key, world: World, n: int) -> dict[str, Array]:
    """Rows of each environment: {"x": [environments, n, dim], "y": int32 [environments, n], 1 for +1}.

    Raises:
        InputError: ``n`` is below 1.
    """
    check.integer("n", n, 1)
    label_key, noise_key = jax.random.split(key)
    m = _means(world)
    y = jax.random.bernoulli(label_key, 0.5, (m.shape[0], n))
    noise = jax.random.normal(noise_key, (*y.shape, m.shape[1])) * _sds(world)[None, None]
    features = jnp.where(y, 1.0, -1.0)[..., None] * m[:, None] + noise
    return {"x": jnp.matmul(features, world.mixing, precision="highest"), "y": y.astype(jnp.int32)}


def accuracy(world: World, weights: Array, bias: ArrayLike = 0.0) -> Array:
    """The accuracy of ``x @ weights + bias > 0`` for the label +1 in each environment, [environments].

    Args:
        world: the world. weights: [dim], not all 0. bias: a scalar.
    """
    own = jnp.matmul(world.mixing, weights, precision="highest")
    at = jnp.matmul(_means(world), own, precision="highest")
    sd = jnp.sqrt(jnp.sum(jnp.square(own * _sds(world))))
    return (norm.cdf((at + bias) / sd) + norm.cdf((at - bias) / sd)) / 2


def invariant_weights(world: World) -> Array:
    """The weights [dim] of the best predictor that holds in every environment; its bias is 0.

    ``x @ weights`` is the log-odds of +1 given the invariant features, ``2 mean . features / sd^2``.
    """
    own = 2 * world.invariant / jnp.square(jnp.asarray(world.sd_invariant))
    return jnp.matmul(jnp.pad(own, (0, world.spurious.shape[1])), world.mixing, precision="highest")


def best_weights(world: World) -> Array:
    """The weights [environments, dim] of the best predictor in each environment; its bias is 0."""
    own = 2 * _means(world) / jnp.square(_sds(world))[None]
    return jnp.matmul(own, world.mixing, precision="highest")


def _means(world: World) -> Array:
    shared = jnp.broadcast_to(world.invariant[None], (world.spurious.shape[0], world.invariant.shape[0]))
    return jnp.concatenate([shared, world.spurious], axis=1)


def _sds(world: World) -> Array:
    sizes = world.invariant.shape[0], world.spurious.shape[1]
    parts = (jnp.broadcast_to(sd, (n,)) for sd, n in zip((world.sd_invariant, world.sd_spurious), sizes))
    return jnp.concatenate(list(parts))


def _unit(x: Array) -> Array:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
