"""Fish: gradients that agree between environments, by steps through them in turn (Shi et al. 2022).

From the parameters a copy takes one step of the optimizer on each environment after another, in random order;
the parameters then move by a share of the way to the copy. To first order this ascends the inner products of
the environments' gradients besides descending on the risks (theorem 3.1 of the paper; the argument is that of
Reptile, Nichol et al. 2018).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.arrays import above_zero, zero_or_more
from lrn.config import config
from lrn.representation.environments import begin, look, read
from lrn.representation.penalized import example_of, example_optimizer
from lrn.supervised import averages
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState
from lrn.supervised.losses import Loss
from lrn.supervised.optimizers import OptimizerConfig, optimizer
from lrn.types import Array, Batch, Example, Key, Learner, Metrics, Net, Params


@config
class FishConfig:
    """Settings of Fish.

    optimizer: the config of the inner steps' optimizer, whose state passes on from one environment, and from
        one step, to the next, as in DomainBed; its schedule counts inner steps.
    average: the config of the averaged weights.
    meta_rate: the share of the way to the copy, above 0; .5 in DomainBed.
    l2: the weight of the sum of squares of all parameters in each environment's loss, 0 or more.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    meta_rate: float = 0.5
    l2: float = 0.0

    def __post_init__(self) -> None:
        check.positive("meta_rate", self.meta_rate)
        check.non_negative("l2", self.l2)


def fish(net: Net, loss: Loss, config: FishConfig) -> Learner:
    """Step through the environments in random order, and move a share of the way.

    Batches are those of `lrn.representation.environments`. Metrics of the batch in training mode, each
    environment before the copy's step on it: ``loss``, ``worst_loss``, for labels ``accuracy``; and
    ``gradient_norm``, the mean over environments.

    Args:
        net: the network. loss: ``loss(output, target) -> [n]``.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch, an output or a loss has the wrong form.
    """

    def init(key: Key, batch: Batch) -> SupervisedState:
        return begin(net, loss, config, key, batch)

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        x, y, environments = read(batch)
        order_key, pass_key = jax.random.split(key)
        order = jax.random.permutation(order_key, environments)
        x, y = (a.reshape(environments, -1, *a.shape[1:])[order] for a in (x, y))
        moves = optimizer(config.optimizer)

        def inner(carry, given):
            params, net_state, opt_state = carry
            own_key, own_x, own_y = given

            def objective(params: Params):
                seen, after = look(net, loss, params, net_state, (own_x, own_y, 1), own_key)
                size = zero_or_more(config.l2) * optax.tree.norm(params, squared=True)
                return jnp.mean(seen.risks) + size, (after, seen.metrics())

            gradient, (net_state, metrics) = jax.grad(objective, has_aux=True)(params)
            changes, opt_state = moves.update(gradient, opt_state, params)
            metrics = {**metrics, "gradient_norm": optax.tree.norm(gradient)}
            return (optax.apply_updates(params, changes), net_state, opt_state), metrics

        keys = jax.random.split(pass_key, environments)
        start = (state.params, state.net_state, state.opt_state)
        (copy, net_state, opt_state), found = jax.lax.scan(inner, start, (keys, x, y))
        share = above_zero(config.meta_rate)
        params = jax.tree.map(lambda a, b: _towards(a, b, share), state.params, copy)
        count = state.step + 1
        average = averages.update(config.average, state.average, (params, net_state), count)
        metrics = {name: jnp.mean(values) for name, values in found.items()}
        metrics["worst_loss"] = jnp.max(found["worst_loss"])
        return SupervisedState(params, net_state, opt_state, average, count), metrics

    return Learner(init, step)


def _towards(old: Array, new: Array, share: Array | float) -> Array:
    return old + (share * (new - old)).astype(old.dtype)


def example() -> Example:
    """The environments of `lrn.representation.penalized.example_of`."""
    return example_of(fish, FishConfig(example_optimizer(), AverageConfig("ema", 0.9), l2=1e-4))
