"""Invariant risk minimization: its penalty against closed forms, and its choice in a known example."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrn import nets, train
from lrn.meta.episode import TaskFamily, draw, episodes
from lrn.meta.families.blobs import blobs
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.irm import IRMConfig, invariance_penalty, irm
from lrn.meta.pooled import PooledConfig, pooled
from lrn.meta.problem import classification, regression

PROBLEM = regression(nets.mlp(None, (8,)))


def close(a, b, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


def of_pairs(slopes):
    """The mean product over pairs of different numbers."""
    n = len(slopes)
    return sum(slopes[i] * slopes[j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))


def squares(n):
    """Outputs, numbers, and the derivative of (s f - y)^2 by s at 1, for each of n examples."""
    f, y = np.random.default_rng(0).normal(size=(2, n, 1)).astype(np.float32)
    return f, y, (2 * f * (f - y))[:, 0]


def penalty_of(problem, outputs, y):
    return jax.jit(lambda outputs, y: invariance_penalty(problem.loss, outputs, y))(outputs, y)


@pytest.mark.parametrize("n", [2, 9])
def test_the_penalty_of_squares_is_its_closed_form(n):
    f, y, slopes = squares(n)
    np.testing.assert_allclose(penalty_of(PROBLEM, f, y), of_pairs(slopes), rtol=1e-5)


def test_the_penalty_of_a_classification_is_a_difference_quotient():
    problem = classification(nets.mlp(None, (8,)), 3)
    outputs = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    y = np.arange(10) % 3
    with jax.enable_x64(True):
        losses = jax.jit(jax.vmap(lambda f, y: problem.loss(f[None], y[None])))
        above, below = (np.asarray(losses(s * outputs.astype(float), y)) for s in (1 + 1e-5, 1 - 1e-5))
    slopes = (above - below) / 2e-5
    np.testing.assert_allclose(penalty_of(problem, outputs, y), of_pairs(slopes), rtol=1e-4)


def test_the_penalty_is_the_product_of_two_halves_on_average_over_ways_to_halve():
    f, y, slopes = squares(6)
    products = []
    for half in itertools.combinations(range(6), 3):
        rest = [i for i in range(6) if i not in half]
        products.append(slopes[list(half)].mean() * slopes[rest].mean())
    np.testing.assert_allclose(penalty_of(PROBLEM, f, y), np.mean(products), rtol=1e-4)


def test_the_penalty_is_right_on_average_and_nearly_so_for_balanced_classes():
    """Two classes of points in the plane, 20 examples, against the squared derivative over very many."""
    problem = classification(nets.mlp(None, (8,)), 2)
    center, weights = jnp.array([[1.0, 0.0], [0.0, 0.5]]), jnp.array([[1.0, -0.3], [0.2, 0.7]])

    def outputs(key, y):
        return (center[y] + 0.5 * jax.random.normal(key, (y.shape[0], 2))) @ weights

    def penalty(key, balanced):
        label_key, key = jax.random.split(key)
        y = jnp.arange(20) % 2 if balanced else jax.random.randint(label_key, (20,), 0, 2)
        return invariance_penalty(problem.loss, outputs(key, y), y)

    @jax.jit
    def drawn():
        y = jnp.arange(200_000) % 2
        f = outputs(jax.random.key(1), y)
        truth = jax.grad(lambda scale: problem.loss(scale * f, y))(1.0) ** 2
        keys = jax.random.split(jax.random.key(0), 20_000)
        of_draws = (jax.vmap(lambda k, b=b: penalty(k, b))(keys) for b in (False, True))
        return f[:20], y[:20], truth, *of_draws

    f, y, truth, uneven, balanced = jax.device_get(drawn())
    error = uneven.std() / np.sqrt(len(uneven))
    assert abs(uneven.mean() - truth) < 4 * error + 0.01 * truth
    assert 0.7 * truth < balanced.mean() < truth
    # The order of the examples must not matter: with alternate halves each half would lack a class.
    shuffled = penalty_of(problem, f[::-1], y[::-1])
    np.testing.assert_allclose(shuffled, penalty_of(problem, f, y), rtol=1e-4)


@pytest.mark.parametrize("settings", [{"penalty": 0.0}, {"penalty": 50.0, "begin": 5}])
def test_without_a_penalty_it_is_pooled(settings):
    given = jax.jit(lambda: draw(blobs(ways=3), jax.random.key(0), 4))()
    problem = classification(nets.mlp(None, (8,)), 3)
    learner = irm(problem, IRMConfig(meta_rate=0.1, optimizer=optax.sgd, **settings))
    plain = pooled(problem, PooledConfig(meta_rate=0.1, optimizer=optax.sgd))

    @jax.jit
    def both(given):
        results = []
        for each, steps in ((learner, 2), (plain, 0)):
            state, metrics = each.step(jax.random.key(2), each.init(jax.random.key(1), given), given)
            task = jax.tree.map(lambda x: x[0], given)
            results.append(
                (state.meta, metrics["loss"], each.curve(state, task.support, task.query["x"], (), steps))
            )
        return results

    (meta, loss, outputs), (expected, wanted, whole) = jax.device_get(both(given))
    close(meta, expected)
    close(loss, wanted)
    close(outputs, np.broadcast_to(whole, outputs.shape))


def test_a_large_weight_divides_the_loss():
    """A step of SGD with weight w > 1 is that of loss / w + penalty, computed task by task."""
    given = jax.jit(lambda: draw(sinusoid(), jax.random.key(0), 3))()
    learner = irm(PROBLEM, IRMConfig(penalty=4.0, meta_rate=0.1, optimizer=optax.sgd))
    state = jax.jit(learner.init)(jax.random.key(1), given)

    def total(params):
        def of_task(task):
            x, y = (jnp.concatenate([task.support[k], task.query[k]]) for k in ("x", "y"))
            f = PROBLEM.predict(params, (), {}, x)
            slopes = (2 * f * (f - y))[:, 0]
            products = slopes[:, None] * slopes[None] * (1 - jnp.eye(len(slopes)))  # as in `of_pairs`
            return jnp.mean((f - y) ** 2) / 4 + products.sum() / (len(slopes) * (len(slopes) - 1))

        return jax.lax.map(of_task, given).mean()

    slope = jax.jit(jax.grad(total))(state.meta)
    expected = jax.tree.map(lambda p, g: np.asarray(p) - 0.1 * np.asarray(g), state.meta, slope)
    after, _ = jax.jit(learner.step)(jax.random.key(2), state, given)
    close(after.meta, expected, rtol=1e-4, atol=1e-5)


def test_it_drops_what_varies_between_environments():
    """The example of the paper: y = x1 + noise, x2 = y + noise of a size that is the environment's own.

    Least squares weighs x2; the invariant predictor is x1 alone, of weights (1, 0).
    """

    def batch(key, size):
        keys = jax.random.split(key, 3)
        x1 = size * jax.random.normal(keys[0], (200, 1))
        y = x1 + size * jax.random.normal(keys[1], (200, 1))
        part = {"x": jnp.concatenate([x1, y + jax.random.normal(keys[2], (200, 1))], 1), "y": y}
        return jax.tree.map(lambda a: a[:100], part), jax.tree.map(lambda a: a[100:], part)

    family = TaskFamily("environments", lambda k: jnp.where(jax.random.bernoulli(k), 0.3, 1.5), batch, 1)
    linear = regression(nets.from_function(lambda key, x: (), lambda params, x: x))
    fit = train.fit(
        lambda c: irm(linear, c),
        {"pooled": IRMConfig(penalty=0.0, meta_rate=0.03), "IRM": IRMConfig(penalty=300.0, meta_rate=0.03)},
        [0],
        steps=1500,
        sampler=episodes(family, 8),
        progress=False,
    )
    weights = np.asarray(fit.state.meta["head"]["kernel"])[:, 0, :, 0]
    assert weights[0, 1] > 0.4
    assert abs(weights[1, 1]) < 0.15
    assert weights[1, 0] == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"penalty": -1.0}, "penalty"), ({"begin": -1}, "begin"), ({"meta_rate": 0.0}, "meta_rate")],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        IRMConfig(**settings)


def test_one_example_has_no_pairs():
    with pytest.raises(ValueError, match="needs two examples or more"):
        invariance_penalty(PROBLEM.loss, jnp.ones((1, 1)), jnp.ones((1, 1)))
