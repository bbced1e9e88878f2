"""A study: one claim of the notes with all that decides it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lrn import check
from lrn.study.controls import Control
from lrn.study.predictions import Prediction
from lrn.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lrn.study.context import Context

SECTIONS = ("Concepts", "Insights", "Failure modes", "Trade-offs", "Observations", "Open questions")


@dataclass(frozen=True, kw_only=True)
class Study:
    """One claim with all that decides it.

    title: a few words; claim: the statement of the notes, in our words; claim_id: its row there ("O3").
    section: the section of the notes. regime: data, models and budgets that the verdict speaks of.
    presets: "smoke" (seconds, never a verdict), "quick" (about a minute on two cores), "full": one frozen
        dataclass each, of one class.
    predictions, controls: tuples, or functions from the config to them.
    run: ``run(config, context)`` trains and records. figure: ``figure(table, config) -> Figure``.
    seeds: how many paired seeds each preset takes by default.
    tour: whether `make run` includes it.
    """

    title: str
    claim: str
    claim_id: str
    section: str
    regime: str
    presets: Mapping[str, Any]
    predictions: Sequence[Prediction] | Callable[[Any], Sequence[Prediction]]
    run: Callable[[Any, Context], None]
    figure: Callable[[Table, Any], Figure]
    controls: Sequence[Control] | Callable[[Any], Sequence[Control]] = ()
    seeds: Mapping[str, int] = field(default_factory=lambda: {"smoke": 2})
    alpha: float = 0.05
    tour: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked before a run."""
        check.choice("section", self.section, SECTIONS)
        check.between("alpha", self.alpha, 1e-6, 0.5)
        if not self.presets:
            raise ValueError(f"the study {self.title!r} has no presets; give at least 'smoke' and 'quick'.")
        kinds = {type(c) for c in self.presets.values()}
        if len(kinds) != 1 or not dataclasses.is_dataclass(next(iter(kinds))):
            raise ValueError(f"the presets of {self.title!r} must be instances of one dataclass.")
        for preset, config in self.presets.items():
            if not self.predicted(config):
                raise ValueError(
                    f"the study {self.title!r} predicts nothing at {preset}; state at least one prediction."
                )

    def predicted(self, config: Any) -> list[Prediction]:
        """The predictions for a config."""
        return list(self.predictions(config) if callable(self.predictions) else self.predictions)

    def controlled(self, config: Any) -> list[Control]:
        """The controls for a config."""
        return list(self.controls(config) if callable(self.controls) else self.controls)

    def seeds_for(self, preset: str) -> int:
        """How many seeds a preset takes by default."""
        return self.seeds.get(preset, 10)
