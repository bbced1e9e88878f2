"""Checks of samples before any statistic is computed; each raises one clear sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lrn import check

ALTERNATIVES = ("two-sided", "greater", "less")
EPSILON = float(np.finfo(np.float64).eps)


def numbers(name: str, values: Any) -> np.ndarray:
    """``values`` as float64, of any rank; truth values count as 0 and 1.

    Raises:
        ValueError: a value is masked, no real number, or not finite.
    """
    if _masked(values):
        raise ValueError(
            f"{name} has masked values, which would count as if they were not; "
            "leave them out first, for example by .compressed()."
        )
    try:
        raw = np.asarray(values)
        # Complex, text and dates would convert silently or with a warning.
        if raw.dtype.kind in "cSUMm" or any(isinstance(v, (str, bytes)) for v in _objects(raw)):
            raise TypeError
        array = raw.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{name} must be an array of real numbers, got {_describe(values)}; pass a list of floats."
        ) from None
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))
        where = tuple(int(i) for i in bad[0])
        raise ValueError(
            f"{name} has {len(bad)} non-finite value(s), the first ({array[where]}) at index "
            f"{where[0] if len(where) == 1 else where}; leave failed runs out before computing statistics."
        )
    return array


def _masked(values: Any) -> bool:
    if isinstance(values, (list, tuple)):
        return any(_masked(v) for v in values)
    return bool(np.ma.is_masked(values))


def _objects(array: np.ndarray) -> Iterable[Any]:
    return array.flat if array.dtype.kind == "O" else ()


def _describe(values: Any) -> str:
    text = " ".join(repr(values).split())  # arrays spread over lines
    return text if len(text) <= 60 else f"{text[:57]}..."


def sample(name: str, values: Any, least: int = 1) -> np.ndarray:
    """``values`` as a float64 vector [n], n >= ``least``.

    Raises:
        ValueError: not numbers, not one-dimensional, fewer than ``least`` values, or not finite.
    """
    array = numbers(name, values)
    if array.ndim != 1:
        raise ValueError(
            f"{name} must be one-dimensional, one value a run, got shape {array.shape}; "
            "pass one metric of one arm."
        )
    if len(array) < least:
        raise ValueError(f"{name} must have at least {least} value(s), got {len(array)}; run more seeds.")
    return array


def paired(x: Any, y: Any, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two vectors [n] whose entries belong together, such as two arms on the same seeds.

    Raises:
        ValueError: as `sample`, or the lengths differ.
    """
    x, y = sample("x", x, least), sample("y", y, least)
    if len(x) != len(y):
        raise ValueError(
            f"x and y must be paired, got {len(x)} and {len(y)} values; pass the same seeds in order."
        )
    return x, y


def table(name: str, values: Any, axes: tuple[str, str], least: tuple[int, int]) -> np.ndarray:
    """``values`` as a float64 array [axes[0], axes[1]], each axis at least as long as ``least``.

    Raises:
        ValueError: not numbers, not two-dimensional, too short along an axis, or not finite.
    """
    array = numbers(name, values)
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be two-dimensional [{axes[0]}, {axes[1]}], got shape {array.shape}; "
            f"give {axes[0]} as rows and {axes[1]} as columns."
        )
    for axis, (size, needed) in enumerate(zip(array.shape, least)):
        if size < needed:
            raise ValueError(
                f"{name} must have at least {needed} {axes[axis]}, got {size}; add {axes[axis]}."
            )
    return array


def level(value: Any) -> None:
    """Raise ValueError unless ``value`` is a confidence level strictly between 0 and 1."""
    check.between("level", value, 0, 1)
    if not 0 < number("level", value) < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {value}; choose for example 0.95.")


def alternative(value: Any) -> None:
    """Raise ValueError unless ``value`` is "two-sided", "greater" or "less"."""
    check.choice("alternative", value, ALTERNATIVES)


def number(name: str, value: Any, infinite: bool = False) -> float:
    """``value`` as one finite float, or infinite where that is allowed.

    Raises:
        ValueError: no number, NaN, or infinite.
    """
    limit = np.inf if infinite else np.finfo(np.float64).max
    check.between(name, value, -limit, limit)
    if np.ndim(value) or _masked(value):  # arrays pass `check`, which cannot see into traced ones
        raise ValueError(f"{name} must be one number, got {_describe(value)}; give it as a float.")
    check.between(name, float(value), -limit, limit)
    return float(value)


def differences(x: Any, y: Any = None, margin: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """x - y - margin [n], or x - margin where y is None, and a bound [n] on the rounding error of each.

    0.97 - 0.96 and 0.96 - 0.95 differ in the sixteenth digit of the *minuends*, so the bound needs x and
    y; the differences alone do not give it.

    Raises:
        ValueError: as `paired`, the margin is no finite number, or a difference overflows.
    """
    x, y = (sample("x", x), 0.0) if y is None else paired(x, y)
    margin = number("margin", margin)
    with np.errstate(over="ignore"):
        d = x - y - margin
        size = np.abs(x) + np.abs(y) + abs(margin)
    if not (np.isfinite(d).all() and np.isfinite(size).all()):
        raise ValueError("x, y or their difference is too large for a float; give the metric in other units.")
    return d, 16 * EPSILON * size


def unit(*arrays: np.ndarray) -> tuple[int, list[np.ndarray]]:
    """The exponent e, and the arrays divided by 2^e, so that the largest absolute value lies in [.5, 1).

    The division changes no digits. Without it squares and cubes of values near 1e-170 or 1e170 would
    underflow or overflow.
    """
    largest = max((float(np.abs(a).max(initial=0.0)) for a in arrays), default=0.0)
    exponent = int(np.frexp(largest)[1])
    return exponent, [np.ldexp(a, -exponent) for a in arrays]


def constant(values: np.ndarray) -> bool:
    """Whether all entries of ``values`` [n] are equal up to rounding, so that their spread means nothing.

    Differences of equal numbers, such as 0.3 - 0.2 and 0.4 - 0.3, differ in the last digits; a standard
    deviation of 1e-17 would make an interval absurdly narrow and an effect size absurdly large.
    """
    return bool(np.ptp(values) <= 8 * EPSILON * np.abs(values).max())
