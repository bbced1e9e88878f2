"""Auto-PGD: PGD with momentum that chooses its own step sizes (Croce & Hein 2020; for L1 Croce & Hein 2021).

The step size begins at twice the radius. At checkpoints, which come at shorter and shorter distances, it is
halved for each example whose loss has risen in too few steps or whose best loss is old; the example then goes
back to its best point. In L1 the number of pixels of a step follows the number of pixels that the best point
changes, and the ball is at first larger than eps.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.apgd_climb import Found, Trace, all_fooled, climb, loop
from lrn.robust.apgd_rules import plan_of
from lrn.robust.attack import Attack, LogitsFn, check_box, check_eps, check_examples
from lrn.robust.losses import LOSSES, is_correct, targeted_dlr
from lrn.robust.norms import NORMS, by_example, narrow, project, steepest_direction, widen
from lrn.robust.pgd import Objective, classification_objective
from lrn.types import Array, Key


@config
class APGDConfig:
    """Auto-PGD settings; the defaults are those of AutoAttack.

    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1]; a number, or one an
        example [batch].
    steps: the number of steps of one start. restarts: the number of random starts.
    norm: "linf", "l2" or "l1".
    loss: the loss to maximize: one of `lrn.robust.losses.LOSSES`; or "targeted_dlr", which attacks
        towards other classes in turn, where success is any misclassification.
    targets: of "targeted_dlr", the number of classes: those with the largest logits at the clean input
        after the first. A network with fewer classes has fewer targets.
    targeted: whether the labels are classes to reach, for which the loss is minimized.
    rho: the share of a checkpoint's steps that must raise the loss; else the step size is halved. L1 does
        not use it.
    large_radii: of L1, whether the first and second three tenths of the steps are in balls of radius 3 eps
        and 2 eps, as in AutoAttack.
    early_stop: whether the attack of a batch ends once every example is fooled. An example's result is then
        its first misclassified point instead of its last one; the accuracy is the same.
    """

    eps: float = 8 / 255
    steps: int = 100
    restarts: int = 1
    norm: str = "linf"
    loss: str = "cross_entropy"
    targets: int = 9
    targeted: bool = False
    rho: float = 0.75
    large_radii: bool = True
    early_stop: bool = False

    def __post_init__(self) -> None:
        check.choice("norm", self.norm, NORMS)
        check_eps(self.eps, self.norm)
        check.counts(self, "steps", "restarts", "targets")
        check.choice("loss", self.loss, (*LOSSES, "targeted_dlr"))
        check.between("rho", self.rho, 0, 1)
        for name in ("targeted", "large_radii", "early_stop"):
            check.boolean(name, getattr(self, name))
        if self.targeted and self.loss == "targeted_dlr":
            raise check.InputError(
                "loss='targeted_dlr' chooses its targets itself; use another loss with targeted=True."
            )
        if self.norm == "l1" and self.large_radii and self.steps < 5:
            raise check.InputError(
                f"three radii need at least 5 steps, got {self.steps}; take more or set large_radii=False."
            )


def apgd(config: APGDConfig) -> Attack:
    """Auto-PGD. For each example it returns the last misclassified point, else the point of largest loss.

    An input that is misclassified stays as it is. Each start takes ``steps`` gradients and one further
    evaluation of the network.
    """

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        return search(key, logits_fn, x, y, config).x

    return attack


def search(
    key: Key, logits_fn: LogitsFn, x: Array, y: Array, config: APGDConfig, solved: Array | None = None
) -> Found:
    """The search of `apgd`, which may leave examples out.

    Args:
        key, logits_fn, x, y: as for an `Attack`.
        config: see `APGDConfig`.
        solved: bool [batch], examples that need no attack; their result is ``x``. With
            ``early_stop`` a batch without others takes no step.

    Raises:
        ValueError: `check_examples` refuses ``x`` and ``y``; or "targeted_dlr" has fewer than 4 classes.
    """
    x, y = check_examples(logits_fn, x, y)
    logits = logits_fn(x)
    fooled = is_correct(logits, y) if config.targeted else ~is_correct(logits, y)
    fooled = fooled if solved is None else fooled | solved
    if config.loss != "targeted_dlr":
        objective = classification_objective(logits_fn, y, config.loss, config.targeted)
        return _starts(key, lambda i: objective, x, config, fooled, config.restarts)[0]
    targets = min(config.targets, logits.shape[1] - 1)
    ranked = jax.lax.top_k(logits, targets + 1)[1]

    def towards(i: Array) -> Objective:
        target = jnp.take(ranked, 1 + i // config.restarts, axis=1)

        def objective(z: Array) -> tuple[Array, Array]:
            logits = logits_fn(z)
            return targeted_dlr(logits, y, target), ~is_correct(logits, y)

        return objective

    return _starts(key, towards, x, config, fooled, targets * config.restarts)[0]


def ascend(
    key: Key, objective: Objective, x: Array, config: APGDConfig, solved: Array | None = None
) -> tuple[Found, Trace | None]:
    """Auto-PGD on any objective. Start i draws from ``fold_in(key, i)``; starts run one after another.

    Args:
        key: the key of the random starts.
        objective: [batch, ...] -> (loss [batch], fooled bool [batch]), which treats each example separately.
        x: the clean inputs [batch, ...] in [0, 1].
        config: see `APGDConfig`; the losses and targets do not matter.
        solved: bool [batch], examples that need no attack; None attacks all of them.

    Returns:
        What the attack has found, and its course; no course with ``early_stop``.

    Raises:
        ValueError: ``x`` lies outside of the box. (Under jit, where ``x`` cannot be read, the result is NaN.)
    """
    x = check_box(x)
    solved = jnp.zeros(x.shape[0], bool) if solved is None else solved
    return _starts(key, lambda i: objective, x, config, solved, config.restarts)


def _starts(
    key: Key, objective_of: Callable[[Array], Objective], x: Array, config: APGDConfig, solved: Array, n: int
) -> tuple[Found, Trace | None]:
    x, config, solved = jax.lax.stop_gradient((x, config, solved))  # a loop that ends early has no gradient
    original = widen(x)
    loss = jnp.full(x.shape[0], -jnp.inf, original.dtype)

    def attempt(found: Found, i: Array) -> tuple[Found, Trace | None]:
        start = random_start(jax.random.fold_in(key, i), original, config)
        return climb(start, objective_of(i), x, config, found)

    found, trace = loop(attempt, Found(original, loss, solved), jnp.arange(n), config.early_stop, all_fooled)
    return found._replace(x=narrow(found.x, x)), trace


def random_start(key: Key, x: Array, config: APGDConfig) -> Array:
    """A random point on the sphere (Linf, L2), or the projection of x + N(0, 1) (L1), clipped to the box."""
    eps = plan_of(config).radius[0] * by_example(config.eps, x)
    if config.norm == "linf":
        direction = jax.random.uniform(key, x.shape, x.dtype, -1, 1)
        largest = jnp.max(jnp.abs(direction), axis=tuple(range(1, x.ndim)), keepdims=True)
        return project(x + eps * (direction / largest), x, eps, "linf")
    noise = jax.random.normal(key, x.shape, x.dtype)
    z = x + (noise if config.norm == "l1" else eps * steepest_direction(noise, "l2"))
    return project(z, x, eps, config.norm)
