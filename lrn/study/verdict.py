"""The verdict of a study, from its regimes and the table of results alone.

A regime holds where all its primary predictions hold, each at alpha: an intersection-union test (Berger,
1982) needs no correction. A regime fails where one of its primary predictions fails after Holm's
correction (1979). Over the regimes Hochberg's correction (1988) applies, once to holding and once to
failing; it is valid because the regimes share their seeds, and their tests depend positively on each other.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from lrn import files, stats
from lrn.study.claim import Study
from lrn.study.controls import Control
from lrn.study.predictions import Finding, Prediction, plain, restored
from lrn.study.regimes import Regime, restored_regime
from lrn.table import Table

MIN_SEEDS = 8  # the least number of seeds of a verdict; fewer seeds say little about the spread
POWER = 0.8  # the chance of a decision, for the numbers of seeds and the effects that a verdict names
MOST_SEEDS = 1000  # the largest number of seeds that a verdict names
Outcome = Literal["holds", "fails", "open", "not applicable"]
Verdict = Literal[
    "supported",
    "refuted",
    "mixed",
    "partly supported",
    "partly refuted",
    "open",
    "answered",
    "invalid",
    "underpowered",
    "smoke",
]
VERSION = 2  # the version of the rules and of the object that `judge` returns


class Judged(NamedTuple):
    """A prediction with its role in a regime ("gate", "primary" or "secondary"), finding and outcome."""

    role: str
    prediction: Prediction
    finding: Finding
    outcome: Outcome


class Place(NamedTuple):
    """A regime with its findings and its outcome.

    name: the regime's name. judged: its predictions with their findings.
    p_holds, p_fails: the p of "the regime holds" and of "the regime fails", before correction over regimes.
    adjusted_holds, adjusted_fails: the same after Hochberg's correction over the regimes.
    """

    name: str
    judged: tuple[Judged, ...]
    p_holds: float
    p_fails: float
    adjusted_holds: float = 1.0
    adjusted_fails: float = 1.0
    outcome: Outcome = "open"

    @property
    def primaries(self) -> list[Judged]:
        """The primary predictions, which decide the regime's outcome."""
        return [j for j in self.judged if j.role == "primary"]


def judge(study: Study, config: Any, preset: str, table: Table) -> dict[str, Any]:
    """The verdict, with the findings of all predictions and controls, as JSON values.

    Args:
        study: the study.
        config: the run's config.
        preset: the name of the run's preset; "smoke" never gives a verdict.
        table: the run's results.

    Returns:
        From "verdict", "reason", "regimes", "predictions", "controls" and "cautions" to their values.

    Raises:
        ValueError: the table lacks a cell of a prediction or of a control, or its cells have different seeds.
    """
    regimes, controls = study.asked(config), study.controlled(config)
    return _judged(regimes, controls, study.alpha, study.question, preset, table)


