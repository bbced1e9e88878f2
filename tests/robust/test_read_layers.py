"""Layers read from a network's program: the networks' values, absolute weights, and what is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets
from lrn.robust.read_layers import read_layers
from lrn.robust.relu_network import forward

X: Any = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype(np.float32)
W: Any = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)

NETS = {
    "mlp": (nets.mlp(5, (6, 4), mean=0.3, std=(0.5,), dropout=0.2), ["relu", "relu", "none"]),
    "linear": (nets.mlp(5, ()), ["none"]),
    "lax": (nets.cnn(4, (2, 3), (4,), mean=0.1, conv="lax"), ["max", "relu"] * 2 + ["relu", "none"]),
    "matmul": (nets.cnn(4, (2,), conv="matmul"), ["max", "relu", "none"]),
}


@pytest.mark.parametrize("name", NETS)
def test_the_layers_give_the_networks_logits_and_gradients(name):
    net, activations = NETS[name]
    params, state = net.init(jax.random.key(0), X)
    assert [
        layer.activation for layer in read_layers(lambda z: net.apply(params, state, z)[0], X)
    ] == activations

    @jax.jit
    def both(params):
        def logits(z):
            return net.apply(params, state, z)[0]

        def loss(params):
            layers = read_layers(lambda z: net.apply(params, state, z)[0], X)
            return jnp.sum(forward(layers, X) ** 2)

        wanted = jax.grad(lambda p: jnp.sum(net.apply(p, state, X)[0] ** 2))(params)
        return forward(read_layers(logits, X), X), logits(X), jax.grad(loss)(params), wanted

    read, wanted, gradient, wanted_gradient = both(params)
    np.testing.assert_allclose(read, wanted, rtol=1e-5, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), gradient, wanted_gradient
    )


def test_layers_of_other_forms():
    """Subtraction from a constant, negation, normalization, average pooling, and maxima over axes."""
    factor, mean = np.array([-1.5, 2.0, -0.5, 1.0] * 2, np.float32), np.arange(8, dtype=np.float32) / 8

    def logits(z):
        h = -(1 - z[..., 0])  # [batch, 8, 8]
        h = jax.nn.relu((h - mean[None, None]) * factor[None, None] / jnp.sqrt(2.0))
        h = jnp.pad(h.reshape(-1, 4, 2, 8).mean(axis=2), ((0, 0), (1, 0), (0, 0)), constant_values=0.3)
        return (
            jnp.concatenate([h.max(axis=(1,))[:, :4], jnp.maximum(h[:, 0, :4], h[:, 1, :4])][:1], axis=1) * 2
        )

    layers = read_layers(logits, X)
    np.testing.assert_allclose(forward(layers, X), logits(X), atol=1e-6)
    radius = jnp.full((8, 8, 1), 0.1)
    wanted = np.broadcast_to(0.1 * np.abs(factor) / np.sqrt(2), (8, 8))
    np.testing.assert_allclose(layers[0].spread(radius), wanted, rtol=1e-5)
    np.testing.assert_allclose(layers[1].spread(jnp.ones((8, 8))).max(axis=-1), np.ones(8), rtol=1e-6)
    assert layers[1].spread(jnp.ones((8, 8))).min() == 0  # padding has no radius


def flat(z):
    return z.reshape(len(z), -1)


def skip(z):
    return flat(z) + jax.nn.relu(flat(z) @ W)


@pytest.mark.parametrize(
    ("logits", "reason"),
    [
        (skip, "skip connection"),
        (lambda z: jax.nn.tanh(flat(z)), "it applies tanh"),
        (lambda z: flat(z) * flat(z), "a mul of two values"),
        (lambda z: 1 / (1 + flat(z)), "a div of two values"),
        (lambda z: jax.nn.leaky_relu(flat(z)), "it applies ge"),
        (lambda z: jnp.minimum(flat(z), 1.0), "it applies min"),
        (lambda z: jnp.maximum(flat(z), 0.1), "a constant that is not 0"),
        (lambda z: flat(z).astype(jnp.bfloat16), "half precision"),
        (lambda z: jnp.zeros((len(z), 3)), "do not depend on the input"),
        (lambda z: z, r"logits must be \[batch, classes\]"),
    ],
)
def test_other_networks_are_refused(logits, reason):
    with pytest.raises(ValueError, match=reason):
        read_layers(logits, X)


def test_layer_norm_is_refused():
    net = nets.mlp(5, (6,), layer_norm=True)
    params, state = net.init(jax.random.key(0), X)
    with pytest.raises(ValueError, match="cannot read this network"):
        read_layers(lambda z: net.apply(params, state, z)[0], X)
