"""FGSM: one step of full size along the sign of the gradient (Goodfellow et al. 2015)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_eps, check_examples
from lrn.robust.losses import LOSSES, loss_function
from lrn.robust.norms import NORMS, project, steepest_direction, widen
from lrn.types import Array, Key


@config
class FGSMConfig:
    """FGSM settings; eps is in pixel space, where pixels lie in [0, 1]."""

    eps: float = 8 / 255
    norm: str = "linf"  # "l2" gives the fast gradient method
    loss: str = "cross_entropy"

    def __post_init__(self):
        check.choice("norm", self.norm, NORMS)
        check_eps(self.eps, self.norm)
        check.choice("loss", self.loss, LOSSES)


def fgsm(config: FGSMConfig) -> Attack:
    """Fast gradient sign method: x + eps * sign(grad loss), clipped to the box; one gradient per example."""
    loss = loss_function(config.loss)

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        del key  # the attack is deterministic
        x, y = check_examples(logits_fn, x, y)
        original = widen(x)
        eps = jnp.asarray(config.eps, original.dtype)
        gradient = jax.grad(lambda z: jnp.sum(loss(logits_fn(z), y)))(x)
        return project(original + eps * steepest_direction(gradient, config.norm), x, eps, config.norm)

    return attack
