"""``python -m experiments.bench representation [TASK ...] [--peers --peer-python PYTHON]``: metrics' speed.

metrics: all metrics of 10,000 codes of 10 dimensions and five factors of 3 to 40 values, 5,000 rows to judge
    on, and 100 rounds of trees for DCI; and all metrics but DCI.
models: the same of 64 models in one call, in units of one model.

disentanglement_lib 1.5 does the eight metrics that it has in a process of its own (``--peer-python`` names
its interpreter) on the same rows: DCI by 2 of 100 rounds of trees, and the drawn scores by a tenth of their
draws, both extrapolated. Its DCI is compared with lrn's of 2 rounds too. lrn does InfoMEC and MCC besides.
Figures are processor seconds of all threads; lrn's are those of a call after the first, and the first call,
with its compilation, is shown beside. For "models" the units count the compilation of each, as somebody has
it who calls the function once; the ratio without compilations is beside, that of one model taken off both.
(On a CPU models are computed in turn, for one model already fills a processor's arithmetic.) The exit code is
1 if a limit is missed or a value differs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

from lrn import check
from lrn.representation.dci_trees import dci_trees
from lrn.representation.metrics import metrics
from lrn.xla.runtime import processors

SIZES, DIM, ROWS, TEST = (3, 6, 40, 32, 32), 10, 10_000, 5_000
NOISE, ROUNDS = 0.2, 100
PEER_ROUNDS = 2  # DCI's rounds of trees by the peer
LIMIT = 20.0  # the least ratio of disentanglement_lib's cost to lrn's
MODELS_LIMIT = 16.0  # the most times the cost of one model
# How far values may lie apart: DCI's by its bins, drawn ones by their draws.
ALIKE = {"dci_disentanglement": 0.02, "factor_vae": 0.06, "beta_vae": 0.03, "explicitness": 1e-3, "sap": 2e-4}
Task = Literal["metrics", "models"]


@dataclasses.dataclass
class Args:
    """What to measure."""

    tasks: Annotated[tuple[Task, ...], tyro.conf.Positional] = ("metrics", "models")
    """The tasks to measure; both by default."""
    peers: bool = False
    """Measure disentanglement_lib too."""
    peer_python: Path = Path(sys.executable)
    """The Python interpreter that has disentanglement_lib."""
    models: int = 64
    """The number of models in one call."""
    rows: int = ROWS
    """The number of rows; half as many judge."""
    rounds: int = ROUNDS
    """DCI's rounds of trees; the peer's seconds are those of 100."""
    json: Path | None = None
    """A file for the figures, as JSON."""


def main(argv: list[str]) -> int:
    """Measure and print; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench representation", description=__doc__)
    for name, low in (("models", 2), ("rows", 100), ("rounds", 1)):
        check.integer(name, getattr(args, name), low=low)
    print(f"{platform.machine()}, {processors()} processors, {jax.devices()[0].device_kind}")
    rows, figures, short = made(args.rows), {}, False
    if "metrics" in args.tasks:
        figures["metrics"], short = one_model(rows, args)
    if "models" in args.tasks:
        figures["models"], missed = several(rows, args)
        short |= missed
    if args.json:
        machine = {"machine": platform.machine(), "processors": processors(), "load": os.getloadavg()}
        args.json.write_text(json.dumps({**machine, **figures}, indent=1))
    return int(short)


