"""What a network does on a task: its outputs, loss and score, and where BatchNorm's statistics come from.

A network is a body, any `Net` that gives features [n, d], and a linear head. So the algorithms that treat the
two apart (ANIL, BOIL, NIL, prototypes) work with whatever body one has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.types import Array, Batch, Key, Net, NetState, Params

STATISTICS = ("none", "support", "transductive", "running")


class Problem(NamedTuple):
    """A way to do tasks, as pure functions; `classification` and `regression` make one.

    init: ``init(key, x) -> (params, net_state)`` for x [n, ...]; params are ``{"body": ..., "head": ...}``.
    features: ``features(body, net_state, support, x) -> [n, d]``. ``support`` gives BatchNorm its statistics
        if they are to come from there.
    head: ``head(head_params, features) -> outputs [n, outputs]``.
    loss: ``loss(outputs, y) -> scalar``, a mean over the examples.
    score: ``score(outputs, y) -> {name: [n]}``, what is reported, per example.
    outputs: numbers an example.
    trained: ``trained(body, net_state, x) -> (features, net_state)`` in training, for a body that keeps
        running statistics; None for others.
    """

    init: Callable[[Key, Array], tuple[Params, NetState]]
    features: Callable[[Params, NetState, Batch, Array], Array]
    head: Callable[[Params, Array], Array]
    loss: Callable[[Array, Array], Array]
    score: Callable[[Array, Array], Mapping[str, Array]]
    outputs: int
    trained: Callable[[Params, NetState, Array], tuple[Array, NetState]] | None = None

    def predict(self, params: Params, net_state: NetState, support: Batch, x: Array) -> Array:
        """The outputs [n, outputs] for x [n, ...].

        Raises:
            ValueError: the body keeps running statistics, which `lrn.meta.prototypical` alone moves.
        """
        if self.trained is not None:
            raise check.InputError(
                "only prototypical networks keep running statistics; choose statistics='support' or "
                "'transductive' for this learner."
            )
        return self.head(params["head"], self.features(params["body"], net_state, support, x))

    def loss_on(self, params: Params, net_state: NetState, support: Batch, batch: Batch) -> Array:
        """The mean loss on a batch."""
        return self.loss(self.predict(params, net_state, support, batch["x"]), batch["y"])


def classification(body: Net, ways: int, statistics: str = "none") -> Problem:
    """Cross-entropy over ``ways`` classes; labels int [n] in [0, ways).

    Args:
        body: gives features [n, d].
        ways: classes of a task; a label outside of them makes the loss NaN.
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
        if y.ndim != 1 or not jnp.issubdtype(y.dtype, jnp.integer):
            raise check.InputError(
                f"a classification needs labels int [n], got {y.dtype} {list(y.shape)}; "
                "use regression, or other tasks."
            )
        found = optax.softmax_cross_entropy(outputs, jax.nn.one_hot(y, ways, dtype=outputs.dtype))
        # A label that is none of the classes would cost nothing; so it is seen at once.
        return jnp.where((y >= 0) & (y < ways), found, jnp.nan)

    def loss(outputs: Array, y: Array) -> Array:
        return losses(outputs, y).mean()

    def score(outputs: Array, y: Array) -> Mapping[str, Array]:
        right = (jnp.argmax(outputs, -1) == y).astype(jnp.float32)
        return {"loss": losses(outputs, y), "accuracy": right}

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

    def features(params: Params, net_state: NetState, support: Batch, x: Array) -> Array:
        if statistics in ("none", "running"):
            return body.apply(params, net_state, x)[0]
        if statistics == "transductive" or x is support["x"]:
            return body.apply(params, net_state, x, train=True)[0]
        return body.apply(params, batch_statistics(body, params, net_state, support["x"]), x)[0]

    def head(params: Params, features: Array) -> Array:
        return features @ params["kernel"] + params["bias"][None]

    def trained(params: Params, net_state: NetState, x: Array) -> tuple[Array, NetState]:
        return body.apply(params, net_state, x, train=True)

    running = trained if statistics == "running" else None
    return Problem(init, features, head, loss, score, outputs, running)


def batch_statistics(net: Net, params: Params, net_state: NetState, x: Array) -> NetState:
    """The statistics of one batch, from a network that only gives moving averages of them.

    An average moves to ``m * old + (1 - m) * new``; from old ones of zero and of one follow m and the new.
    (Both passes are one once compiled: what they share does not depend on the old statistics.)
    """
    states = [jax.tree.map(lambda s, v=value: jnp.full_like(s, v), net_state) for value in (0.0, 1.0)]
    zero, one = (net.apply(params, state, x, train=True)[1] for state in states)
    return jax.tree.map(lambda a, b: a / (1 - (b - a)), zero, one)


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
