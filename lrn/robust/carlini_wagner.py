"""The L2 attack of Carlini & Wagner (2017): the closest adversarial example by Adam in the space of tanh."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.arrays import as_array
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_eps, check_examples
from lrn.robust.closest import Closest, closer, first, rounded, within
from lrn.robust.losses import margin
from lrn.robust.norms import widen
from lrn.types import Array, Key

# Pixels are shrunk towards 1/2 by this factor before arctanh, which is infinite at the ends of the box.
_SHRINK = 0.999999


@config
class CarliniWagnerConfig:
    """Settings of the attack of Carlini & Wagner.

    eps: the radius of the L2 ball, in the unit of the pixels, which lie in [0, 1]; a number, one an example
        [batch], or None for the closest adversarial example at any distance.
    confidence: the gap of logits (kappa in the paper) by which the network must be wrong.
    step_size: the learning rate of Adam in the space of tanh.
    initial_c: the first weight of the gap of logits against the squared distance (c in the paper).
    searches: the number of values of c that are tried for each example.
    steps: the number of steps of Adam for each value of c.
    norm: "l2", the only norm of this attack.
    """

    eps: float = None  # pyright: ignore[reportAssignmentType]
    confidence: float = 0.0
    step_size: float = 0.01
    initial_c: float = 1e-3
    searches: int = 9
    steps: int = 1000
    norm: str = "l2"

    def __post_init__(self) -> None:
        check.choice("norm", self.norm, ("l2",))
        if self.eps is not None:
            check_eps(self.eps, "l2")
        check.non_negative("confidence", self.confidence)
        check.positive("step_size", self.step_size)
        check.positive("initial_c", self.initial_c)
        check.integer("searches", self.searches, 1)
        check.integer("steps", self.steps, 1)


def carlini_wagner(config: CarliniWagnerConfig, targets: Array | None = None) -> Attack:
    """The attack, which returns the closest adversarial example that `minimal` finds.

    With an eps, an example whose point lies beyond eps keeps its clean
    input; `minimal` gives the distances. The attack takes searches * steps gradients for each example.

    Args:
        config: the settings.
        targets: the class [batch] that the network is to say of each example; None for any wrong class. An
            attack with targets fits one batch.
    """

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        found = minimal(key, logits_fn, x, y, config, targets)
        return within(found, as_array(x), config.eps)

    return attack


def minimal(
    key: Key,
    logits_fn: LogitsFn,
    x: Array,
    y: Array,
    config: CarliniWagnerConfig,
    targets: Array | None = None,
) -> Closest:
    """The closest adversarial example of each example in L2, whatever ``config.eps``.

    The attack minimizes |z - x|^2 + c max(gap + confidence, 0), where the gap is the true logit minus the
    largest other logit (with targets: the largest other logit minus the target's). Each example has a c of
    its own: c is halved towards the largest c that failed after a success, and multiplied by 10 before the
    first success. Every search has its full number of steps, since shapes are fixed; the paper's code stops
    early. Ties count as wrong for a true label and as failure for a target. The clean input has distance 0
    where the network is wrong there (says the target), whatever the confidence.

    Args:
        key: unused, because the attack is deterministic.
        logits_fn, x, y: as for an `Attack`.
        config: the settings.
        targets: as for `carlini_wagner`.

    Raises:
        ValueError: `check_examples` refuses ``x`` and ``y``, or ``x`` and ``targets``.
    """
    del key
    x, y = check_examples(logits_fn, x, y)
    if targets is not None:
        x, targets = check_examples(logits_fn, x, targets)
    original = widen(x)
    start = jnp.arctanh((2 * original - 1) * _SHRINK)
    center = _pixels(start)  # the distance has no gradient at the start
    adam = optax.scale_by_adam()

    def gap(z: Array) -> Array:
        """What must be at most minus the confidence; [batch]."""
        return -margin(logits_fn(z), y) if targets is None else margin(logits_fn(z), targets)

    def adversarial(gap: Array, confidence: Array | float) -> Array:
        if targets is None:
            return ~(gap > -confidence)  # NaN counts as wrong, as in `is_correct`
        return (gap < 0) & (gap <= -confidence)

    def objective(w: Array, c: Array) -> tuple[Array, tuple[Array, Array]]:
        wide = _pixels(w)
        z = rounded(wide, x)
        value = gap(z)
        squared = jnp.sum((wide - center) ** 2, axis=tuple(range(1, x.ndim)))
        return jnp.sum(squared + c * jnp.maximum(value + config.confidence, 0)), (z, value)

    def search(carry: tuple[Closest, _Bracket], _: None) -> tuple[tuple[Closest, _Bracket], None]:
        best, bracket = carry

        def step(carry: Any, _: None) -> tuple[Any, None]:
            w, state, best, found = carry
            gradient, (z, value) = jax.grad(objective, has_aux=True)(w, bracket.c)
            success = adversarial(value, config.confidence)
            best = closer(best, z, success, x, "l2")
            update: Any
            update, state = adam.update(jnp.where(jnp.isfinite(gradient), gradient, 0), state)
            return (w - config.step_size * update, state, best, found | success), None

        begin = (start, adam.init(start), best, jnp.zeros(x.shape[0], bool))
        (_, _, best, found), _ = jax.lax.scan(step, begin, length=config.steps)
        return (best, bracket.after(found)), None

    c = jnp.full(x.shape[0], config.initial_c, original.dtype)
    best = first(x, adversarial(gap(x), 0.0), "l2")
    (best, _), _ = jax.lax.scan(
        search, (best, _Bracket(c, jnp.zeros_like(c), jnp.full_like(c, jnp.inf))), length=config.searches
    )
    return best


class _Bracket(NamedTuple):
    """The state of the binary search: c, the largest c that failed, and the smallest that worked, [batch]."""

    c: Array
    low: Array
    high: Array

    def after(self, found: Array) -> _Bracket:
        """The bracket after a search that found an adversarial example or did not, bool [batch]."""
        low, high = jnp.where(found, self.low, self.c), jnp.where(found, self.c, self.high)
        return _Bracket(jnp.where(jnp.isinf(high), 10 * self.c, (low + high) / 2), low, high)


def _pixels(w: Array) -> Array:
    return (jnp.tanh(w) + 1) / 2
