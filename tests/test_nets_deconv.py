"""Transposed convolution against jax.lax and flax, and the decoders."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lrn import nets
from lrn.nets import deconv
from lrn.types import LANES

RNG = np.random.default_rng(0)


def drawn(*shape):
    return RNG.normal(size=shape).astype(np.float32)


# Kernel, stride, inputs, outputs: both forms, kernels that the stride does not divide, and a kernel of 1.
CASES = [(4, 2, 3, 5), (4, 2, 9, 1), (2, 2, 3, 2), (3, 2, 2, 2), (5, 3, 4, 1), (1, 2, 2, 3), (3, 1, 2, 2)]


def test_it_is_laxs_in_value_and_gradient():
    """All cases in one program."""
    given: Any = [(drawn(3, 5, 4, i), drawn(k, k + (k == 4), i, o)) for k, _, i, o in CASES]
    assert {deconv.scatters((k, k, i, o), s) for k, s, i, o in CASES} == {True, False}

    def both(form, given):
        def loss(given):
            outs = [
                nets.conv_transpose2d(x, kernel, stride=case[1], conv=form)
                for (x, kernel), case in zip(given, CASES)
            ]
            return sum(jnp.sum(jnp.sin(out)) for out in outs), outs

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(given)

    ours, theirs = both("matmul", given), both("lax", given)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), ours, theirs)
    for out, (x, kernel), (_, stride, _, _) in zip(theirs[0][1], given, CASES):
        expected = jax.lax.conv_transpose(
            x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)


def test_blocks_and_lanes_change_nothing(monkeypatch):
    """A batch in blocks, with a last block that is padded, and weights under vmap."""
    x, kernel = drawn(2, 5, 4, 4, 3), drawn(2, 4, 4, 3, 2)
    whole = jax.jit(jax.vmap(nets.conv_transpose2d))(x, kernel)
    for name in ("BLOCK_BYTES", "LEAST_BYTES"):
        monkeypatch.setattr(f"lrn.nets.blocks.{name}", 1600)
    blocks = jax.vmap(functools.partial(nets.conv_transpose2d), axis_name=LANES)
    assert "scan" in str(jax.make_jaxpr(blocks)(x, kernel))
    np.testing.assert_allclose(jax.jit(blocks)(x, kernel), whole, rtol=2e-5, atol=2e-5)


class Decoder(nn.Module):
    """The decoder of the dSprites protocol in flax, narrower."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(6, name="dense_0")(x))
        x = nn.relu(nn.Dense(16, name="dense_1")(x)).reshape(-1, 2, 2, 4)
        x = nn.relu(nn.ConvTranspose(3, (4, 4), strides=(2, 2), name="conv_0")(x))
        return nn.ConvTranspose(1, (4, 4), strides=(2, 2), name="conv_1")(x)


@pytest.mark.parametrize("conv", ["matmul", "lax"])
def test_the_decoder_is_flaxs(conv):
    net = nets.conv_decoder((8, 8, 1), (4, 3), (6,), conv=conv)
    codes = drawn(5, 2)
    params, state = jax.jit(net.init)(jax.random.key(0), codes)
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases other than 0
    ours = jax.jit(lambda p, z: net.apply(p, state, z)[0])(params, codes)
    theirs = jax.jit(lambda p, z: Decoder().apply({"params": p}, z))(params, codes)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def test_the_networks_of_the_dsprites_protocol():
    """The shapes and the numbers of parameters of the published networks."""
    encoder, decoder = nets.dsprites_encoder(20), nets.dsprites_decoder()
    assert nets.parameter_count(encoder, (64, 64, 1)) == sum(
        [
            4 * 4 * 32 + 32,
            4 * 4 * 32 * 32 + 32,
            2 * 2 * 32 * 64 + 64,
            2 * 2 * 64 * 64 + 64,
            1024 * 256 + 256,
            256 * 20 + 20,
        ]
    )
    assert nets.parameter_count(decoder, (10,)) == sum(
        [
            10 * 256 + 256,
            256 * 1024 + 1024,
            16 * 64 * 64 + 64,
            16 * 64 * 32 + 32,
            16 * 32 * 32 + 32,
            16 * 32 + 1,
        ]
    )
    params, state = jax.eval_shape(decoder.init, jax.random.key(0), jnp.zeros((2, 10)))
    assert jax.eval_shape(decoder.apply, params, state, jnp.zeros((2, 10)))[0].shape == (2, 64, 64, 1)


def test_activations_keep_their_size():
    """Outputs of a decoder's initial weights have a spread near that of standard normal codes."""
    net = nets.conv_decoder((16, 16, 1), (8, 8, 8))
    codes = jax.random.normal(jax.random.key(1), (64, 10))
    params, state = jax.jit(net.init)(jax.random.key(0), codes)
    assert 0.2 < float(jnp.std(jax.jit(net.apply)(params, state, codes)[0])) < 2


def test_mlp_decoder_gives_the_shape():
    net = nets.mlp_decoder((4, 3, 2), (5,), activation="leaky_relu")
    codes = jnp.ones((2, 3))
    params, state = net.init(jax.random.key(0), codes)
    assert net.apply(params, state, codes)[0].shape == (2, 4, 3, 2)


def test_bad_input_is_one_sentence():
    with pytest.raises(ValueError, match=r"kernel must have shape \[rows, columns, 2, out\]"):
        nets.conv_transpose2d(jnp.ones((1, 2, 2, 2)), jnp.ones((2, 2, 3, 1)))
    with pytest.raises(ValueError, match="stride must be at least 1"):
        nets.conv_transpose2d(jnp.ones((1, 2, 2, 2)), jnp.ones((2, 2, 2, 1)), stride=0)
    with pytest.raises(ValueError, match="with sides that 16 divides"):
        nets.conv_decoder((24, 24, 1))
    with pytest.raises(ValueError, match="the shape of an output must be a tuple"):
        nets.mlp_decoder(())
    with pytest.raises(ValueError, match="there are 2 kernels for 3 convolutions"):
        nets.cnn(2, (1, 2, 3), kernel=(4, 4))
    net = nets.conv_decoder((4, 4, 1), (2,))
    with pytest.raises(ValueError, match="codes must have shape"):
        net.init(jax.random.key(0), jnp.ones((1, 2, 3)))
