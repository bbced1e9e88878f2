"""A second set of drawn seeds: whether each regime of a study comes out as on the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrn.report.run import Run
from lrn.study.register import REPLICATION


def is_second(run: Run) -> bool:
    """Whether a run is on the second set of seeds of its registration (``run ID --replicate``)."""
    return run.exploratory == REPLICATION


def regimes_of(run: Run) -> dict[str, str]:
    """From the name of each regime to its outcome."""
    return {place.name: place.outcome for place in run.regimes}


def facts_of(run: Run) -> dict[str, Any]:
    """What is kept of a run on the second seeds."""
    return {
        "study": run.study,
        "study_sha256": run.study_sha256,
        "run": run.name,
        "preset": run.preset,
        "seeds": len(run.seeds),
        "verdict": run.verdict,
        "regimes": regimes_of(run),
    }


def fitting(
    study: str, own: Mapping[str, Any], seconds: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """The first of ``seconds`` that repeats the published run ``own``: equal study, code, preset, seeds."""
    alike = ("study_sha256", "preset", "seeds")
    return next(
        (s for s in seconds if s["study"] == study and all(s[name] == own[name] for name in alike)), None
    )


def differing(own: Mapping[str, Any]) -> list[str]:
    """The regimes that came out otherwise on the second seeds."""
    first, second = own["regimes"], own["second"]["regimes"]
    return [name for name in first if first[name] != second.get(name)]


def word(own: Mapping[str, Any]) -> str:
    """What the table of runs says: that all regimes agree, or how many differ."""
    if "second" not in own:
        return ""
    differ = len(differing(own))
    return f"{differ} of {len(own['regimes'])} regimes differ" if differ else "all regimes agree"


def lines(own: Mapping[str, Any]) -> list[str]:
    """The part of a study's page; empty without a second run."""
    if "second" not in own:
        return []
    second, differ = own["second"], differing(own)
    rows = [
        f"| {name.replace('|', chr(92) + '|')} | {outcome} | {second['regimes'].get(name, '')} |"
        for name, outcome in own["regimes"].items()
    ]
    if differ:
        told = f"{_listed(differ)} came out otherwise: read {'these' if differ[1:] else 'this'} as open."
    else:
        told = "All regimes came out alike."
    head = f"On a second set of {second['seeds']} drawn seeds the verdict is *{second['verdict']}*. {told}"
    return [head, "", "| regime | first seeds | second seeds |", "|---|---|---|", *rows, ""]


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
