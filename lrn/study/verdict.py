"""The verdict of a study, from its predictions and the table of results alone."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lrn import files, stats
from lrn.study import source
from lrn.study.claim import Study
from lrn.study.controls import Control
from lrn.study.predictions import Finding, Prediction, plain, restored
from lrn.table import Table

MIN_SEEDS = 8  # below, the smallest paired p leaves too little room for Holm
FLIPPED = ("superiority", "equivalence", "interval")  # kinds whose p is at least 2^-seeds
Outcome = Literal["supported", "refuted", "inconclusive"]
Verdict = Literal["supported", "refuted", "mixed", "inconclusive", "underpowered", "invalid", "smoke"]


def judge(study: Study, config: Any, preset: str, table: Table) -> dict[str, Any]:
    """The verdict and everything it rests on, as JSON values, from the table alone.

    Holm's correction runs over the predictions that have a p-value, for and against them; controls are not
    corrected, which makes them stricter judges of nothing but the experiment itself.

    Raises:
        ValueError: the table lacks something that a prediction or control looks at.
    """
    return _judged(study.predicted(config), study.controlled(config), study.alpha, preset, table)


def judge_again(registered: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """What `judge` says, from what a run registered in its config.json in place of the study.

    Raises:
        ValueError: the table lacks something, or a prediction is of a kind that lrn does not have.
    """
    predictions = [restored(spec) for spec in registered["predictions"]]
    controls = [Control(restored(spec), spec["consequence"]) for spec in registered["controls"]]
    return _judged(predictions, controls, registered["alpha"], registered["preset"], table)


def _judged(
    predictions: Sequence[Prediction], controls: Sequence[Control], alpha: float, preset: str, table: Table
) -> dict[str, Any]:
    found = [p.find(table) for p in predictions]
    results = [
        {**p.spec(), **_finding(f), "p_adjusted": up, "outcome": _outcome(f, up, down, alpha)}
        for p, f, up, down in zip(
            predictions, found, _holm([f.p for f in found]), _holm([f.p_against for f in found])
        )
    ]
    checks = []
    for control in controls:
        finding = control.check.find(table)
        outcome = _outcome(finding, finding.p, finding.p_against, alpha)
        passed = outcome == "supported"
        entry = {**control.spec(), **_finding(finding), "p_adjusted": None}
        checks.append({**entry, "outcome": outcome, "passed": passed})
    verdict, reason = decide(preset, len(table.seeds), results, checks, alpha)
    return {"verdict": verdict, "reason": reason, "predictions": results, "controls": checks}


def decide(
    preset: str,
    seeds: int,
    predictions: Sequence[Mapping[str, Any]],
    controls: Sequence[Mapping[str, Any]],
    alpha: float = 0.05,
) -> tuple[Verdict, str]:
    """The verdict, and why in one sentence, from the outcomes."""
    if preset == "smoke":
        return "smoke", "The smoke preset shows that the study runs; it is too small for a verdict."
    guards = [c for c in controls if c["consequence"] == "invalid"]
    broken = [c for c in guards if c["outcome"] == "refuted"]
    if not broken and seeds < MIN_SEEDS:
        return "underpowered", f"Too few seeds: {seeds}, and a verdict takes at least {MIN_SEEDS}."
    tests = sum(p.get("kind") in FLIPPED for p in predictions)
    if not broken and tests and tests * stats.smallest_sign_flip_p(seeds, "greater") > alpha:
        return (
            "underpowered",
            f"{seeds} seeds are too few for {tests} predictions: none could pass Holm's test.",
        )
    broken = broken or [c for c in guards if not c["passed"]]
    if broken:
        return "invalid", f"A control failed, so nothing else counts: {broken[0]['statement']}"
    by = {o: [p for p in predictions if p["outcome"] == o] for o in ("supported", "refuted", "inconclusive")}
    total = len(predictions)
    if len(by["supported"]) == total:
        return "supported", f"All {total} predictions came out." if total > 1 else "The prediction came out."
    if by["supported"] and by["refuted"]:
        return "mixed", f"It holds ({_regimes(by['supported'])}) and fails ({_regimes(by['refuted'])})."
    if by["refuted"]:
        rest = f"; {len(by['inconclusive'])} could not be decided" if by["inconclusive"] else ""
        return "refuted", f"{len(by['refuted'])} of {total} predictions came out the other way{rest}."
    return (
        "inconclusive",
        f"{len(by['inconclusive'])} of {total} predictions could not be decided with {seeds} seeds.",
    )


def study_sha256(path: Path) -> str:
    """A hash of a study file's code without its docstrings: by it runs of before `source` are known.

    Raises:
        OSError: the file cannot be read.
        SyntaxError: it is no Python.
    """
    tree = source.parse(Path(path).read_bytes())
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return hashlib.sha256(source.dump(tree).encode()).hexdigest()


def predictions_sha256(study: Study, config: Any) -> str:
    """A hash of what was predicted and of what was to be controlled."""
    return files.sha256_json(
        [
            [p.spec() for p in study.predicted(config)],
            [c.spec() for c in study.controlled(config)],
            study.claim,
            study.alpha,
        ]
    )


def _outcome(finding: Finding, p: float | None, p_against: float | None, alpha: float) -> Outcome:
    """Both ways at one level: a prediction is refuted by evidence for its opposite, not by a lack of it."""
    if p is None or p_against is None:
        return "supported" if finding.holds else "refuted"
    if p <= alpha:
        return "supported"
    return "refuted" if p_against <= alpha else "inconclusive"


def _holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's correction over the p-values there are."""
    tested = [x for x in p if x is not None]
    adjusted = iter(stats.holm(np.array(tested)) if tested else [])
    return [None if x is None else float(next(adjusted)) for x in p]


def _finding(finding: Finding) -> dict[str, Any]:
    shown = [f.name for f in dataclasses.fields(finding) if f.name != "holds"]
    return {name: plain(getattr(finding, name)) for name in shown}


def _regimes(predictions: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(dict.fromkeys(p["regime"] or p["statement"].rstrip(".") for p in predictions))
