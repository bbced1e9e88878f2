"""A network on a task: its outputs, loss and score, and the source of BatchNorm's statistics.

A network is a body, any `Net` that gives features [n, d], and a linear head. Algorithms that treat the
two parts differently (ANIL, BOIL, NIL, prototypes) thus work with any body.

Dropout of a body is on in meta-training, with new random numbers for each meta-step, task and inner step.
It is off in adaptation and prediction at test. ``train`` is the one switch of a `Net` for both dropout
and batch statistics, which has two consequences. With ``statistics="support"`` the queries, whose
statistics are given, are computed without dropout in training too. Where a batch gives the statistics at
test, they are computed with dropout, as moving averages are.
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
    """A network with its loss and scores, as pure functions; `classification` and `regression` make one.

    init: ``init(key, x) -> (params, net_state)`` for x [n, ...]; params are ``{"body": ..., "head": ...}``.
    features: ``features(body, net_state, support, x, key=None) -> [n, d]``. With
        ``statistics="support"``, BatchNorm's statistics come from ``support``. ``key`` is the key of
        dropout, in training; None at test.
    head: ``head(head_params, features) -> outputs [n, outputs]``.
    loss: ``loss(outputs, y) -> scalar``, a mean over the examples.
    score: ``score(outputs, y) -> {name: [n]}``, the reported scores of each example.
    outputs: the number of outputs for an example.
    trained: ``trained(body, net_state, x, key=None) -> (features, net_state)`` in training, for a body with
        running statistics; None for any other body.
    draws: ``draws(body, net_state, x) -> bool``: whether the body draws random numbers in training; None
        if it never does.
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
        """Keys for ``count`` passes in training; all None for a body that draws no random numbers."""
        if self.draws is None or not self.draws(body, net_state, x):
            return [None] * count
        return [*jax.random.split(key, count)]

    def predict(
        self, params: Params, net_state: NetState, support: Batch, x: Array, key: Key | None = None
    ) -> Array:
        """The outputs [n, outputs] for x [n, ...]; with a key, in training mode.

        Raises:
            ValueError: the body keeps running statistics, which only `lrn.meta.prototypical` updates.
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
        """The mean loss on a batch; with a key, in training mode."""
        return self.loss(self.predict(params, net_state, support, batch["x"], key), batch["y"])


def classification(body: Net, ways: int, statistics: str = "none") -> Problem:
    """A classification of ``ways`` classes by cross-entropy (nats), with labels int [n] in [0, ways).

    The scores are "loss" and "accuracy".

    Args:
        body: a network that gives features [n, d].
        ways: the number of classes of a task. A label outside of [0, ways) raises an error where its value is
            known; where it is traced it makes loss and gradient NaN.
        statistics: the source of BatchNorm's statistics. "none": the body has no BatchNorm. "support": the
            support set, for the queries too, so that each query is judged alone. "transductive": the batch
            itself, so that the queries of a task help each other, as in most published numbers.
            "running": the batch in training, and moving averages at test, so that each query is judged
            alone; only for prototypical networks.

    Raises:
        ValueError: ``ways`` is below 2, or the choice of statistics is unknown; from ``init``, the body's
            state does not fit the choice.
    """
    check.integer("ways", ways, low=2)

    def losses(outputs: Array, y: Array) -> Array:
        y = check_labels(y, outputs.shape[0], ways)
        return optax.softmax_cross_entropy(outputs, one_hot_or_nan(y, ways, outputs.dtype))

    def loss(outputs: Array, y: Array) -> Array:
        return losses(outputs, y).mean()

    def score(outputs: Array, y: Array) -> Mapping[str, Array]:
        y = check_labels(y, outputs.shape[0], ways)
        # argmax returns the place of a NaN, which must not count as an answer.
        right = (jnp.argmax(outputs, -1) == y) & ~jnp.isnan(outputs).any(-1)
        known = (y >= 0) & (y < ways)
        accuracy = jnp.where(known, right.astype(jnp.float32), jnp.nan)
        return {"loss": losses(outputs, y), "accuracy": accuracy}

    return _problem(body, ways, statistics, loss, score)


def regression(body: Net, outputs: int = 1, statistics: str = "none") -> Problem:
    """A regression by mean squared error, with targets y float [n, outputs]; the score is "loss".

    Args:
        body: a network that gives features [n, d].
        outputs: the number of outputs.
        statistics: as for `classification`.

    Raises:
        ValueError: as for `classification`; from the loss, y has another shape than the outputs.
    """
    check.integer("outputs", outputs, low=1)

    def squares(given: Array, y: Array) -> Array:
        if given.shape != y.shape:
            raise check.InputError(
                f"a regression of {outputs} outputs needs y float {list(given.shape)}, got {y.dtype} "
                f"{list(y.shape)}; set outputs to those of the tasks."
            )
        return (given - y) ** 2

    def loss(given: Array, y: Array) -> Array:
        return squares(given, y).mean()

    def score(given: Array, y: Array) -> Mapping[str, Array]:
        return {"loss": squares(given, y).mean(axis=-1)}

    return _problem(body, outputs, statistics, loss, score)


def check_labels(y: Array, count: int, ways: int) -> Array:
    """Labels [count] of ``ways`` classes, as integers of 32 bits or more.

    Raises:
        ValueError: the labels are not int [count], or a label whose value is known is outside of [0, ways).
    """
    if y.ndim != 1 or not jnp.issubdtype(y.dtype, jnp.integer) or y.shape[0] != count:
        raise check.InputError(
            f"a classification needs labels int [n], here [{count}], got {y.dtype} {list(y.shape)}; "
            "give one whole number for each example, or use regression, or other tasks."
        )
    if not isinstance(y, Tracer):
        known = np.asarray(y)
        wrong = known[(known < 0) | (known >= ways)]
        if len(wrong):
            raise check.InputError(
                f"label {wrong[0]} is none of {ways} classes, which are 0 to {ways - 1}; number the classes "
                "from 0, or change the ways."
            )
    return y.astype(jnp.int32) if y.dtype.itemsize < 4 else y


def one_hot_or_nan(y: Array, ways: int, dtype: Any = jnp.float32) -> Array:
    """Labels [n] as one-hot rows [n, ways]; the row of a label outside of [0, ways) is NaN.

    A row of zeros would have no loss, and hide the wrong label. A row of NaN shows in the loss and in every
    gradient of an inner loop. NaN is added to the row and not multiplied: XLA simplifies a product with a
    bool that is 0 to 0.
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
    """Whether a network draws random numbers in training, by its trace."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    closed = jax.make_jaxpr(lambda key: net.apply(params, net_state, x, key=key, train=True))(key)
    return dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))[1][0]


def batch_statistics(
    net: Net, params: Params, net_state: NetState, x: Array, key: Key | None = None
) -> NetState:
    """The statistics of one batch, from a network that only returns moving averages of statistics.

    A moving average changes to ``m * old + (1 - m) * new`` with momentum m. With ``old`` zero the result is
    ``(1 - m) * new``, and m is the derivative by ``old``; both give ``new``. (A difference of two
    averages would lose m to rounding where the averages are large.)

    Args:
        net: the network.
        params: its parameters.
        net_state: its state, which gives the form of the result.
        x: the batch, [n, ...].
        key: the key of a network that draws random numbers in training; by default always the same key.

    Returns:
        A state of the form of ``net_state``, with the statistics of ``x``.
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
    """1 - m without the rounding error of m, for an m with no more decimals than its dtype resolves.

    In float32 the rounding error of .9999 is a thousandth of 1 - .9999.
    """
    unit = 10.0 ** round(-np.log10(float(jnp.finfo(momentum.dtype).eps)))
    return jnp.round((1 - momentum) * unit) / unit


def _check_body(out: Any, x: Array, net_state: NetState, statistics: str) -> None:
    if getattr(out, "ndim", None) != 2 or out.shape[0] != x.shape[0]:
        raise check.InputError(
            f"the body must map x [n, ...] to features [n, d], and gives "
            f"{list(out.shape) if hasattr(out, 'shape') else type(out).__name__} for {list(x.shape)}; "
            "flatten its output."
        )
    keeps = bool(jax.tree.leaves(net_state))
    if keeps and statistics == "none":
        raise check.InputError(
            "the body keeps statistics (BatchNorm) and statistics='none'; choose 'support', "
            "'transductive' or 'running', or a body without BatchNorm."
        )
    if not keeps and statistics != "none":
        raise check.InputError(
            f"statistics={statistics!r} and the body keeps none; leave statistics at 'none', "
            "or give it BatchNorm."
        )
