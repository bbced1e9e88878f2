"""Loss and accuracy over a whole set, in one compiled program with the memory of one batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.supervised import targets
from lrn.supervised.losses import Loss, cross_entropy, hits
from lrn.types import Array, Net, NetState, Params


def evaluate(
    net: Net,
    params: Params,
    net_state: NetState,
    x: Array,
    y: Array,
    *,
    loss: Loss = cross_entropy,
    batch_size: int = 256,
) -> dict[str, Array]:
    """The mean loss and, for labels, the accuracy, in evaluation mode, without smoothing or mixup.

    The function may be called under jit, and under vmap over parameters.

    Args:
        net: the network.
        params: its parameters.
        net_state: its state.
        x: inputs [n, ...].
        y: integer labels [n], or float targets [n, ...].
        loss: ``loss(output, target) -> [batch]``; labels are passed as probabilities [batch, classes].
        batch_size: the number of examples at once, which bounds the memory.

    Returns:
        ``loss``, scalar, in the unit of ``loss``; for labels also ``accuracy``, scalar in [0, 1]. Ties
        for the largest logit count as wrong.

    Raises:
        InputError: the batch size is below 1, the set is empty, or inputs and targets differ in number.
    """
    check.integer("batch_size", batch_size, 1)
    x, y = targets.read({"x": x, "y": y})
    n = x.shape[0]
    size = min(batch_size, n)

    # The last batch is padded with the first example; the padding is masked out of the sums.
    index = jnp.arange(-(-n // size) * size).reshape(-1, size)

    def sums(index: Array) -> dict[str, Array]:
        inside = index < n
        members = jnp.where(inside, index, 0)
        output, _ = net.apply(params, net_state, x[members])
        target = y[members]
        if not targets.is_labels(y):
            return {"loss": jnp.sum(loss(output, target), where=inside)}
        target = targets.one_hot(target, output.shape[1])
        right = jnp.sum(hits(output, target), where=inside)
        return {"loss": jnp.sum(loss(output, target), where=inside), "accuracy": right}

    return jax.tree.map(lambda s: jnp.sum(s) / n, jax.lax.map(sums, index))
