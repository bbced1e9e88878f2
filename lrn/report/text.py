"""Numbers as people read them: as many digits as the interval justifies, true minus signs, no bare nulls."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from typing import Any

_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
NONE = "\N{EN DASH}"  # where a number does not apply


def decimals(values: Iterable[float | None]) -> int:
    """Decimals that show the spread of ``values`` with two digits (three of their size without a spread)."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    if not known:
        return 0
    spread, size = max(known) - min(known), max(abs(v) for v in known)
    # Rounding noise is no spread.
    scale, digits = (spread / 2, 2) if spread > 1e-9 * size else (size, 3)
    return min(max(digits - 1 - math.floor(math.log10(scale)), 0), 8) if scale else 0


def number(value: float | None, places: int | None = None) -> str:
    """A number with ``places`` decimals; very large and very small ones as powers of ten."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return ("\N{MINUS SIGN}" if value < 0 else "") + "\N{INFINITY}"
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-5:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{_minus(mantissa)}\N{MULTIPLICATION SIGN}10{str(int(exponent)).translate(_RAISED)}"
    shown = f"{value:.{decimals([value]) if places is None else places}f}"
    return _minus(shown.removeprefix("-") if float(shown) == 0 else shown)


def short(value: float) -> str:
    """A number somebody chose, such as a margin: as it was written."""
    return _minus(f"{value:.6g}")


def p_value(p: float | None) -> str:
    """A p-value with two digits; below 1e-4 only that it is."""
    if p is None:
        return NONE
    if p < 1e-4:
        return "< 0.0001"
    return f"{p:.{2 if p >= 0.1 else 1 - math.floor(math.log10(p))}f}"


def interval(low: float | None, high: float | None, places: int) -> str:
    """``low to high`` in brackets; nothing where there is no interval."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"[{number(low, places)}, {number(high, places)}]"


def effect(estimate: float | None, low: float | None, high: float | None) -> tuple[str, str]:
    """An estimate and its interval in brackets, with the same decimals; "" where there is no interval."""
    places = decimals([low, high] if low is not None and high is not None else [estimate])
    return number(estimate, places), interval(low, high, places)


def region(bounds: tuple[float, float] | None) -> str:
    """What a prediction calls for: ``above 0.05``, ``within ±0.02``, ``0.9 to 1.1``."""
    if bounds is None:
        return ""
    low, high = bounds
    if math.isinf(high):
        return f"above {short(low)}"
    if math.isinf(low):
        return f"below {short(high)}"
    if low == high:
        return f"exactly {short(low)}"
    return f"within ±{short(high)}" if low == -high else f"{short(low)} to {short(high)}"


def duration(seconds: Any) -> str:
    """Seconds as ``8.2 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if not _is_amount(seconds):
        return NONE
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def memory(size: Any) -> str:
    """Bytes as ``812 MiB`` or ``3.1 GiB``."""
    if not _is_amount(size):
        return NONE
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"


def moment(iso: str) -> str:
    """An ISO time as ``2026-03-01 12:30 UTC``; any other text as it is."""
    try:
        when = datetime.datetime.fromisoformat(iso)
    except ValueError:
        return iso
    if when.tzinfo is not None:
        when = when.astimezone(datetime.UTC)
    return f"{when:%Y-%m-%d %H:%M} UTC"


def seeds(values: list[int]) -> str:
    """``10 seeds (0 to 9)``; of seeds that are not a range, the first few."""
    count = f"{len(values)} seed{'' if len(values) == 1 else 's'}"
    if not values:
        return count
    if len(values) > 1 and values == list(range(values[0], values[0] + len(values))):
        return f"{count} ({values[0]} to {values[-1]})"
    listed = ", ".join(map(str, values[:3])) + (", …" if len(values) > 3 else "")
    return f"{count} ({listed})"


def plain(value: Any) -> str:
    """A JSON value in one line, for tables of settings."""
    if isinstance(value, dict):
        return ", ".join(f"{k}={plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(plain(v) for v in value) + "]"
    return NONE if value is None else str(value)


def _is_amount(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e18


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
