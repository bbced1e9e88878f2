"""Five methods, with and without what keeps them from trivial solutions, as one objective.

One objective has all methods, and a weight in its config says which one a lane trains. A sweep over methods,
guards and rates is then one compiled program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ssl._tasks import Task, divided, sequence_view, task
from lrn import nets
from lrn.config import config
from lrn.data import content_style
from lrn.ssl.barlow_twins import barlow_twins_terms
from lrn.ssl.byol import byol_loss
from lrn.ssl.health.rank import rank_me
from lrn.ssl.joint_embedding import begin
from lrn.ssl.pretraining import Objective, Parts, Value, forward, pretrain_on
from lrn.ssl.simclr import nt_xent
from lrn.ssl.similarity import cosines
from lrn.ssl.simsiam import simsiam_loss
from lrn.ssl.target import copy, follow
from lrn.ssl.vicreg import vicreg_terms
from lrn.ssl.views import View, draw
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Key, Learner, Net, PyTree

METHODS = ("SimCLR", "SimSiam", "BYOL", "VICReg", "Barlow Twins")
TEMPERATURE, MOMENTUM, INVARIANCE, VARIANCE, REDUNDANCY = 0.2, 0.98, 25.0, 25.0, 0.02
BARE, PLAIN, NORMED = "no head", "head", "head with output BatchNorm"
DATA = CONTENT_STYLE, MNIST1D = "content and style", "MNIST-1D"
POPULATION = {PLAIN: (PLAIN, NORMED), BARE: (BARE,)}  # the heads whose runs a detector is judged on
HEADS: dict[str, Callable[[], Net]] = {
    BARE: lambda: Net(lambda key, x: ((), ()), lambda params, state, x, **_: (x, state)),
    PLAIN: lambda: nets.projector(32, (64,)),
    NORMED: lambda: nets.projector(32, (64,), norm_output=True),
}
LATENT, WORLD = content_style.ContentStyleConfig(), 17  # one generator of content and style for all seeds
TRIVIAL, FREE, GUARDED, SCALED = (
    "trivial embedding",
    "remaining loss",
    "loss with the guard",
    "RankMe by scale",
)
LEAST = 1e-5  # the least remaining loss that is told from rounding


@config
class GuardConfig:
    """Settings of a lane.

    optimizer, average: as in every method.
    guard: 1 with the guard, 0 without. SimCLR's guard is its negatives, SimSiam's the stop-gradient, BYOL's
        the predictor, VICReg's the variance term, that of Barlow Twins the redundancy term.
    simclr, simsiam, byol, vicreg, barlow: 1 for the method that is trained, 0 for the others.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    guard: float = 1.0
    simclr: float = 0.0
    simsiam: float = 0.0
    byol: float = 0.0
    vicreg: float = 0.0
    barlow: float = 0.0

    @property
    def weights(self) -> tuple[Any, ...]:
        """The weight of each of `METHODS`."""
        return self.simclr, self.simsiam, self.byol, self.vicreg, self.barlow


def lane(method: str, guard: bool, rate: float) -> GuardConfig:
    """The settings of a method with or without its guard."""
    one = [float(method == m) for m in METHODS]
    return GuardConfig(OptimizerConfig(learning_rate=rate), AverageConfig(), float(guard), *one)


class Scene(NamedTuple):
    """A data set with its view and networks.

    task: the rows of each seed. view: draws a view of a batch. encoder: maps inputs to features h.
    head: maps features to embeddings z. predictor: that of SimSiam and BYOL.
    """

    task: Task
    view: View
    encoder: Net
    head: Net
    predictor: Net


def scene(name: str, seeds: Sequence[int], sizes: Sequence[int], head: str) -> Scene:
    """One of `DATA` with its networks.

    Args:
        name: of the data set. seeds: of the study. sizes: the numbers of training, validation and test rows.
        head: one of `HEADS`.
    """
    if name == CONTENT_STYLE:
        world_key, key = jax.random.split(jax.random.key(WORLD))
        world = content_style.world(world_key, LATENT)
        rows = content_style.sample(key, world, 2 * sum(sizes), LATENT)
        of = divided({k: np.asarray(rows[k]) for k in ("x", "label")}, seeds, sizes)
        view, encoder = content_style.view(world, LATENT), nets.mlp(64, (128,))
    else:
        of, view, encoder = task("mnist1d", seeds, sizes), sequence_view(), nets.cnn1d(None, (8, 16, 16))
    return Scene(of, view, encoder, HEADS[head](), nets.projector(64 if head == BARE else 32, (16,)))


