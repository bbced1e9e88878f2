"""What came out, in plain sentences: the study's own answer, or sentences made from its regimes."""

from __future__ import annotations

import math
import re

from lrn.report import text
from lrn.report.run import Result, Run

NOT_JUDGED = ("smoke", "underpowered", "invalid")  # where the reason matters more than what was measured
HOWS = {  # a prediction fails
    "short": "short of the margin",
    "negligible": "negligible",
    "opposite": "on the wrong side of zero",
    "outside": "outside of the range",
}
_STATES = (("holds", "holds"), ("fails", "fails"), ("open", "is open"), ("not applicable", "does not arise"))


def answer_of(run: Run) -> str:
    """One to three sentences on a finished run, what matters most first; "" of a run that is not finished."""
    if run.state != "finished":
        return ""
    if run.verdict in NOT_JUDGED or not run.regimes:
        return run.answer or run.reason
    return run.answer or " ".join([_counted(run), *_clearest(run)])


def first_sentence(said: str) -> str:
    """The first sentence of a text; decimals, as in "eps .1", do not end one."""
    return re.split(r"(?<=[.!?])\s+(?=[A-Z“\"])", said, maxsplit=1)[0]


def _counted(run: Run) -> str:
    """In how many regimes the claim holds, fails, and is open; named where they are one or two."""
    by = {words: [p.name for p in run.regimes if p.outcome == outcome] for outcome, words in _STATES}
    by = {words: names for words, names in by.items() if names}
    total = sum(map(len, by.values()))
    if total == 0:
        return run.reason
    first = next(iter(by))
    if len(by) == 1:
        everywhere = {1: "", 2: " in both regimes"}.get(total, f" in all {total} regimes")
        return f"The claim {first}{everywhere}."
    parts = [
        f"{words} in {len(names)}{f' of {total} regimes' if words == first else ''}"
        + (f" ({'; '.join(names)})" if len(names) <= 2 else "")
        for words, names in by.items()
    ]
    return f"The claim {', '.join(parts[:-1])} and {parts[-1]}."


def _clearest(run: Run) -> list[str]:
    """The clearest prediction that holds and the clearest that fails, with their effects."""
    primary = [r for r in run.predictions if r.role == "primary" and r.effect is not None]
    sentences = []
    for outcome in ("holds", "fails"):
        of = [r for r in primary if r.outcome == outcome]
        if of:
            clearest = max(of, key=_clear)
            words = f"Clearest of what {outcome}" if len(of) > 1 else f"What {outcome}"
            how = f", {HOWS[clearest.how]}" if clearest.how else ""
            sentences.append(f"{words}{how}: {_said(clearest)}")
    return sentences


def _said(result: Result) -> str:
    effect, interval = text.effect(result.effect, result.low, result.high)
    return f"“{result.statement.rstrip('.')}” ({' '.join(filter(None, (effect, interval)))})."


def _clear(result: Result) -> float:
    """How far an effect lies from its margin, in half widths of its interval."""
    bounds = [bound for bound in result.region or () if math.isfinite(bound)]
    if result.effect is None or result.low is None or result.high is None or not bounds:
        return 0.0
    half = max((result.high - result.low) / 2, 0.01 * abs(result.effect), 1e-12)
    return min(abs(result.effect - bound) for bound in bounds) / half
