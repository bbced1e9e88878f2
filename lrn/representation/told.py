"""A model that is told the environment: an oracle for what knowledge of the environment is worth.

Each input has the environment's one-hot code besides, so the model may use in each environment what holds
there. In an environment that it was trained in, it is the ceiling of models that must find out; it says
nothing of environments that it never saw, whose code was never trained.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.representation.environments import read
from lrn.representation.erm import ERMConfig, erm
from lrn.representation.penalized import example_of, example_optimizer
from lrn.supervised import targets
from lrn.supervised.losses import Loss
from lrn.types import Array, Batch, Example, Key, Learner, Metrics, Net, State


def told(net: Net, loss: Loss, config: ERMConfig) -> Learner:
    """Minimize the mean risk on inputs with the code of their environment, as `with_code` adds it.

    Args:
        net: a network of such inputs. loss: ``loss(output, target) -> [n]``.
        config: the settings; its floats may be swept.

    Returns:
        The learner of `lrn.representation.erm.erm`, for batches without the code.

    Raises:
        InputError: at trace time, as `erm`.
    """
    learner = erm(net, loss, config)

    def coded(batch: Batch) -> Batch:
        _, _, environments = read(batch)
        (name,) = set(batch) & set(targets.INPUTS)
        x = jnp.asarray(batch[name])
        every = jax.vmap(lambda own, e: with_code(own, e, environments))(x, jnp.arange(environments))
        return {**batch, name: every}

    def init(key: Key, batch: Batch) -> State:
        return learner.init(key, coded(batch))

    def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
        return learner.step(key, state, coded(batch))

    return Learner(init, step)


def with_code(x: Array, environment: ArrayLike, environments: int) -> Array:
    """Inputs [n, ..., channels + environments]: the one-hot code of one environment at each place.

    Args:
        x: inputs [n, ..., channels]; the features of [n, dim] are channels.
        environment: the index of the environment; may be traced, and gives NaN where it is no index.
        environments: the number of environments.

    Raises:
        InputError: the number of environments is below 1, or the index is an int outside of them.
    """
    check.integer("environments", environments, 1)
    if isinstance(environment, int):
        check.between("environment", environment, 0, environments - 1)
    index, own = jnp.arange(environments), jnp.asarray(environment)
    code = jnp.where((own >= 0) & (own < environments), (index == own).astype(x.dtype), jnp.nan)
    return jnp.concatenate([x, jnp.broadcast_to(code, (*x.shape[:-1], environments))], axis=-1)


def example() -> Example:
    """The environments of `lrn.representation.penalized.example_of`."""
    return example_of(told, ERMConfig(example_optimizer(), l2=1e-4))
