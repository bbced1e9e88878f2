"""``python -m experiments.bench meta [sinusoid|omniglot|memory|seeds] [--peers]``: the cost of meta-learning.

sinusoid: meta-iterations per second of second-order MAML with 25 tasks of 10 + 10 points, 1 inner step and a
perceptron 1-40-40-1.
omniglot: seconds per meta-step of second-order MAML with 32 tasks of 5 ways, one shot and one query, and four
strided blocks.
memory: working memory of the omniglot network for several numbers of inner steps, with and without
    checkpoints in
the inner loop.
seeds: the time of eight seeds in one call, relative to one seed. On a GPU or TPU also of 64 seeds, and of the
omniglot network with the compiler's convolution and with matrix products (``--conv``).

`lrn.train.fit` trains, and tasks are drawn on the device; compilation is measured separately. On CPU the
sinusoids use one device with all processors; the large network uses one device for each processor. With
--peers the benchmark measures PyTorch too: torch.func with vmap, a plain loop, and higher and TorchOpt
where these are installed. PyTorch runs in a process of its own with one thread for each processor
(``--python`` names its interpreter). lrn and the peers are measured in turn in every round. The tables
have medians, and medians of the ratios within a round. The exit code is 1 if a limit is missed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments.bench._peer_process import PeerProcess
from lrn import check, nets, train
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import TaskFamily, episodes
from lrn.meta.families.few_shot import few_shot
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import Problem, classification, regression
from lrn.types import Sampler
from lrn.xla.runtime import device_per_processor

# The least ratio of the best peer's time (for omniglot: of higher's) to lrn's, and the most
# seconds per iteration.
LIMITS = {"sinusoid": (5.0, 1 / 1500), "omniglot": (5.0, 0.3)}
SEEDS_LIMIT = 8.5  # the largest ratio of the time of eight seeds in one call to that of one seed


@dataclasses.dataclass
class Args:
    """What to measure."""

    parts: Annotated[tuple[Literal["sinusoid", "omniglot", "memory", "seeds"], ...], tyro.conf.Positional] = (
        "sinusoid",
        "omniglot",
        "memory",
        "seeds",
    )
    """The parts to measure; all by default."""
    peers: bool = False
    """Measure PyTorch's libraries in the same rounds."""
    python: Path = Path(sys.executable)
    """The Python interpreter that has PyTorch's libraries."""
    rounds: int = 5
    """The number of rounds."""
    seeds: tuple[int, ...] = ()
    """The numbers of seeds for the part "seeds"; by default 8 on CPU, and 8 and 64 elsewhere."""
    conv: tuple[Literal["auto", "lax", "matmul"], ...] = ()
    """The forms of the convolution for the part "seeds"; by default auto on CPU, else lax and matmul."""
    json: Path | None = None
    """A file for the figures, as JSON."""


@dataclasses.dataclass
class Part:
    """A training to measure.

    iterations, peer_iterations: the number of meta-iterations in a measurement of lrn, and of a peer.
    devices: the number of CPU devices to use; None for all.
    """

    problem: Problem
    config: MAMLConfig
    sampler: Sampler
    data: Any
    iterations: int
    peer_iterations: int
    devices: int | None = None


def parts(conv: str = "auto") -> dict[str, Part]:
    """The trainings by name; ``conv`` is the form of the convolution, as for `lrn.nets.conv4`."""
    images = np.random.default_rng(0).integers(0, 256, (200, 20, 28, 28, 1), np.uint8)

    def characters(data: Any) -> TaskFamily:
        return few_shot(data["images"], 5, 1, 1)

    return {
        "sinusoid": Part(
            regression(nets.mlp(None, (40, 40))),
            MAMLConfig(inner=InnerConfig(steps=1, rate=0.01)),
            episodes(sinusoid(), 25),
            None,
            5000,
            20,
            1,
        ),
        "omniglot": Part(
            classification(nets.conv4(conv=conv), 5),
            MAMLConfig(inner=InnerConfig(steps=1, rate=0.4)),
            episodes(characters, 32),
            {"images": images},
            60,
            4,
        ),
    }


def ours(part: Part, seeds: int = 1) -> dict[str, float]:
    """Seconds and CPU-seconds per meta-iteration of all seeds together, and seconds of compilation."""
    with contextlib.redirect_stdout(io.StringIO()):
        fit = train.fit(
            lambda config: maml(part.problem, config), part.config, range(seeds), steps=part.iterations,
            sampler=part.sampler, data=part.data, progress=False, devices=_devices(part),
        )  # fmt: skip
    return {
        "seconds": fit.timing["train"] / part.iterations,
        "cpu": fit.cpu["train"] / part.iterations,
        "compile": fit.timing["compile"],
    }


def _devices(part: Part) -> Any:
    return jax.devices()[: part.devices] if jax.default_backend() == "cpu" else None


