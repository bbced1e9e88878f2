"""The arms of the study of narrow training: what adapts, after which training, and where it is measured.

A training has narrow or wide tasks, or goes from one to the other. A spot is where all are measured: where a
training had its tasks, or out of its range.
"""

from __future__ import annotations

from collections.abc import Sequence

from lrn.meta.compute import maml_gradients, pooled_gradients

WAVES, LETTERS = "sinusoids", "letters"
MAML, POOLED, SCRATCH = "MAML", "pooled", "scratch"
NARROW, WIDE, CURRICULA = "narrow", "wide", ("widening", "narrowing", "shuffled")
PHASES, AMPLITUDES, UNSEEN = "phases out of range", "amplitudes out of range", "unseen scripts"
SPOTS = {  # where all are measured: where a training had its tasks, and out of its range
    WAVES: (f"{WAVES}, {NARROW}", f"{WAVES}, {WIDE}", PHASES, AMPLITUDES),
    LETTERS: (f"{LETTERS}, {NARROW}", f"{LETTERS}, {WIDE}", UNSEEN),
}
WAYS = 5  # letters of a task
EXAMPLES = {WAVES: (10, 10), LETTERS: (WAYS, 3 * WAYS)}  # of a task in training: support, query
COSTS = {k: {MAML: maml_gradients(*n), POOLED: pooled_gradients(*n)} for k, n in EXAMPLES.items()}
STARTS = {  # MAML's inner rates, rates of Adam, scales of the first weights
    WAVES: {MAML: (0.02, 0.06, 0.2), POOLED: (2e-3, 6e-3, 2e-2), SCRATCH: (0.5, 1.5, 5.0)},
    LETTERS: {MAML: (0.3, 1.0, 3.0), POOLED: (3e-4, 1e-3, 3e-3), SCRATCH: (0.3, 1.0, 3.0)},
}
RATES = {WAVES: (0.003, 0.01, 0.03, 0.1), LETTERS: (0.01, 0.04, 0.15, 0.6)}  # of adaptation
# The parts of the iterations of the longest training, by their divisor.
LENGTHS = {1: "", 2: ", half as long", 4: ", a quarter as long"}
SIZES = "mean square of all targets"


def who(method: str, training: str = "", length: int = 1) -> str:
    """A method after a training of a length."""
    return f"{method} {training}{LENGTHS[length]}" if training else method


def at(spot: str, name: str) -> str:
    """The arm of what adapts at a spot."""
    return f"{spot}: {name}"


def best(training: str) -> str:
    """The better of a training's baselines."""
    return f"best non-meta, {training}"


def named(part: str, method: str, training: str, length: int) -> str:
    """The name under which a training's budget is recorded."""
    return f"{part}: {who(method, training, length)}"


def starts(part: str, lengths: Sequence[int]) -> dict[str, tuple[str, str, int]]:
    """All that adapt in a part: method, training, and the divisor of its iterations."""
    waves = part == WAVES
    trainings = (NARROW, WIDE, *CURRICULA) if waves else (NARROW, WIDE)
    each = [(MAML, t, n) for n in (lengths if waves else (1,)) for t in trainings]
    each += [(POOLED, t, 1) for t in (NARROW, WIDE)] + [(SCRATCH, "", 1)]
    return {who(*x): x for x in each}


def pairs(part: str, lengths: Sequence[int]) -> list[tuple[str, str]]:
    """What adapts, and where: out of range, and at full length where its training had its tasks."""
    found = []
    for name, (_, training, n) in starts(part, lengths).items():
        home = [f"{part}, {t}" for t in (NARROW, WIDE) if n == 1 and training in (t, "")]
        found += [(name, spot) for spot in (*home, *SPOTS[part][2:])]
    return found


def of_length(part: str, lengths: Sequence[int], n: int) -> list[str]:
    """The names of the trainings whose iterations have the divisor ``n``, for their budgets."""
    return [named(part, *x) for x in starts(part, lengths).values() if x[2] == n and x[0] != SCRATCH]


def candidates(part: str, steps: int) -> int:
    """The settings that every method chooses from: starts, rates, and 0 to ``steps`` steps."""
    return len(STARTS[part][MAML]) * len(RATES[part]) * (steps + 1)
