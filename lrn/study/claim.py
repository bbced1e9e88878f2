"""`Study`: one claim of the notes, with its predictions, controls, presets and training."""

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
    """One claim of the notes, with its predictions, controls, presets and training.

    title: a few words.
    claim: the statement of the notes, in our words. claim_id: the statement's row in the notes ("O3").
    section: the statement's section in the notes, one of `SECTIONS`.
    regime: the data, models and budgets of which the verdict speaks.
    presets: configs by name, instances of one frozen dataclass: "smoke" (seconds, never a verdict), "quick"
        (about a minute on two cores), "full".
    run: ``run(config, context)`` trains the arms and records their metrics.
    figure: ``figure(table, config) -> Figure``.
    regimes: the regimes with their predictions, or a function from the config to the regimes.
    controls: the controls, or a function from the config to the controls.
    answer: ``answer(findings) -> str``: one to three plain sentences, from the findings alone.
    question: whether the notes ask an open question. Such a study may have no regimes; its verdict is
        "answered".
    ranges: from a metric to the least and the largest value that the metric can have.
    relations: inequalities between cells that follow from the definition of the cells, or a function from the
        config to such inequalities. `lrn.study.satisfiable` needs ranges and relations.
    seeds: from a preset to its number of paired seeds; 10 for a preset that is not named.
    alpha: the level of the tests.
    tour: whether `make run` includes the study.
    exploratory: the reason why every verdict of this study is exploratory; "" for a study that
        can be registered.

    Raises:
        ValueError: a field is out of its range, or a preset has no regime, too many regimes, or too many
            primary predictions.
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
        """Check the fields, and the regimes of every preset."""
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
        """All predictions for a config: gates, primary and secondary predictions."""
        return [p for regime in self.asked(config) for _, p in regime.all]

    def controlled(self, config: Any) -> list[Control]:
        """The controls for a config."""
        return list(self.controls(config) if callable(self.controls) else self.controls)

    def related(self, config: Any) -> list[Prediction]:
        """The relations between cells for a config."""
        return list(self.relations(config) if callable(self.relations) else self.relations)

    def seeds_for(self, preset: str) -> int:
        """The default number of seeds of a preset."""
        return self.seeds.get(preset, 10)
