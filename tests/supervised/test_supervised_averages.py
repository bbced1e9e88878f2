"""Averages against their definitions, and in the learner."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets
from lrn.check import InputError
from lrn.supervised import averages
from lrn.supervised.averages import AverageConfig

TREES = {"w": jax.random.normal(jax.random.key(0), (9, 2, 3)), "n": jnp.arange(9)}


def tree(i):
    return jax.tree.map(lambda x: x[i], TREES)


def after(config, begin=0):
    """The averages after each of the trees; steps count from 1."""

    def take(average, given):
        step, new = given
        average = averages.update(config, average, new, step)
        return average, average

    steps = jnp.arange(1, 10)
    return jax.lax.scan(take, averages.begin(tree(begin)), (steps, TREES))[1]


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_ema_is_the_weighted_mean_by_definition(decay):
    ours, w = after(AverageConfig("ema", decay)), np.asarray(TREES["w"], np.float64)
    for n in range(1, 10):
        share = np.array([decay ** (n - i) if n > i or decay else 1.0 for i in range(1, n + 1)])
        expected = np.tensordot(share / share.sum(), w[:n], axes=1)
        np.testing.assert_allclose(ours.value["w"][n - 1], expected, rtol=1e-4, atol=1e-6)
        assert ours.weight[n - 1] == pytest.approx(1 - decay**n, rel=1e-4)
    np.testing.assert_array_equal(ours.value["n"], np.arange(9))  # counters have their newest value


def test_the_first_ema_is_the_first_tree():
    one = averages.ema(averages.begin(tree(3)), tree(0), 0.999)
    np.testing.assert_allclose(one.value["w"], tree(0)["w"], rtol=1e-6)


def test_swa_is_the_mean_of_every_third_from_the_second_on():
    ours, w = after(AverageConfig("swa", start=2, every=3)), np.asarray(TREES["w"], np.float64)
    taken = [1, 4, 7]  # steps 2, 5 and 8
    for step in range(1, 10):
        so_far = [i for i in taken if i < step]
        assert ours.weight[step - 1] == len(so_far)
        expected = w[so_far].mean(axis=0) if so_far else w[0]
        np.testing.assert_allclose(ours.value["w"][step - 1], expected, rtol=1e-5, atol=1e-6)


def test_the_average_is_the_current_weights_until_there_is_one():
    nothing = averages.begin(tree(0))
    np.testing.assert_array_equal(averages.averaged(nothing, tree(5))["w"], tree(5)["w"])
    one = averages.swa(nothing, tree(2))
    np.testing.assert_allclose(averages.averaged(one, tree(5))["w"], tree(2)["w"], rtol=1e-6)
    assert averages.averaged((), tree(5))["w"] is not None
    assert averages.update(AverageConfig(), (), tree(1), jnp.int32(1)) == ()


def test_half_precision_is_averaged_in_float32():
    """In bfloat16 the mean of 1 and many values of 1.01 would stay at 1."""
    one, more = jnp.ones(2, jnp.bfloat16), jnp.full(2, 1.0078125, jnp.bfloat16)
    average = averages.swa(averages.begin(one), one)
    for _ in range(3):
        average = averages.swa(average, more)
    assert average.value.dtype == jnp.float32
    np.testing.assert_allclose(average.value, 1 + 0.75 * 0.0078125, rtol=1e-6)
    assert averages.averaged(average, one).dtype == jnp.bfloat16


def test_a_sweep_of_decays_equals_a_loop():
    decays = jnp.array([0.0, 0.3, 0.9])

    def run(decay):
        return after(AverageConfig("ema", decay))

    together = jax.jit(jax.vmap(run))(decays)
    for i, decay in enumerate(decays):
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6), together, run(decay)
        )


def test_refreshed_statistics_are_those_of_the_data():
    from flax import linen as nn

    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)

    net = nets.from_flax(Normed())
    x = 3.0 + 2.0 * jax.random.normal(jax.random.key(1), (60, 200, 2))
    params, state = net.init(jax.random.key(0), x[0])
    state = jax.jit(lambda p, s, x, k: averages.refresh(net, p, s, x, k))(params, state, x, jax.random.key(2))
    statistics = state["batch_stats"]["BatchNorm_0"]
    share = 0.9 ** np.arange(59, -1, -1) * 0.1
    mean = share @ np.asarray(x.mean(axis=1))
    var = share @ np.asarray(x.var(axis=1)) + 0.9**60
    np.testing.assert_allclose(statistics["mean"], mean, rtol=1e-4)
    np.testing.assert_allclose(statistics["var"], var, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AverageConfig("emma"), "method 'emma' is not known; did you mean ema"),
        (lambda: AverageConfig("ema", 1.0), "decay must be below 1"),
        (lambda: AverageConfig("ema", -0.1), "decay must lie between 0 and 1"),
        (lambda: AverageConfig("swa", start=0), "start must be at least 1"),
        (lambda: AverageConfig("swa", every=0), "every must be at least 1"),
        (lambda: averages.ema(averages.begin(tree(0)), tree(1), 1.0), "decay must be below 1"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
