"""N-FGSM: FGSM from strong noise, without a projection on the ball (de Jorge et al. 2022).

N-FGSM is a training attack. By design its result lies outside of the eps-ball, up to ``(noise + step_ratio)
eps`` from the clean input, so the accuracy under N-FGSM is no accuracy at eps.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_eps, check_examples
from lrn.robust.losses import LOSSES, loss_function
from lrn.robust.norms import by_example, narrow, steepest_direction, widen
from lrn.types import Array, Key


@config
class NFGSMConfig:
    """N-FGSM settings; the defaults are the paper's.

    eps: the Linf radius to train for, in the unit of the pixels, which lie in [0, 1]; a number, or one an
        example [batch].
    noise: the largest size of the noise of a pixel, as a multiple of eps (k in the paper).
    step_ratio: the length of the step, as a multiple of eps (alpha / eps in the paper).
    loss: the loss to maximize, one of `lrn.robust.losses.LOSSES`.
    """

    eps: float = 8 / 255
    noise: float = 2.0
    step_ratio: float = 1.0
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        check_eps(self.eps, "linf")
        check.non_negative("noise", self.noise)
        check.positive("step_ratio", self.step_ratio)
        check.choice("loss", self.loss, LOSSES)


def n_fgsm(config: NFGSMConfig) -> Attack:
    """Uniform noise in [-noise eps, noise eps], then one signed step of ``step_ratio`` eps.

    As in the official code, the noisy input and the result are clipped to the box [0, 1], and the result is
    not projected on the ball. The official code attacks the network in training mode: train with
    ``attack_mode="training"`` of `lrn.robust.interpolation` for that.
    """
    loss = loss_function(config.loss)

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        x, y = check_examples(logits_fn, x, y)
        original = widen(x)
        eps = by_example(config.eps, original)
        noise = jax.random.uniform(key, x.shape, original.dtype, -1, 1)
        start = jnp.clip(original + jnp.asarray(config.noise, original.dtype) * eps * noise, 0, 1)
        gradient = jax.grad(lambda z: jnp.sum(loss(logits_fn(z), y)))(narrow(start, x))
        step_size = jnp.asarray(config.step_ratio, original.dtype) * eps
        return narrow(jnp.clip(start + step_size * steepest_direction(gradient, "linf"), 0, 1), x)

    return attack
