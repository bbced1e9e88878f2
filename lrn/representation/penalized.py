"""Risk plus a penalty on what differs between environments, whose weight rises at a stated step.

The total is the mean risk of the environments, plus ``l2`` times the sum of squares of all parameters, plus
the weight times the penalty. Where the weight is above 1, the total is divided by the weight, as in the code
of Arjovsky et al. (2019), so that the gradient stays bounded; ``l2`` is divided too, which an optimizer's
weight decay is not.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.arrays import nan_where, zero_or_more
from lrn.config import config
from lrn.representation.environments import Seen, begin, look, read
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, descend
from lrn.supervised.losses import Loss
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, Params

Penalty = Callable[[Key, Seen], Array]  # a scalar


@config
class PenaltyConfig:
    """Settings of risk plus penalty.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    penalty: the weight of the penalty from step ``begin`` on, 0 or more.
    begin: the number of steps, from the first, with the weight ``before`` in place of ``penalty``.
    before: the weight before; 1 in the code of Arjovsky et al., also where ``penalty`` is 0.
    l2: the weight of the sum of squares of all parameters, 0 or more.
    rescale: whether to divide the total by the weight of the penalty where that is above 1.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    penalty: float = 1.0
    begin: float = 0.0
    before: float = 1.0
    l2: float = 0.0
    rescale: bool = True

    def __post_init__(self) -> None:
        for name in ("penalty", "begin", "before", "l2"):
            check.non_negative(name, getattr(self, name))
        check.boolean("rescale", self.rescale)


def penalized(
    net: Net, loss: Loss, penalty: Penalty, config: PenaltyConfig, *, with_features: bool = False
) -> Learner:
    """Minimize risk plus penalty on batches of environments, as `lrn.representation.environments` has them.

    Metrics of the batch in training mode: ``loss``, the mean risk; ``worst_loss``, the largest risk of an
    environment; ``accuracy``, for labels; ``penalty``, without its weight; ``gradient_norm``, of the total,
    before clipping.

    Args:
        net: the network.
        loss: ``loss(output, target) -> [n]``, such as those of `lrn.supervised.losses`.
        penalty: ``penalty(key, seen) -> scalar``.
        config: the settings; its floats may be swept.
        with_features: whether the penalty reads features.

    Raises:
        InputError: at trace time, if a batch, an output or a loss has the wrong form.
    """

    def init(key: Key, batch: Batch) -> SupervisedState:
        return begin(net, loss, config, key, batch, with_features)

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        rows = read(batch)
        net_key, own_key = jax.random.split(key)

        def objective(params: Params):
            seen, net_state = look(net, loss, params, state.net_state, rows, net_key, with_features)
            value = penalty(own_key, seen)
            weight = weight_at(config, state.step)
            size = zero_or_more(config.l2) * optax.tree.norm(params, squared=True)
            total = jnp.mean(seen.risks) + size + weight * value
            if config.rescale:
                total = total / jnp.maximum(weight, 1.0)
            return total, (net_state, {**seen.metrics(), "penalty": value})

        return descend(config, state, objective)

    return Learner(init, step)


def weight_at(config: PenaltyConfig, step: Array) -> Array:
    """The weight of the penalty at a step, counted from 0; NaN at all steps if a swept one is negative."""
    first, before, after = map(zero_or_more, (config.begin, config.before, config.penalty))
    return nan_where(jnp.isnan(first + before + after), jnp.where(step < first, before, after))


def example() -> Example:
    """A penalty on the spread of the mean outputs, on the environments of `example_of`."""
    spread = lambda key, seen: jnp.sum(jnp.var(jnp.mean(seen.output, axis=1), axis=0))  # noqa: E731
    return example_of(
        lambda net, loss, config: penalized(net, loss, spread, config),
        PenaltyConfig(example_optimizer(), AverageConfig("ema", 0.9), penalty=2.0, begin=3.0, l2=1e-4),
    )


def example_optimizer() -> OptimizerConfig:
    """The optimizer of the examples."""
    return OptimizerConfig("adam", 0.01)


def example_of(factory: Callable, config: object, features: bool = False) -> Example:
    """A small network on Gaussian environments in which one feature is invariant and one is not.

    Args:
        factory: ``factory(net, loss, config) -> Learner``. config: its config.
        features: whether the network gives features besides outputs.
    """
    from lrn import nets
    from lrn.data import spurious_gaussians as gaussians
    from lrn.data.in_environments import each
    from lrn.data.sampler import minibatch
    from lrn.representation.environments import body_and_head
    from lrn.supervised.losses import cross_entropy

    net = nets.mlp(2, (8,))
    if features:
        net = body_and_head(nets.mlp(None, (8,)), nets.mlp(2, ()))
    world = gaussians.World(jnp.array([0.8]), jnp.array([[0.3], [0.8], [0.5]]), 1.0, 1.0, jnp.eye(2))
    return Example(
        factory=lambda config: factory(net, cross_entropy, config),
        config=config,
        data=gaussians.sample(jax.random.key(0), world, 64),
        sampler=each(minibatch(32, columns=("x", "y"))),
        solves=Goal("loss", below=0.48, steps=200),
    )