def compare(name: str, part: Part, peers: PeerProcess | None, rounds: int) -> tuple[dict[str, Any], bool]:
    """Measure lrn and the peers in turn, and print; returns the figures, and whether the limits hold."""
    rows = []
    for _ in range(rounds):
        row: dict[str, Any] = {"lrn": ours(part)}
        for library in versions_of(peers):
            assert peers
            row[library] = peers.ask({"library": library, "part": name, "iterations": part.peer_iterations})
        rows.append(row)
    print(f"\n{name}{'':<22}{'iterations/s':>14}{'ms':>10}{'of ours':>9}")
    for way in rows[0]:
        seconds = statistics.median(r[way]["seconds"] for r in rows)
        ratio = statistics.median(r[way]["seconds"] / r["lrn"]["seconds"] for r in rows)
        print(f"  {way:<28}{1 / seconds:>14,.1f}{seconds * 1e3:>10.2f}{ratio:>9.2f}", flush=True)
    compiling = statistics.median(r["lrn"]["compile"] for r in rows)
    busy = statistics.median(r["lrn"]["cpu"] / r["lrn"]["seconds"] for r in rows)
    print(f"  compile {compiling:.1f} s; {busy:.1f} processors busy")
    least, limit = LIMITS[name]
    good = statistics.median(r["lrn"]["seconds"] for r in rows) <= limit
    if not good:
        print(f"  slower than {limit:.3g} s an iteration")
    others = [w for w in rows[0] if w != "lrn" and (name == "sinusoid" or w == "higher")]
    if others:
        ratio = statistics.median(min(r[w]["seconds"] for w in others) / r["lrn"]["seconds"] for r in rows)
        if ratio < least:
            good = False
            print(f"  {ratio:.1f} times the best of {', '.join(others)}, less than {least:g}")
    return {"rounds": rows}, good


def versions_of(peers: PeerProcess | None) -> dict[str, str]:
    """From the peers' libraries to their versions."""
    return dict(item.split("=") for item in peers.versions.split()) if peers else {}


def memory(part: Part) -> dict[str, Any]:
    """The working memory of a meta-step in MiB by number of inner steps, without and with checkpoints."""
    key = jax.random.key(0)
    batch = part.sampler.draw(key, jax.tree.map(jnp.asarray, part.data))
    figures: dict[str, Any] = {}
    print("\nmemory: MiB of a meta-step\n  inner steps    kept    checkpointed")
    for steps in (1, 5, 10, 20):
        row = []
        for checkpoint in (False, True):
            inner = dataclasses.replace(part.config.inner, steps=steps, checkpoint=checkpoint)
            learner = maml(part.problem, dataclasses.replace(part.config, inner=inner))
            state = jax.eval_shape(learner.init, key, batch)
            compiled = jax.jit(learner.step).lower(key, state, batch).compile()
            row.append(getattr(compiled.memory_analysis(), "temp_size_in_bytes", float("nan")) / 2**20)
        figures[str(steps)] = row
        print(f"  {steps:>11}{row[0]:>8.0f}{row[1]:>16.0f}", flush=True)
    return figures


def many_seeds(rounds: int, counts: tuple[int, ...], forms: tuple[str, ...]) -> tuple[dict[str, Any], bool]:
    """Measure the time of several seeds in one call, relative to one seed.

    Returns:
        The figures of every round by training, and whether the limit for eight seeds holds.
    """
    good, figures = True, {}
    print(f"\nseeds in one call{'':<13}{'ms of one':>12}" + "".join(f"{f'{n}, times':>12}" for n in counts))
    ways = {"sinusoid": parts()["sinusoid"]}
    ways |= {f"omniglot, {form}": parts(form)["omniglot"] for form in forms}
    for name, part in ways.items():
        rows = []
        for _ in range(rounds):
            one = ours(part)["seconds"]
            rows.append({"seconds": one, **{str(n): ours(part, n)["seconds"] / one for n in counts}})
        figures[name] = rows
        middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        good &= middle.get("8", 0) <= SEEDS_LIMIT
        times = "".join(f"{middle[str(n)]:>12.2f}" for n in counts)
        print(f"  {name:<28}{middle['seconds'] * 1e3:>12.2f}{times}", flush=True)
    return figures, good


def main(argv: list[str]) -> int:
    """Measure and print; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench meta", description=__doc__)
    check.integer("rounds", args.rounds, low=1)
    for count in args.seeds:
        check.integer("seeds", count, low=1)
    device_per_processor()
    peers = None
    if args.peers:
        script = Path(__file__).with_name("_meta_torch.py")
        peers = PeerProcess(args.python, script, "torch", sleep=False, remedy="give --python")
    versions = "".join(f", {name} {version}" for name, version in versions_of(peers).items())
    print(f"{platform.machine()}, {os.cpu_count()} processors, jax {jax.__version__}{versions}")
    figures: dict[str, Any] = {"load": os.getloadavg(), "versions": versions_of(peers)}
    good = True
    for name in args.parts:
        if name in LIMITS:
            figures[name], held = compare(name, parts()[name], peers, args.rounds)
            good &= held
    if peers:
        peers.close()
    if "memory" in args.parts:
        figures["memory"] = memory(parts()["omniglot"])
    if "seeds" in args.parts:
        cpu = jax.default_backend() == "cpu"
        counts = args.seeds or ((8,) if cpu else (8, 64))
        forms = args.conv or (("auto",) if cpu else ("lax", "matmul"))
        figures["seeds"], held = many_seeds(args.rounds, counts, forms)
        good &= held
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))
    return int(not good)
