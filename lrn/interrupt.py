"""SIGTERM and SIGINT as a request to save and stop, which training obeys between two chunks."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}  # 128 + the signal's number, as shells report it

_requested: signal.Signals | None = None
_deferring = 0


class Interrupted(BaseException):
    """A signal stopped a run, and the state of the run is saved.

    code: the exit code of the process. The class is no `Exception`, like KeyboardInterrupt: a handler of
    ``Exception`` must not keep the process from stopping.
    """

    def __init__(self, by: signal.Signals):
        super().__init__(f"stopped by {by.name}; run the same command again to resume.")
        self.code: int = EXIT_CODES[by]


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Inside, the first SIGTERM or SIGINT stops the work at the next safe place, a second signal at once.

    Only the main thread can handle signals; in another thread the context does nothing.

    Raises:
        Interrupted: a signal came, and the work is not `deferred`.
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
    """Inside, a first signal only sets a request, which the code reads by `requested` where it can stop.

    Raises:
        Interrupted: when the context is left, if a signal came and the code did not stop for it.
    """
    global _deferring
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1
    if _requested is not None and not _deferring:  # the signal came after the code's last look
        raise Interrupted(_requested)


def requested() -> signal.Signals | None:
    """The signal that asks to stop; None if no signal came."""
    return _requested


@contextlib.contextmanager
def noticed() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT came, to tell it from a KeyboardInterrupt which code raised.

    In a thread other than the main thread the function always returns False.
    """
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if callable(previous):
            previous(number, frame)
        raise KeyboardInterrupt

    previous = signal.getsignal(signal.SIGINT)
    installed = False
    if callable(previous):  # a process that ignores SIGINT goes on ignoring it
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, handle)
            installed = True
    try:
        yield lambda: bool(came)
    finally:
        if installed:
            signal.signal(signal.SIGINT, previous)
