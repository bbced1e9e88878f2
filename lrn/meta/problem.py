"""What a network does on a task: its outputs, loss and score, and where BatchNorm's statistics come from.

A network is a body, any `Net` that gives features [n, d], and a linear head. So the algorithms that treat the
two apart (ANIL, BOIL, NIL, prototypes) work with whatever body one has.

A body with dropout has it on in meta-training, with fresh random numbers for each meta-step, task and inner
step, and off in adaptation and prediction after it. A network is told one thing only, whether it trains; so
with ``statistics="support"`` the queries, whose statistics are given, are without dropout in training too;
and where statistics are of a batch at test, they are gathered with dropout, as moving averages are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.interpreters.partial_eval import dce_jaxpr

from lrn import check
from lrn.types import Array, Batch, Key, Net, NetState, Params

STATISTICS = ("none", "support", "transductive", "running")


class Problem(NamedTuple):
    """A way to do tasks, as pure functions; `classification` and `regression` make one.

    init: ``init(key, x) -> (params, net_state)`` for x [n, ...]; params are ``{"body": ..., "head": ...}``.
    features: ``features(body, net_state, support, x, key=None) -> [n, d]``. ``support`` gives BatchNorm its
        statistics if they are to come from there. A key says that this is training, and drives dropout.
    head: ``head(head_params, features) -> outputs [n, outputs]``.
    loss: ``loss(outputs, y) -> scalar``, a mean over the examples.
    score: ``score(outputs, y) -> {name: [n]}``, what is reported, per example.
    outputs: numbers an example.
    trained: ``trained(body, net_state, x, key=None) -> (features, net_state)`` in training, for a body that
        keeps running statistics; None for others.
    draws: ``draws(body, net_state, x)``, whether the body draws random numbers in training; None if it never
        does.
    """

    init: Callable[[Key, Array], tuple[Params, NetState]]
    features: Callable[..., Array]
    head: Callable[[Params, Array], Array]
    loss: Callable[[Array, Array], Array]
    score: Callable[[Array, Array], Mapping[str, Array]]
    outputs: int
    trained: Callable[..., tuple[Array, NetState]] | None = None
    draws: Callable[[Params, NetState, Array], bool] | None = None

    def training_keys(
        self, key: Key, body: Params, net_state: NetState, x: Array, count: int = 2
    ) -> Sequence[Key | None]:
        """Keys for so many passes of the training; all None for a body that draws no random numbers."""
        if self.draws is None or not self.draws(body, net_state, x):
            return [None] * count
        return [*jax.random.split(key, count)]

    def predict(
        self, params: Params, net_state: NetState, support: Batch, x: Array, key: Key | None = None
    ) -> Array:
        """The outputs [n, outputs] for x [n, ...]; with a key, those of the training.

        Raises:
            ValueError: the body keeps running statistics, which `lrn.meta.prototypical` alone moves.
        """
        if self.trained is not None:
            raise check.InputError(
                "only prototypical networks keep running statistics; choose statistics='support' or "
                "'transductive' for this learner."
            )
        return self.head(params["head"], self.features(params["body"], net_state, support, x, key))

    def loss_on(
        self, params: Params, net_state: NetState, support: Batch, batch: Batch, key: Key | None = None
    ) -> Array:
        """The mean loss on a batch; with a key, that of the training."""
        return self.loss(self.predict(params, net_state, support, batch["x"], key), batch["y"])


def classification(body: Net, ways: int, statistics: str = "none") -> Problem:
    """Cross-entropy over ``ways`` classes; labels int [n] in [0, ways).

    Args:
        body: gives features [n, d].
        ways: classes of a task. A label outside of them is an error where it is known; where it is traced, it
            makes the loss NaN, and its gradient too.
        statistics: of a body with BatchNorm. "none": it has none. "support": from the support set, also for
            the queries, each of which is then judged alone. "transductive": of whatever batch is looked at,
            so that the queries of a task help each other, which most published numbers count as free.
            "running": of the batch in training, moving averages of those after it, so that each query is
            judged alone; for prototypical networks.

    Raises:
        ValueError: ``ways`` below 2, or an unknown choice of statistics; from ``init``, a body whose state
            does not fit the choice.
    """
    check.integer("ways", ways, low=2)

    def losses(outputs: Array, y: Array) -> Array:
        y = check_labels(y, outputs.shape[0], ways)
        return optax.softmax_cross_entropy(outputs, one_hot_or_nan(y, ways, outputs.dtype))

    def loss(outputs: Array, y: Array) -> Array:
        return losses(outputs, y).mean()

    def score(outputs: Array, y: Array) -> Mapping[str, Array]:
        y = check_labels(y, outputs.shape[0], ways)
        # What is no number is no answer, though argmax finds its place.
        right = (jnp.argmax(outputs, -1) == y) & ~jnp.isnan(outputs).any(-1)
        known = (y >= 0) & (y < ways)
        accuracy = jnp.where(known, right.astype(jnp.float32), jnp.nan)
        return {"loss": losses(outputs, y), "accuracy": accuracy}

    return _problem(body, ways, statistics, loss, score)


def regression(body: Net, outputs: int = 1, statistics: str = "none") -> Problem:
    """Mean squared error; y float [n, outputs]. Arguments as for `classification`."""
    check.integer("outputs", outputs, low=1)

    def squares(given: Array, y: Array) -> Array:
        if given.shape != y.shape:
            raise check.InputError(
                f"a regression of {outputs} outputs needs y float {list(given.shape)}, got {y.dtype} "
                f"{list(y.shape)}; make outputs those of the tasks."
            )
        return (given - y) ** 2

    def loss(given: Array, y: Array) -> Array:
        return squares(given, y).mean()

    def score(given: Array, y: Array) -> Mapping[str, Array]:
        return {"loss": squares(given, y).mean(axis=-1)}

    return _problem(body, outputs, statistics, loss, score)


def check_labels(y: Array, count: int, ways: int) -> Array:
    """Labels [count] of ``ways`` classes, of a type that holds the number of classes.

    Raises:
        ValueError: they are not int [count], or, where they are known, one of them is no class.
    """
    if y.ndim != 1 or not jnp.issubdtype(y.dtype, jnp.integer) or y.shape[0] != count:
        raise check.InputError(
            f"a classification needs labels int [n], here [{count}], got {y.dtype} {list(y.shape)}; "
            "give one whole number an example, or use regression, or other tasks."
        )
    if not isinstance(y, Tracer):
        known = np.asarray(y)
        wrong = known[(known < 0) | (known >= ways)]
        if len(wrong):
            raise check.InputError(
                f"label {wrong[0]} is none of {ways} classes, which are 0 to {ways - 1}; number them anew, "
                "or change the ways."
            )
    return y.astype(jnp.int32) if y.dtype.itemsize < 4 else y


def one_hot_or_nan(y: Array, ways: int, dtype: Any = jnp.float32) -> Array:
    """The classes of labels [n] as rows [n, ways], 1 at the class and 0 elsewhere; NaN where it is none.

    A row of zeros would cost nothing. So such a label is seen at once, also by an inner loop, which looks at
    gradients alone. (Added, not multiplied by: of a product with a 0 that was a bool XLA makes a 0.)
    """
    known = (y >= 0) & (y < ways)
    return jax.nn.one_hot(y, ways, dtype=dtype) + jnp.where(known, 0.0, jnp.nan).astype(dtype)[:, None]


def _problem(body: Net, outputs: int, statistics: str, loss: Any, score: Any) -> Problem:
    check.choice("statistics", statistics, STATISTICS)
    if not isinstance(body, Net):
        raise check.InputError(
            f"a body must be an lrn.types.Net, got {type(body).__name__}; "
            "wrap it by lrn.nets.from_flax or lrn.nets.from_function."
        )

    def init(key: Key, x: Array) -> tuple[Params, NetState]:
        body_key, head_key = jax.random.split(key)
        params, net_state = body.init(body_key, x)
        out = jax.eval_shape(lambda p, s: body.apply(p, s, x)[0], params, net_state)
        _check_body(out, x, net_state, statistics)
        scale = 1 / jnp.sqrt(out.shape[1])
        kernel = scale * jax.random.normal(head_key, (out.shape[1], outputs), out.dtype)
        head = {"kernel": kernel, "bias": jnp.zeros(outputs, out.dtype)}
        return {"body": params, "head": head}, net_state

    def features(
        params: Params, net_state: NetState, support: Batch, x: Array, key: Key | None = None
    ) -> Array:
        if statistics in ("none", "running"):
            return body.apply(params, net_state, x, key=key, train=key is not None)[0]
        known = x if statistics == "transductive" else support["x"]
        if x is known and (key is not None or not random(params, net_state, x)):
            return body.apply(params, net_state, x, key=key, train=True)[0]
        return body.apply(params, batch_statistics(body, params, net_state, known, key), x)[0]

    def head(params: Params, features: Array) -> Array:
        return features @ params["kernel"] + params["bias"][None]

    def trained(
        params: Params, net_state: NetState, x: Array, key: Key | None = None
    ) -> tuple[Array, NetState]:
        return body.apply(params, net_state, x, key=key, train=True)

    def random(params: Params, net_state: NetState, x: Array) -> bool:
        return draws(body, params, net_state, x)

    running = trained if statistics == "running" else None
    return Problem(init, features, head, loss, score, outputs, running, random)


def draws(net: Net, params: Params, net_state: NetState, x: Array) -> bool:
    """Whether a network draws random numbers in training; found in its trace."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    closed = jax.make_jaxpr(lambda key: net.apply(params, net_state, x, key=key, train=True))(key)
    return dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))[1][0]


