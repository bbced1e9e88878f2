"""A process that uses no processor time begins again; one that computes, or was stopped, does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from lrn import stall


def quiet(seconds: float, patience: float) -> list[str]:
    """What `stall.watched` reports of a main thread that only waits."""
    said = []
    with stall.watched(lambda: said.append("stalled"), patience):
        time.sleep(seconds)
    return said


def test_waiting_is_noticed_once():
    assert quiet(1.5, 0.4) == ["stalled"]


def test_a_short_wait_is_not():
    assert quiet(0.3, 3.0) == []


def test_computing_is_not():
    said = []
    with stall.watched(lambda: said.append("stalled"), 0.5):
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            sum(range(1000))
    assert said == []


SCRIPT = """
import os, sys, time
from lrn import stall
stall.PATIENCE = 0.5
print("began", os.environ.get(stall.AGAIN, "0"), sys.argv[1:], flush=True)
with stall.watched(stall.begin_again, stall.PATIENCE):
    if int(os.environ.get(stall.AGAIN, "0")) < int(sys.argv[1]):
        time.sleep(20)
print("done", flush=True)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return [sys.executable, str(path)]


def run(script, *words):
    env = {k: v for k, v in os.environ.items() if k != stall.AGAIN}
    return subprocess.run([*script, *words], env=env, capture_output=True, text=True, timeout=60, check=True)


def test_the_command_begins_again_without_fresh(script):
    done = run(script, "2", "--fresh")
    assert done.stdout.splitlines() == [
        "began 0 ['2', '--fresh']", "began 1 ['2']", "began 2 ['2']", "done",
    ]  # fmt: skip
    assert done.stderr.count("the command begins again from its last checkpoint") == 2


def test_it_gives_up_with_advice(monkeypatch, capsys):
    monkeypatch.setenv(stall.AGAIN, str(stall.MOST))
    monkeypatch.setattr(stall.os, "execve", lambda *_: pytest.fail("it began again"))
    stall.begin_again()
    assert "set XLA_FLAGS=--xla_cpu_multi_thread_eigen=false" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs signals that stop a process")
def test_a_process_that_was_stopped_goes_on(tmp_path):
    """Stopped for longer than its patience, it used no processor time either; it is not begun again."""
    path = tmp_path / "script.py"
    path.write_text(
        "import time\nfrom lrn import stall\nsaid = []\n"
        "with stall.watched(lambda: said.append(1), 3.0):\n"
        "    print('in', flush=True)\n    end = time.monotonic() + 5\n"
        "    while time.monotonic() < end:\n        sum(range(1000))\n"
        "print('stalled' if said else 'fine', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(4.0)
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=60)[0] == "fine\n"
