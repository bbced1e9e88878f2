"""RS-FGSM: FGSM from a random start, the attack of fast adversarial training (Wong, Rice & Kolter 2020)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_eps, check_examples
from lrn.robust.losses import LOSSES, loss_function
from lrn.robust.norms import by_example, narrow, project, random_start, steepest_direction, widen
from lrn.types import Array, Key


@config
class RSFGSMConfig:
    """RS-FGSM settings.

    eps: the radius of the Linf ball, in the unit of the pixels, which lie in [0, 1]; a number, or one an
        example [batch].
    step_ratio: the step size as a multiple of eps; 1.25 is the paper's alpha = 10/255 for eps = 8/255.
    loss: the loss to maximize, one of `lrn.robust.losses.LOSSES`.
    clip_start: whether the random start is clipped to the box [0, 1] before the gradient is taken. The
        authors' code for CIFAR-10 clips it, that for MNIST does not. On black or white pixels the clip
        leaves only two values after the step, as in FGSM without a random start, and training on MNIST at
        eps = .3 then overfits to the attack.
    """

    eps: float = 8 / 255
    step_ratio: float = 1.25
    loss: str = "cross_entropy"
    clip_start: bool = True

    def __post_init__(self) -> None:
        check_eps(self.eps, "linf")
        check.positive("step_ratio", self.step_ratio)
        check.choice("loss", self.loss, LOSSES)
        check.boolean("clip_start", self.clip_start)


def rs_fgsm(config: RSFGSMConfig) -> Attack:
    """A uniform start in the Linf ball, one signed step of ``step_ratio`` eps, then the projection."""
    loss = loss_function(config.loss)

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        x, y = check_examples(logits_fn, x, y)
        original = widen(x)
        eps = by_example(config.eps, original)
        step_size = jnp.asarray(config.step_ratio, original.dtype) * eps
        if config.clip_start:
            start = random_start(key, original, eps, "linf")
        else:
            start = original + eps * jax.random.uniform(key, x.shape, original.dtype, -1, 1)
        gradient = jax.grad(lambda z: jnp.sum(loss(logits_fn(z), y)))(narrow(start, x))
        return project(start + step_size * steepest_direction(gradient, "linf"), x, eps, "linf")

    return attack
