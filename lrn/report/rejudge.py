"""Holds what a run folder says against what its own table gives."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from lrn import files
from lrn import table as tables
from lrn.report.fields import ENTRIES, list_of, short_number, text_of
from lrn.report.metrics import SEEDS, at_steps
from lrn.report.run import Run
from lrn.study import verdict as verdicts

_STATED = ("regimes", "controls")
_LAST = 2**62  # the step of last values
_WORDS = ("name", "outcome", "how")
_NUMBERS = ("effect", "n", "p_holds", "p_fails", "adjusted_holds", "adjusted_fails", "hedges_g",
            "probability_of_improvement", "seeds_needed", "detectable")  # fmt: skip


def judge_again(run: Run, config: Mapping[str, Any], verdict: Mapping[str, Any]) -> None:
    """Hold what the folder says against what its table gives."""
    if not run.finals:
        run.judged_again = "there are no metrics"
        return
    if max(len(final.seeds) for final in run.finals.values()) > SEEDS:
        run.judged_again = f"there are more than {SEEDS:,} seeds"
        return
    if "judge" not in verdict:
        run.judged_again = "it was judged by earlier rules"
        return
    parts = [
        tables.rows(arm, final.seeds, _LAST, metric, final.values)
        for (arm, metric), final in run.finals.items()
    ]
    try:
        parts += at_steps(run.folder / "metrics.parquet", set(_stepped([config.get(k) for k in _STATED])))
        again = json.loads(files.json_bytes(verdicts.judge_again(config, tables.concat(parts))))
    except Exception as error:  # whatever hostile or foreign predictions make of it
        run.judged_again = " ".join(str(error).split())[:300] or type(error).__name__
        return
    run.judged_again = ""
    if again["verdict"] != run.verdict:
        run.differs.append(f"the verdict is {again['verdict']}; verdict.json says {run.verdict}")
    for key, singular in (("regimes", "regime"), ("predictions", "prediction"), ("controls", "control")):
        pairs = itertools.zip_longest(again[key], list_of(verdict.get(key))[:ENTRIES], fillvalue={})
        for number, (now, then) in enumerate(pairs, 1):
            run.differs += _differences(f"{singular} {number}", now, then if isinstance(then, dict) else {})


def _stepped(value: Any) -> Iterator[tuple[str, str, int]]:
    """The cells with a step in what was registered: arm, metric, step."""
    if isinstance(value, list) and [type(v) for v in value] == [str, str, int]:
        yield value[0], value[1], value[2]
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _stepped(inner)


def _differences(name: str, now: Mapping[str, Any], then: Mapping[str, Any]) -> Iterator[str]:
    for key in _WORDS:
        if now.get(key) != then.get(key):
            x, y = (text_of(of.get(key))[:40] or "nothing" for of in (now, then))
            yield f"the {key} of {name} is {x}; verdict.json says {y}"
    pairs = [(key.replace("_", " "), now.get(key), then.get(key)) for key in _NUMBERS]
    now_ends, then_ends = (
        v if len(v := list_of(of.get("interval"))) == 2 else [None] * 2 for of in (now, then)
    )
    pairs += list(zip(("low end of the interval", "high end of the interval"), now_ends, then_ends))
    for key, x, y in pairs:
        if not _same_number(x, y):
            yield f"the {key} of {name} is {short_number(x)}; verdict.json says {short_number(y)}"


def _same_number(x: Any, y: Any) -> bool:
    """Up to rounding: another machine's last bits are no difference."""
    if not isinstance(x, (int, float)) or not isinstance(y, (int, float)):
        return x is None and y is None
    try:
        return math.isclose(x, y, rel_tol=1e-6, abs_tol=1e-12)
    except OverflowError:
        return False
