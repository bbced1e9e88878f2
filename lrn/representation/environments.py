"""Learning across environments: batches, the risk of each environment, and what the methods share.

A batch has an axis of environments: ``{"image" or "x": [environments, batch, ...], "label" or "y":
[environments, batch, ...]}``. The rows of one environment are drawn from one distribution; a method learns
what holds in all of them. (`lrn.data.in_environments.each` draws such batches.)

A network gives outputs [n, ...], or a pair of outputs and features [n, ...], for methods that compare the
features of environments (`body_and_head`). For labels the outputs are logits [n, classes]; with one logit z
a row, the labels are 0 and 1, and z stands for the two logits (0, z).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import as_array, nan_where
from lrn.supervised import targets
from lrn.supervised.learner import SupervisedState, initial_state
from lrn.supervised.losses import Loss, hits
from lrn.supervised.settings import Settings
from lrn.types import Array, Batch, Key, Metrics, Net, NetState, Params


class Seen(NamedTuple):
    """What a pass of a network over a batch of environments gives.

    output: [environments, batch, ...]. target: what the loss compares with the output, [environments, batch,
    ...]: labels as probabilities, float targets as they are. losses: [environments, batch].
    features: [environments, batch, dim]; None where the network gives outputs alone.
    labels: whether the targets of the batch are labels.
    """

    output: Array
    target: Array
    losses: Array
    features: Array | None
    labels: bool

    @property
    def risks(self) -> Array:
        """The mean loss of each environment, [environments]."""
        return jnp.mean(self.losses, axis=1)

    def metrics(self) -> Metrics:
        """Mean risk, largest risk, and for labels the accuracy, all of the batch in training mode."""
        found = {"loss": jnp.mean(self.risks), "worst_loss": jnp.max(self.risks)}
        if self.labels:
            rows = (-1, self.output.shape[-1])
            found["accuracy"] = jnp.mean(hits(self.output.reshape(rows), self.target.reshape(rows)))
        return found


def read(batch: Any) -> tuple[Array, Array, int]:
    """Inputs [environments * batch, ...], targets [environments * batch, ...], the number of environments.

    Raises:
        InputError: there are fewer than two environments, an entry lacks the axis of environments, inputs and
            targets differ in environments or rows, or a batch is wrong for `lrn.supervised.targets.read`.
    """
    if not isinstance(batch, Mapping):
        targets.read(batch)  # which says what a batch is
    rows, leading = {}, {}
    for name in set(batch) & {*targets.INPUTS, *targets.TARGETS}:
        value = as_array(batch[name])
        if value.ndim < 2 + (name in targets.INPUTS):
            raise check.InputError(
                f"{name!r} must be [environments, batch, ...], got shape {value.shape}; stack the rows of "
                "the environments along a first axis."
            )
        leading[name] = value.shape[:2]
        rows[name] = value.reshape(-1, *value.shape[2:])
    if len(set(leading.values())) > 1:
        told = " and ".join(f"{name!r} has {list(shape)}" for name, shape in sorted(leading.items()))
        raise check.InputError(
            f"inputs and targets must have the same environments and rows, but {told}; give one target for "
            "each input."
        )
    x, y = targets.read(rows)
    (environments, _), *_ = leading.values()
    if environments < 2:
        raise check.InputError(
            "what is invariant shows only across environments, and the batch has 1; give two environments or "
            "more."
        )
    return x, y, environments


def look(
    net: Net,
    loss: Loss,
    params: Params,
    net_state: NetState,
    batch: tuple[Array, Array, int],
    key: Key,
    with_features: bool = False,
) -> tuple[Seen, NetState]:
    """One pass in training mode over all environments together, whose statistics BatchNorm pools.

    Args:
        net: the network. loss: ``loss(output, target) -> [n]``. params, net_state: those of the network.
        batch: from `read`. key: the key of dropout.
        with_features: whether the network must give features.

    Raises:
        InputError: an output or a loss has the wrong form.
    """
    x, y, environments = batch
    output, net_state = net.apply(params, net_state, x, key=key, train=True)
    output, features = _parts(output, with_features)
    output, target = _compared(output, y)
    losses = loss(output, target)
    if losses.shape != x.shape[:1]:
        raise check.InputError(
            f"the loss must be [batch], got shape {losses.shape} for {x.shape[0]} examples; do not average "
            "over the batch in it."
        )

    def apart(rows: Array) -> Array:
        return rows.reshape(environments, -1, *rows.shape[1:])

    features = None if features is None else apart(features.reshape(x.shape[0], -1))
    labels = targets.is_labels(y)
    return Seen(apart(output), apart(target), apart(losses), features, labels), net_state


def begin(
    net: Net, loss: Loss, config: Settings, key: Key, batch: Batch, with_features: bool = False
) -> SupervisedState:
    """The state before the first step; only the shapes and dtypes of the batch matter.

    Raises:
        InputError: as `read` and `look`.
    """
    x, y, environments = read(batch)
    init_key, look_key = jax.random.split(key)
    params, net_state = net.init(init_key, x)

    def losses() -> Array:  # the labels are closed over, so that wrong ones are refused
        return look(net, loss, params, net_state, (x, y, environments), look_key, with_features)[0].losses

    jax.eval_shape(losses)
    return initial_state(config, params, net_state)


def body_and_head(body: Net, head: Net) -> Net:
    """The network that gives the pair of the head's outputs and the body's features [n, ...].

    The parameters and the state are ``{"body": ..., "head": ...}``.
    """

    def init(key: Key, x: Array) -> tuple[Params, NetState]:
        body_key, head_key = jax.random.split(key)
        params, state = body.init(body_key, x)
        shaped, _ = jax.eval_shape(body.apply, params, state, x)
        own, own_state = head.init(head_key, jnp.zeros(shaped.shape, shaped.dtype))
        return {"body": params, "head": own}, {"body": state, "head": own_state}

    def apply(params: Any, state: Any, x: Array, *, key: Key | None = None, train: bool = False) -> Any:
        keys = (None, None) if key is None else jax.random.split(key)
        features, after = body.apply(params["body"], state["body"], x, key=keys[0], train=train)
        output, own = head.apply(params["head"], state["head"], features, key=keys[1], train=train)
        return (output, features), {"body": after, "head": own}

    return Net(init, apply)


def without(batch: Batch, left_out: Any) -> Batch:
    """The batch without one environment, for the rule "leave one environment out".

    Of two environments one is left, where nothing can be invariant across environments; its rows then become
    two environments of half the rows, by turns.

    Args:
        batch: entries [environments, batch, ...], or [environments].
        left_out: the index of the environment, a whole number as an int or a float; may be traced, and makes
            floats NaN where it is no index.

    Returns:
        Entries [environments - 1, batch, ...], or [2, batch // 2, ...]; [environments - 1] or [2].

    Raises:
        InputError: there are fewer than two environments, or the index can be read and is none of theirs.
    """

    def part(value: Array) -> Array:
        count = value.shape[0] - 1
        check.integer("the number of environments", count + 1, 2)
        if isinstance(left_out, (int, float)) and left_out not in range(count + 1):
            raise check.InputError(
                f"left_out must be an index from 0 to {count}, got {left_out}; correct it."
            )
        index = jnp.arange(count)
        kept = jnp.take(jnp.asarray(value), index + (index >= left_out), axis=0)
        if jnp.issubdtype(kept.dtype, jnp.floating):
            known = jnp.any(jnp.arange(count + 1) == left_out)
            kept = nan_where(~known, kept)
        if count > 1:
            return kept
        if value.ndim == 1:
            return jnp.concatenate([kept, kept])
        half = value.shape[1] // 2
        return jnp.stack([kept[0, : 2 * half : 2], kept[0, 1 : 2 * half : 2]])

    return {name: part(value) for name, value in batch.items()}


def _parts(output: Any, with_features: bool) -> tuple[Any, Array | None]:
    if isinstance(output, tuple) and len(output) == 2:
        return output[0], output[1]
    if with_features:
        raise check.InputError(
            "the network must give a pair of outputs and features; join two networks by body_and_head."
        )
    if not hasattr(output, "shape"):
        raise check.InputError(
            f"the network must give one array, or a pair of outputs and features, got "
            f"{type(output).__name__}; wrap it so that it does."
        )
    return output, None


def _compared(output: Array, y: Array) -> tuple[Array, Array]:
    """Outputs and targets as the loss compares them."""
    if not targets.is_labels(y):
        return output, y
    if output.shape in ((y.shape[0],), (y.shape[0], 1)):
        output = output.reshape(-1, 1)
        output = jnp.concatenate([jnp.zeros_like(output), output], axis=1)
    if output.ndim != 2 or output.shape[0] != y.shape[0]:
        raise check.InputError(
            f"the network must give logits [{y.shape[0]}, classes], or one logit a row for labels 0 and 1, "
            f"got shape {tuple(output.shape)}; check its last layer."
        )
    return output, targets.one_hot(y, output.shape[1])