def batch_statistics(
    net: Net, params: Params, net_state: NetState, x: Array, key: Key | None = None
) -> NetState:
    """The statistics of one batch, from a network that only gives moving averages of them.

    An average moves to ``m * old + (1 - m) * new``: from an old one of zero, by the momentum m, which is the
    derivative by the old one, follows the new. (As a difference of two averages m would be lost where they
    are large.)

    Args:
        net, params, net_state: the network.
        x: the batch, [n, ...].
        key: of a network that draws random numbers in training; by default always the same.
    """
    if key is None and draws(net, params, net_state, x):
        key = jax.random.key(0)
    leaves, form = jax.tree.flatten(net_state)
    averages = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.inexact)]

    def after(*old: Array) -> list[Array]:
        whole = list(leaves)
        for i, average in zip(averages, old):
            whole[i] = average
        return jax.tree.leaves(net.apply(params, jax.tree.unflatten(form, whole), x, key=key, train=True)[1])

    zeros = [jnp.zeros_like(leaves[i]) for i in averages]
    moved, slopes = jax.jvp(after, zeros, [jnp.ones_like(zero) for zero in zeros])
    for i in averages:
        moved[i] = moved[i] / _rest(slopes[i])
    return jax.tree.unflatten(form, moved)


def _rest(momentum: Array) -> Array:
    """1 - m as it was before m was rounded, for an m of as many decimals as its type tells apart.

    The rounding of .9999 is a thousandth of the rest.
    """
    unit = 10.0 ** round(-np.log10(float(jnp.finfo(momentum.dtype).eps)))
    return jnp.round((1 - momentum) * unit) / unit


def _check_body(out: Any, x: Array, net_state: NetState, statistics: str) -> None:
    if getattr(out, "ndim", None) != 2 or out.shape[0] != x.shape[0]:
        raise check.InputError(
            f"the body must map x [n, ...] to features [n, d], and gives "
            f"{list(out.shape) if hasattr(out, 'shape') else type(out).__name__} for {list(x.shape)}; "
            "flatten it."
        )
    keeps = bool(jax.tree.leaves(net_state))
    if keeps and statistics == "none":
        raise check.InputError(
            "the body keeps statistics (BatchNorm) and statistics='none'; choose 'support', "
            "'transductive' or 'running', or a body without."
        )
    if not keeps and statistics != "none":
        raise check.InputError(
            f"statistics={statistics!r} and the body keeps none; leave statistics at 'none', "
            "or give it BatchNorm."
        )
