"""What the gradient methods of fair training share: batches, logits, the logistic loss, and the update.

A batch is ``{"image" or "x": [batch, ...], "label" or "y": [batch], "group": [batch], "weight": [batch]}``.
Labels are 0 or 1, groups are integers in 0..groups-1, and the weight is 1 where the batch has none. The
network gives one logit a row, [batch] or [batch, 1]: ``lrn.nets.mlp(1, (32,))``, or ``mlp(1, ())`` for a
linear model.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

from lrn import check
from lrn.arrays import nan_where, readable
from lrn.fair import arguments, comparable
from lrn.supervised import targets
from lrn.supervised.learner import SupervisedState, initial_state, weights
from lrn.supervised.settings import Settings
from lrn.types import Array, Batch, Key, Learner, Net, NetState, Params, PyTree


class People(NamedTuple):
    """A checked batch; the weights are NaN where a trace hid a wrong value of any row.

    x: inputs [n, ...]. y: labels 0 or 1, floats [n]. group: int32 [n]. weights: floats [n], 0 or more.
    """

    x: Array
    y: Array
    group: Array
    weights: Array


class Chance(NamedTuple):
    """The function ``(params, net_state, x) -> chance of label 1 [n]`` of a network, in evaluation mode.

    Two of these are equal if their networks are, so that a `Partial` of it keeps its form in loops.
    """

    net: Net

    def __call__(self, params: Params, net_state: NetState, x: Any) -> Array:
        """The chance of label 1, [n], for inputs [n, ...]."""
        return jax.nn.sigmoid(logits(self.net, params, net_state, jnp.asarray(x))[0])


def read(batch: Batch, groups: int) -> People:
    """The checked rows of a batch. With one group the batch needs no entry "group".

    Raises:
        InputError: an entry is missing or has the wrong form, or a value that can be read is out of range.
            (Under jit the weights are NaN.)
    """
    x, y = targets.read(batch)
    n = x.shape[0]
    if "group" not in batch and groups != 1:
        raise check.InputError(f"a batch must have an entry 'group', got {sorted(batch)}; add it.")
    finite = jnp.all(jnp.isfinite(x))
    if readable(x) and not np.isfinite(np.asarray(x)).all():
        raise check.InputError("x holds values that are not finite; fill the missing ones in first.")
    y = arguments.labels("label", y, n)
    group = arguments.groups(batch.get("group", np.zeros(n, np.int32)), n, groups)
    rows = arguments.weights(batch.get("weight"), n).astype(y.dtype)
    rows = arguments.nan_unless_valid(rows, y, group, groups)
    return People(x, y, group, jnp.where(finite, rows, jnp.nan))


def logits(
    net: Net, params: Params, net_state: NetState, x: Array, key: Key | None = None, train: bool = False
) -> tuple[Array, NetState]:
    """The network's logits [n] for inputs [n, ...], and its new state.

    Raises:
        InputError: the output is neither [n] nor [n, 1].
    """
    output, net_state = net.apply(params, net_state, x, key=key, train=train)
    if output.shape not in ((x.shape[0],), (x.shape[0], 1)):
        raise check.InputError(
            f"the network must give one logit a row, [{x.shape[0]}] or [{x.shape[0]}, 1], got shape "
            f"{output.shape}; give its last layer one output."
        )
    return output.reshape(x.shape[0]), net_state


def shares(weights: Array) -> Array:
    """The weights [n] divided by their sum; 0 in a batch without weight, such as a minibatch may be."""
    total = jnp.sum(weights)
    return weights / jnp.where(total == 0, 1, total)


def logistic_losses(logit: Array, y: Array) -> Array:
    """The cross-entropy of each row's label, [n], in nats."""
    return optax.losses.sigmoid_binary_cross_entropy(logit, y.astype(logit.dtype))


def logistic_loss(logit: Array, people: People) -> Array:
    """The weighted mean of `logistic_losses`, a scalar in nats."""
    return jnp.sum(shares(people.weights) * logistic_losses(logit, people.y))


