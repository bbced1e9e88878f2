"""SimCLR of sequences that keeps the encoders that it passes, so that one training serves several budgets."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.ssl._tasks import PARTS, probed, sequence_view
from lrn import nets
from lrn.config import config
from lrn.ssl.pretraining import PretrainState
from lrn.ssl.simclr import SimCLRConfig, simclr
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Key, Learner, Metrics, Net

TEMPERATURE = 0.2


@config
class Lane:
    """Settings of a training. rate: of Adam. strangers: 1 where the two views are of different examples."""

    rate: float
    strangers: float = 0.0


class Passing(NamedTuple):
    """A training and the encoders that it passed: ``kept`` has leaves [budgets, ...]."""

    training: PretrainState
    kept: Any


def encoder() -> Net:
    """A network of 80 features of a sequence of 40 points."""
    return nets.cnn1d(None, (8, 16, 16))


def learner(group: int, places: tuple[int, ...], lane: Lane) -> Learner:
    """SimCLR that keeps its encoders at some steps.

    Args:
        group: the size of a group of negatives; 0 for the whole batch. places: the steps, counted from 1.
        lane: the settings.
    """

    def view(key: Key, x: Array) -> Array:
        key, order_key = jax.random.split(key)
        order = jax.random.permutation(order_key, x.shape[0])
        return sequence_view()(key, jnp.where(lane.strangers > 0, x[order], x))

    settings = SimCLRConfig(OptimizerConfig(learning_rate=lane.rate), temperature=TEMPERATURE, group=group)
    made = simclr(encoder(), nets.projector(32, (64,)), view, settings)
    steps = jnp.asarray(places)

    def init(key: Key, batch: Batch) -> Passing:
        state = made.init(key, batch)
        first = state.training.params["encoder"]
        return Passing(state, jax.tree.map(lambda x: jnp.broadcast_to(x, (len(places), *x.shape)), first))

    def step(key: Key, state: Passing, batch: Batch) -> tuple[Passing, Metrics]:
        after, metrics = made.step(key, state.training, batch)
        now = steps == after.training.step

        def keep(old: Array, new: Array) -> Array:
            return jnp.where(now.reshape(-1, *(1,) * new.ndim), new[None], old)

        return Passing(after, jax.tree.map(keep, state.kept, after.training.params["encoder"])), metrics

    return Learner(init, step)


def judged(labels: int, classes: int, own: Any, data: Any) -> dict[str, Array]:
    """The probes of "encoders", leaves [encoders, ...], of one seed: "validation" and "test" [encoders]."""
    few = {p: own[p] for p in PARTS} | {"train": own["train"][:labels]}

    def one(params: Any) -> dict[str, Array]:
        return probed(lambda x: encoder().apply(params, (), x)[0], few, data, classes)

    return jax.lax.map(one, own["encoders"])
