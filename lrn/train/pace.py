"""When the host acts during a training, and how long it lets the device work alone."""

from __future__ import annotations

from typing import NamedTuple

import jax

# On a CPU each call of a compiled function takes its temporary memory anew from the system, which clears each
# page: .3 to .6 seconds a GB, nearly half the time of a training with half a GB in chunks of one step.
SECONDS_A_BYTE = 0.5e-9
PROMPT, PATIENT, OVERHEAD = 0.5, 5.0, 0.05


class Times(NamedTuple):
    """When the host acts; all in steps, except ``save_seconds``; see the arguments of `lrn.train.fit`."""

    steps: int
    log_every: int
    eval_every: int | None
    save_every: int | None
    save_seconds: float
    chunk: int | None

    def evaluates_at(self, step: int) -> bool:
        """Whether the host checks, and where there is an evaluation evaluates, the states after ``step``."""
        return step == self.steps or bool(self.eval_every and step % self.eval_every == 0)

    def end_of_chunk(self, step: int, length: int) -> int:
        """The step at which a chunk ends that begins at ``step`` and has at most ``length`` steps."""
        multiples = [(step // every + 1) * every for every in (self.eval_every, self.save_every) if every]
        return min([step + length, self.steps, *multiples])


def chunk_seconds(temporary_bytes: int) -> float:
    """The length of a chunk in which that memory costs a twentieth of the time, within bounds."""
    if jax.default_backend() != "cpu":
        return PROMPT
    return min(max(PROMPT, temporary_bytes * SECONDS_A_BYTE / OVERHEAD), PATIENT)


class Pace:
    """Chooses the length of a chunk: some seconds of work, so that signals and bars stay prompt."""

    def __init__(self, most: int, fixed: bool, seconds: float = PROMPT):
        self.length = most if fixed else min(most, 8)
        self._most, self._fixed, self._seconds = most, fixed, seconds

    def took(self, steps: int, seconds: float) -> None:
        """Adapt ``length`` to the ``seconds`` that the last chunk, of ``steps`` steps, took."""
        if not self._fixed:
            wanted = int(self._seconds * steps / max(seconds, 1e-6))
            self.length = max(1, min(wanted, 16 * self.length, self._most))
