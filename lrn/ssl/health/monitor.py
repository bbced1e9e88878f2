"""All measures of health as metrics: of given embeddings, and during training by `lrn.train.fit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.data.dataset import as_float
from lrn.ssl.health import _input
from lrn.ssl.health.instances import alignment, variance_ratio
from lrn.ssl.health.rank import lidar, rank_me
from lrn.ssl.health.spread import scaled_std, std, uniformity
from lrn.ssl.pretraining import PretrainState, one_output, weights
from lrn.ssl.views import View, checked
from lrn.stats.cka import cka
from lrn.types import Array, Key, Net

NAMES = ("std", "scaled_std", "rank_me", "uniformity", "lidar", "alignment", "variance_ratio")


def measures(z: Array, prefix: str = "") -> dict[str, Array]:
    """The measures `NAMES` of embeddings of views, each a scalar, by prefix and name.

    ``std``, ``scaled_std``, ``rank_me`` and ``uniformity`` are those of the first views, one of each example.

    Args:
        z: embeddings [n, views, dim], with 2 examples and 2 views or more.
        prefix: before each name, such as "h_".

    Raises:
        InputError: the embeddings have a wrong form.
    """
    z = _input.views(z)
    single = {"std": std, "scaled_std": scaled_std, "rank_me": rank_me, "uniformity": uniformity}
    several = {"lidar": lidar, "alignment": alignment, "variance_ratio": variance_ratio}
    values = {name: measure(z[:, 0]) for name, measure in single.items()}
    values.update({name: measure(z) for name, measure in several.items()})
    return {prefix + name: value for name, value in values.items()}


def monitor(
    encoder: Net,
    head: Net,
    view: View,
    *,
    column: str = "image",
    rows: int = 256,
    views: int = 4,
    head_name: str = "head",
) -> Callable[[Any, Any, Key, PretrainState, Mapping[str, Any]], dict[str, Array]]:
    """An evaluation for `lrn.train.fit` that measures health at the features h and at the embeddings z.

        train.fit(learner, config, seeds, evaluate=monitor(encoder, head, view), eval_every=100, ...)

    The metrics are "h_NAME" and "z_NAME" for each of `NAMES`; "cka_h_z", the similarity of features and
    embeddings; and "cka_h_x", that of features and inputs. The networks are in evaluation mode, with averaged
    weights if there are any, on views of the first ``rows`` examples of the data.

    Args:
        encoder, head, view: those of the method.
        column: the name of the inputs [n, ...] in the data; uint8 pixels become floats in [0, 1].
        rows: the largest number of examples.
        views: the number of views of each example.
        head_name: the name of the head in the method's state.

    Raises:
        InputError: ``rows`` or ``views`` is below 2; at trace time, if the data lacks the column or has
            fewer than two examples, or a network's output is not [batch, dim].
    """
    check.integer("rows", rows, 2)
    check.integer("views", views, 2)

    def evaluate(
        learner: Any, config: Any, key: Key, state: PretrainState, data: Mapping[str, Any]
    ) -> dict[str, Array]:
        del learner, config
        if column not in data:
            raise check.InputError(f"the data has no {column!r}; it has {sorted(data)}; give column=.")
        x = jnp.asarray(data[column][:rows])
        x = as_float(x) if x.dtype == jnp.uint8 else x
        (of_h, h_state), (of_z, z_state) = weights(state), weights(state, head_name)

        def embed(x: Array) -> tuple[Array, Array]:
            h = one_output("encoder", encoder.apply(of_h, h_state, x)[0], x.shape[0])
            return h, one_output("head", head.apply(of_z, z_state, h)[0], x.shape[0])

        def seen(key: Key) -> tuple[Array, Array, Array]:
            drawn = checked(view, key, x)
            return drawn, *embed(drawn)

        # A loop compiles the view once, and not for each view.
        drawn, h, z = jax.lax.map(seen, jax.random.split(key, views))
        metrics = {**measures(h.swapaxes(0, 1), "h_"), **measures(z.swapaxes(0, 1), "z_")}
        flat = drawn[0].reshape(drawn.shape[1], -1)
        return {**metrics, "cka_h_z": cka(h[0], z[0]), "cka_h_x": cka(h[0], flat)}

    return evaluate