def judge_again(registered: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """The result of `judge` for a run whose study is not at hand, from the object in the run's config.json.

    Raises:
        ValueError: the table lacks a cell, lrn does not know the kind of a prediction, or the run is
            older than regimes.
    """
    if "regimes" not in registered:
        raise ValueError("it was judged by rules of an earlier version of lrn.")
    regimes = [restored_regime(spec) for spec in registered["regimes"]]
    controls = [Control(restored(spec), spec["consequence"]) for spec in registered["controls"]]
    question = bool(registered.get("question"))
    return _judged(regimes, controls, registered["alpha"], question, registered["preset"], table)


def predictions_sha256(study: Study, config: Any) -> str:
    """The SHA-256, in hex, of a study's regimes, controls, claim and level at one config."""
    return files.sha256_json(
        [
            [r.spec() for r in study.asked(config)],
            [c.spec() for c in study.controlled(config)],
            study.claim,
            study.alpha,
            study.question,
        ]
    )


def places(regimes: Iterable[Regime], find: Callable[[Prediction], Finding], alpha: float) -> list[Place]:
    """The regimes with their outcomes.

    Args:
        regimes: the regimes of a study.
        find: from a prediction to its finding.
        alpha: the level of the tests.
    """
    alone = [_place(regime, find, alpha) for regime in regimes]
    if not alone:
        return []
    up = stats.hochberg([place.p_holds for place in alone])
    down = stats.hochberg([place.p_fails for place in alone])
    return [
        place._replace(adjusted_holds=float(h), adjusted_fails=float(f), outcome=_decided(place, h, f, alpha))
        for place, h, f in zip(alone, up, down)
    ]


def _place(regime: Regime, find: Callable[[Prediction], Finding], alpha: float) -> Place:
    """One regime with its findings, before the correction over regimes."""
    findings = {id(p): find(p) for _, p in regime.all}
    primary = [findings[id(p)] for p in regime.primary]
    failing = dict(zip(map(id, regime.primary), stats.holm([_fails(f) for f in primary])))
    judged = tuple(
        Judged(role, p, findings[id(p)], _outcome(findings[id(p)], failing.get(id(p)), alpha))
        for role, p in regime.all
    )
    gate = findings[id(regime.gate)] if regime.gate else None
    opened = 0.0 if gate is None else _holds(gate)
    if opened > alpha:
        return Place(regime.name, judged, 1.0, 1.0, outcome="not applicable")
    p_holds = max(opened, *map(_holds, primary))
    return Place(regime.name, judged, p_holds, max(opened, min(failing.values())))


def _decided(place: Place, holds: float, fails: float, alpha: float) -> Outcome:
    if place.outcome == "not applicable":
        return "not applicable"
    if holds <= alpha:
        return "holds"
    return "fails" if fails <= alpha else "open"


def _holds(finding: Finding) -> float:
    """The p of "the prediction holds"; 0 or 1 where nothing is random."""
    return float(not finding.holds) if finding.p_holds is None else finding.p_holds


def _fails(finding: Finding) -> float:
    """The p of "the prediction fails"; 0 or 1 where nothing is random."""
    return float(bool(finding.holds)) if finding.p_fails is None else finding.p_fails


def _outcome(finding: Finding, failing: float | None, alpha: float) -> Outcome:
    if _holds(finding) <= alpha:
        return "holds"
    return "fails" if (_fails(finding) if failing is None else failing) <= alpha else "open"


def checked(
    controls: Sequence[Control], find: Callable[[Prediction], Finding], alpha: float
) -> list[tuple[Control, Finding, Outcome]]:
    """The controls with their findings and outcomes.

    Holm's correction runs over the controls that can void the verdict, so that many of them void a sound
    study no more often than one would. Exact controls make no test, and are not counted.
    """
    findings = [find(c.check) for c in controls]
    random = [f.p_fails is not None for f in findings]
    guards = [i for i, c in enumerate(controls) if c.consequence == "invalid" and random[i]]
    corrected = stats.holm([_fails(findings[i]) for i in guards]) if guards else []
    failing = dict(zip(guards, map(float, corrected)))
    return [(c, f, _outcome(f, failing.get(i), alpha)) for i, (c, f) in enumerate(zip(controls, findings))]


def _judged(
    regimes: Sequence[Regime],
    controls: Sequence[Control],
    alpha: float,
    question: bool,
    preset: str,
    table: Table,
) -> dict[str, Any]:
    def find(prediction: Prediction) -> Finding:
        return prediction.find(table)

    judged_regimes = places(regimes, find, alpha)
    checks = checked(controls, find, alpha)
    seeds = len(table.seeds)
    verdict, reason = decide(preset, seeds, judged_regimes, checks, alpha, question)
    guards = [c for c in checks if c[0].consequence == "invalid" and c[2] == "open"]
    return {
        "judge": VERSION,
        "verdict": verdict,
        "reason": reason,
        "regimes": [_regime(place) for place in judged_regimes],
        "predictions": [_prediction(place.name, j, alpha) for place in judged_regimes for j in place.judged],
        "controls": [{**c.spec(), **_finding(f), "outcome": o, "passed": o == "holds"} for c, f, o in checks],
        "cautions": [c.check.statement for c, _, _ in guards],
    }


def decide(
    preset: str,
    seeds: int,
    found: Sequence[Place],
    checks: Sequence[tuple[Control, Finding, Outcome]],
    alpha: float = 0.05,
    question: bool = False,
) -> tuple[Verdict, str]:
    """The verdict, and its reason in one sentence.

    Args:
        preset: the name of the run's preset.
        seeds: the number of seeds.
        found: the regimes with their outcomes, from `places`.
        checks: the controls with their outcomes, from `checked`.
        alpha: the level of the tests.
        question: whether the notes ask an open question.
    """
    if preset == "smoke":
        return "smoke", "The smoke preset shows that the study runs; it is too small for a verdict."
    broken = [c for c, _, outcome in checks if c.consequence == "invalid" and outcome == "fails"]
    if broken:
        return "invalid", f"A control failed, so nothing else counts: {broken[0].check.statement}"
    if seeds < MIN_SEEDS:
        return "underpowered", f"Too few seeds: {seeds}, and a verdict takes at least {MIN_SEEDS}."
    if question:
        return "answered", "The notes leave the question open; what was measured is the answer."
    if out_of_reach := _out_of_reach(found, seeds, alpha):
        return "underpowered", f"{seeds} seeds are too few for this to come out either way: {out_of_reach}"
    return _over_regimes(found)


def _out_of_reach(regimes: Sequence[Place], seeds: int, alpha: float) -> str:
    """The statement of a primary prediction that cannot hold, or cannot fail, with so few seeds; or ""."""
    for place in regimes:
        for judged in place.primaries:
            holds, fails = judged.prediction.smallest_p(seeds)
            tests = len(place.primaries)
            if judged.finding.p_holds is not None and len(regimes) * max(holds, tests * fails) > alpha:
                return judged.prediction.statement
    return ""


def _over_regimes(regimes: Sequence[Place]) -> tuple[Verdict, str]:
    """The verdict and its reason, from the outcomes of the regimes alone."""
    by = {o: [p for p in regimes if p.outcome == o] for o in ("holds", "fails", "open", "not applicable")}
    holds, fails = by["holds"], by["fails"]
    rest = "; ".join(
        f"{word}: {_names(by[outcome])}"
        for outcome, word in (("open", "open"), ("not applicable", "the question does not arise"))
        if by[outcome]
    )
    if holds and fails:
        both = f"The claim holds ({_names(holds)}) and fails ({_names(fails)})."
        return "mixed", both + (rest and f" Also {rest}.")
    if len(holds) == len(regimes):
        return "supported", "The claim holds" + (" in every regime." if len(regimes) > 1 else ".")
    if holds:
        return "partly supported", f"The claim holds ({_names(holds)}); {rest}."
    how = " and ".join(dict.fromkeys(_ways(fails)))
    if len(fails) == len(regimes) and fails:
        return "refuted", f"The claim fails{' in every regime' if len(regimes) > 1 else ''}: {how}."
    if fails:
        return "partly refuted", f"The claim fails ({_names(fails)}: {how}); {rest}."
    return "open", f"No regime is decided ({rest})."


_WAYS = {
    "short": "the effect falls short of the margin",
    "negligible": "the effect is negligible",
    "opposite": "the effect lies on the wrong side of zero",
    "outside": "the value lies outside of what was predicted",
    "": "a prediction does not hold",
}


def _ways(fails: Sequence[Place]) -> list[str]:
    return [_WAYS[j.finding.how] for place in fails for j in place.primaries if j.outcome == "fails"]


def _names(regimes: Sequence[Place]) -> str:
    return "; ".join(place.name for place in regimes)


def _regime(place: Place) -> dict[str, Any]:
    hows = [j.finding.how for j in place.primaries if j.outcome == "fails"]
    return {
        "name": place.name,
        "outcome": place.outcome,
        "how": list(dict.fromkeys(hows)) if place.outcome == "fails" else [],
        "p_holds": place.p_holds,
        "p_fails": place.p_fails,
        "adjusted_holds": place.adjusted_holds,
        "adjusted_fails": place.adjusted_fails,
    }


def _prediction(regime: str, judged: Judged, alpha: float) -> dict[str, Any]:
    finding, outcome = judged.finding, judged.outcome
    entry = {
        **judged.prediction.spec(),
        "regime": regime,
        "role": judged.role,
        **_finding(finding),
        "how": finding.how if outcome == "fails" else "",
        "outcome": outcome,
    }
    if outcome == "open":
        entry["seeds_needed"] = seeds_needed(finding, alpha)
        entry["detectable"] = detectable(finding, alpha)
    return entry


def seeds_needed(finding: Finding, alpha: float = 0.05, power: float = POWER) -> int | None:
    """How many seeds would decide an open prediction, by a one-sided z test.

    Args:
        finding: gives the effect and the spread.
        alpha: the level of the test.
        power: the chance of a decision.

    Returns:
        The number of seeds; None where no mean is tested, or where more than `MOST_SEEDS` are needed.
    """
    if finding.spread is None or not finding.distance or not math.isfinite(finding.distance):
        return None
    from scipy.special import ndtri

    n = ((ndtri(1 - alpha) + ndtri(power)) * finding.spread / finding.distance) ** 2
    return max(finding.n, math.ceil(n)) if n <= MOST_SEEDS else None


def detectable(finding: Finding, alpha: float = 0.05, power: float = POWER) -> float | None:
    """The least distance from the margin that the finding's seeds would have shown, by a one-sided t test.

    Args:
        finding: gives the spread and the number of seeds.
        alpha: the level of the test.
        power: the chance of a decision.

    Returns:
        The distance, in the metric's unit; None where no mean is tested.
    """
    if finding.spread is None or finding.n < 2 or not math.isfinite(finding.spread):
        return None
    from scipy.special import stdtrit

    reach = stdtrit(finding.n - 1, 1 - alpha) + stdtrit(finding.n - 1, power)
    return float(reach * finding.spread / np.sqrt(finding.n))


def _finding(finding: Finding) -> dict[str, Any]:
    shown = [f.name for f in dataclasses.fields(finding) if f.name not in ("holds", "how", "distance")]
    return {name: plain(getattr(finding, name)) for name in shown}
