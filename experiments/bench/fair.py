"""``python -m experiments.bench fair [TASK ...] [--peers --python PYTHON]``: the speed of fair training.

reduction: exponentiated gradient on Adult (48,842 people, by sex) at a bound of .01 on demographic parity.
front: the same at 21 bounds on 10 splits, in one program.
thresholds: thresholds by group of a given score, for demographic parity and for equalized odds.
bootstrap: four rates of 12 groups (sex by age) in 2,000 resamples.

fairlearn gets the same rows in a process of its own (``--python`` names its interpreter). lrn and fairlearn
are measured in turn in every round, and lrn's times exclude compilation, which is shown beside; those of the
front include it. fairlearn's fits of the front are measured three times, and its resamples fifty times, and
extrapolated. The exit code is 1 if a ratio is below its limit, or a result differs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments.bench._fair_peer import Fairlearn
from lrn import check, data
from lrn.data.decisions import decisions
from lrn.fair import gaps, rates
from lrn.fair.bootstrap import bootstrap_counts
from lrn.fair.confusion import confusion
from lrn.fair.exponentiated_gradient import expected_decision, exponentiated_gradient
from lrn.fair.front import fairness_front, overall_accuracy
from lrn.fair.logistic import LogisticConfig, fit_logistic, logistic, probability
from lrn.fair.methods import reduction
from lrn.fair.people import People, people
from lrn.fair.reduction_game import ReductionConfig
from lrn.fair.thresholds import expected_decision as rule_decision
from lrn.fair.thresholds import fit_thresholds
from lrn.xla.runtime import processors

LIMITS = {"reduction": 10.0, "front": 20.0, "thresholds": 5.0, "bootstrap": 20.0}  # fairlearn's time / lrn's
ALIKE = 0.003  # accuracies and violations may differ by this
BOUND, BOUNDS, SPLITS, RESAMPLES = 0.01, 21, 10, 2000
RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy")
Task = Literal["reduction", "front", "thresholds", "bootstrap"]


@dataclasses.dataclass
class Args:
    """What to measure."""

    tasks: Annotated[tuple[Task, ...], tyro.conf.Positional] = (
        "reduction",
        "front",
        "thresholds",
        "bootstrap",
    )
    """The tasks to measure; all by default."""
    peers: bool = False
    """Measure fairlearn in the same rounds."""
    python: Path = Path(sys.executable)
    """The Python interpreter that has fairlearn."""
    rounds: int = 3
    """The number of rounds; fairlearn's reduction is slow, so it takes part in the first round only."""
    splits: int = SPLITS
    """The number of splits of the front."""
    json: Path | None = None
    """A file for the figures, as JSON."""


class Way(NamedTuple):
    """A way to do a task: seconds to compile, a run that gives seconds and results, and memory in bytes.

    Where a run compiles too, the seconds to compile are 0, and the memory is the largest of the process.
    """

    compile: float
    run: Callable[[], tuple[float, dict[str, float]]]
    memory: int


