"""SIGReg and LeJEPA (Balestriero and LeCun, arXiv 2511.08544, 2025).

SIGReg, sketched isotropic Gaussian regularization, tests whether the embeddings of a batch are draws from
N(0, I): it projects them on random directions and applies the test of Epps and Pulley (1983) to each
projection. LeJEPA adds SIGReg to the distance of views. LeJEPA has no negatives, target network or
stop-gradient.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import between
from lrn.config import config
from lrn.ssl.digits import on_digits
from lrn.ssl.joint_embedding import two_views
from lrn.ssl.pretraining import Parts, pretrain_on
from lrn.ssl.similarity import pairs, products, unit, wide
from lrn.ssl.views import View
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Metrics, Net


@config
class LeJEPAConfig:
    """Settings of LeJEPA.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    weight: the weight of SIGReg, in [0, 1]; the distance of the views has 1 - ``weight``. With 0 all
        embeddings may become one.
    directions: the number of random directions, drawn anew in each step.
    knots: the number of points of the integral over frequencies.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    weight: float = 0.05
    directions: int = 256
    knots: int = 17

    def __post_init__(self) -> None:
        check.between("weight", self.weight, 0, 1)
        check.counts(self, "directions")
        check.counts(self, "knots", low=2)


def epps_pulley(x: Array, knots: int = 17, reach: float = 3.0) -> Array:
    """The statistic of Epps and Pulley's test of N(0, 1) for samples [n, ...] along the first axis.

    It is n times the integral over t of ``|phi_n(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2)``, where phi_n is the
    empirical characteristic function. The integrand is even, so the trapezoidal rule runs over [0, reach] and
    counts twice, as in the authors' code. Time and memory are O(n knots).

    Args:
        x: samples [n, ...].
        knots: the number of points of the rule, 2 or more.
        reach: the largest frequency, above 0.

    Returns:
        Statistics [...], 0 or more.
    """
    check.integer("knots", knots, 2)
    check.positive("reach", reach)
    x = wide(x)
    t = jnp.linspace(0.0, reach, knots, dtype=x.dtype)
    normal = jnp.exp(-0.5 * t**2)
    steps = jnp.full((knots,), 2.0 * reach / (knots - 1), x.dtype).at[jnp.array([0, -1])].multiply(0.5)
    angles = x[..., None] * t.reshape((1,) * x.ndim + (-1,))
    real, imaginary = jnp.mean(jnp.cos(angles), axis=0), jnp.mean(jnp.sin(angles), axis=0)
    normal_of = normal.reshape((1,) * (x.ndim - 1) + (-1,))
    apart = jnp.square(real - normal_of) + jnp.square(imaginary)
    return x.shape[0] * jnp.matmul(apart, steps * normal, precision="highest")


def directions(key: Key, dim: int, count: int) -> Array:
    """Random unit vectors [count, dim]."""
    return unit(jax.random.normal(key, (count, dim)))


def sigreg(z: Array, along: Array, knots: int = 17, reach: float = 3.0) -> Array:
    """The mean over directions of `epps_pulley` for projected embeddings, a scalar.

    Args:
        z: embeddings [n, dim].
        along: unit vectors [count, dim], such as those of `directions`.
        knots, reach: see `epps_pulley`.
    """
    if z.ndim != 2 or along.ndim != 2 or z.shape[1] != along.shape[1]:
        raise check.InputError(
            f"embeddings must be [n, dim] and directions [count, dim], got {z.shape} and {along.shape}."
        )
    return jnp.mean(epps_pulley(products(z, along), knots, reach))


def lejepa(encoder: Net, head: Net, view: View, config: LeJEPAConfig) -> Learner:
    """Pull two views together, and keep the embeddings of a batch normally distributed.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder" and "head". The metric ``invariance`` is the mean squared distance of embeddings from the mean
    of an example's views, over dimensions; the metric ``sigreg`` is the mean over both views.

    Args:
        encoder: maps inputs to features h [batch, dim], which are kept.
        head: maps features to embeddings z [batch, dim], which the loss compares.
        view: draws a random view of a batch.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if the batch has fewer than two examples, or a network's output is not
            [batch, dim].
    """

    def compare(
        key: Key, params: Parts, a: Mapping[str, Array], b: Mapping[str, Array]
    ) -> tuple[Array, Metrics]:
        z_a, z_b = wide(a["head"]), wide(b["head"])
        pairs(z_a, z_b)
        along = directions(key, z_a.shape[1], config.directions)
        invariance = 0.25 * jnp.mean(jnp.square(z_a - z_b))
        normality = 0.5 * (sigreg(z_a, along, config.knots) + sigreg(z_b, along, config.knots))
        weight = between(config.weight, 0, 1)
        loss = (1.0 - weight) * invariance + weight * normality
        return loss, {"invariance": invariance, "sigreg": normality}

    return pretrain_on(two_views({"encoder": encoder, "head": head}, view, compare), config)


def example() -> Example:
    """A small network on the digits, whose views are noisy copies."""
    from lrn import nets

    encoder, head = nets.mlp(16, (32,)), nets.mlp(8, (16,))
    return on_digits(
        lambda view, config: lejepa(encoder, head, view, config),
        LeJEPAConfig(OptimizerConfig(learning_rate=0.01), directions=16),
        Goal("loss", below=0.26),
    )
