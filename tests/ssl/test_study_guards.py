"""The joint objective of the collapse study trains the methods of `lrn.ssl`; its AUROC is that of pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.ssl import _guards as guards
from experiments.ssl._detectors import auroc
from lrn import nets
from lrn.ssl.barlow_twins import BarlowTwinsConfig, barlow_twins
from lrn.ssl.byol import BYOLConfig, byol
from lrn.ssl.simclr import SimCLRConfig, simclr
from lrn.ssl.simsiam import SimSiamConfig, simsiam
from lrn.ssl.vicreg import VICRegConfig, vicreg
from lrn.supervised.optimizers import OptimizerConfig

RATE = 0.1
PLAIN = OptimizerConfig("sgd", RATE, momentum=0.0)
ENCODER, HEAD, PREDICTOR = nets.mlp(5, (7,)), nets.projector(4, (6,)), nets.projector(4, (3,))
X = jax.random.normal(jax.random.key(1), (6, 3))


def noisy(key, x):
    return x + 0.3 * jax.random.normal(key, x.shape)


def own(method, guard):
    """The learner of `lrn.ssl`."""
    pair = ENCODER, HEAD
    if method == "SimCLR":
        return simclr(*pair, noisy, SimCLRConfig(PLAIN, temperature=guards.TEMPERATURE, negatives=guard))
    if method == "SimSiam":
        return simsiam(*pair, PREDICTOR, noisy, SimSiamConfig(PLAIN, stop_gradient=guard))
    if method == "BYOL":
        return byol(*pair, PREDICTOR, noisy, BYOLConfig(PLAIN, momentum=guards.MOMENTUM, predictor=guard))
    if method == "VICReg":
        return vicreg(*pair, noisy, VICRegConfig(PLAIN, variance=guards.VARIANCE * guard))
    return barlow_twins(*pair, noisy, BarlowTwinsConfig(PLAIN, redundancy=guards.REDUNDANCY * guard))


def lane(method, guard):
    """The lane, with plain gradient descent."""
    adam = guards.lane(method, guard, RATE)
    return guards.GuardConfig(PLAIN, adam.average, adam.guard, *adam.weights)


@pytest.fixture(scope="module")
def joint():
    """The first step of every lane, from the parameters of one start, compiled once."""
    scene = guards.Scene(None, noisy, ENCODER, HEAD, PREDICTOR)  # pyright: ignore[reportArgumentType]
    batch, key = {"x": X}, jax.random.key(2)
    start = guards.learner(scene, lane("SimCLR", True)).init(jax.random.key(0), batch)
    moved = jax.tree.map(lambda x: x + 0.1, start.memory)  # the target differs from the network
    start = start._replace(memory=moved)

    def step(config):
        return guards.learner(scene, config).step(key, start, batch)

    names = [(m, g) for m in guards.METHODS for g in (True, False)]
    stacked = jax.tree.map(lambda *x: jnp.stack(list(map(jnp.asarray, x))), *(lane(*name) for name in names))
    states, metrics = jax.jit(jax.vmap(step))(stacked)
    return start, key, batch, names, states, metrics


@pytest.mark.slow
@pytest.mark.parametrize("place", range(2 * len(guards.METHODS)))
def test_a_lane_is_the_method_of_the_library(joint, place):
    """One step from the same parameters has the same loss and the same new parameters."""
    start, key, batch, names, states, metrics = joint
    method, guard = names[place]
    learner = own(method, guard)
    state = learner.init(jax.random.key(0), batch)
    kept = list(state.training.params)
    pick = lambda tree: {k: tree[k] for k in kept}  # noqa: E731
    training = state.training._replace(
        params=pick(start.training.params), net_state=pick(start.training.net_state)
    )
    memory = start.memory if method == "BYOL" else state.memory
    after, seen = jax.jit(learner.step)(key, state._replace(training=training, memory=memory), batch)
    np.testing.assert_allclose(metrics["loss"][place], seen["loss"], rtol=1e-5, atol=1e-6)
    mine = jax.tree.map(lambda x: x[place], pick(states.training.params))
    for one, other in zip(jax.tree.leaves(mine), jax.tree.leaves(after.training.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_trivial_embeddings_have_the_losses_of_theory():
    found = guards.trivial(8)
    for (name, metric), (value, near) in guards.known(8).items():
        assert abs(found[name][metric] - value) <= near, (name, metric)


def test_auroc_is_the_share_of_pairs_in_order():
    low, event = np.array([1.0, 2.0, 2.0, 3.0]), np.array([True, False, True, False])
    assert auroc(low, event) == (1 + 1 + 0.5 + 1) / 4
    assert np.isnan(auroc(low, np.ones(4, bool)))
