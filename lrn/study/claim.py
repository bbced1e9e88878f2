"""A study: one claim of the notes with all that decides it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lrn import check
from lrn.study.controls import Control
from lrn.study.findings import Findings
from lrn.study.predictions import Prediction
from lrn.study.regimes import Regime, check_few
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
    regimes: where the claim is asked, or a function from the config to them; none where the notes ask an open
        ``question``, whose verdict is "answered".
    controls: a tuple, or a function from the config to one.
    run: ``run(config, context)`` trains and records. figure: ``figure(table, config) -> Figure``.
    answer: ``answer(findings) -> str``, one to three plain sentences, from the findings alone.
    ranges: from metric to the least and the largest value it can have; relations: inequalities between cells
        that follow from what they are. By these the tests show that each prediction can come out either way.
    seeds: how many paired seeds each preset takes by default.
    tour: whether `make run` includes it.
    exploratory: why its verdict is exploratory whatever it is run with; "" for a study of this form.
    """

    title: str
    claim: str
    regime: str
    presets: Mapping[str, Any]
    run: Callable[[Any, Context], None]
    figure: Callable[[Table, Any], Figure]
    claim_id: str = ""
    section: str = ""
    regimes: Sequence[Regime] | Callable[[Any], Sequence[Regime]] = ()
    controls: Sequence[Control] | Callable[[Any], Sequence[Control]] = ()
    answer: Callable[[Findings], str] | None = None
    question: bool = False
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    relations: Callable[[Any], Sequence[Prediction]] | Sequence[Prediction] = ()
    seeds: Mapping[str, int] = field(default_factory=lambda: {"smoke": 2})
    alpha: float = 0.05
    tour: bool = False
    exploratory: str = ""

    def __post_init__(self) -> None:
        """Check what can be checked before a run."""
        if self.section:
            check.choice("section", self.section, SECTIONS)
        check.between("alpha", self.alpha, 1e-6, 0.5)
        if not self.presets:
            raise ValueError(f"the study {self.title!r} has no presets; give at least 'smoke' and 'quick'.")
        kinds = {type(c) for c in self.presets.values()}
        if len(kinds) != 1 or not dataclasses.is_dataclass(next(iter(kinds))):
            raise ValueError(f"the presets of {self.title!r} must be instances of one dataclass.")
        for preset, config in self.presets.items():
            regimes = self.asked(config)
            if not regimes and not self.question:
                raise ValueError(f"the study {self.title!r} predicts nothing at {preset}; give it a regime.")
            if not self.exploratory:
                check_few(self.title, regimes)

    def asked(self, config: Any) -> list[Regime]:
        """The regimes for a config."""
        return list(self.regimes(config) if callable(self.regimes) else self.regimes)

    def predicted(self, config: Any) -> list[Prediction]:
        """All predictions for a config, secondary ones too."""
        return [p for regime in self.asked(config) for _, p in regime.all]

    def controlled(self, config: Any) -> list[Control]:
        """The controls for a config."""
        return list(self.controls(config) if callable(self.controls) else self.controls)

    def related(self, config: Any) -> list[Prediction]:
        """The relations between cells for a config."""
        return list(self.relations(config) if callable(self.relations) else self.relations)

    def seeds_for(self, preset: str) -> int:
        """How many seeds a preset takes by default."""
        return self.seeds.get(preset, 10)
