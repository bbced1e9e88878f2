"""Learned critics on Gaussians with known information: never above the oracle, and close to it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets, train
from lrn.check import InputError
from lrn.data import gaussians
from lrn.ssl.information.critics import concatenated, separable
from lrn.ssl.information.estimate import BOUNDS, EstimateConfig, estimate, information
from lrn.ssl.information.info_nce import info_nce
from lrn.supervised.optimizers import OptimizerConfig

DIM, NATS, K = 5, 2.0, 32
RHO = float(gaussians.correlation(NATS, DIM))
CONFIG = EstimateConfig(OptimizerConfig(learning_rate=0.003))
SEPARABLE = separable(nets.mlp(16, (64,)), nets.mlp(16, (64,)))


def held_out(critic, config, state, dual=None, of_x=gaussians.identity, batches=200):
    """The estimates of a critic, and those of InfoNCE's oracle, on fresh batches [batches] of K pairs."""

    def one(key):
        batch = gaussians.sampler(K, DIM, RHO, of_x).draw(key, None)
        oracle = gaussians.oracle(batch["x"], batch["y"], RHO, of_x)
        return information(critic, config, state, batch, dual), info_nce(oracle)

    keys = jax.random.split(jax.random.key(100), batches)
    ours, oracle = jax.jit(lambda keys: jax.lax.map(one, keys))(keys)
    return np.asarray(ours, np.float64), np.asarray(oracle, np.float64)


def trained(critic, config, steps, dual=None, of_x=gaussians.identity):
    result = train.fit(
        lambda c: estimate(critic, c, dual),
        config,
        [0],
        steps=steps,
        sampler=gaussians.sampler(K, DIM, RHO, of_x),
        progress=False,
    )
    return jax.tree.map(lambda x: x[0, 0], result.state)


@pytest.mark.parametrize("steps", [400, pytest.param(8000, marks=pytest.mark.slow)])
def test_a_learned_critic_comes_near_the_oracle_and_never_exceeds_it(steps):
    ours, oracle = held_out(SEPARABLE, CONFIG, trained(SEPARABLE, CONFIG, steps))
    excess = ours - oracle
    assert excess.mean() < 3 * excess.std() / np.sqrt(len(excess))
    assert ours.mean() > (0.75 if steps == 400 else 0.9) * oracle.mean()
    assert (ours < np.log(K)).all()


@pytest.mark.slow
@pytest.mark.parametrize("bound", BOUNDS)
def test_every_bound_learns_the_information(bound):
    """SMILE, Donsker-Varadhan and MINE are no bounds: their excess at two nats is below a tenth of a nat."""
    dual = nets.mlp(1, (64, 64)) if bound == "flo" else None
    config = dataclasses.replace(CONFIG, bound=bound, optimizer=OptimizerConfig(learning_rate=0.001))
    critic = concatenated(nets.mlp(1, (64, 64)))
    ours, oracle = held_out(critic, config, trained(critic, config, 5000, dual), dual, batches=1000)
    error = ours.std() / np.sqrt(len(ours))
    if bound == "info_nce":
        assert (ours - oracle).mean() < 3 * (ours - oracle).std() / np.sqrt(len(ours))
    assert ours.mean() < NATS + 3 * error + (0.1 if bound in ("donsker_varadhan", "mine", "smile") else 0)
    assert ours.mean() > 0.7 * NATS


@pytest.mark.slow
def test_a_bijection_keeps_what_can_be_learned():
    state = trained(SEPARABLE, CONFIG, 8000, of_x=gaussians.asinh)
    ours, oracle = held_out(SEPARABLE, CONFIG, state, of_x=gaussians.asinh)
    excess = ours - oracle
    assert excess.mean() < 3 * excess.std() / np.sqrt(len(excess))
    assert ours.mean() > 0.85 * oracle.mean()


def test_critics_score_each_pair():
    x, y = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    net, of_x, of_y = nets.mlp(1, (8,)), nets.mlp(3, ()), nets.mlp(3, (4,))

    @jax.jit
    def scored(x, y):
        found = []
        for critic in (concatenated(net), separable(of_x, of_y)):
            params = critic.init(jax.random.key(0), x, y)
            found.append((critic.score(params, x, y), critic.score(params, x[1:2], y[3:4])))
        return found

    for scores, alone in scored(x, y):
        assert scores.shape == (4, 4)
        np.testing.assert_allclose(scores[1, 3], alone[0, 0], rtol=1e-5, atol=1e-6)


def test_wrong_input_is_refused():
    x = jnp.ones((4, 2))
    learner = estimate(SEPARABLE, CONFIG)
    key = jax.random.key(0)
    for batch, said in (
        ({"x": x}, "'x' and 'y'"),
        ({"x": x, "y": x[:3]}, "one row a pair"),
        ({"x": x[:1], "y": x[:1]}, "n of 2 or more"),
        ({"x": x, "y": x.astype(int)}, "must be floats"),
    ):
        with pytest.raises(InputError, match=said):
            jax.eval_shape(learner.init, key, batch)
    with pytest.raises(InputError, match="did you mean info_nce"):
        EstimateConfig(bound="infonce")
    with pytest.raises(InputError, match="'flo' and a dual network go together"):
        estimate(SEPARABLE, EstimateConfig(bound="flo"))
    with pytest.raises(InputError, match="must keep no state"):
        jax.eval_shape(estimate(concatenated(nets.projector(1)), CONFIG).init, key, {"x": x, "y": x})
    two, uneven = concatenated(nets.mlp(2, ())), separable(nets.mlp(2, ()), nets.mlp(3, ()))
    for critic, said in ((two, "one number a pair"), (uneven, "make their last layers equal")):
        with pytest.raises(InputError, match=said):
            jax.eval_shape(lambda x, critic=critic: critic.score(critic.init(key, x, x), x, x), x)
