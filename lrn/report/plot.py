"""The geometry of the small plot beside each prediction: effect, interval, and where it was said to lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lrn.report import text
from lrn.report.run import Result

WIDTH, HEIGHT = 240, 46
_PAD, _AXIS, _ROW = 10, 28, 14  # margins left and right; y of the axis; y of the interval
_WIDEST = 4  # how many times as wide a second bound may make the axis
_LABEL = 6.2  # width of a character of a tick label


@dataclass(frozen=True)
class Tick:
    """A mark on the axis; ``bound`` when it is an end of the predicted region, else it is zero."""

    x: float
    label: str
    bound: bool


@dataclass(frozen=True)
class Plot:
    """Coordinates in px of an SVG of `WIDTH` x `HEIGHT`; ``band`` is (x, width) of the predicted region."""

    effect: float
    low: float
    high: float
    band: tuple[float, float] | None
    ticks: list[Tick]
    outcome: str
    alt: str
    width: int = WIDTH
    height: int = HEIGHT
    axis: int = _AXIS
    row: int = _ROW


def interval_plot(result: Result) -> Plot | None:
    """The plot of a result on a scale of its own; None where there is no effect to draw."""
    if result.effect is None:
        return None
    low = result.effect if result.low is None else result.low
    high = result.effect if result.high is None else result.high
    bounds = [b for b in result.region or () if math.isfinite(b)]
    zero = [0.0] if result.kind in ("superiority", "equivalence", "trend") else []
    left, right = _ends(result.effect, low, high, bounds, zero)
    pad = 0.08 * (right - left) or abs(left) * 0.1 or 1.0
    left, right = left - pad, right + pad
    if not math.isfinite(right - left):  # numbers near the largest there are
        return None

    def x(value: float) -> float:
        inside = min(max(value, left), right)
        return round(_PAD + (inside - left) / (right - left) * (WIDTH - 2 * _PAD), 1)

    band = None
    if result.region is not None:
        begin, end = x(result.region[0]), x(result.region[1])
        band = (begin, max(round(end - begin, 1), 1.5))  # a single value is still seen
    places = text.decimals([low, high])
    alt = f"Effect {text.number(result.effect, places)}"
    if result.low is not None and result.high is not None:
        alt += f", interval {text.number(low, places)} to {text.number(high, places)}"
    if result.region is not None:
        alt += f"; predicted {text.region(result.region)}"
    return Plot(
        effect=x(result.effect),
        low=x(low),
        high=x(high),
        band=band,
        ticks=_ticks([(v, v in bounds) for v in dict.fromkeys((*bounds, *zero)) if left < v < right], x),
        outcome=result.outcome,
        alt=f"{alt}.",
    )


def _ends(
    effect: float, low: float, high: float, bounds: list[float], zero: list[float]
) -> tuple[float, float]:
    """The ends of an axis that shows effect, interval and the bound that is nearest.

    The other bound, or zero, is shown too unless the interval would shrink to a dot beside it: such a bound
    is far from anything that was measured, and only there because a range has two ends.
    """
    nearest = min(bounds, key=lambda b: abs(b - effect), default=effect)
    left, right = min(effect, low, nearest), max(effect, high, nearest)
    for value in sorted((*bounds, *zero), key=lambda v: max(left - v, v - right)):
        if max(right, value) - min(left, value) <= _WIDEST * (right - left):
            left, right = min(left, value), max(right, value)
    return left, right


def _ticks(values: list[tuple[float, bool]], x) -> list[Tick]:
    """One tick a value; a label only where it does not run into one already placed, bounds first."""
    ticks: list[Tick] = []
    placed: list[tuple[float, float]] = []
    for value, bound in values:
        if any(t.x == x(value) for t in ticks):
            continue
        label = text.short(value)
        half = _LABEL * len(label) / 2
        free = all(abs(x(value) - at) > half + other + 4 for at, other in placed)
        if free:
            placed.append((x(value), half))
        ticks.append(Tick(x(value), label if free else "", bound))
    return ticks
