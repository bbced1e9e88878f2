"""Marks on functions: what a learner's step says of itself to `lrn.train.fit`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def mark(function: Callable[..., T], name: str) -> Callable[..., T]:
    """The same function with a mark of its own, beside those it has; the one given is left as it is."""

    @functools.wraps(function)
    def marked(*args: Any, **kwargs: Any) -> T:
        return function(*args, **kwargs)

    setattr(marked, name, True)
    return marked


def marked(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has the mark."""
    return getattr(function, name, False)
