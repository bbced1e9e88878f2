"""The chosen rules of `fair.criteria` by name, and what shows that they, or their measures, are broken."""

from __future__ import annotations

from experiments.fair._both_worlds import CAUSAL, EQUAL, LAW, LEVELS, MERIT
from experiments.fair._held import BALANCED, FLIPS, LEFT, ODDS, PARITY, SLACK, TRADE
from lrn.study import Above, Cell, Control, Exact, Superiority, Within
from lrn.study.controls import equal_budgets

POINT, GAP, LIMITS, KEPT, TINY = 0.01, 0.05, (0.02, 0.05, 0.1), 0.06, 1e-6
FREE, TO_PARITY, TO_ODDS, TO_FLIPS = "free", "held to parity", "held to odds", "held to few flips"
CRITERIA: dict[str, tuple[str, ...]] = {FREE: (), TO_PARITY: (PARITY,), TO_ODDS: (ODDS,), TO_FLIPS: (FLIPS,)}
DEAREST, SCORE, CALIBRATION = "the dearest alone", "score", "rest of calibration"


def arm(name: str, rule: str) -> str:
    """The arm of a rule in a population."""
    return f"{name}, {rule}"


def at_once(limit: float) -> str:
    """The rule that is held to all criteria."""
    return f"all within {limit:g}"


def rules(name: str) -> dict[str, tuple[tuple[str, ...], float]]:
    """From the name of each chosen rule to its criteria and its limit."""
    causal = name in CAUSAL
    found: dict[str, tuple[tuple[str, ...], float]] = {
        rule: (asked, LIMITS[0]) for rule, asked in CRITERIA.items() if causal or rule != TO_FLIPS
    }
    every = (PARITY, ODDS, FLIPS) if causal else (PARITY, ODDS)
    return found | {at_once(limit): (every, limit) for limit in LIMITS}


def own_controls(name: str) -> list[Control]:
    """The controls of one population."""
    found: list[Control] = []
    for rule in rules(name):
        found += _identities(arm(name, rule))
    said = f"{name}: the identity of calibration holds for the score."
    cell = Cell(arm(name, SCORE), CALIBRATION)
    found.append(Control(Within(statement=said, cell=cell, low=-TINY, high=TINY)))
    for rule, metric in ((TO_PARITY, PARITY), (TO_ODDS, ODDS), (at_once(LIMITS[0]), ODDS)):
        said = f"{name}: {rule}, the {metric} on test rows is at most {KEPT:g}."
        within = Within(statement=said, cell=Cell(arm(name, rule), metric), low=0.0, high=KEPT)
        found.append(Control(within, "flag"))
    found.append(equal_budgets("candidates", [arm(name, rule) for rule in rules(name)]))
    return found + (_causal(name) if name in CAUSAL else [])


def without_a_reason() -> Control:
    """Where base rates are equal, nothing stands in the way, though the group has other effects.

    The limit is .05, above the noise of a gap on validation rows, which a limit of .02 is not.
    """
    said = f"{EQUAL}: all criteria within {LIMITS[1]:g} cost under a point."
    free, every = (Cell(arm(EQUAL, rule), BALANCED) for rule in (FREE, at_once(LIMITS[1])))
    return Control(Superiority(statement=said, better=every, worse=free, margin=-POINT))


def _identities(name: str) -> list[Control]:
    said = f"{name}: the {{}} is at least 0."
    bounds = [Above(statement=said.format(m), cell=Cell(name, m), bound=-TINY) for m in (SLACK, TRADE)]
    said = f"{name}: the identity of Chouldechova holds."
    return [
        *map(Control, bounds),
        Control(Within(statement=said, cell=Cell(name, LEFT), low=-TINY, high=TINY)),
    ]


def _causal(name: str) -> list[Control]:
    """Fair predictors do not flip, a constant is fair and useless, and the free rule flips."""
    known, found = name != LAW, []
    for level in LEVELS[1:]:
        said = f"{arm(name, level)}: under {POINT:g} of the decisions flip."
        still = Within(statement=said, cell=Cell(arm(name, level), FLIPS), low=-TINY, high=POINT)
        found.append(Control(still, "invalid" if known else "flag"))
        if known:
            said = f"{arm(name, level)}: parity holds within {GAP:g}."
            equal = Within(statement=said, cell=Cell(arm(name, level), PARITY), low=-TINY, high=GAP)
            found.append(Control(equal))
    constant = arm(name, LEVELS[0])
    for metric, value in ((BALANCED, 0.5), (PARITY, 0.0), (ODDS, 0.0), (FLIPS, 0.0)):
        said = f"{constant}: a constant has {metric} of {value:g}."
        found.append(Control(Exact(statement=said, cell=Cell(constant, metric), value=value, atol=TINY)))
    if name == MERIT:
        said = f"{name}: over {GAP:g} of the decisions of logistic regression flip."
        found.append(Control(Above(statement=said, cell=Cell(arm(name, "group seen"), FLIPS), bound=GAP)))
    return found
