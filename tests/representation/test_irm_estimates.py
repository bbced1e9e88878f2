"""IRMv1's penalty: difference quotients, double loops, the authors' formula in torch, and its bias."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_environments import PARAMS, X, Y, losses, slopes

from lrn import nets
from lrn.check import InputError
from lrn.data import spurious_gaussians as gaussians
from lrn.representation import irm
from lrn.representation.penalized import PenaltyConfig
from lrn.supervised.losses import cross_entropy, squared_error
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.targets import one_hot
from tests import plain

REFERENCES = Path(__file__).parent / "references"
TORCH = json.loads((REFERENCES / "penalties_torch.json").read_text())


def layers(params, x):
    for i, (kernel, bias) in enumerate(params):
        x = jnp.matmul(x, kernel, precision="highest") + bias[None]
        x = jax.nn.relu(x) if i < 2 else x
    return x


def two_logits():
    z = X @ PARAMS["w"] + PARAMS["b"]
    return np.concatenate([np.zeros_like(z), z], -1).astype(np.float32), np.eye(2, dtype=np.float32)[Y]


@pytest.fixture(scope="module")
def by_lrn():
    """Slopes and the three estimates, in one program."""

    @jax.jit
    def found(output, target, key):
        slope = irm.slopes(cross_entropy, output, target)
        estimates = {e: irm.squared_slope(key, slope, e) for e in ("squared", "pairs")}
        draws = jax.vmap(lambda k: irm.squared_slope(k, slope, "halves"))(jax.random.split(key, 4000))
        return slope, estimates, draws

    return jax.device_get(found(*two_logits(), jax.random.key(0)))


def test_the_slopes_are_difference_quotients_and_the_closed_form(by_lrn):
    slope = by_lrn[0]
    np.testing.assert_allclose(slope, slopes(PARAMS), rtol=1e-4, atol=1e-6)
    quotient = (losses(PARAMS, scale=1 + 1e-6) - losses(PARAMS, scale=1 - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope, quotient, rtol=1e-4, atol=1e-6)


def test_the_estimates_are_double_loops_and_means_over_halvings(by_lrn):
    own, (_, estimates, draws) = slopes(PARAMS), by_lrn
    np.testing.assert_allclose(estimates["squared"], own.mean(1) ** 2, rtol=1e-4)
    for e, s in enumerate(own):
        n = len(s)
        pairs = np.mean([s[i] * s[j] for i in range(n) for j in range(n) if i != j])
        halves = []
        for half in itertools.combinations(range(n), n // 2):
            rest = [i for i in range(n) if i not in half]
            halves.append(s[list(half)].mean() * s[rest].mean())
        np.testing.assert_allclose(estimates["pairs"][e], pairs, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(np.mean(halves), pairs, rtol=1e-8)
        error = draws[:, e].std() / np.sqrt(len(draws))
        assert abs(draws[:, e].mean() - pairs) < 4 * error
        assert draws[:, e].min() >= min(halves) - 1e-6
        assert draws[:, e].max() <= max(halves) + 1e-6


def test_the_penalty_is_that_of_torch():
    """Logits, labels and the penalty of Arjovsky et al.'s code, in torch; see the file."""
    given = TORCH["irm"]
    z, y = (np.asarray(given[name], np.float32) for name in ("logits", "labels"))
    output = jnp.stack([jnp.zeros_like(z), jnp.asarray(z)], -1)
    target = one_hot(jnp.asarray(y.reshape(-1), jnp.int32), 2).reshape(output.shape)
    found = irm.squared_slope(jax.random.key(0), irm.slopes(cross_entropy, output, target), "squared")
    np.testing.assert_allclose(found, given["penalty"], rtol=1e-5)


