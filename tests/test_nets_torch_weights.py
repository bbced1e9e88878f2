"""PyTorch's default initial weights: bounds and variances of each layer, nothing else changed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lrn import nets


def test_kernels_and_biases_are_uniform_within_one_over_the_root_of_fan_in():
    net = nets.cnn(10, (16, 32), (100,), kernel=4, down="stride")
    x = jnp.zeros((1, 28, 28, 1))
    ours = jax.device_get(jax.jit(nets.torch_weights(net).init)(jax.random.key(0), x)[0])
    before = jax.device_get(jax.jit(net.init)(jax.random.key(0), x)[0])
    assert jax.tree.map(np.shape, ours) == jax.tree.map(np.shape, before)
    fans = {(4, 4, 1, 16): 16, (4, 4, 16, 32): 256, (1568, 100): 1568, (100, 10): 100}
    layers = [node for node in ours.values() if "kernel" in node]
    assert {layer["kernel"].shape for layer in layers} == set(fans)
    for layer in layers:
        bound = fans[layer["kernel"].shape] ** -0.5
        kernel, bias = layer["kernel"].reshape(-1), layer["bias"]
        for weights in (kernel, bias):
            assert np.abs(weights).max() <= bound
            assert np.abs(weights).max() > 0.7 * bound
        error = 4 / np.sqrt(kernel.size)
        np.testing.assert_allclose(kernel.var() * 3 / bound**2, 1, atol=error)
        np.testing.assert_allclose(kernel.mean() / bound, 0, atol=error)
    draws = jax.jit(lambda key: nets.torch_weights(net).init(key, x)[0])(jax.random.key(1))
    assert not np.array_equal(jax.tree.leaves(draws)[0], jax.tree.leaves(ours)[0])


def test_norms_stay_as_they_are():
    net = nets.mlp(3, (4,), layer_norm=True)
    params = nets.torch_weights(net).init(jax.random.key(0), jnp.zeros((1, 2)))[0]
    np.testing.assert_array_equal(params["norm_0"]["scale"], 1)
    np.testing.assert_array_equal(params["norm_0"]["bias"], 0)
    assert np.abs(params["dense_0"]["bias"]).min() > 0
