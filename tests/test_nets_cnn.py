"""The CNN that halves images by the stride of its convolutions, against flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lrn import nets
from lrn.check import InputError


class Strided(nn.Module):
    """4x4 convolutions of stride 2, one pixel of padding: the network of Wong & Kolter (2018), narrower."""

    @nn.compact
    def __call__(self, x):
        for i, width in enumerate((4, 5)):
            x = nn.relu(nn.Conv(width, (4, 4), strides=2, padding=1, name=f"conv_{i}")(x))
        x = nn.relu(nn.Dense(6, name="dense_0")(x.reshape(x.shape[0], -1)))
        return nn.Dense(3, name="head")(x)


@pytest.mark.parametrize("conv", ["matmul", "lax"])
def test_strided_cnn_is_flaxs_in_value_and_gradient(conv):
    net = nets.cnn(3, (4, 5), (6,), kernel=4, down="stride", conv=conv)
    x = np.random.default_rng(0).normal(size=(5, 12, 8, 2)).astype(np.float32)
    params, state = jax.jit(net.init)(jax.random.key(0), x)
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases other than 0

    def both(apply):
        def loss(params, x):
            return jnp.mean(jax.nn.logsumexp(apply(params, x), -1) ** 2)

        return jax.jit(lambda params, x: (apply(params, x), jax.grad(loss, (0, 1))(params, x)))(params, x)

    ours = both(lambda params, x: net.apply(params, state, x)[0])
    theirs = both(lambda params, x: Strided().apply({"params": params}, x))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), ours, theirs)


def test_the_parameters_of_the_network_for_mnist():
    net = nets.cnn(10, (16, 32), (100,), kernel=4, down="stride")
    params, _ = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 28, 28, 1), np.float32))
    convs = 4 * 4 * 1 * 16 + 16 + 4 * 4 * 16 * 32 + 32
    dense = 7 * 7 * 32 * 100 + 100 + 100 * 10 + 10
    assert sum(p.size for p in jax.tree.leaves(params)) == convs + dense == 166_406


def test_bad_input_is_one_sentence():
    with pytest.raises(InputError, match="down 'half' is not known"):
        nets.cnn(3, down="half")
    with pytest.raises(InputError, match="kernel must be at least 1"):
        nets.cnn(3, kernel=0)