def made(rows: int) -> dict[str, np.ndarray]:
    """Codes that are noisy mixtures of the factors, test rows, and how they were made."""
    rng = np.random.default_rng(0)
    mixture = rng.normal(size=(len(SIZES), DIM))
    found = {"mixture": mixture, "noise": np.array(NOISE), "sizes": np.array(SIZES)}
    for name, n in (("", rows), ("test_", rows // 2)):
        factors = np.stack([rng.integers(0, size, n) for size in SIZES], axis=1)
        scaled = 2 * factors / (np.array(SIZES) - 1) - 1
        codes = scaled @ mixture + NOISE * rng.normal(size=(n, DIM))
        found |= {f"{name}codes": codes.astype(np.float32), f"{name}factors": factors}
    return found


def call(rows: dict[str, np.ndarray], rounds: int, models: int = 0) -> dict[str, np.ndarray]:
    """All metrics of one model, or of several that differ by a little noise."""
    codes, test = rows["codes"], rows["test_codes"]
    if models:
        rng = np.random.default_rng(1)
        codes, test = (
            np.stack([x + 0.05 * rng.normal(size=x.shape).astype(np.float32) for _ in range(models)])
            for x in (codes, test)
        )
    found = metrics(
        jax.random.key(0), codes, rows["factors"], test=(test, rows["test_factors"]), rounds=rounds
    )
    return {name: np.asarray(value) for name, value in found.items()}


def timed(
    *args: Any, calls: tuple[str, ...] = ("first", "again")
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """A call's metrics, and the seconds of the first call and of the second."""
    jax.clear_caches()
    spent, found = {}, {}
    for name in calls:
        begin, wall = time.process_time(), time.perf_counter()
        found = call(*args)
        spent |= {name: time.process_time() - begin, f"{name}_wall": time.perf_counter() - wall}
    return found, spent


def one_model(rows: dict[str, np.ndarray], args: Args) -> tuple[dict[str, Any], bool]:
    """All metrics of one model, and disentanglement_lib's."""
    (_, light), (found, full) = (timed(rows, rounds) for rounds in (0, args.rounds))
    print(f"\nmetrics of {args.rows} codes: processor seconds (wall seconds)")
    for name, spent in (("lrn, all but DCI", light), ("lrn", full)):
        said = f"{spent['again']:.2f} ({spent['again_wall']:.2f})"
        print(
            f"  {name:<22}{said:>18}   first call {spent['first']:.1f} ({spent['first_wall']:.1f})",
            flush=True,
        )
    figures: dict[str, Any] = {
        "lrn": full,
        "but_dci": light,
        "values": {k: float(v) for k, v in found.items()},
    }
    if not args.peers:
        return figures, False
    theirs, short = peer(rows, args.peer_python), False
    compared = {**found, "dci_disentanglement": few_rounds(rows)}
    for name, (seconds, value) in theirs.items():
        own = float(compared[name])
        apart = not abs(value - own) <= ALIKE.get(name, 1e-5)
        short |= apart
        note = "  another value" * apart
        print(f"  {name:<22}{seconds:>9.1f} s, {value:.4f} (lrn {own:.4f}){note}")
    total = sum(seconds for seconds, _ in theirs.values())
    light_total = total - theirs["dci_disentanglement"][0]
    ratios = {"all": total / full["again"], "but_dci": light_total / light["again"]}
    missed = ratios["all"] < LIMIT
    note = "  short of its limit" * missed
    print(f"  disentanglement_lib{total:>12.1f} s, {ratios['all']:.0f} times lrn's{note}")
    print(f"  all but DCI{light_total:>20.1f} s, {ratios['but_dci']:.0f} times lrn's", flush=True)
    return {**figures, "peer": theirs, "ratios": ratios}, short or missed


def few_rounds(rows: dict[str, np.ndarray]) -> float:
    """DCI's disentanglement by as many rounds of trees as the peer grows."""
    given = (rows[name] for name in ("codes", "factors", "test_codes", "test_factors"))
    return float(dci_trees(*given, rounds=PEER_ROUNDS).disentanglement)


def several(rows: dict[str, np.ndarray], args: Args) -> tuple[dict[str, Any], bool]:
    """Many models in one call, in units of one."""
    figures, short = {}, False
    print(f"\n{args.models} models in one call, in units of one model")
    for name, rounds in (("all but DCI", 0), ("all", args.rounds)):
        one = timed(rows, rounds, 1)[1]
        many = timed(rows, rounds, args.models, calls=("first",))[1]
        compilation = one["first"] - one["again"]
        cold = many["first"] / one["first"]
        warm = (many["first"] - compilation) / one["again"]
        missed = cold > MODELS_LIMIT
        note = "  beyond its limit" * missed
        print(f"  {name:<12}{cold:>6.1f} with compilation, {warm:.1f} without{note}", flush=True)
        figures[name] = {"one": one, "many": many, "with_compilation": cold, "without": warm}
        short |= missed
    return figures, short


def peer(rows: dict[str, Any], python: Path) -> dict[str, tuple[float, float]]:
    """disentanglement_lib's processor seconds and value of each metric.

    Raises:
        InputError: the interpreter lacks disentanglement_lib.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.npz"
        np.savez(file, rounds=PEER_ROUNDS, **rows)
        script = Path(__file__).with_name("_disentanglement_lib.py")
        done = subprocess.run([python, script, file], capture_output=True, text=True, check=False)
    lines = [line.removeprefix("answer ") for line in done.stdout.splitlines() if line.startswith("answer ")]
    if not lines:
        raise check.InputError(
            f"--peers needs disentanglement_lib, which {python} lacks; give --peer-python."
        )
    if done.returncode:
        raise SystemExit(f"error: disentanglement_lib failed: {done.stderr.strip().splitlines()[-1]}")
    print(f"  {lines[0]}")
    found = (line.split() for line in lines[1:])
    return {name: (float(seconds), float(value)) for name, seconds, value in found}
