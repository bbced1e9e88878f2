"""A regime: a condition under which a claim is asked, with the predictions that the claim makes there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrn import check
from lrn.study.predictions import Prediction, restored

MOST_REGIMES, MOST_PRIMARIES = 4, 3
OLD_FORM = "the study is of the old form: its seeds were seen before its predictions were final"


@dataclass(frozen=True, kw_only=True)
class Regime:
    """A condition under which the claim is asked: a data set, the end of a dial, a family of tasks.

    name: a few words, unique in a study.
    primary: the predictions of the claim in this regime; the regime holds where all of them hold.
    gate: the condition for the question to arise, such as an advantage that is to vanish. The regime is not
        applicable unless the data show that the gate holds.
    secondary: predictions that are shown and never counted.
    """

    name: str
    primary: tuple[Prediction, ...]
    gate: Prediction | None = None
    secondary: tuple[Prediction, ...] = ()

    def __post_init__(self) -> None:
        """Check that there is a primary prediction."""
        if not self.primary:
            raise check.InputError(f"the regime {self.name!r} predicts nothing; give a primary prediction.")

    @property
    def all(self) -> tuple[tuple[str, Prediction], ...]:
        """Every prediction with its role."""
        return (
            *((("gate", self.gate),) if self.gate else ()),
            *(("primary", p) for p in self.primary),
            *(("secondary", p) for p in self.secondary),
        )

    def spec(self) -> dict[str, Any]:
        """The regime as JSON."""
        return {
            "name": self.name,
            "gate": self.gate.spec() if self.gate else None,
            "primary": [p.spec() for p in self.primary],
            "secondary": [p.spec() for p in self.secondary],
        }


def restored_regime(spec: Mapping[str, Any]) -> Regime:
    """The regime whose `Regime.spec` is ``spec``.

    Raises:
        ValueError: lrn does not know the kind of a prediction.
    """
    return Regime(
        name=spec["name"],
        gate=restored(spec["gate"]) if spec["gate"] else None,
        primary=tuple(map(restored, spec["primary"])),
        secondary=tuple(map(restored, spec["secondary"])),
    )


def by_regime(predictions: Callable[[Any], Sequence[Prediction]]) -> Callable[[Any], list[Regime]]:
    """The ``regimes`` of a study of the old form, whose predictions each name a regime.

    Args:
        predictions: from a config to the predictions.

    Returns:
        A function from a config to its regimes, in which every prediction is primary. A prediction without a
        regime is a regime of its own, named after its statement.
    """

    def regimes(config: Any) -> list[Regime]:
        groups: dict[str, list[Prediction]] = {}
        for prediction in predictions(config):
            groups.setdefault(prediction.regime or prediction.statement.rstrip("."), []).append(prediction)
        return [Regime(name=name, primary=tuple(group)) for name, group in groups.items()]

    return regimes


def check_few(title: str, regimes: Sequence[Regime]) -> None:
    """Raise InputError where there are too many regimes or primaries, or where two share a name or a key."""
    if len(regimes) > MOST_REGIMES:
        raise check.InputError(
            f"the study {title!r} has {len(regimes)} regimes and a verdict takes at most {MOST_REGIMES}; "
            "make the others secondary."
        )
    names = [regime.name for regime in regimes]
    if len(set(names)) < len(names):
        raise check.InputError(f"two regimes of {title!r} share a name; give each its own.")
    keys = [p.key for regime in regimes for _, p in regime.all if p.key]
    if len(set(keys)) < len(keys):
        raise check.InputError(f"two predictions of {title!r} share a key; give each its own.")
    for regime in regimes:
        if len(regime.primary) > MOST_PRIMARIES:
            raise check.InputError(
                f"the regime {regime.name!r} has {len(regime.primary)} primary predictions and may have "
                f"{MOST_PRIMARIES}; make the others secondary."
            )
