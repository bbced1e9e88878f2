"""DeepFool (Moosavi-Dezfooli et al. 2016): steps to the nearest boundary of the linearized network."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import as_array
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_eps, check_examples, column, wide_labels
from lrn.robust.closest import Closest, closer, first, within
from lrn.robust.losses import is_correct
from lrn.robust.norms import distance, narrow, steepest_direction, widen
from lrn.types import Array, Key

NORMS = ("linf", "l2")
# Added to the length of every step, as in the authors' code. Where the box cuts steps off, they approach the
# boundary by a share of the way each, and would never cross it.
_EXTRA = 1e-4


@config
class DeepFoolConfig:
    """DeepFool settings.

    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1]; a number, one an example
        [batch], or None for the adversarial example that DeepFool finds at any distance.
    overshoot: the share by which the sum of all steps is lengthened, to cross the boundary.
    steps: the largest number of steps.
    candidates: the number of classes that are tried: the true one, and those with the largest logits of the
        clean input. Each wrong class costs one gradient a step.
    norm: "linf" or "l2".
    """

    eps: float = None  # pyright: ignore[reportAssignmentType]
    overshoot: float = 0.02
    steps: int = 50
    candidates: int = 10
    norm: str = "l2"

    def __post_init__(self) -> None:
        check.choice("norm", self.norm, NORMS)
        if self.eps is not None:
            check_eps(self.eps, self.norm)
        check.non_negative("overshoot", self.overshoot)
        check.integer("steps", self.steps, 1)
        check.integer("candidates", self.candidates, 2)


def deepfool(config: DeepFoolConfig) -> Attack:
    """The attack, which returns the adversarial example that `minimal` finds.

    With an eps, an example whose point lies beyond eps keeps its clean
    input; `minimal` gives the distances. DeepFool is quick and not strong: use it for distances, and judge
    robustness by other attacks too.
    """

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        found = minimal(key, logits_fn, x, y, config)
        return within(found, as_array(x), config.eps)

    return attack


def minimal(key: Key, logits_fn: LogitsFn, x: Array, y: Array, config: DeepFoolConfig) -> Closest:
    """The first adversarial example on DeepFool's path for each example, whatever ``config.eps``.

    A step has the length |f_k| / |w_k|_2 + 1e-4 along w_k / |w_k|_2 (L2), or |f_k| / |w_k|_1 + 1e-4 along
    sign(w_k) (Linf), where f_k is the difference of the logits of class k and of the true class, and w_k its
    gradient. Both are taken at the present point, clip(x + (1 + overshoot) * sum of the steps, 0, 1). k is
    the class with the shortest step. An example stops once the network is wrong. The loop ends when all
    examples have stopped, so the function has no reverse-mode derivative.

    Args:
        key: unused, because the attack is deterministic.
        logits_fn, x, y: as for an `Attack`.
        config: the settings.

    Raises:
        ValueError: `check_examples` refuses ``x`` and ``y``.
    """
    del key
    x, y = check_examples(logits_fn, x, y)
    original = widen(x)
    clean = logits_fn(x)
    others = _candidates(clean, y, config.candidates)

    def unfinished(carry: tuple[Array, Array, Closest]) -> Array:
        i, _, best = carry
        return (i < config.steps) & jnp.any(jnp.isinf(best.distance))

    def step(carry: tuple[Array, Array, Closest]) -> tuple[Array, Array, Closest]:
        i, total, best = carry
        moved = total + _to_boundary(logits_fn, _point(original, total, config), x, y, others, config.norm)
        z = narrow(_point(original, moved, config), x)
        wrong = ~is_correct(logits_fn(z), y) & jnp.isinf(best.distance)
        return i + 1, moved, closer(best, z, wrong, x, config.norm)

    begin = jnp.zeros((), jnp.int32), jnp.zeros_like(original), first(x, ~is_correct(clean, y), config.norm)
    return jax.lax.while_loop(unfinished, step, begin)[2]


def _point(original: Array, total: Array, config: DeepFoolConfig) -> Array:
    return jnp.clip(original + (1 + jnp.asarray(config.overshoot, original.dtype)) * total, 0, 1)


def _candidates(logits: Array, y: Array, candidates: int) -> Array:
    """The wrong classes with the largest logits, int [candidates - 1, batch]."""
    true = jax.nn.one_hot(wide_labels(y), logits.shape[1], dtype=bool)
    count = min(candidates, logits.shape[1]) - 1
    return jax.lax.top_k(jnp.where(true, -jnp.inf, widen(logits)), count)[1].T


def _to_boundary(logits_fn: LogitsFn, z: Array, x: Array, y: Array, others: Array, norm: str) -> Array:
    """The shortest step from ``z`` to a boundary of the linearized network, [batch, ...]."""
    logits, pullback = jax.vjp(logits_fn, narrow(z, x))
    classes = logits.shape[1]
    true = jax.nn.one_hot(wide_labels(y), classes, dtype=logits.dtype)

    def boundary(k: Array) -> tuple[Array, Array]:
        """The gradient of the difference of two logits, [batch, ...], and the distance [batch]."""
        difference = jax.nn.one_hot(k, classes, dtype=logits.dtype) - true
        gradient = widen(pullback(difference)[0])
        gap = jnp.abs(jnp.sum(widen(difference * logits), axis=1))
        if norm == "linf":
            size = jnp.sum(jnp.abs(gradient), axis=tuple(range(1, x.ndim)))
        else:
            size = distance(gradient, jnp.zeros_like(gradient), "l2")
        usable = (size > 0) & jnp.isfinite(gap / size)
        return gradient, jnp.where(usable, gap / jnp.where(usable, size, 1), jnp.inf)

    gradients, distances = jax.vmap(boundary)(others)
    nearest = jnp.argmin(distances, axis=0)[None]
    gradient = jnp.take_along_axis(gradients, nearest.reshape(1, -1, *(1,) * (x.ndim - 1)), axis=0)[0]
    length = jnp.take_along_axis(distances, nearest, axis=0)[0]
    length = column(jnp.where(jnp.isfinite(length), length + _EXTRA, 0), x)
    return length * steepest_direction(gradient, norm)