def learner(of: Scene, config: GuardConfig) -> Learner:
    """The method of a lane; its metric ``remaining`` is the loss without the guard, 0 at the least."""
    pair = {"encoder": of.encoder, "head": of.head}
    chain = {**pair, "predictor": of.predictor}

    def init(key: Key, x: Array) -> tuple[Parts, Parts, PyTree]:
        params, states, _ = begin(chain, of.view, key, x)
        return params, states, copy(params, states, tuple(pair))

    def loss(key: Key, params: Parts, states: Parts, memory: PyTree, x: Array) -> Value:
        view_key, net_key = jax.random.split(key)
        keys = jax.random.split(net_key, 4)
        p, z, slow, kept = [], [], [], memory.states
        for view, one, other in zip(draw(of.view, view_key, x), keys[:2], keys[2:]):
            out, states = forward(chain, params, states, view, one)
            p, z = [*p, out["predictor"]], [*z, out["head"]]
            out, kept = forward(pair, memory.params, kept, view, other)
            slow.append(out["head"])
        terms = zip(config.weights, *losses(p, z, slow, config.guard))
        trained, left = (jnp.asarray(sum(v)) for v in zip(*((w * a, w * b) for w, a, b in terms)))
        return trained, (states, memory._replace(states=kept), {"remaining": left})

    def after(params: Parts, states: Parts, memory: PyTree, step: Array) -> tuple[Parts, PyTree]:
        return params, follow(memory, params, MOMENTUM)

    return pretrain_on(Objective(init, loss, after), config)


def losses(p: Sequence[Array], z: Sequence[Array], slow: Sequence[Array], guard: Any) -> tuple[list, list]:
    """The losses of `METHODS`, and what remains of each without its guard, shifted so that 0 is the least.

    Args:
        p, z, slow: predictions, embeddings and the target network's embeddings of two views, [n, dim] each.
        guard: 1 with the guard, 0 without it.
    """
    free = 1.0 - guard
    stopped = [guard * jax.lax.stop_gradient(t) + free * t for t in z]
    guesses = [guard * guess + free * own for guess, own in zip(p, z)]
    targets = jax.lax.stop_gradient(tuple(slow))
    apart, siamese = 1.0 - jnp.mean(cosines(*z)), simsiam_loss(*p, *stopped, stop_gradient=False)
    toward = byol_loss(*guesses, *targets)
    vic, (diagonal, outside) = vicreg_terms(*z), barlow_twins_terms(*z)
    close = INVARIANCE * vic.invariance + vic.covariance
    contrast = guard * nt_xent(z[0], z[1], TEMPERATURE) + free * (apart - 1.0) / TEMPERATURE
    held = close + guard * VARIANCE * vic.variance
    trained = [contrast, siamese, toward, held, diagonal + guard * REDUNDANCY * outside]
    return trained, [apart, 1.0 + siamese, toward / 4, close / INVARIANCE, diagonal / z[0].shape[1]]


def known(batch: int) -> dict[tuple[str, str], tuple[float, float]]:
    """From (arm, metric) to the value of theory and a tolerance, for trivial embeddings."""
    return {
        **{(f"{TRIVIAL}, {m}", FREE): (0.0, 1e-4) for m in METHODS},
        (f"{TRIVIAL}, SimCLR", GUARDED): (math.log(2 * batch - 1), 1e-3),
        (f"{TRIVIAL}, SimSiam", GUARDED): (-1.0, 1e-4),
        (f"{TRIVIAL}, BYOL", GUARDED): (0.0, 1e-4),
        (f"{TRIVIAL}, VICReg", GUARDED): (0.99 * VARIANCE, 1e-3),
        (TRIVIAL, SCALED): (1.0, 1e-2),
    }


def trivial(batch: int) -> dict[str, dict[str, float]]:
    """The losses of trivial embeddings, a constant, or for Barlow Twins copies of one dimension.

    The entry "RankMe by scale" is the ratio of RankMe after and before embeddings shrink by a thousand.
    """
    one = jnp.ones((batch, 32))
    copies = jnp.where(jnp.arange(batch) % 2 == 0, 1.0, -1.0)[:, None] * one
    found: dict[str, dict[str, float]] = {}
    both = jax.jit(losses)
    for i, m in enumerate(METHODS):
        z = [copies if m == "Barlow Twins" else one] * 2
        trained, free = both(z, z, z, 1.0)
        found[f"{TRIVIAL}, {m}"] = {FREE: float(free[i]), GUARDED: float(trained[i])}
    z = jax.random.normal(jax.random.key(0), (batch, 32))
    return {**found, TRIVIAL: {SCALED: float(rank_me(1e-3 * z) / rank_me(z))}}
