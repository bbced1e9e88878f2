"""SIGTERM and SIGINT as a request to save and stop, honoured between chunks of training."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}  # 128 + the signal's number, as shells report it

_requested: signal.Signals | None = None
_deferring = 0


class Interrupted(BaseException):
    """A run stopped because it was asked to; all that was done is saved. ``code``: the exit code.

    Like KeyboardInterrupt it is no Exception: code that survives the errors of others must stop too.
    """

    def __init__(self, by: signal.Signals):
        super().__init__(f"stopped by {by.name}; run the same command again to resume.")
        self.code = EXIT_CODES[by]


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Inside, the first SIGTERM or SIGINT stops the work at the next safe place, a second one at once.

    Only the main thread can do this; elsewhere signals keep their meaning.
    """
    global _requested

    def handle(number: int, _: FrameType | None) -> None:
        global _requested
        again, _requested = _requested is not None, signal.Signals(number)
        if again or not _deferring:
            raise Interrupted(signal.Signals(number))

    _requested = None
    try:
        previous = {s: signal.signal(s, handle) for s in EXIT_CODES}
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _requested = None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Inside, a signal only sets the request; the code calls `requested` where it can stop.

    Raises:
        Interrupted: on leaving, if a signal came that the code did not honour.
    """
    global _deferring
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1
    if _requested is not None and not _deferring:  # it came too late for the code to look
        raise Interrupted(_requested)


def requested() -> signal.Signals | None:
    """The signal that asks to stop, if one came."""
    return _requested


@contextlib.contextmanager
def noticed() -> Iterator[Callable[[], bool]]:
    """Inside, ``typed()`` tells whether SIGINT came: a KeyboardInterrupt may also be raised by code.

    Only the main thread can tell; elsewhere no signal comes.
    """
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if callable(previous):
            previous(number, frame)
        raise KeyboardInterrupt

    previous = signal.getsignal(signal.SIGINT)
    installed = False
    if callable(previous):  # who ignores the signal goes on doing so
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, handle)
            installed = True
    try:
        yield lambda: bool(came)
    finally:
        if installed:
            signal.signal(signal.SIGINT, previous)