def main(argv: list[str]) -> int:
    """Measure and print; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench fair", description=__doc__)
    check.integer("rounds", args.rounds, low=1)
    check.integer("splits", args.splits, low=1)
    adult = decisions("adult")
    rows = people(adult.x, adult.y, adult.group, 2)
    print(f"{platform.machine()}, {processors()} processors, Adult {rows.x.shape[0]} x {rows.x.shape[1]}")
    peer = Fairlearn(args.python) if args.peers else None
    if peer is not None:
        print(peer.versions)
    measured, short = {}, False
    for task in args.tasks:
        if task == "front":
            ours, theirs = front(rows, args.splits), None
            if peer is not None:
                theirs = peer_front(peer, rows)
        else:
            ours, theirs = OURS[task](rows), None
            if peer is not None:
                theirs = lambda task=task, peer=peer: PEER[task](peer, rows)  # noqa: E731
        rounds = []
        for i in range(1 if task == "front" else args.rounds):
            own = {"lrn": ours.run()}
            if theirs is not None and (i == 0 or task not in ("reduction",)):
                own["fairlearn"] = theirs()
            rounds.append(own)
        measured[task] = {"compile": ours.compile, "memory": ours.memory, "rounds": rounds}
        short |= report(task, ours, rounds)
    if peer is not None:
        peer.close()
    if args.json:
        args.json.write_text(json.dumps({"machine": platform.machine(), "cores": os.cpu_count(), **measured}))
    return int(short)


def report(task: str, ours: Way, rounds: list[dict[str, tuple[float, dict[str, float]]]]) -> bool:
    """Print a task's seconds, ratios and results; whether a limit is missed or a result differs."""
    memory = ours.memory or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    compiling = f"compiles in {ours.compile:.1f} s" if ours.compile else "compiles in its seconds"
    kind = "of work space" if ours.memory else "at most"
    print(f"\n{task} (lrn {compiling}, {memory / 2**20:.0f} MiB {kind})")
    short = False
    for name in rounds[0]:
        both = [r for r in rounds if name in r]
        seconds = statistics.median(r[name][0] for r in both)
        ratio = statistics.median(r[name][0] / r["lrn"][0] for r in both)
        found = both[0][name][1]
        own = rounds[0]["lrn"][1]
        slow = name != "lrn" and ratio < LIMITS[task]
        other = any(abs(found[k] - own[k]) > ALIKE for k in found)
        said = "".join(f"  {k} {v:.4f}" for k, v in found.items())
        note = "  short of its limit" * slow + "  another result" * other
        print(f"  {name:<10}{seconds:>10.3f} s  x {ratio:.1f}{said}{note}", flush=True)
        short |= slow or other
    return short


def timed(f: Callable[..., Any], args: Any, results: Callable[[Any], dict[str, float]]) -> Way:
    """Compile ``f(*args)`` and time its runs."""
    begin = time.perf_counter()
    compiled = jax.jit(f).lower(*args).compile()
    spent = time.perf_counter() - begin

    def run() -> tuple[float, dict[str, float]]:
        begin = time.perf_counter()
        found = jax.block_until_ready(compiled(*args))
        seconds = time.perf_counter() - begin
        return seconds, results(found)

    memory = compiled.memory_analysis()
    return Way(spent, run, memory.temp_size_in_bytes if memory else 0)


def judged(decision: Any, rows: People) -> dict[str, float]:
    """The accuracy of expected decisions, and their gaps."""
    counts = confusion(rows.y, np.clip(decision, 0, 1), rows.group, 2)
    return {
        "accuracy": float(overall_accuracy(counts)),
        "parity gap": float(gaps.demographic_parity_difference(counts)),
    }


def our_reduction(rows: People) -> Way:
    """lrn's exponentiated gradient; the result is on the rows of the training, as the bound is."""
    config = ReductionConfig(bound=BOUND)

    def fitted(rows: People) -> jax.Array:
        found = exponentiated_gradient(
            logistic(LogisticConfig(tolerance=1e-3)), rows.x, rows.y, rows.group, 2, config
        )
        return expected_decision(found, rows.x)

    return timed(fitted, (rows,), lambda decision: judged(decision, rows))


def peer_reduction(peer: Fairlearn, rows: People) -> tuple[float, dict[str, float]]:
    """fairlearn's exponentiated gradient."""
    peer.give(x=rows.x, y=np.asarray(rows.y, int), group=rows.group)
    answer, decision = peer.run("reduction", constraint="demographic_parity", bound=BOUND)
    return answer["seconds"], judged(decision, rows)


def front(rows: People, splits: int) -> Way:
    """lrn's front; its compilation counts."""
    method = reduction(logistic(LogisticConfig(tolerance=1e-3)))

    def run() -> tuple[float, dict[str, float]]:
        begin, busy = time.perf_counter(), time.process_time()
        found = fairness_front(method, rows, 2, np.linspace(0, 0.2, BOUNDS), range(splits), (0.7, 0.1, 0.2))
        accuracy = np.asarray(overall_accuracy(found.test)).mean(0)
        gap = np.asarray(gaps.demographic_parity_difference(found.test)).mean(0)
        spent, busy = time.perf_counter() - begin, time.process_time() - busy
        print(f"  lrn's front of {splits} splits took {spent:.1f} s, {busy:.1f} s of processor time")
        print("  gap      " + " ".join(f"{g:.3f}" for g in gap))
        print("  accuracy " + " ".join(f"{a:.3f}" for a in accuracy), flush=True)
        return spent * SPLITS / splits, {}

    return Way(0.0, run, 0)


