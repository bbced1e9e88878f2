"""AutoAttack: four attacks without a setting to tune, each on what the others left (Croce & Hein 2020)."""

from __future__ import annotations

import jax

from lrn import check
from lrn.config import config
from lrn.robust.apgd import APGDConfig, apgd
from lrn.robust.attack import Attack, LogitsFn, check_eps, check_examples, check_reach
from lrn.robust.cascade import Cascade, Family, cascade
from lrn.robust.fab import FABConfig, fab
from lrn.robust.norms import NORMS
from lrn.robust.square import SquareConfig, square
from lrn.types import Array, Key

ATTACKS = ("apgd_ce", "apgd_t", "fab_t", "square")


@config
class AutoAttackConfig:
    """The standard cascade: APGD on cross-entropy, targeted APGD, targeted FAB, and Square.

    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1]; a number, or one an
        example [n].
    norm: "linf", "l2" or "l1".
    steps: the steps of APGD and of FAB, for each target. targets: the number of classes that the targeted
        attacks try, those with the largest logits after the true one; fewer where there are fewer.
    queries: the queries of Square.
    attacks: the names of the attacks, in order.
    batch_size: the number of examples attacked at once; None for 32 on CPU and 512 elsewhere.
    """

    eps: float = 8 / 255
    norm: str = "linf"
    steps: int = 100
    targets: int = 9
    queries: int = 5000
    attacks: tuple[str, ...] = ATTACKS
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check.choice("norm", self.norm, NORMS)
        check_eps(self.eps, self.norm)
        check.counts(self, "steps", "targets", "queries")
        if self.batch_size is not None:
            check.integer("batch_size", self.batch_size, 1)
        if not self.attacks:
            raise check.InputError(f"attacks must name one attack or more of {', '.join(ATTACKS)}, got none.")
        for name in self.attacks:
            check.choice("attack", name, ATTACKS)
        if len(set(self.attacks)) < len(self.attacks):
            raise check.InputError(f"attacks must name each attack once, got {self.attacks}; leave one out.")


def auto_attack(config: AutoAttackConfig) -> Attack:
    """The cascade as one attack, which returns what fools the network first, or the clean input."""

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        return attack_all(key, logits_fn, x, y, config).x

    return attack


def attack_all(key: Key, logits_fn: LogitsFn, x: Array, y: Array, config: AutoAttackConfig) -> Cascade:
    """Attack a test set, and say which examples are robust after each attack.

    The mean of ``robust`` is the robust accuracy. With fewer than four classes the targeted
    difference-of-logits loss is not defined, and "apgd_t" maximizes the margin, without targets. APGD ends
    once it fools every example of a batch, and returns the first misclassified points.

    Args:
        key, logits_fn, x, y: as for `lrn.robust.cascade.cascade`.
        config: the settings.

    Raises:
        ValueError: `check_examples` refuses ``x`` and ``y``, or the ball holds every image.
    """
    x, y = check_examples(logits_fn, x, y)
    check_reach(config.eps, config.norm, x)
    classes = jax.eval_shape(logits_fn, x).shape[1]
    families = standard(config, classes)
    return cascade(key, logits_fn, x, y, config.eps, families, config.batch_size)


def standard(config: AutoAttackConfig, classes: int) -> dict[str, Family]:
    """The attacks of the cascade by name, each a function of the radius.

    Args:
        config: the settings; the radius is not read.
        classes: the number of classes of the network.
    """
    settings = {"norm": config.norm, "steps": config.steps}
    ascent = {**settings, "early_stop": True}
    targeted = "targeted_dlr" if classes > 3 else "margin"
    targets = min(config.targets, classes - 1)
    families: dict[str, Family] = {
        "apgd_ce": lambda eps: apgd(APGDConfig(eps=eps, loss="cross_entropy", **ascent)),
        "apgd_t": lambda eps: apgd(APGDConfig(eps=eps, loss=targeted, targets=targets, **ascent)),
        "fab_t": lambda eps: fab(FABConfig(eps=eps, targets=targets, **settings)),
        "square": lambda eps: square(SquareConfig(eps=eps, norm=config.norm, queries=config.queries)),
    }
    return {name: families[name] for name in config.attacks}
