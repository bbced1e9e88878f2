"""Range checks for configs and arguments, which raise one clear sentence before anything compiles.

A traced value, such as a swept float inside vmap, has no number to check and passes.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """An argument is wrong; the message says what was wrong, what was expected and what to do."""


def _number(name: str, value: Any) -> float | None:
    """The value as a float; None for an array or a tracer, whose numbers cannot be checked here."""
    if isinstance(value, bool):
        raise InputError(f"{name} must be a number, not the bool {value}; give it as a number.")
    if isinstance(value, numbers.Real):
        return float(value)
    if hasattr(value, "dtype") and hasattr(value, "shape"):  # an array or a tracer
        return None
    raise InputError(f"{name} must be a number, not {value!r}; give it as a number.")


def positive(name: str, value: Any) -> None:
    """Raise InputError unless ``value`` > 0 and finite."""
    number = _number(name, value)
    if number is not None and not (number > 0 and math.isfinite(number)):
        raise InputError(f"{name} must be a finite number above 0, got {value}; choose a positive {name}.")


def non_negative(name: str, value: Any) -> None:
    """Raise InputError unless ``value`` >= 0 and finite."""
    number = _number(name, value)
    if number is not None and not (number >= 0 and math.isfinite(number)):
        raise InputError(f"{name} must be a finite number, 0 or more, got {value}; choose {name} >= 0.")


def finite(name: str, value: Any) -> None:
    """Raise InputError unless ``value`` is finite."""
    number = _number(name, value)
    if number is not None and not math.isfinite(number):
        raise InputError(f"{name} must be a finite number, got {value}; give a finite {name}.")


def boolean(name: str, value: Any) -> None:
    """Raise InputError unless ``value`` is True or False; Python would take the string "false" as true."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, got {value!r}; give one of the two.")


def between(name: str, value: Any, low: float, high: float) -> None:
    """Raise InputError unless ``low`` <= ``value`` <= ``high``."""
    number = _number(name, value)
    if number is not None and not low <= number <= high:
        raise InputError(
            f"{name} must lie between {low:g} and {high:g}, got {value}; choose {name} in that range."
        )


def integer(name: str, value: Any, low: int = 0) -> None:
    """Raise InputError unless ``value`` is an int of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InputError(f"{name} must be a whole number, got {value!r}; give it as an int.")
    if value < low:
        raise InputError(f"{name} must be at least {low}, got {value}; choose a larger {name}.")


def counts(config: Any, *names: str, low: int = 1) -> None:
    """Raise InputError unless the fields ``names`` of a config are ints of at least ``low``."""
    for name in names:
        integer(name, getattr(config, name), low)


def choice(name: str, value: Any, allowed: Iterable[str]) -> None:
    """Raise InputError unless ``value`` is one of ``allowed``; the message offers the nearest of them."""
    options = list(allowed)
    if value not in options:
        raise InputError(f"{name} {value!r} is not known; {nearest(str(value), options)}")


def nearest(value: str, options: Iterable[str]) -> str:
    """A sentence that offers the names closest to ``value``, or all names where none is close."""
    options = sorted(options)
    close = difflib.get_close_matches(value, options, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"choose from {', '.join(options)}." if options else "there is nothing to choose from."
