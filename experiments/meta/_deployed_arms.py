"""The kinds of shift, the methods that meet them, and their trainings, for the study of deployment shifts.

The methods share one network, the number of training steps, and the gradients of single examples that these
steps take (`lrn.meta.compute`).
"""

from __future__ import annotations

from collections.abc import Sequence

from lrn.config import config
from lrn.meta.compute import maml_gradients, pooled_gradients

SUPPORT, QUERY = 20, 20  # pictures of an environment in a training step
NONE, COVARIATE, LABEL, CONCEPT = "no shift", "covariate shift", "label shift", "concept shift"
KINDS = (NONE, COVARIATE, LABEL, CONCEPT)
FROZEN, STATISTICS, ARM, IRM, ENSEMBLE = "frozen", "BN statistics", "ARM", "IRM", "ensemble"
TUNED, MAML, ORACLE, KEPT = "fine-tuning", "MAML", "oracle", "batch norm, frozen"
FREE, LABELED = (STATISTICS, ARM, IRM, ENSEMBLE), (TUNED, MAML)  # adaptations by no labels and by some
METHODS, JOINT = (FROZEN, *FREE, *LABELED), " | "
MEMBERS, STEPS = 3, 10  # of an ensemble; of adaptation
RATE = 3e-3  # of Adam where a method tunes another setting
RATES = (1e-3, RATE, 1e-2, 3e-2)  # of Adam
PENALTIES, INNER, TUNING = (0.01, 0.1, 1.0, 10.0), (0.01, 0.05, 0.25, 1.25), (0.01, 0.05, 0.25, 1.25)
# Trainings that share a program: the methods, and the gradients of an example that an environment costs. The
# context network of ARM reads the support set once more. An ensemble trains each environment in all members.
POOLED = pooled_gradients(SUPPORT, QUERY)
GROUPS = {
    "pooled": ((FROZEN, IRM, ORACLE), POOLED),
    ENSEMBLE: ((ENSEMBLE,), MEMBERS * POOLED),
    STATISTICS: ((STATISTICS,), POOLED),
    ARM: ((ARM,), POOLED + SUPPORT),
    MAML: ((MAML,), maml_gradients(SUPPORT, QUERY)),
}


@config
class Training:
    """One training.

    rate: of Adam. own: IRM's penalty, or MAML's inner rate. start: the number of the initial weights. told: 1
    for the oracle, which sees deployments whose shift is undone.
    """

    rate: float
    own: float = 0.0
    start: float = 0.0
    told: float = 0.0


def trainings(method: str) -> dict[str, Training]:
    """The trainings of a method, in the order of its candidates."""
    if method == ENSEMBLE:
        return {
            f"{method}, rate {r:g}, member {m}": Training(r, start=m) for r in RATES for m in range(MEMBERS)
        }
    own = {IRM: PENALTIES, MAML: INNER}.get(method)
    if own:
        return {f"{method}, {x:g}": Training(RATE, own=x) for x in own}
    return {f"{method}, rate {r:g}": Training(r, told=float(method == ORACLE)) for r in RATES}


def called(method: str, labels: int) -> str:
    """A method with a number of labels."""
    return f"{method}, {labels} labels" if labels else method


def arm(kind: str, method: str, labels: int = 0) -> str:
    """The name of an arm: a method under a kind of shift with a number of labels."""
    return f"{kind}: {called(method, labels)}"


def key(kind: str, *those: tuple[str, int]) -> str:
    """The key of a regret, or of the difference of two, each of a method with a number of labels."""
    return JOINT.join((kind, *(called(*that) for that in those)))


def shown(labels: Sequence[int]) -> list[tuple[str, int]]:
    """Every method with every number of labels that it uses."""
    return [(m, 0) for m in (FROZEN, *FREE)] + [(m, n) for m in LABELED for n in labels]


def ranked(labels: Sequence[int]) -> list[tuple[str, int]]:
    """Every method once, with the most labels that it uses."""
    return [(m, labels[-1] if m in LABELED else 0) for m in METHODS]


def shuffled(method: str) -> str:
    """A method that gets its labels in a random order."""
    return f"{method}, labels shuffled"
