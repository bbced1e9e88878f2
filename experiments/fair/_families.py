"""Fronts of transparent and of black-box methods for `fair.interpretability`; every model sees the group.

A method's dial falls from 1, no treatment, to 0, the strongest one. Classes weigh the same in all trainings
but those of models for thresholds, whose goal is the balanced accuracy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.fair._fronts import LINEAR, class_balanced
from experiments.fair._trees import GOAL, SAME, front_on_host, treated_trees
from lrn.fair import training
from lrn.fair.adversarial import AdversarialConfig, adversarial, predictor
from lrn.fair.confusion import Confusion
from lrn.fair.front import Front, fairness_front
from lrn.fair.methods import Method, Policy, post_processing, reduction, reweighed, unconstrained
from lrn.fair.mlp import MLPConfig, mlp_fit
from lrn.fair.model import Fit
from lrn.fair.penalized import PenalizedConfig, Penalty, fit_penalized, on_scores
from lrn.fair.penalties import covariance_penalty, hsic_penalty
from lrn.fair.people import People
from lrn.fair.reduction_game import ReductionConfig
from lrn.nets.mlp import mlp
from lrn.study.context import Context
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array

HIDDEN, BATCH, OPTIMIZER = (16,), 256, OptimizerConfig("adam", 0.005)
LOGISTIC, BOX, CHANCE = "logistic regression", "network", 0.5
OWN = ("parity penalty", "HSIC", "adversary", "reduction")  # the treatments of black boxes
STRONGEST = {"parity penalty": 300.0, "HSIC": 300.0, "adversary": 0.3}  # at dial 0
BOUNDS, EVEN = (1.0, 0.2, 0.1, 0.05, 0.02, 0.0), (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
DIALS: dict[str, Sequence[float]] = dict(zip(SAME, (EVEN, BOUNDS, BOUNDS)))
MANY_BOUNDS = (1.0, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01, 0.0)


class Size(NamedTuple):
    """How much is computed.

    rows: the largest number of training rows. held: the largest number of validation rows, and of test rows.
    rounds: of a reduction; 0 leaves all reductions out. steps: of a network.
    level: the compiler's (see `fairness_front`).
    """

    rows: int
    held: int
    rounds: int
    steps: int
    level: int

    def kept(self, treatments: Sequence[str]) -> list[str]:
        """The treatments without the reduction, if it is left out."""
        return [what for what in treatments if self.rounds or what != "reduction"]

    @property
    def strengths(self) -> np.ndarray:
        """Dials of a penalty: as many as give black boxes the candidates that two transparent models have."""
        return np.linspace(1, 0, 2 * len(BOUNDS) * len(self.kept(SAME)) // len(self.kept(OWN)))

    def shares(self, count: int) -> tuple[float, float, float]:
        """The shares of training (half at most), validation and test rows, of ``count`` rows."""
        train = min(self.rows, count // 2)
        held = min(self.held, (count - train) // 2)
        return train / count, held / count, held / count


def strength(dial: Array, most: float) -> Array:
    """The strength of a penalty at a dial: none at 1, else falling over three decades from ``most``."""
    return jnp.where(dial >= 1, 0.0, most * 10.0 ** (-3 * dial))


def penalized_network(penalty: Penalty, most: float, steps: int) -> Method:
    """A network trained under a penalty."""

    def method(key: Any, train: People, validation: People, groups: int, bound: Any) -> Policy:
        config = PenalizedConfig(OPTIMIZER, strength=strength(bound, most))  # pyright: ignore
        given = (mlp(1, HIDDEN), penalty, train.x, train.y, train.group, groups, config, train.weights)
        fitted = fit_penalized(key, *given, steps=steps, batch_size=BATCH)
        return unconstrained(lambda *given: fitted)(key, train, validation, groups, bound)

    return class_balanced(method)


def adversarial_network(most: float, steps: int) -> Method:
    """A network against an adversary that reads its logit, whose weight grows with the root of the steps."""

    def method(key: Any, train: People, validation: People, groups: int, bound: Any) -> Policy:
        alpha, rival = strength(bound, most), OptimizerConfig("adam", 0.05)
        config = AdversarialConfig(OPTIMIZER, adversary=rival, alpha=alpha, growth=0.5)  # pyright: ignore
        net = mlp(1, HIDDEN)
        learner = adversarial(net, mlp(groups, (8,)), groups, config)
        batch = training.whole(train.x, train.y, train.group, groups, train.weights)
        state, _ = training.descend(key, learner, batch, steps, BATCH)
        fitted = predictor(net, state)
        return unconstrained(lambda *given: fitted)(key, train, validation, groups, bound)

    return class_balanced(method)


def penalized_networks(steps: int) -> dict[str, Method]:
    """Networks under a parity penalty, under HSIC, and against an adversary."""
    found = {
        f"{BOX}, {what}": penalized_network(on_scores(penalty, 2), STRONGEST[what], steps)
        for what, penalty in (("parity penalty", covariance_penalty), ("HSIC", hsic_penalty))
    }
    return found | {f"{BOX}, adversary": adversarial_network(STRONGEST["adversary"], steps)}


def treated(name: str, fit: Fit, rounds: int) -> dict[str, Method]:
    """The treatments `SAME` of a pure model; thresholds by group are fitted on the training rows."""
    game = ReductionConfig(rounds=max(rounds, 1), every_response=True)
    methods = (
        class_balanced(reweighed(fit)),
        class_balanced(reduction(fit, game)),
        post_processing(fit, objective=GOAL, held_out=False),
    )
    return {f"{name}, {what}": method for what, method in zip(SAME, methods)}


def every_front(context: Context, name: str, rows: People, size: Size) -> dict[str, Front]:
    """The front of each method over the seeds of the run, kept in the run's folder, by name of the method.

    A front of networks or logistic regression is made seed by seed, in one program for any number of seeds.

    Args:
        context: of the run. name: of the population. rows: all its rows. size: how much is computed.
    """
    shares = size.shares(len(rows.y))
    compiled = functools.partial(fairness_front, level=size.level)
    network = mlp_fit(MLPConfig(OPTIMIZER, HIDDEN, size.steps, BATCH))
    methods = treated(LOGISTIC, LINEAR, size.rounds) | treated(BOX, network, size.rounds)
    makers: tuple[tuple[Callable[..., Front], Mapping[str, Method]], ...] = (
        (compiled, methods | penalized_networks(size.steps)),
        (front_on_host, treated_trees(size.rounds)),
    )
    found = {}
    for make, own in makers:
        for what, method in own.items():
            if (treatment := what.split(", ")[1]) not in size.kept((*SAME, *OWN)):
                continue
            bounds = DIALS.get(treatment, size.strengths)
            bounds = MANY_BOUNDS if what == f"{BOX}, reduction" else bounds

            def compute(make: Any = make, method: Any = method, bounds: Any = bounds) -> dict[str, Any]:
                each = [make(method, rows, 2, bounds, [seed], shares) for seed in context.seeds]
                held = {"validation": [f.validation for f in each], "test": [f.test for f in each]}
                return {part: np.concatenate([np.stack(c) for c in held[part]], 1) for part in held}

            arrays = context.once(f"{name}, {what}", compute)
            found[what] = Front(jnp.asarray(bounds), *(Confusion(*arrays[p]) for p in ("validation", "test")))
    return found


def at(front: Front, bounds: Sequence[float]) -> Front:
    """The front at some of its dials."""
    kept = np.flatnonzero(np.isclose(np.asarray(front.bounds)[:, None], np.asarray(bounds)).any(1))
    take = lambda leaf: leaf[:, kept]  # noqa: E731
    return Front(front.bounds[kept], *(jax.tree.map(take, c) for c in (front.validation, front.test)))


def chosen_at(
    limits: np.ndarray, gap: np.ndarray, quality: np.ndarray, gap_on_test: np.ndarray, on_test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The balanced accuracy on test rows, minus .5, of the best candidate within a limit on validation rows.

    Returns:
        Its mean over the limits (0 where no candidate keeps the limit), and the mean of what the test gap is
        above the limit, [seeds] each.
    """
    meets = gap[:, None] <= limits[None, :, None]
    best = np.argmax(np.where(meets, quality[:, None], -1), axis=2)
    value, here = (np.take_along_axis(v, best, 1) for v in (on_test - CHANCE, gap_on_test))
    any_meets = meets.any(2)
    excess = np.where(any_meets, here - limits[None], 0).sum(1) / np.maximum(any_meets.sum(1), 1)
    return np.where(any_meets, value, 0).mean(1), excess
