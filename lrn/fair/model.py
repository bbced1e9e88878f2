"""What a model is in fair training: ``fit(x, y, weights) -> predict`` and ``predict(x) -> scores``.

A pure model (`lrn.fair.logistic`) returns its ``predict`` as a `jax.tree_util.Partial`, which is a pytree: it
passes through jit, vmap and loops. A model of scikit-learn, or of anything with its interface, runs on the
host; `from_sklearn` makes it a ``fit`` of the same form, for those functions that say that they take it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrn.types import Array, PyTree

# predict(x) -> the chance of label 1, [n] in [0, 1], for features x [n, dim].
Predict = Callable[[Any], Array]
# fit(x, y, weights) -> predict, for features [n, dim], labels 0 or 1 [n], and weights 0 or more [n]; the
# fits of this package take None, or nothing, for weights of 1. A fit may take ``start``, a ``predict`` of its
# own to start from, which may be that of zeros where no model is known.
Fit = Callable[..., Predict]


def takes_start(fit: Fit) -> bool:
    """Whether a fit can start from a model that it returned before."""
    return "start" in inspect.signature(fit).parameters


def decide(score: Array) -> Array:
    """The label of a score: 1 above one half, else 0, and NaN for NaN; floats of the score's shape."""
    return jnp.where(jnp.isnan(score), score, (score > 0.5).astype(score.dtype))


def mixed_decision(models: PyTree, q: Array, x: Any) -> Array:
    """The chance with which a mixture of models decides 1, [n].

    Args:
        models: a ``predict`` whose leaves have a leading axis [models], or a list of functions.
        q: [models], the chance with which the mixture uses each model.
        x: features [n, dim].
    """
    if isinstance(models, list):
        return sum(share * decide(predict(x)) for share, predict in zip(q, models))  # pyright: ignore
    x = jnp.asarray(x)

    def add(total: Array, item: tuple) -> tuple[Array, None]:
        share, predict = item
        return total + share * decide(predict(x)).astype(q.dtype), None

    return jax.lax.scan(add, jnp.zeros(x.shape[0], q.dtype), (q, models))[0]


def from_sklearn(make: Callable[[], Any]) -> Fit:
    """A ``fit`` of a classifier with scikit-learn's interface; it runs on the host, outside of jit.

    Labels of one class only give the constant prediction of that class, since most classifiers refuse them.

    Args:
        make: returns a new classifier, such as ``lambda: DecisionTreeClassifier(max_depth=4)``.
            Its ``fit`` takes ``sample_weight``. Without ``predict_proba`` its labels are the scores.
    """

    def fit(x: Any, y: Any, weights: Any) -> Predict:
        x, y, weights = (np.asarray(value) for value in (x, y, weights))
        kept = weights > 0
        seen = np.unique(y[kept])
        if len(seen) == 1:
            return lambda new: jnp.full(len(new), float(seen[0]))
        model = make()
        model.fit(x[kept], y[kept].astype(int), sample_weight=weights[kept])
        if hasattr(model, "predict_proba"):
            return lambda new: jnp.asarray(model.predict_proba(np.asarray(new))[:, 1], jnp.float32)
        return lambda new: jnp.asarray(model.predict(np.asarray(new)), jnp.float32)

    return fit
