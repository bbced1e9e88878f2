"""Transfer: an attack computed on other networks and judged on the one under test (Papernot et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from lrn import check
from lrn.robust.attack import Attack, LogitsFn, check_examples, check_logits, column
from lrn.robust.losses import margin
from lrn.types import Array, Key

COMBINE = ("mean", "worst")


def transfer(attack: Attack, surrogates: LogitsFn | Sequence[LogitsFn], combine: str = "mean") -> Attack:
    """An attack without gradients of the target, the network that the attack gets as ``logits_fn``.

    The returned point is the clean input or a point of ``attack``, whichever has the larger margin (the
    largest other logit minus the true one) on the target: a point that fools the target if there is one. Each
    point takes one evaluation of the target, and so does the clean input. A network that resists its own
    gradients and falls to this attack hides its gradients.

    Args:
        attack: the attack on the surrogates.
        surrogates: one network or several, [batch, ...] -> [batch, classes], with the classes of the target.
        combine: "mean" attacks the mean of the surrogates' logits (Liu et al. 2017), for one point; "worst"
            attacks each surrogate alone, for one point each, and keeps the worst point for the target.

    Raises:
        ValueError: there is no surrogate, or ``combine`` is not known; from the attack: a surrogate has
            another number of classes than the target, or `check_examples` refuses ``x`` and ``y``.
    """
    networks = (surrogates,) if callable(surrogates) else tuple(surrogates)
    if not networks:
        raise check.InputError("transfer needs at least one surrogate, got none; pass a logits_fn.")
    check.choice("combine", combine, COMBINE)

    def mean(z: Array) -> Array:
        return sum(network(z) for network in networks) / len(networks)  # pyright: ignore[reportReturnType]

    def transferred(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        x, y = check_examples(logits_fn, x, y)
        _check_classes(logits_fn, networks, x)

        def score(z: Array) -> Array:
            value = margin(logits_fn(z), y)
            return jnp.where(jnp.isnan(value), jnp.inf, value)  # NaN counts as wrong, as in `is_correct`

        best, most = x, score(x)
        for i, network in enumerate((mean,) if combine == "mean" else networks):
            z = attack(jax.random.fold_in(key, i), network, x, y)
            value = score(z)
            take = value > most
            best = jnp.where(column(take, x), z, best)
            most = jnp.where(take, value, most)
        return best

    return transferred


def _check_classes(target: LogitsFn, networks: Sequence[Callable[[Array], Array]], x: Array) -> None:
    classes = jax.eval_shape(target, x).shape[1]
    for i, network in enumerate(networks):
        found = check_logits(jax.eval_shape(network, x), x.shape[0])
        if found != classes:
            raise check.InputError(
                f"surrogate {i} has {found} classes and the target has {classes}; "
                "use surrogates of the same problem."
            )
