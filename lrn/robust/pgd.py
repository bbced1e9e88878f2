"""PGD: projected gradient ascent on the loss in a ball around the input (Madry et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_box, check_eps, check_examples
from lrn.robust.losses import LOSSES, is_correct, loss_function
from lrn.robust.norms import NORMS, narrow, project, random_start, steepest_direction, widen
from lrn.types import Array, Key

# Input [batch, ...] -> (loss [batch], fooled [batch]): what to raise, and whether the network is wrong there.
Objective = Callable[[Array], tuple[Array, Array]]


@config
class PGDConfig:
    """PGD settings; eps and step_size are in pixel space, where pixels lie in [0, 1].

    keep: "best" returns the best of all points visited, the clean one included, misclassified first and
        then by loss, so restarts and steps never hurt; "last" returns the last iterate, as training does,
        and saves the extra evaluations.
    """

    eps: float = 8 / 255
    step_size: float = 2 / 255
    steps: int = 20
    restarts: int = 1
    norm: str = "linf"
    random_start: bool = True
    keep: str = "best"
    loss: str = "cross_entropy"

    def __post_init__(self):
        check.choice("norm", self.norm, NORMS)
        check_eps(self.eps, self.norm)
        check.positive("step_size", self.step_size)
        check.integer("steps", self.steps, 1)
        check.integer("restarts", self.restarts, 1)
        check.choice("keep", self.keep, ("best", "last"))
        check.choice("loss", self.loss, LOSSES)
        if self.restarts > 1 and not self.random_start:
            raise check.InputError(
                f"{self.restarts} restarts without a random start are one attack run {self.restarts} times; "
                "set random_start=True or restarts=1."
            )
        if self.restarts > 1 and self.keep == "last":
            raise check.InputError(
                "keep='last' has no meaning with several restarts; use keep='best' or restarts=1."
            )


class Candidate(NamedTuple):
    """The point to return, so far, for each example."""

    x: Array  # [batch, ...]
    loss: Array  # [batch]
    fooled: Array  # bool [batch]


def _better(old: Candidate, new: Candidate) -> Candidate:
    """Per example, the one that is misclassified; the higher loss if both or neither are."""
    # A NaN loss never wins on loss, and an old NaN always gives way.
    higher = (new.loss > old.loss) | jnp.isnan(old.loss)
    take = (new.fooled & ~old.fooled) | ((new.fooled == old.fooled) & higher)
    wide = take.reshape(-1, *(1,) * (new.x.ndim - 1))
    return Candidate(
        x=jnp.where(wide, new.x, old.x),
        loss=jnp.where(take, new.loss, old.loss),
        fooled=jnp.where(take, new.fooled, old.fooled),
    )


def ascend(key: Key, objective: Objective, x: Array, config: PGDConfig) -> tuple[Array, Array]:
    """Projected gradient ascent on any objective; `pgd` is this with a loss of logits and labels.

    Restarts run one after the other, so memory does not grow with them; restart i draws from
    ``fold_in(key, i)``, so more restarts only add to fewer.

    Args:
        key: typed key; unused without a random start.
        objective: input [batch, ...] -> (loss [batch], fooled bool [batch]), each example on its own.
        x: [batch, ...] in [0, 1].
        config: see `PGDConfig`.

    Returns:
        The adversarial input [batch, ...], and the loss of every iterate [restarts, steps + 1, batch],
        which has only the first ``steps`` (the points where a gradient was taken) under keep="last".

    Raises:
        ValueError: ``x`` outside the box; where it cannot be read, under jit, the result is NaN.
    """
    x = check_box(x)
    original = widen(x)  # the iterates too: in half precision small steps would be rounded away
    eps = jnp.asarray(config.eps, original.dtype)
    step_size = jnp.asarray(config.step_size, original.dtype)

    def total(z: Array):
        loss, fooled = objective(z)
        return jnp.sum(loss), (loss, fooled)

    def climb(start: Array, best: Candidate | None) -> tuple[Array, Candidate | None, Array]:
        """From one start: the last iterate, the best point so far, and the losses [steps, batch]."""

        def step(carry, _):
            z, best = carry
            seen = narrow(z, x)
            gradient, (loss, fooled) = jax.grad(total, has_aux=True)(seen)
            if best is not None:
                best = _better(best, Candidate(seen, loss, fooled))
            z = project(z + step_size * steepest_direction(gradient, config.norm), original, eps, config.norm)
            return (z, best), loss

        (z, best), losses = jax.lax.scan(step, (start, best), length=config.steps)
        return z, best, losses

    def start(i: Array | int) -> Array:
        if not config.random_start:
            return original
        return random_start(jax.random.fold_in(key, i), original, eps, config.norm)

    def restart(best: Candidate, i: Array) -> tuple[Candidate, Array]:
        z, best, losses = climb(start(i), best)  # pyright: ignore[reportAssignmentType]
        z = narrow(z, x)
        last = Candidate(z, *objective(z))
        return _better(best, last), jnp.concatenate([losses, last.loss[None]])

    if config.keep == "last":
        z, _, losses = climb(start(0), None)
        return narrow(z, x), losses[None]
    best, losses = jax.lax.scan(restart, Candidate(x, *objective(x)), jnp.arange(config.restarts))
    return best.x, losses


def pgd(config: PGDConfig) -> Attack:
    """Projected gradient descent: signed (Linf) or normalized (L2) steps, projected to ball and box.

    Costs restarts * steps gradients per example, and 1 + restarts more evaluations when it keeps the best.
    """

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        x, y = check_examples(logits_fn, x, y)
        return ascend(key, classification_objective(logits_fn, y, config.loss), x, config)[0]

    return attack


def classification_objective(logits_fn: LogitsFn, y: Array, loss: str) -> Objective:
    """The objective of an untargeted attack: raise the loss of the true label, fooled when misclassified."""
    function = loss_function(loss)

    def objective(x: Array) -> tuple[Array, Array]:
        logits = logits_fn(x)
        return function(logits, y), ~is_correct(logits, y)

    return objective
