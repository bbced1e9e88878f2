"""A test set divided among devices. `tests/test_four_devices.py` runs this file again on four of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from digits import X, Y, network

from lrn import check
from lrn.robust.cascade import cascade
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.share import share

N = 30  # no multiple of four
KEY = jax.random.key(5)
ATTACKS = {"pgd": lambda eps: pgd(PGDConfig(eps=eps, step_size=eps / 3, steps=4))}
four = pytest.mark.skipif(jax.device_count() < 4, reason="runs on four devices, in test_four_devices.py")


def judge(key, x, y):
    return cascade(key, network, x, y, 0.1, ATTACKS, batch_size=8)


def test_one_device_gives_the_attack_itself():
    device = jax.devices()[:1]
    shared = jax.jit(share(judge, device))(KEY, X[:N], Y[:N])
    alone = jax.jit(judge)(KEY, X[:N], Y[:N])
    jax.tree.map(np.testing.assert_array_equal, shared, alone)


@four
def test_each_device_attacks_its_share_with_its_own_key():
    shared = jax.jit(share(judge))(KEY, X[:N], Y[:N])
    each = -(-N // jax.device_count())
    assert 0 < np.asarray(shared.robust).sum() < N, "both outcomes occur"
    for i in range(jax.device_count()):
        rows = np.arange(i * each, min((i + 1) * each, N))
        filled = np.arange(i * each, (i + 1) * each) % N
        alone = jax.jit(judge)(jax.random.fold_in(KEY, i), X[filled], Y[filled])
        np.testing.assert_array_equal(shared.robust[rows], alone.robust[: len(rows)])
        np.testing.assert_array_equal(shared.after["clean"][rows], alone.after["clean"][: len(rows)])
        np.testing.assert_allclose(shared.x[rows], alone.x[: len(rows)], atol=1e-6)


@four
def test_the_network_may_be_an_argument_of_the_compiled_function():
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(64, 10)), jnp.float32)

    def accuracy(weights):
        def logits_fn(z):
            return z.reshape(len(z), -1) @ weights

        return share(lambda key, x, y: cascade(key, logits_fn, x, y, 0.0, ATTACKS))(KEY, X[:N], Y[:N]).robust

    right = (X[:N].reshape(N, -1) @ np.asarray(weights)).argmax(1) == Y[:N]
    np.testing.assert_array_equal(jax.jit(accuracy)(weights), right)


@four
def test_a_mean_over_examples_is_refused():
    with pytest.raises(check.InputError, match="one value for each example"):
        share(lambda key, x, y: jnp.mean(x))(KEY, X[:N], Y[:N])


def test_bad_inputs_are_told():
    with pytest.raises(check.InputError, match="one device or more"):
        share(judge, [])
    with pytest.raises(check.InputError, match=r"\[0, 1\]"):
        share(judge)(KEY, 255 * X[:N], Y[:N])
    with pytest.raises(check.InputError, match="30 examples"):
        share(judge)(KEY, X[:N], Y[: N - 1])
