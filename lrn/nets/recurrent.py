"""Networks with memory: a gated recurrent unit between dense layers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from lrn import check
from lrn.nets.layers import he_normal, lecun_normal
from lrn.types import Array, Key, Params, PyTree, RecurrentNet


class GRU(nn.Module):
    """A dense layer, a GRU (Cho et al. 2014), and a linear layer for each output.

    outputs: the size of each output. hidden: the width of the embedding and of the memory.
    """

    outputs: tuple[int, ...]
    hidden: int

    @nn.compact
    def __call__(self, memory: Array, x: Array) -> tuple[tuple[Array, ...], Array]:
        """Map memory [batch, hidden] and inputs [batch, ...], flattened, to outputs and the next memory."""
        x = nn.relu(nn.Dense(self.hidden, kernel_init=he_normal, name="embed")(x.reshape(x.shape[0], -1)))
        memory, x = nn.GRUCell(self.hidden, name="cell")(memory, x)
        return tuple(
            nn.Dense(n, kernel_init=lecun_normal, name=f"head_{i}")(x) for i, n in enumerate(self.outputs)
        ), memory


def gru_actor_critic(policy: int, hidden: int = 64) -> RecurrentNet:
    """A recurrent actor-critic, whose output at each step is ``(policy [batch, policy], value [batch])``.

    Args:
        policy: the number of outputs of the policy.
        hidden: the width of the embedding and of the memory.

    Raises:
        ValueError: a count is below one.
    """
    check.integer("policy", policy, low=1)
    check.integer("hidden", hidden, low=1)
    module = GRU((policy, 1), hidden)

    def initial(n: int) -> Array:
        return jnp.zeros((n, hidden))

    def init(key: Key, x: Array) -> Params:
        return module.init(key, initial(x.shape[0]), x)["params"]

    def apply(params: Params, memory: PyTree, x: Array, first: Array) -> tuple[tuple[Array, Array], PyTree]:
        memory = jax.tree.map(lambda m: jnp.where(first[:, None], 0.0, m), memory)
        (out, value), memory = module.apply({"params": params}, memory, x)  # pyright: ignore
        return (out, jnp.squeeze(value, -1)), memory

    return RecurrentNet(init, initial, apply)