def test_pairs_and_halves_are_unbiased_and_squares_are_not():
    """Batches of a data set, rows in order of class, against the squared derivative on the whole set.

    A halving by turns would do here as well, one by the middle would not: the halves would share no class.
    """
    rng = np.random.default_rng(1)
    y = np.arange(400) % 2
    z = (rng.normal(size=400) + 1.5 * y - 0.4).astype(np.float32)
    slope = (z * (1 / (1 + np.exp(-z)) - y)).astype(np.float32)
    truth = slope.mean() ** 2

    @jax.jit
    def estimated(key):
        row_key, half_key = jax.random.split(key)
        rows = jnp.sort(jax.random.randint(row_key, (20_000, 1, 12), 0, 400))
        of = jnp.asarray(slope)[jnp.take(jnp.argsort(y, stable=True), rows)]
        keys = jax.random.split(half_key, len(rows))
        return {e: jax.vmap(lambda k, s, e=e: irm.squared_slope(k, s, e)[0])(keys, of) for e in irm.ESTIMATES}

    found = jax.device_get(estimated(jax.random.key(0)))
    for name in ("halves", "pairs"):
        error = found[name].std() / np.sqrt(20_000)
        assert abs(found[name].mean() - truth) < 4 * error, name
    assert found["pairs"].std() < found["halves"].std()
    excess = slope.var() / 12
    assert found["squared"].mean() - truth == pytest.approx(excess, rel=0.1)
    assert excess > 0.2 * truth


def test_the_invariant_predictor_has_no_penalty_and_the_pooled_one_has():
    """The log-odds of the invariant features are calibrated in each environment."""
    world = gaussians.World(jnp.array([1.0]), jnp.array([[0.5], [2.0]]), 1.0, 1.0, jnp.eye(2))
    rows = jax.jit(lambda key: gaussians.sample(key, world, 100_000))(jax.random.key(0))

    @jax.jit
    def penalty(weights, x, y):
        z = jnp.matmul(x, weights)
        output, target = jnp.stack([jnp.zeros_like(z), z], -1), jax.nn.one_hot(y, 2)
        slope = irm.slopes(cross_entropy, output, target)
        return irm.squared_slope(jax.random.key(1), slope, "pairs")

    np.testing.assert_allclose(penalty(gaussians.invariant_weights(world), **rows), 0, atol=1e-4)
    pooled = jnp.mean(gaussians.best_weights(world), axis=0)
    assert (penalty(pooled, **rows) > 3e-4).all()


def test_squares_have_their_closed_form():
    """The loss (s f - y)^2 has the slope 2 f (f - y)."""
    f, y = np.random.default_rng(0).normal(size=(2, 2, 5, 1)).astype(np.float32)
    found = irm.slopes(squared_error, jnp.asarray(f), jnp.asarray(y))
    np.testing.assert_allclose(found, (2 * f * (f - y))[..., 0], rtol=1e-5)


def test_bad_input():
    with pytest.raises(InputError, match="estimate 'half' is not known; did you mean"):
        irm.irm(nets.mlp(2, ()), cross_entropy, PenaltyConfig(), estimate="half")
    with pytest.raises(InputError, match="needs two rows or more of an environment, got 1"):
        irm.squared_slope(jax.random.key(0), jnp.ones((2, 1)), "pairs")
    with pytest.raises(InputError, match="penalty must be a finite number, 0 or more"):
        PenaltyConfig(penalty=-1.0)
    with pytest.raises(InputError, match="rescale must be True or False"):
        PenaltyConfig(rescale=1)  # pyright: ignore[reportArgumentType]


def test_training_is_that_of_the_authors_code():
    """Eight steps across the annealing step; make_irm_torch.py has the settings."""
    with np.load(REFERENCES / "irm_torch.npz") as saved:
        given = dict(saved)
    start, last = (
        [(given[f"{name} kernel {i}"], given[f"{name} bias {i}"]) for i in range(3)]
        for name in ("first", "last")
    )
    net = nets.from_function(lambda key, x: jax.tree.map(jnp.float32, start), layers)
    batch = {"x": given["x"].astype(np.float32), "y": given["y"].astype(np.int32)}
    settings = PenaltyConfig(OptimizerConfig("adam", 0.02), penalty=300.0, begin=4.0, before=1.0, l2=0.01)
    learner = irm.irm(net, cross_entropy, settings)

    @jax.jit
    def trained(batch):
        def advance(state, key):
            return learner.step(key, state, batch)

        state = learner.init(jax.random.key(0), batch)
        return jax.lax.scan(advance, state, jax.random.split(jax.random.key(1), 8))

    state, metrics = jax.device_get(trained(batch))
    np.testing.assert_allclose(metrics["loss"], given["values"][:, 0], rtol=1e-4)
    np.testing.assert_allclose(metrics["penalty"], given["values"][:, 1], rtol=2e-3, atol=1e-6)
    plain.assert_trees_close(state.params, last, 1e-3, 1e-4)