def peer_front(peer: Fairlearn, rows: People) -> Callable[[], tuple[float, dict[str, float]]]:
    """Three of fairlearn's fits, extrapolated to all."""

    def run() -> tuple[float, dict[str, float]]:
        part = np.random.default_rng(0).permutation(rows.x.shape[0])
        cut = int(0.7 * len(part))
        peer.give(x=rows.x, y=np.asarray(rows.y, int), group=rows.group, train=part[:cut], test=part[cut:])
        answers = [
            peer.run("reduction", constraint="demographic_parity", bound=bound / 2)[0]
            for bound in (0.01, 0.05, 0.15)
        ]
        spent, busy = ([answer[kind] for answer in answers] for kind in ("seconds", "processor_seconds"))
        said = ", ".join(f"{a:.1f} s ({b:.1f} s of processor time)" for a, b in zip(spent, busy))
        print(f"  fairlearn's fits took {said}; {statistics.mean(busy) * BOUNDS * SPLITS:.0f} s for all")
        return statistics.mean(spent) * BOUNDS * SPLITS, {}

    return run


def scores(rows: People) -> np.ndarray:
    """The scores of a logistic regression, [n]."""
    return np.asarray(probability(fit_logistic(rows.x, rows.y), rows.x))


def our_thresholds(rows: People) -> Way:
    """lrn's thresholds, exact, and the decisions by them."""

    def fitted(score: jax.Array, rows: People) -> list[jax.Array]:
        kinds = ("demographic_parity", "equalized_odds")
        rules = [fit_thresholds(score, rows.y, rows.group, 2, kind) for kind in kinds]
        return [rule_decision(rule, score, rows.group) for rule in rules]

    def results(found: list[jax.Array]) -> dict[str, float]:
        return {f"accuracy {i}": judged(d, rows)["accuracy"] for i, d in enumerate(found)}

    return timed(fitted, (jnp.asarray(scores(rows)), rows), results)


def peer_thresholds(peer: Fairlearn, rows: People) -> tuple[float, dict[str, float]]:
    """fairlearn's thresholds of the same scores."""
    peer.give(y=np.asarray(rows.y, int), group=rows.group, score=scores(rows))
    seconds, found = 0.0, {}
    for i, kind in enumerate(("demographic_parity", "equalized_odds")):
        answer, decision = peer.run("post", constraint=kind)
        seconds += answer["seconds"]
        found[f"accuracy {i}"] = judged(decision, rows)["accuracy"]
    return seconds, found


def crossed(rows: People) -> tuple[np.ndarray, np.ndarray]:
    """The group of each row among sex by six ages, and the decisions of a logistic regression."""
    age = np.concatenate([data.load("adult", part)["age"] for part in ("train", "test")])
    cell = np.asarray(rows.group) * 6 + np.clip(age // 10 - 1, 0, 5)
    return cell.astype(np.int32), (scores(rows) > 0.5).astype(np.float32)


def our_bootstrap(rows: People) -> Way:
    """lrn's resamples of the counts."""
    cell, decision = crossed(rows)

    def intervals(key: jax.Array, y: jax.Array, decision: jax.Array, cell: jax.Array) -> list[jax.Array]:
        drawn = bootstrap_counts(key, confusion(y, decision, cell, 12), RESAMPLES)
        return [jnp.nanquantile(rates.rate(drawn, name), jnp.array([0.025, 0.975]), axis=0) for name in RATES]

    return timed(intervals, (jax.random.key(0), rows.y, decision, cell), lambda found: {})


def peer_bootstrap(peer: Fairlearn, rows: People) -> tuple[float, dict[str, float]]:
    """Fifty of the loop's resamples, extrapolated."""
    cell, decision = crossed(rows)
    peer.give(y=np.asarray(rows.y, int), group=rows.group, cell=cell, decision=decision.astype(int))
    return peer.run("bootstrap", resamples=50)[0]["seconds"] * RESAMPLES / 50, {}


OURS = {"reduction": our_reduction, "thresholds": our_thresholds, "bootstrap": our_bootstrap}
PEER = {"reduction": peer_reduction, "thresholds": peer_thresholds, "bootstrap": peer_bootstrap}
