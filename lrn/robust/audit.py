"""An audit of a robust accuracy: named checks of the attack and of the network, each with its number.

A weak attack and a robust network give the same accuracy. The checks tell them apart (Athalye et al. 2018;
Carlini et al. 2019), and belong beside every robust accuracy that is reported.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.config import config
from lrn.robust import validity
from lrn.robust.attack import Attack, LogitsFn, check_eps, check_examples, check_reach, column
from lrn.robust.evaluate import correct_under_attack
from lrn.robust.losses import LOSSES
from lrn.robust.norms import NORMS
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.square import SquareConfig, square
from lrn.types import Array, Key

# What each check measures, and what to do where its number is too large; {} is the number in percent.
CHECKS = {
    "not finite": "The network gives NaN or infinite logits for {} of the examples; they count as fooled.",
    "probabilities": (
        "The network returns probabilities for {} of the examples; return logits, since a softmax hides "
        "gradients."
    ),
    "depends on the batch": (
        "For {} of the examples the logits change with the other examples of the batch, as under BatchNorm "
        "in training mode or dropout; evaluate the network in evaluation mode."
    ),
    "zero gradients": (
        "For {} of the examples the gradient is zero; attacks by gradients say nothing there, so trust only "
        "those without, or attack another loss."
    ),
    "spared at will": (
        "An attack that may change every pixel at will spares {} of the examples; the attack is broken or "
        "gradients are masked."
    ),
    "loss falls": (
        "Along the attack's path the loss falls by {} of its range; take smaller steps, and look for masked "
        "gradients."
    ),
    "not converged": (
        "Four times the steps and one more start fool {} more of the examples; take more of both."
    ),
    "black box is stronger": (
        "An attack without gradients fools {} of the examples that the attack by gradients spares; gradients "
        "are masked."
    ),
    "transfer is stronger": (
        "Attacks on other networks fool {} of the examples that the attack on this network spares; gradients "
        "are masked."
    ),
}


@config
class AuditConfig:
    """Settings of an audit.

    eps: the radius of the ball, in the unit of the pixels. norm: "linf", "l2" or "l1".
    steps: the steps of the attack by gradients, PGD with steps of ``eps / 10``. queries: those of Square.
    loss: the loss of that attack, one of `lrn.robust.losses.LOSSES`. The margin has a gradient where the
        cross-entropy of a confident network has none, and finds more.
    tolerance: a check fails where its number is above this share.
    loss_tolerance: the same for "loss falls", a share of the range of the loss.
    batch_size: the number of examples attacked at once.
    """

    eps: float = 8 / 255
    norm: str = "linf"
    steps: int = 20
    queries: int = 500
    loss: str = "margin"
    tolerance: float = 0.01
    loss_tolerance: float = 0.05
    batch_size: int = 256

    def __post_init__(self) -> None:
        check.choice("norm", self.norm, NORMS)
        check_eps(self.eps, self.norm)
        check.counts(self, "steps", "queries", "batch_size")
        check.choice("loss", self.loss, LOSSES)
        check.between("tolerance", self.tolerance, 0, 1)
        check.between("loss_tolerance", self.loss_tolerance, 0, 1)


class Audit(NamedTuple):
    """The results of an audit, by the names of `CHECKS`.

    numbers: scalars in [0, 1], 0 for a network and an attack without fault. flags: bool scalars, whether
        the number is above its tolerance, or NaN.
    """

    numbers: Mapping[str, Array]
    flags: Mapping[str, Array]


def audit(
    key: Key,
    logits_fn: LogitsFn,
    x: Array,
    y: Array,
    config: AuditConfig,
    attack: Attack | None = None,
    surrogates: Sequence[LogitsFn] = (),
) -> Audit:
    """Check whether the accuracy of a network under an attack can be trusted.

    The function may be used under jit and vmap. `said` puts failed checks into words. The checks of the
    network, of its gradients and of the loss along the path see the first ``batch_size`` examples, so that
    memory does not grow with n; the others see all of them.

    Args:
        key: the key.
        logits_fn: the network, [batch, ...] -> [batch, classes].
        x: inputs [n, ...] in [0, 1]; images [n, height, width, channels] for the check by Square.
        y: labels [n].
        config: the settings.
        attack: the attack by gradients whose accuracy is reported; PGD without it.
        surrogates: other networks for the same task, whose adversarial inputs are tried on this network.

    Returns:
        The numbers and flags of the checks that apply: "black box is stronger" needs images, and
        "transfer is stronger" needs surrogates.

    Raises:
        ValueError: `check_examples` refuses ``x`` and ``y``, or the ball holds every image.
    """
    x, y = check_examples(logits_fn, x, y)
    check_reach(config.eps, config.norm, x)
    path = PGDConfig(config.eps, config.eps / 10, config.steps, norm=config.norm, loss=config.loss)
    keys = iter(jax.random.split(key, 6 + len(surrogates)))

    def right(attack: Attack) -> Array:
        return correct_under_attack(next(keys), logits_fn, x, y, attack, config.batch_size)

    some, labels = x[: config.batch_size], y[: config.batch_size]
    losses = validity.loss_by_step(next(keys), logits_fn, some, labels, path)
    own = right(attack or pgd(path))
    longer = right(pgd(dataclasses.replace(path, steps=4 * config.steps, restarts=2)))
    numbers = {
        **_network(logits_fn, some),
        "zero gradients": validity.zero_gradient_fraction(logits_fn, some, labels, config.loss),
        "spared at will": jnp.mean(right(validity.unbounded(path)), dtype=jnp.float32),
        "loss falls": validity.largest_drop(losses),
        "not converged": validity.masking_gap(own, longer),
    }
    if x.ndim == 4:
        black_box = right(square(SquareConfig(eps=config.eps, norm=config.norm, queries=config.queries)))
        numbers["black box is stronger"] = validity.masking_gap(own, black_box)
    if surrogates:
        survives = jnp.stack([right(_by_way_of(other, pgd(path))) for other in surrogates]).all(axis=0)
        numbers["transfer is stronger"] = validity.masking_gap(own, survives)
    flags = {
        name: ~(number <= (config.loss_tolerance if name == "loss falls" else config.tolerance))
        for name, number in numbers.items()
    }
    return Audit(numbers, flags)


def said(result: Audit) -> list[str]:
    """One sentence for each failed check: its number, what it means and what to do.

    Args:
        result: the result of `audit` for one network, outside of jit.
    """
    failed = [name for name in CHECKS if name in result.flags and bool(result.flags[name])]
    return [CHECKS[name].format(_share(float(result.numbers[name]))) for name in failed]


def _share(number: float) -> str:
    return "an unknown share" if math.isnan(number) else f"{number:.1%}"


def _by_way_of(other: LogitsFn, attack: Attack) -> Attack:
    """The attack on another network."""
    return lambda key, logits_fn, x, y: attack(key, other, x, y)


def _network(logits_fn: LogitsFn, x: Array) -> dict[str, Array]:
    """The shares of examples for which the network itself is at fault."""
    logits = logits_fn(x).astype(jnp.float32)
    # Every second example is seen again, at another place and beside other neighbors.
    seen = np.arange(x.shape[0]) % 2 == 0
    others = jnp.where(column(seen, x), x, 1 - x)[::-1]
    change = jnp.abs(logits_fn(others).astype(jnp.float32)[::-1] - logits).max(axis=1)
    moved = (change > 1e-2 * (jnp.abs(logits).max(axis=1) + 1e-6))[seen]
    inside = ((logits >= 0) & (logits <= 1)).all(axis=1)
    shares = {
        "not finite": ~jnp.isfinite(logits).all(axis=1),
        "probabilities": inside & (jnp.abs(logits.sum(axis=1) - 1) < 1e-2),
        "depends on the batch": moved,
    }
    return {name: jnp.mean(share, dtype=jnp.float32) for name, share in shares.items()}
