"""Multi-crop: several views of each example, some of them small, and a loss between the codes of views.

SwAV, DeepCluster-v2 and DINO share this form (Caron et al. 2020, section 3.2). The codes of the whole views
are targets; each view, whole or local, predicts the codes of all whole views but its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from lrn import check
from lrn.ssl import gather
from lrn.ssl.pretraining import Parts, forward, init_in_turn
from lrn.ssl.similarity import unit
from lrn.ssl.views import View, draw
from lrn.types import Array, Key, Metrics, Net, NetState, Params
from lrn.xla.parts import parts

# views(key, x): a tuple of random copies [batch, ...] of a batch.
Views = Callable[[Key, Array], tuple[Array, ...]]


class Crops(NamedTuple):
    """The views of an example.

    view: draws a whole view of a batch, or a tuple of all views of it, the whole ones first, as
        `lrn.data.augment.multi_crop` does. views: the number of whole views, 2 or more.
    local_view: draws a local view, a small crop, which may have another size; None for none.
    local_views: the number of local views, 0 without ``local_view``.
    """

    view: View | Views
    views: int = 2
    local_view: View | None = None
    local_views: int = 0

    def drawn(self, key: Key, x: Array) -> tuple[Array, ...]:
        """Whole views [views * batch, ...], and local views [local_views * batch, ...] if there are any.

        Where several devices share the batch, the views are those of the device's share of the examples.

        Raises:
            InputError: at trace time, if a view has another number of examples, or a tuple of views has
                fewer views than ``views`` or local views of several shapes.
        """
        whole_key, local_key = jax.random.split(key)
        if isinstance(jax.eval_shape(self.view, whole_key, x), tuple):
            return self._together(whole_key, x)
        whole = jnp.concatenate(gather.own(draw(cast(View, self.view), whole_key, x, self.views)))
        if self.local_view is None:
            return (whole,)
        return whole, jnp.concatenate(gather.own(draw(self.local_view, local_key, x, self.local_views)))

    def _together(self, key: Key, x: Array) -> tuple[Array, ...]:
        drawn = self.view(key, x)
        whole, local = drawn[: self.views], drawn[self.views :]
        sizes = [{one.shape for one in part} for part in (whole, local)]
        if len(whole) < self.views or any(len(size) > 1 for size in sizes) or self.local_view is not None:
            raise check.InputError(
                f"a tuple of views must have {self.views} whole views of one shape, then local views of one "
                f"shape, without a local_view beside it, got shapes {[one.shape for one in drawn]}."
            )
        if any(one.shape[0] != x.shape[0] for one in drawn):
            raise check.InputError(f"views of inputs {x.shape} must keep the {x.shape[0]} examples.")
        return tuple(jnp.concatenate(gather.own(part)) for part in (whole, local) if part)


def crops(view: View | Views, views: int, local_view: View | None, local_views: int) -> Crops:
    """The views of a method, checked.

    Raises:
        InputError: there are fewer than two whole views, or local views and their number do not go together.
    """
    check.integer("views", views, 2)
    check.integer("local_views", local_views)
    if (local_view is None) != (local_views == 0):
        raise check.InputError(
            f"local_views is {local_views} and local_view is {'not ' if local_view is None else ''}given; "
            "give both or neither."
        )
    return Crops(view, views, local_view, local_views)


def init_embedding(
    key: Key, view: View | Views, x: Array, nets: Mapping[str, Net]
) -> tuple[dict[str, Params], dict[str, NetState], int]:
    """Parameters and states of networks in turn, for views of inputs, and the width of the last output."""
    view_key, key = jax.random.split(key)
    seen = jax.eval_shape(view, view_key, x)
    seen = seen[0] if isinstance(seen, tuple) else seen
    zeros = jnp.zeros(seen.shape, seen.dtype)
    params, states = init_in_turn(key, zeros, nets)

    def through(x: Array) -> Array:
        for name, net in nets.items():
            x = net.apply(params[name], states[name], x)[0]
        return x

    return params, states, jax.eval_shape(through, zeros).shape[1]


def embed(
    nets: Mapping[str, Net], params: Parts, net_state: Parts, drawn: tuple[Array, ...], key: Key, rows: int
) -> tuple[Array, dict[str, NetState]]:
    """Unit embeddings [crops, batch, dim] of all views, whole ones first, and the networks' states.

    Views of one kind pass the networks together, as in the authors' code, so BatchNorm normalizes them by
    their common statistics. Several devices may share the batch (`lrn.ssl.gather`); each gets all embeddings.

    Args:
        nets: the networks in turn; params, net_state: by name.
        drawn: from `Crops.drawn`. key: the key of dropout. rows: the number of examples of the batch.
    """
    state, embeddings = dict(net_state), []
    share = rows // parts()
    for each, x in zip(jax.random.split(gather.own_key(key), len(drawn)), drawn):
        outputs, state = forward(nets, params, state, x, each)
        z = unit(list(outputs.values())[-1])
        embeddings.append(z.reshape(-1, share, z.shape[-1]))
    return gather.whole(jnp.concatenate(embeddings), axis=1), state


def swapped_cross_entropy(codes: Array, logits: Array) -> Array:
    """The mean cross-entropy of predicting the code of each whole view from every other view, in nats.

    Codes carry no gradient.

    Args:
        codes: probabilities [views, n, prototypes] of the whole views.
        logits: [crops, n, prototypes], divided by the temperature, with the whole views first.

    Raises:
        InputError: the shapes do not fit, or there is nothing to predict.
    """
    if codes.ndim != 3 or logits.ndim != 3 or codes.shape[1:] != logits.shape[1:]:
        raise check.InputError(
            f"codes and logits must be [views, n, prototypes] of one n, got {codes.shape} and {logits.shape}."
        )
    views, crops = codes.shape[0], logits.shape[0]
    if not 1 <= views <= crops or crops < 2:
        raise check.InputError(
            f"{views} views with codes and {crops} views in all leave nothing to predict; draw two or more "
            "views."
        )
    log_p = jax.nn.log_softmax(logits, axis=-1)
    entropies = -jnp.einsum("ink,vnk->iv", jax.lax.stop_gradient(codes), log_p, precision="highest")
    own = jnp.eye(views, crops, dtype=bool)
    return jnp.sum(jnp.where(own, 0, entropies)) / (views * (crops - 1) * codes.shape[1])


def code_metrics(codes: Array) -> Metrics:
    """How codes [..., n, prototypes] spread, in nats; both entropies lie between 0 and log prototypes.

    code_entropy: the mean entropy of a code; log prototypes says that all codes are uniform, a collapse.
    usage_entropy: the entropy of the mean code; 0 says that all examples have one prototype, a collapse.
    """
    mean = jnp.mean(codes, axis=tuple(range(codes.ndim - 1)))
    return {
        "code_entropy": jnp.mean(jnp.sum(jax.scipy.special.entr(codes), axis=-1)),
        "usage_entropy": jnp.sum(jax.scipy.special.entr(mean)),
    }


def check_prototypes(count: int) -> None:
    """Raise InputError unless there are two prototypes or more."""
    check.integer("prototypes", count)
    if count < 2:
        raise check.InputError(f"prototypes must be two or more, got {count}; one prototype tells nothing.")
