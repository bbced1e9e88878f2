"""A peer's process: its answers, and one sentence where it is missing or fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from experiments.bench._peer_process import PeerProcess
from lrn.check import InputError

SCRIPT = """
import json, sys
print("a warning")
print("answer 1.2", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["n"] < 0:
        sys.exit(0)
    print("noise")
    print("answer " + json.dumps({"twice": 2 * asked["n"]}), flush=True)
"""


def test_answers_and_a_failure(tmp_path):
    script = tmp_path / "peer.py"
    script.write_text(SCRIPT)
    peer = PeerProcess(Path(sys.executable), script, "nothing")
    assert peer.versions == "1.2"
    assert [peer.ask({"n": n}) for n in (1, 4)] == [{"twice": 2}, {"twice": 8}]
    with pytest.raises(SystemExit, match=r"error: nothing failed on \{'n': -1\}"):
        peer.ask({"n": -1})
    peer.close()


def test_a_missing_peer_is_one_sentence(tmp_path):
    script = tmp_path / "peer.py"
    script.write_text("raise SystemExit(1)")
    with pytest.raises(InputError, match=r"--peers needs nothing, which .* lacks; give --peer-python"):
        PeerProcess(Path(sys.executable), script, "nothing")
    with pytest.raises(InputError, match=r"--peers needs nothing, and .* cannot be run"):
        PeerProcess(tmp_path / "python", script, "nothing")
