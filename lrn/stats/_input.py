"""Checks on samples, done before any statistic: one clear sentence for each way input can be bad."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrn import check

ALTERNATIVES = ("two-sided", "greater", "less")


def numbers(name: str, values: Any) -> np.ndarray:
    """``values`` as float64 of any rank, every one of them finite."""
    try:
        raw = np.asarray(values)
        if raw.dtype.kind in "cSUMm":  # complex, text and dates would convert silently or with a warning
            raise TypeError
        array = raw.astype(np.float64)
    except (TypeError, ValueError):
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


def _describe(values: Any) -> str:
    text = repr(values)
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
    if not 0 < value < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {value}; choose for example 0.95.")


def alternative(value: Any) -> None:
    """Raise ValueError unless ``value`` is "two-sided", "greater" or "less"."""
    check.choice("alternative", value, ALTERNATIVES)


def constant(values: np.ndarray) -> bool:
    """Whether all entries of [n] are equal up to rounding, so that their spread carries no information.

    Differences of equal numbers, such as 0.3 - 0.2 and 0.4 - 0.3, differ in the last digits; a standard
    deviation of 1e-17 would make an interval absurdly narrow and an effect size absurdly large.
    """
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())
