"""PGD: projected gradient ascent on the loss in a ball around the input (Madry et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_box, check_eps, check_examples, column
from lrn.robust.losses import LOSSES, is_correct, loss_function
from lrn.robust.norms import NORMS, by_example, narrow, project, random_start, steepest_step, widen
from lrn.types import Array, Key

# Input [batch, ...] -> (loss [batch], fooled bool [batch]): the loss to maximize, and whether the network
# is wrong, or for a targeted attack says the target.
Objective = Callable[[Array], tuple[Array, Array]]
# The same for a network that draws random numbers: input and key -> (loss, fooled).
RandomObjective = Callable[[Array, Key], tuple[Array, Array]]


@config
class PGDConfig:
    """PGD settings.

    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1]; a number, or one an
        example [batch].
    step_size: the length of a step, in the same unit.
    steps: the number of steps. restarts: the number of starts.
    norm: "linf", "l2" or "l1". random_start: whether to start at a random point of the ball; else at
        the clean input.
    keep: "best" returns the best point visited, the clean input included: a misclassified point if there
        is one, and the point with the largest loss among equals. More restarts and steps then never hurt.
        "last" returns the last iterate, as in adversarial training, and saves the extra evaluations.
    loss: the loss to maximize, one of `lrn.robust.losses.LOSSES`.
    targeted: whether the labels are classes to reach. The loss is then minimized, and "misclassified" means
        that the target's logit is above all others.
    """

    eps: float = 8 / 255
    step_size: float = 2 / 255
    steps: int = 20
    restarts: int = 1
    norm: str = "linf"
    random_start: bool = True
    keep: str = "best"
    loss: str = "cross_entropy"
    targeted: bool = False

    def __post_init__(self) -> None:
        check.choice("norm", self.norm, NORMS)
        check_eps(self.eps, self.norm)
        check.positive("step_size", self.step_size)
        check.integer("steps", self.steps, 1)
        check.integer("restarts", self.restarts, 1)
        check.choice("keep", self.keep, ("best", "last"))
        check.choice("loss", self.loss, LOSSES)
        check.boolean("targeted", self.targeted)
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
    """The best point found so far for each example.

    x: the points [batch, ...]. loss: their losses [batch]. fooled: bool [batch], whether the network is
        wrong there.
    """

    x: Array
    loss: Array
    fooled: Array


def _better(old: Candidate, new: Candidate) -> Candidate:
    """The better candidate of each example: the misclassified one, or among equals the larger loss."""
    # A new NaN never counts as a larger loss, and any new loss replaces an old NaN.
    higher = (new.loss > old.loss) | jnp.isnan(old.loss)
    take = (new.fooled & ~old.fooled) | ((new.fooled == old.fooled) & higher)
    wide = column(take, new.x)
    return Candidate(
        x=jnp.where(wide, new.x, old.x),
        loss=jnp.where(take, new.loss, old.loss),
        fooled=jnp.where(take, new.fooled, old.fooled),
    )


def ascend(
    key: Key,
    objective: Objective | RandomObjective,
    x: Array,
    config: PGDConfig,
    noise_key: Key | None = None,
) -> tuple[Array, Array]:
    """Projected gradient ascent on any objective; `pgd` uses it with a loss of logits and labels.

    Restarts run one after another, so memory does not grow with their number. Restart i draws from
    ``fold_in(key, i)``, so a larger number of restarts includes those of a smaller number.

    Args:
        key: the key of the random starts; unused without a random start.
        objective: [batch, ...] -> (loss [batch], fooled bool [batch]), which treats each example separately.
        x: the clean inputs [batch, ...] in [0, 1].
        config: see `PGDConfig`.
        noise_key: the key of a `RandomObjective`, which gets a new key from it at every point of the ascent;
            None for an `Objective`.

    Returns:
        The adversarial input [batch, ...], and the loss of every iterate [restarts, steps + 1, batch]. With
        keep="last" the losses are [1, steps, batch], those of the points where a gradient was taken.

    Raises:
        ValueError: ``x`` lies outside of the box. (Under jit, where ``x`` cannot be read, the result is NaN.)
    """
    x = check_box(x)
    original = widen(x)  # iterates are wide too, because half precision would round small steps away
    eps = by_example(config.eps, original)
    step_size = by_example(config.step_size, original)

    def judge(z: Array, point: Array | int) -> tuple[Array, Array]:
        """The objective at one of the points of the ascent, which are numbered over all restarts."""
        noise = () if noise_key is None else (jax.random.fold_in(noise_key, point),)
        return objective(z, *noise)

    def total(z: Array, point: Array | int):
        loss, fooled = judge(z, point)
        return jnp.sum(loss), (loss, fooled)

    def climb(
        start: Array, best: Candidate | None, first: Array | int
    ) -> tuple[Array, Candidate | None, Array]:
        """The ascent from one start: the last iterate, the best candidate, and the losses [steps, batch]."""

        def step(carry, point):
            z, best = carry
            seen = narrow(z, x)
            gradient, (loss, fooled) = jax.grad(total, has_aux=True)(seen, point)
            if best is not None:
                best = _better(best, Candidate(seen, loss, fooled))
            z = z + steepest_step(gradient, z, step_size, config.norm)
            z = project(z, original, eps, config.norm)
            return (z, best), loss

        (z, best), losses = jax.lax.scan(step, (start, best), first + jnp.arange(config.steps))
        return z, best, losses

    def start(i: Array | int) -> Array:
        if not config.random_start:
            return original
        return random_start(jax.random.fold_in(key, i), original, eps, config.norm)

    def restart(best: Candidate, i: Array) -> tuple[Candidate, Array]:
        first = 1 + i * (config.steps + 1)  # point 0 is the clean input
        z, best, losses = climb(start(i), best, first)  # pyright: ignore[reportAssignmentType]
        z = narrow(z, x)
        last = Candidate(z, *judge(z, first + config.steps))
        return _better(best, last), jnp.concatenate([losses, last.loss[None]])

    if config.keep == "last":
        z, _, losses = climb(start(0), None, 0)
        return narrow(z, x), losses[None]
    best, losses = jax.lax.scan(restart, Candidate(x, *judge(x, 0)), jnp.arange(config.restarts))
    return best.x, losses


def pgd(config: PGDConfig) -> Attack:
    """Projected gradient descent with steps of `steepest_step`, projected to ball and box.

    The attack takes restarts * steps gradients for each example. With keep="best" it takes 1 + restarts
    further evaluations of the network.
    """

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        x, y = check_examples(logits_fn, x, y)
        objective = classification_objective(logits_fn, y, config.loss, config.targeted)
        return ascend(key, objective, x, config)[0]

    return attack


def classification_objective(logits_fn: LogitsFn, y: Array, loss: str, targeted: bool = False) -> Objective:
    """The objective of an attack on a classifier: a loss of its labels, and whether the attack succeeds.

    Args:
        logits_fn: the network in evaluation mode, [batch, ...] -> [batch, classes].
        y: labels [batch]: the true ones, or with ``targeted`` the ones to reach.
        loss: one of `lrn.robust.losses.LOSSES`.
        targeted: whether success is a network that says ``y``, and the objective minus the loss; otherwise
            success is a network that does not say ``y``.
    """
    function = loss_function(loss)

    def objective(x: Array) -> tuple[Array, Array]:
        logits = logits_fn(x)
        value, correct = function(logits, y), is_correct(logits, y)
        return (-value, correct) if targeted else (value, ~correct)

    return objective
