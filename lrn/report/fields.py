"""Fields of JSON objects that may come from anywhere, each checked as it is taken.

What is wrong is noted, a sentence each, and never raised.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lrn.study import seal

# What a folder from anywhere may hold. The runs of lrn stay far below.
ENTRIES = 1_000  # predictions, controls, failures
TEXT = 100_000  # characters of one text


def read_object(path: Path, damage: list[str]) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no such file, or no such object (then with damage)."""

    def no_number(name: str) -> None:
        damage.append(f"{path.name} holds {name}, which is no number")

    try:
        if wrong := seal.too_large(path):
            damage.append(f"{path.name} {wrong}")
            return None
        value = json.loads(path.read_bytes(), parse_constant=no_number)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        what = "cannot be read" if isinstance(error, OSError) else "is not valid JSON"
        damage.append(f"{path.name} {what}")
        return None
    if not isinstance(value, dict) or seal.depth(value) > seal.DEPTH:
        damage.append(f"{path.name} is not a JSON object of reasonable depth")
        return None
    return value


class Fields:
    """The fields of a JSON object, each checked as it is taken; a wrong one is noted and left out."""

    def __init__(self, values: Mapping[str, Any], where: str, damage: list[str]):
        self.values, self.where, self.damage = values, where, damage

    def wrong(self, key: str, what: str) -> None:
        """Note what is wrong with a field."""
        self.damage.append(f"{self.where}: {key} {what}")

    def text(self, key: str, required: bool = False) -> str:
        """A text, cut where it is too long; "" where there is none."""
        value = self.values.get(key)
        if isinstance(value, str) and (value or not required):
            if len(value) > TEXT:
                self.wrong(key, f"has {len(value):,} characters, and the first {TEXT:,} are shown")
            return value[:TEXT]
        if required or value is not None:
            self.wrong(key, "is missing" if value in (None, "") else "is not text")
        return ""

    def one_of(self, key: str, words: Iterable[str], required: bool = False) -> str:
        """A text that must be one of ``words``."""
        value = self.text(key, required)
        if value and value not in words:
            self.wrong(key, f"is {value[:40]!r}, which is none")
            return ""
        return value

    def number(self, key: str) -> float | None:
        """A finite number."""
        return self.as_number(key, self.values.get(key))

    def as_number(self, key: str, value: Any) -> float | None:
        """A value of the field ``key`` as a finite number."""
        if value is None:
            return None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                if math.isfinite(number := float(value)):
                    return number
            except OverflowError:
                pass
        self.wrong(key, "is not a finite number")
        return None

    def pair(self, key: str) -> tuple[float | None, float | None]:
        """Two numbers in order, either of which may be missing."""
        value = self.values.get(key)
        if value is None:
            return None, None
        if not isinstance(value, list) or len(value) != 2:
            self.wrong(key, "is not a pair of numbers")
            return None, None
        low, high = (self.as_number(key, v) for v in value)
        if low is not None and high is not None and low > high:
            self.wrong(key, "has its ends swapped")
            return None, None
        return low, high

    def mapping(self, key: str) -> dict[str, Any]:
        """An object; empty where there is none."""
        value = self.values.get(key)
        if isinstance(value, dict):
            return value
        if value is not None:
            self.wrong(key, "is not an object")
        return {}

    def whole_numbers(self, key: str) -> list[int]:
        """A list of whole numbers; empty where there is none."""
        value = self.values.get(key)
        if isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) for v in value):
            return value
        self.wrong(key, "is not a list of whole numbers")
        return []

    def objects(self, key: str, singular: str) -> list[Fields]:
        """A list of objects, each named by ``singular`` and its number, cut where it is too long."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            self.wrong(key, "is not a list of objects")
            return []
        if len(value) > ENTRIES:
            self.wrong(key, f"has {len(value):,} entries, and the first {ENTRIES:,} are shown")
            value = value[:ENTRIES]
        return [Fields(v, f"{self.where}: {singular} {i + 1}", self.damage) for i, v in enumerate(value)]


def list_of(value: Any) -> list[Any]:
    """A list as it is; an empty one for anything else."""
    return value if isinstance(value, list) else []


def text_of(value: Any) -> str:
    """Any value as text; "" for none."""
    return "" if value is None else str(value)


def short_number(value: Any) -> str:
    """A number with four digits, or that there is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300:
        return f"{value:.4g}"
    return "none" if value is None else "no number"