def accuracy(logit: Array, people: People) -> Array:
    """The weighted share of rows whose logit has the sign of the label, a scalar in [0, 1]."""
    right = jnp.sum(shares(people.weights) * ((logit > 0) == (people.y == 1)))
    return nan_where(jnp.isnan(people.weights).any(), right)


def begin(net: Net, config: Settings, key: Key, batch: Batch, groups: int) -> SupervisedState:
    """The state before the first step; only the shapes and dtypes of the batch matter.

    Raises:
        InputError: as `read` and `logits`.
    """
    people = read(batch, groups)
    params, net_state = net.init(key, people.x)
    jax.eval_shape(lambda *given: logits(net, *given)[0], params, net_state, people.x)
    return initial_state(config, params, net_state)


def predictor(net: Net, state: SupervisedState) -> Partial:
    """The model ``predict(x) -> chance of label 1 [n]``, with the averaged weights if there are any."""
    return Partial(Chance(net), *weights(state))


def whole(x: Any, y: Any, group: Any, groups: int, weights: Any) -> dict[str, Array]:
    """Features, labels, groups and weights of a fit as one checked batch.

    The weights are NaN where a trace hid a wrong value, or weights that are all 0.

    Raises:
        InputError: an argument is wrong.
    """
    x = arguments.features("x", x)
    n = x.shape[0]
    y, group = arguments.labels("y", y, n).astype(x.dtype), arguments.groups(group, n, groups)
    weights = arguments.weights(weights, n).astype(x.dtype)
    comparable.two_rows(group, weights, groups)
    weights = arguments.nan_unless_valid(weights, y, group, groups)
    right = jnp.all(jnp.isfinite(x)) & (jnp.sum(weights) != 0)
    return {"x": x, "y": y, "group": group, "weight": jnp.where(right, weights, jnp.nan)}


def descend(
    key: Key, learner: Learner, batch: dict[str, Array], steps: int, batch_size: int | None = None
) -> tuple[PyTree, PyTree]:
    """The state after ``steps`` steps in one loop, and the metrics of each step.

    Args:
        key: the key of the start, the batches and the steps.
        learner: a learner. batch: all rows, such as `whole` gives.
        steps: the number of steps.
        batch_size: the number of rows a step, drawn with repeats; None: all rows.

    Raises:
        InputError: ``steps`` or ``batch_size`` is no whole number of 1 or more.
    """
    check.integer("steps", steps, 1)
    if batch_size is not None:
        check.integer("batch_size", batch_size, 1)
    start_key, loop_key = jax.random.split(key)

    def advance(state: PyTree, step: Array) -> tuple[PyTree, PyTree]:
        draw_key, step_key = jax.random.split(jax.random.fold_in(loop_key, step))
        return learner.step(step_key, state, drawn(draw_key, batch, batch_size))

    return jax.lax.scan(advance, learner.init(start_key, batch), jnp.arange(steps))


def drawn(key: Key, batch: dict[str, Array], batch_size: int | None) -> dict[str, Array]:
    """``batch_size`` rows of a batch, drawn uniformly with repeats; the whole batch for None."""
    if batch_size is None:
        return batch
    rows = jax.random.randint(key, (batch_size,), 0, batch["y"].shape[0])
    return {name: value[rows] for name, value in batch.items()}


def example_people(n: int = 256, groups: int = 2) -> dict[str, np.ndarray]:
    """Synthetic people for examples: x [n, 3], y and group [n]; the first feature depends on the group."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, groups, n)
    x = rng.normal(size=(n, 3)) + group[:, None] * np.array([1.0, 0.0, 0.0])
    chance = 1 / (1 + np.exp(-(2 * x[:, 0] + x[:, 1] - 1)))
    y = (rng.random(n) < chance).astype(np.int32)
    return {"x": x.astype(np.float32), "y": y, "group": group.astype(np.int32)}
