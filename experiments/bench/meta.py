"""``python -m experiments.bench meta [sinusoid|omniglot|memory|seeds] [--peers]``: what meta-learning costs.

sinusoid: meta-iterations a second of MAML, second order, 25 tasks of 10 + 10 points, 1 inner step, 1-40-40-1.
omniglot: seconds a meta-step, second order, 32 tasks, 5 ways, one shot and one query, four strided blocks.
memory: working memory against inner steps, with the inner loop checkpointed and not, on the omniglot network.
seeds: what eight seeds in one call cost, against one. On a GPU or TPU also 64, and the omniglot network by
the compiler's convolution and by matrix products (``--conv``).

Ours are trained by `lrn.train.fit`, tasks drawn on the device; compilation is apart. Sinusoids are on one CPU
device, for which all processors work; the large network has a device for each of them. With --peers the same
in PyTorch by torch.func with vmap, by a plain loop, and by higher and TorchOpt where they are installed, in a
process of its own with as many threads as there are processors (``--python`` names its interpreter). Ours
and theirs take turns, round after round: quoted are medians, and the ratio within a round to the best of
them. Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from lrn import check, nets, train
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import TaskFamily, episodes
from lrn.meta.families.few_shot import few_shot
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import Problem, classification, regression
from lrn.types import Sampler
from lrn.xla.runtime import device_per_processor, processors

# Least ratio to the best peer (to higher for omniglot), and the absolute limit.
LIMITS = {"sinusoid": (5.0, 1 / 1500), "omniglot": (5.0, 0.3)}
SEEDS_LIMIT = 8.5  # times one, for eight in one call


@dataclasses.dataclass
class Args:
    """What to measure."""

    parts: Annotated[tuple[Literal["sinusoid", "omniglot", "memory", "seeds"], ...], tyro.conf.Positional] = (
        "sinusoid",
        "omniglot",
        "memory",
        "seeds",
    )
    """Which figures; all by default."""
    peers: bool = False
    """Measure PyTorch's libraries in the same rounds."""
    python: Path = Path(sys.executable)
    """The interpreter that has them."""
    rounds: int = 5
    """How often each way is measured."""
    seeds: tuple[int, ...] = ()
    """In one call, for the part of that name; by default 8, and elsewhere than on CPU 8 and 64."""
    conv: tuple[Literal["auto", "lax", "matmul"], ...] = ()
    """For the part "seeds", see `lrn.nets.conv`; by default auto, elsewhere than on CPU lax and matmul."""
    json: Path | None = None
    """Also write the figures here."""


class Peers:
    """PyTorch and its libraries in their own process."""

    def __init__(self, python: Path) -> None:
        threads = str(processors())
        command = [str(python), str(Path(__file__).with_name("_meta_torch.py")), threads]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions = dict(item.split("=") for item in self._read().split())
        if not self.versions:
            raise check.InputError(
                f"--peers needs torch, which {python} lacks; install it, or give --python."
            )

    def __call__(self, library: str, part: str, iterations: int) -> float:
        """Seconds a meta-iteration."""
        assert self._process.stdin
        self._process.stdin.write(f"{library} {part} {iterations}\n")
        self._process.stdin.flush()
        answer = self._read()
        if not answer:
            raise SystemExit(f"error: {library} failed on {part}")
        return float(answer)

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@dataclasses.dataclass
class Part:
    """A training of ours: a problem, its tasks, and iterations of ours and of a peer's measurement."""

    problem: Problem
    config: MAMLConfig
    sampler: Sampler
    data: Any
    iterations: int
    peer_iterations: int
    devices: int | None = None  # of a CPU's processors; all of them


def parts(conv: str = "auto") -> dict[str, Part]:
    """What is trained; ``conv`` as for `lrn.nets.conv4`."""
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
    """Seconds a meta-iteration of all seeds together, and CPU-seconds; seconds of compilation."""
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


def compare(name: str, part: Part, peers: Peers | None, rounds: int) -> tuple[dict[str, Any], bool]:
    """Ours and the peers' in turn; whether the limits hold."""
    rows = []
    for _ in range(rounds):
        row: dict[str, Any] = {"lrn": ours(part)}
        for library in peers.versions if peers else ():
            assert peers
            row[library] = {"seconds": peers(library, name, part.peer_iterations)}
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


def memory(part: Part) -> dict[str, Any]:
    """Working memory of a meta-step in MiB against inner steps, checkpointed and not."""
    key = jax.random.key(0)
    batch = part.sampler.draw(key, jax.tree.map(jnp.asarray, part.data))
    found: dict[str, Any] = {}
    print("\nmemory: MiB of a meta-step\n  inner steps    kept    checkpointed")
    for steps in (1, 5, 10, 20):
        row = []
        for checkpoint in (False, True):
            inner = dataclasses.replace(part.config.inner, steps=steps, checkpoint=checkpoint)
            learner = maml(part.problem, dataclasses.replace(part.config, inner=inner))
            state = jax.eval_shape(learner.init, key, batch)
            compiled = jax.jit(learner.step).lower(key, state, batch).compile()
            row.append(getattr(compiled.memory_analysis(), "temp_size_in_bytes", float("nan")) / 2**20)
        found[str(steps)] = row
        print(f"  {steps:>11}{row[0]:>8.0f}{row[1]:>16.0f}", flush=True)
    return found


def many_seeds(rounds: int, counts: tuple[int, ...], forms: tuple[str, ...]) -> tuple[dict[str, Any], bool]:
    """What several seeds in one call cost, in times of one; whether the limit for eight holds."""
    good, found = True, {}
    print(f"\nseeds in one call{'':<13}{'ms of one':>12}" + "".join(f"{f'{n}, times':>12}" for n in counts))
    ways = {"sinusoid": parts()["sinusoid"]}
    ways |= {f"omniglot, {form}": parts(form)["omniglot"] for form in forms}
    for name, part in ways.items():
        rows = []
        for _ in range(rounds):
            one = ours(part)["seconds"]
            rows.append({"seconds": one, **{str(n): ours(part, n)["seconds"] / one for n in counts}})
        found[name] = rows
        middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        good &= middle.get("8", 0) <= SEEDS_LIMIT
        times = "".join(f"{middle[str(n)]:>12.2f}" for n in counts)
        print(f"  {name:<28}{middle['seconds'] * 1e3:>12.2f}{times}", flush=True)
    return found, good


def main(argv: list[str]) -> int:
    """Measure and print; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench meta", description=__doc__)
    check.integer("rounds", args.rounds, low=1)
    for count in args.seeds:
        check.integer("seeds", count, low=1)
    device_per_processor()
    peers = Peers(args.python) if args.peers else None
    versions = "".join(f", {name} {version}" for name, version in (peers.versions if peers else {}).items())
    print(f"{platform.machine()}, {os.cpu_count()} processors, jax {jax.__version__}{versions}")
    found: dict[str, Any] = {"load": os.getloadavg(), "versions": peers.versions if peers else {}}
    good = True
    for name in args.parts:
        if name in LIMITS:
            found[name], held = compare(name, parts()[name], peers, args.rounds)
            good &= held
    if peers:
        peers.close()
    if "memory" in args.parts:
        found["memory"] = memory(parts()["omniglot"])
    if "seeds" in args.parts:
        cpu = jax.default_backend() == "cpu"
        counts = args.seeds or ((8,) if cpu else (8, 64))
        forms = args.conv or (("auto",) if cpu else ("lax", "matmul"))
        found["seeds"], held = many_seeds(args.rounds, counts, forms)
        good &= held
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    return int(not good)
