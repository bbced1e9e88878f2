"""FGSM: one step of size eps along the sign of the gradient (Goodfellow et al. 2015), or in another norm."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_eps, check_examples
from lrn.robust.losses import LOSSES
from lrn.robust.norms import NORMS, by_example, project, steepest_step, widen
from lrn.robust.pgd import classification_objective
from lrn.types import Array, Key


@config
class FGSMConfig:
    """FGSM settings.

    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1]; a number, or one an
        example [batch].
    norm: "linf"; or "l2", which gives the fast gradient method; or "l1", where the step moves the pixels with
        the largest gradients to 0 or 1, one after another.
    loss: the loss to maximize, one of `lrn.robust.losses.LOSSES`.
    targeted: whether the labels are classes to reach, for which the loss is minimized.
    """

    eps: float = 8 / 255
    norm: str = "linf"
    loss: str = "cross_entropy"
    targeted: bool = False

    def __post_init__(self) -> None:
        check.choice("norm", self.norm, NORMS)
        check_eps(self.eps, self.norm)
        check.choice("loss", self.loss, LOSSES)
        check.boolean("targeted", self.targeted)


def fgsm(config: FGSMConfig) -> Attack:
    """The fast gradient sign method: x + eps * sign(grad loss), clipped to the box."""

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        del key  # the attack is deterministic
        x, y = check_examples(logits_fn, x, y)
        original = widen(x)
        eps = by_example(config.eps, original)
        objective = classification_objective(logits_fn, y, config.loss, config.targeted)
        gradient = jax.grad(lambda z: jnp.sum(objective(z)[0]))(x)
        return project(original + steepest_step(gradient, original, eps, config.norm), x, eps, config.norm)

    return attack
