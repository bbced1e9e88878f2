"""Recovery from pairs of observations: contrastive learning with a metric per source (Zimmermann et al.
2021).

Where the partner's sources differ from an example's by Laplace noise, or by changes of few sources, InfoNCE
with the L1 distance of codes finds the sources up to order, sign, scale and shift; with the squared L2
distance only up to a rotation more. `lrn.representation.canonical` has the linear case.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, between
from lrn.config import config
from lrn.supervised.averages import AverageConfig
from lrn.supervised.inputs import partnered
from lrn.supervised.learner import SupervisedState, descend, initial_state, weights
from lrn.supervised.losses import cross_entropy
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, NetState, Params


@config
class PairedViewsConfig:
    """Settings of contrastive recovery.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    power: of the distance, 1 or more: sum_j |a_j - b_j|^power. With 2 the codes may be rotated.
    temperature: divides the distances, above 0.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    power: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check.between("power", self.power, 1, 10)
        check.positive("temperature", self.temperature)


def paired_views(encoder: Net, config: PairedViewsConfig) -> Learner:
    """Pick an example's partner among the partners of a batch, by the distance of codes.

    Batches are ``{"image" or "x": floats [batch, ...], "partner": floats [batch, ...]}``. The metrics
    are ``loss`` in nats, at log batch without learning; ``accuracy`` of picking; ``gradient_norm``. The
    parameters are those of the encoder.

    Args:
        encoder: maps observations to codes [batch, sources], without a state.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch or the codes have the wrong form.
    """

    def init(key: Key, batch: Batch) -> SupervisedState:
        x, _ = partnered(batch)
        params, net_state = encoder.init(key, x)
        if jax.tree.leaves(net_state):
            raise check.InputError("the encoder must keep no state (BatchNorm mixes pairs); use layer norm.")
        return initial_state(config, params, ())

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        del key
        x, partner = partnered(batch)
        n = x.shape[0]

        def objective(params: Params) -> tuple[Array, tuple[NetState, Metrics]]:
            codes = encoder.apply(params, (), jnp.concatenate([x, partner]))[0]
            apart = distances(codes[:n], codes[n:], between(config.power, 1, 10))
            logits = -apart / above_zero(config.temperature)
            right = jnp.mean(jnp.argmax(logits, axis=1) == jnp.arange(n))
            return jnp.mean(cross_entropy(logits, jnp.eye(n))), ((), {"accuracy": right})

        return descend(config, state, objective)

    return Learner(init, step)


def distances(a: Array, b: Array, power: ArrayLike) -> Array:
    """sum_k |a_ik - b_jk|^power, [n, m], for codes [n, dim] and [m, dim]; the gradient at equal codes is 0.

    Raises:
        InputError: the codes are not [n, dim] of one dim.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise check.InputError(f"codes must be [n, dim] of one dim, got {a.shape} and {b.shape}.")
    apart = jnp.abs(a[:, None, :] - b[None, :, :])
    safe = jnp.where(apart > 0, apart, 1)
    return jnp.sum(jnp.where(apart > 0, safe**power, 0), axis=2)


def codes_of(encoder: Net, state: SupervisedState, x: Array) -> Array:
    """The codes [n, sources] under trained weights, the averaged ones if there are any."""
    return encoder.apply(weights(state)[0], (), x)[0]


def example() -> Example:
    """Two sources, of which one changes within a pair, mixed linearly."""
    from lrn import nets
    from lrn.data import mixing, sources
    from lrn.data.sampler import minibatch

    s = sources.independent(jax.random.key(0), 512, 2)
    partner, _ = sources.sparse_pairs(jax.random.key(1), s)
    mix = mixing.linear(jax.random.key(2), 2).forward
    # Distances do not see a bias, whose gradient would be rounding alone.
    net = nets.from_function(lambda key, x: jax.random.normal(key, (2, 2)), lambda params, x: x @ params)
    return Example(
        factory=lambda config: paired_views(net, config),
        config=PairedViewsConfig(OptimizerConfig(learning_rate=0.03)),
        data={"x": mix(s), "partner": mix(partner)},
        sampler=minibatch(32, columns=("x", "partner")),
        solves=Goal("loss", below=3.0),
    )
