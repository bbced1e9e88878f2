"""A perceptron with noise on its weights, which explores by itself (NoisyNet; Fortunato et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from lrn import check
from lrn.nets.bridge import from_flax
from lrn.nets.inputs import PerChannel, floating, normalize
from lrn.nets.layers import check_network
from lrn.types import Array, Key, Net


class NoisyDense(nn.Module):
    """A dense layer whose weights and biases are ``mean + sigma * noise``, in training only.

    The noise is factorized (Fortunato et al. 2018, section 3, b): weight (i, j) has the noise f(e_i) f(e_j)
    with ``f(e) = sign(e) sqrt|e|``, and the bias j has f(e_j). One draw serves all rows of a batch.
    """

    features: int
    sigma: float = 0.5

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map [batch, n] to [batch, features]."""
        n = x.shape[-1]
        bound = 1 / math.sqrt(n)

        def uniform(key: Key, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        spread = nn.initializers.constant(self.sigma * bound)
        kernel = self.param("kernel", uniform, (n, self.features))
        bias = self.param("bias", uniform, (self.features,))
        kernel_sigma = self.param("kernel_sigma", spread, (n, self.features))
        bias_sigma = self.param("bias_sigma", spread, (self.features,))
        if train:
            e = jax.random.normal(self.make_rng("dropout"), (n + self.features,))
            f = jnp.sign(e) * jnp.sqrt(jnp.abs(e))
            kernel = kernel + kernel_sigma * f[:n, None] * f[None, n:]
            bias = bias + bias_sigma * f[n:]
        return x @ kernel + bias[None]


class NoisyMLP(nn.Module):
    """Noisy dense layers with ReLU between them."""

    outputs: int
    hidden: Sequence[int] = (128,)
    sigma: float = 0.5
    mean: PerChannel = None
    std: PerChannel = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map [batch, ...], flattened, to [batch, outputs]."""
        floating("x", x)
        x = normalize(x, self.mean, self.std).reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            x = nn.relu(NoisyDense(width, self.sigma, name=f"dense_{i}")(x, train=train))
        return NoisyDense(self.outputs, self.sigma, name="head")(x, train=train)


def noisy_mlp(
    outputs: int,
    hidden: Sequence[int] = (128,),
    *,
    sigma: float = 0.5,
    mean: PerChannel = None,
    std: PerChannel = None,
) -> Net:
    """A perceptron with factorized noise on all weights, on flattened inputs [batch, ...].

    With ``train=True`` and a key the weights are perturbed, once for the whole batch; without, they are the
    means. `lrn.rl.dqn` with ``noisy=True`` plays and learns with perturbed weights.

    Args:
        outputs: the number of outputs.
        hidden: the widths of the hidden layers.
        sigma: the initial size of the noise; a layer with n inputs begins with ``sigma / sqrt(n)``.
        mean: subtracted from the input: one number, or one for each entry of the last axis.
        std: divides the centered input: one number, or one for each entry of the last axis.

    Raises:
        ValueError: a width, the size of the noise or a std is out of range.
    """
    check_network(outputs, 0.0, mean, std, hidden=hidden)
    check.non_negative("sigma", sigma)
    return from_flax(NoisyMLP(outputs, tuple(hidden), sigma, mean, std))
