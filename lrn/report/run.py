"""A run as values that are safe to show, and what was wrong with its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

OLD = "made before verdicts were reached over regimes"


class Result(NamedTuple):
    """What a run found about one prediction or control; None where a number does not apply.

    region: the range of effects that the prediction calls for, infinite at an open end.
    regime, role: of predictions. consequence: of controls. "" for the others.
    outcome, how: see `lrn.study.verdict.Outcome` and `lrn.study.predictions.How`.
    seeds_needed, detectable: of what is open, see `lrn.study.verdict`.
    """

    statement: str
    kind: str
    regime: str
    role: str
    compared: str
    region: tuple[float, float] | None
    consequence: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    p_holds: float | None = None
    p_fails: float | None = None
    hedges_g: float | None = None
    probability_of_improvement: float | None = None
    n: int | None = None
    seeds_needed: int | None = None
    detectable: float | None = None
    outcome: str = ""
    how: str = ""
    detail: str = ""


class Place(NamedTuple):
    """A regime with its outcome, and its p-values after correction over the regimes."""

    name: str
    outcome: str = ""
    adjusted_holds: float | None = None
    adjusted_fails: float | None = None


class Final(NamedTuple):
    """The last value of a metric of an arm: seeds [n], sorted, and values [n], NaN where a seed failed."""

    seeds: np.ndarray
    values: np.ndarray


@dataclass(kw_only=True)
class Run:
    """One run folder. Texts are "" and mappings empty where the folder does not say.

    state: "finished" when there are a verdict and the config it belongs to, "unfinished" when there is no
        verdict yet, "failed" when an error ended it before one, "damaged" when verdict or config cannot be
        read or are not as they were written.
    damage: what is wrong with the folder's files, one sentence each; also of a finished run.
    sealed: whether the folder has checksums (runs made before there were any have none).
    differs: what comes out otherwise when the predictions are judged again from the table, a sentence each.
    judged_again: whether they could be; "" if so, else why not.
    failed: what ended a run that failed. figure_failed: why a finished run has no figure.
    study_files: hashes of the files that the study was made of, by module; study_where: the path of a
        study's file from the folder of all runs, "" of studies that come with lrn.
    exploratory: why its verdict is exploratory; "" of a registered run.
    regimes: none when the run is unfinished, or was judged before there were regimes.
    predictions, controls: without findings when the run is unfinished.
    finals: (arm, metric) -> last values.
    figure, figure_dark: PNG bytes, checked.
    """

    folder: Path
    study: str
    state: Literal["finished", "unfinished", "failed", "damaged"] = "damaged"
    damage: list[str] = field(default_factory=list)
    sealed: bool = False
    differs: list[str] = field(default_factory=list)
    judged_again: str = "there is no verdict"
    failed: str = ""
    figure_failed: str = ""
    title: str = ""
    claim: str = ""
    claim_id: str = ""
    section: str = ""
    doc: str = ""
    regime: str = ""
    preset: str = ""
    seeds: list[int] = field(default_factory=list)
    config: Mapping[str, Any] = field(default_factory=dict)
    alpha: float | None = None
    command: str = ""
    study_path: str = ""
    study_sha256: str = ""
    study_files: Mapping[str, str] = field(default_factory=dict)
    study_where: str = ""
    verdict: str = ""
    reason: str = ""
    answer: str = ""
    exploratory: str = ""
    regimes: list[Place] = field(default_factory=list)
    predictions: list[Result] = field(default_factory=list)
    controls: list[Result] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    finals: Mapping[tuple[str, str], Final] = field(default_factory=dict)
    figure: bytes | None = None
    figure_dark: bytes | None = None

    @property
    def name(self) -> str:
        """The folder's name: the hash of the run's settings."""
        return self.folder.name

    @property
    def where(self) -> str:
        """Its folder, from the folder of all runs."""
        return f"{self.folder.parent.name}/{self.name}"

    @property
    def finished(self) -> str:
        """When it finished, ISO 8601, or ""; sorts by time."""
        when = self.provenance.get("finished")
        return "" if when is None else str(when)

    @property
    def identity(self) -> tuple[str, ...]:
        """Which study it is of. Studies that come with lrn have an id each; other files may share a name."""
        path = Path(self.study_path.removesuffix(".py")).parts
        if "." in self.study and not self.study_where and path[-2:] == tuple(self.study.split(".")):
            return (self.study,)
        return (self.study, self.study_path, self.claim)

    @property
    def overridden(self) -> bool:
        """Whether fields of the preset's config were changed on the command line."""
        return " --config." in self.command
