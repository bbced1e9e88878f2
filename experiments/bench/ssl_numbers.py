"""``python -m experiments.bench ssl_numbers [NAME ...] [--save FOLDER] [--peers] [--slow]``: known numbers.

Each line pretrains on ten seeds without labels and reports the accuracy of a linear probe on the features h,
as the mean over seeds with its 95% t interval, beside what is known. The exit code is 1 if a mean lies
outside of what is known. Settings were chosen on seeds from 1000 on.

mnist1d: MNIST-1D: SimCLR .82, raw signals .33, a supervised CNN .94 (Greydanus and Kobak 2024).
content: content and style; methods with and without their guards. The known figures are those of a pilot in
    another library; with a guard they are the least, without it the most is that of the guarded method.
hmm: masked prediction on hidden Markov models: the expected cross-entropy is at most .02 above the optimum.
mnist, fashion_mnist: all methods for images at one small budget, without tuning, beside raw pixels.
cifar10 (with --peers): two epochs of SimCLR, BYOL and VICReg with ResNet-18 on 10,000 images of CIFAR-10,
    here and in lightly with the same networks, augmentations and initial weights: the losses of the last
    quarter, and a kNN probe (k = 200, temperature .1). Both sides agree if the interval of the mean
    difference over seeds has 0 in it. It takes hours on two cores; see ``--budget``.
SimCLR, BYOL, Barlow Twins 200 and SimCLR, BYOL, Barlow Twins, VICReg 1000 (with --slow): the published
    budgets on CIFAR-10 with ResNet-18, for a GPU: kNN after 200 epochs (lightly), a linear probe after 1000
    (solo-learn, whose probe is trained along).

With ``--save`` a stopped line is resumed, and a finished line is read.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from experiments.bench import _ssl_cifar as cifar
from experiments.bench._ssl_lines import Line, Run, Values, mnist1d
from experiments.bench._ssl_sets import content, hidden_markov, images
from lrn import check, stats
from lrn.xla.runtime import enable_compilation_cache

# The least accuracies with a guard, and from an arm without its guard to the arm that must be better.
CONTENT = {"SimCLR": 0.930, "SimSiam": 0.858, "BYOL": 0.833, "VICReg": 0.911, "Barlow Twins": 0.826}
GUARDED = {
    "SimCLR, invariance only": "SimCLR",
    "SimSiam, no stop-gradient": "SimSiam",
    "VICReg, no variance": "VICReg",
}
LINES = {
    "mnist1d": Line(mnist1d, {"SimCLR h": (0.82, 1.0), "raw": (0.31, 0.35), "supervised": (0.94, 1.0)}),
    "content": Line(content, {name: (least, 1.0) for name, least in CONTENT.items()}),
    "hmm": Line(hidden_markov, {"gap": (0.0, 0.02)}),
    "mnist": Line(functools.partial(images, "mnist"), {}),
    "fashion_mnist": Line(functools.partial(images, "fashion_mnist"), {}),
}
SLOW = {name: Line(functools.partial(cifar.published, name), known, 1) for name, known in cifar.KNOWN.items()}


@dataclasses.dataclass
class Args:
    """What to run."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names of lines; by default all that need neither a peer nor a GPU."""
    save: Path | None = None
    """A folder for checkpoints and results, from which the same command resumes."""
    slow: bool = False
    """Run the published budgets too; use a GPU."""
    peers: bool = False
    """Run the comparison with lightly too."""
    peer_python: Path = Path(sys.executable)
    """The Python interpreter that has lightly and torchvision."""
    seeds: int = 0
    """The number of seeds; by default the line's."""
    first_seed: int = 0
    """The first seed; use 1000 and above for trials."""
    budget: float = 1.0
    """The share of every line's steps, for trials."""
    json: Path | None = None
    """A file for the figures, as JSON; lines of earlier runs stay in the file."""


def main(argv: list[str]) -> int:
    """Train, probe, compare; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench ssl_numbers", description=__doc__)
    check.integer("seeds", args.seeds, low=0)
    check.integer("first-seed", args.first_seed, low=0)
    check.positive("budget", args.budget)
    enable_compilation_cache()
    lines, reached = chosen(args), True
    print(f"{'':<20}{'figure':<30}{'mean':>26}{'known':>16}")
    for name, line in lines.items():
        row = measure(line, args, name)
        for figure, at in row["figures"].items():
            interval = f"{at['mean']:.4f} [{at['low']:.4f}, {at['high']:.4f}]"
            known = "" if at["known"] is None else "{:.3g} to {:.3g}".format(*at["known"])
            note = "" if at["reached"] else "  outside of it"
            print(f"{name:<20}{figure:<30}{interval:>26}{known:>16}{note}", flush=True)
            reached &= at["reached"]
        print(
            f"{name:<20}{row['seeds']} seeds from {row['first_seed']}, {row['cpu']:.0f} s of processor time"
        )
        if args.json:
            before = json.loads(args.json.read_text()) if args.json.exists() else {}
            args.json.write_text(json.dumps({**before, name: row}, indent=1))
    return int(not reached)


def measure(line: Line, args: Args, name: str) -> dict[str, Any]:
    """The figures of one line, or those of the folder if they are of the same seeds and budget."""
    asked = {"seeds": args.seeds or line.seeds, "first_seed": args.first_seed, "budget": args.budget}
    label = "_".join(f"{name} {' '.join(f'{v:g}' for v in asked.values())}".split())
    file = args.save and args.save / f"{label}.json"
    if file and file.exists():
        return json.loads(file.read_text())
    begin, spent = time.perf_counter(), time.process_time()
    seeds = range(args.first_seed, args.first_seed + asked["seeds"])
    values = line.values(Run(seeds, args.budget, args.save and args.save / label))
    row = {
        "figures": figures(values, line.known),
        **asked,
        "wall": time.perf_counter() - begin,
        "cpu": time.process_time() - spent,
        "device": jax.devices()[0].device_kind,
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
    }
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(row, indent=1))
    return row


def figures(values: Values, known: Mapping[str, tuple[float, float]]) -> dict[str, dict[str, Any]]:
    """The mean of each figure, its 95% t interval, and whether it lies where it must."""
    means = {name: float(np.mean(own)) for name, own in values.items()}
    found = {}
    for name, own in values.items():
        low, high = (means[name],) * 2
        if len(own) > 1 and np.isfinite(own).all():
            _, low, high = stats.t_interval(np.asarray(own))[:3]
        bounds = known.get(name)
        if name in GUARDED:
            bounds = 0.0, means[GUARDED[name]]
        reached = np.isfinite(means[name]) if bounds is None else bounds[0] <= means[name] <= bounds[1]
        if name.endswith(", difference"):  # of lrn and a peer
            reached = len(own) < 2 or low <= 0 <= high
        found[name] = {
            "mean": means[name],
            "low": float(low),
            "high": float(high),
            "by_seed": own,
            "known": bounds,
            "reached": bool(reached),
        }
    return found


def chosen(args: Args) -> dict[str, Line]:
    """The lines to run.

    Raises:
        InputError: there is no such line, or it needs an option.
    """
    peer = {"cifar10": Line(functools.partial(cifar.against, args.peer_python), {}, 3)}
    every = {**LINES, **peer, **SLOW}
    for name in args.names:
        if name not in every:
            raise check.InputError(f"there is no line {name!r}; {check.nearest(name, every)}")
        if name in peer and not args.peers:
            raise check.InputError(f"the line {name!r} compares with lightly; give --peers.")
    if args.names:
        return {name: every[name] for name in args.names}
    return {**LINES, **(peer if args.peers else {}), **(SLOW if args.slow else {})}
