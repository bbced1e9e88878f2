"""Signals as requests: which are deferred, which are immediate, and which handlers are restored."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from lrn import interrupt


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def handled(body: Callable[[], Any]) -> None:
    with interrupt.handled():
        body()


def deferred(body: Callable[[], Any]) -> None:
    with interrupt.handled(), interrupt.deferred():
        body()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_at_once_where_nothing_is_deferred(number, code):
    with pytest.raises(interrupt.Interrupted, match=f"stopped by {number.name}") as raised:
        handled(lambda: (send(number), pytest.fail("it went on")))
    assert raised.value.code == code


def test_deferred_it_is_a_request_and_a_second_one_is_not():
    seen = []

    def body() -> None:
        send(signal.SIGTERM)
        seen.append(interrupt.requested())
        send(signal.SIGINT)
        seen.append("it went on")

    with pytest.raises(interrupt.Interrupted) as raised:
        deferred(body)
    assert seen == [signal.SIGTERM]
    assert raised.value.code == 130


def test_a_request_that_was_not_honoured_stops_on_leaving():
    seen = []

    def body() -> None:
        with interrupt.deferred():
            with interrupt.deferred():
                send(signal.SIGTERM)
            seen.append("inner")
        seen.append("outer")

    with pytest.raises(interrupt.Interrupted):
        handled(body)
    assert seen == ["inner"]


def test_an_error_is_not_hidden_by_a_request():
    def body() -> None:
        send(signal.SIGTERM)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        deferred(body)


def test_code_that_survives_errors_does_not_survive_a_signal():
    def body() -> None:
        try:
            send(signal.SIGTERM)
        except Exception:
            pytest.fail("it was taken for an error")

    with pytest.raises(interrupt.Interrupted):
        handled(body)


def test_the_handlers_are_put_back_and_a_request_is_forgotten():
    before = [signal.getsignal(s) for s in interrupt.EXIT_CODES]
    with pytest.raises(interrupt.Interrupted):
        handled(lambda: send(signal.SIGTERM))
    assert [signal.getsignal(s) for s in interrupt.EXIT_CODES] == before
    assert interrupt.requested() is None


def test_outside_of_the_main_thread_signals_keep_their_meaning():
    before = [signal.getsignal(s) for s in interrupt.EXIT_CODES]
    seen = []
    thread = threading.Thread(
        target=handled, args=[lambda: seen.extend(signal.getsignal(s) for s in interrupt.EXIT_CODES)]
    )
    thread.start()
    thread.join(timeout=30)
    assert seen == before
