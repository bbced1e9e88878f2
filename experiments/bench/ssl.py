"""``python -m experiments.bench ssl [TASK ...] [--peers --peer-python PYTHON]``: the speed of pretraining.

simclr: SimCLR with the small CNN on MNIST in batches of 256; examples, of which each gives two views, in a
    second of processor time.
resnet: the same with ResNet-18 on CIFAR-10 in batches of 64.
augment: the views of both sets alone.
seeds: 8 seeds of "simclr" in one call, in units of one seed.
mae: the encoder of MAE, forward and backward, with 1/8 to all of the patches visible.
memory: the working memory of NT-Xent's value and gradient, for batches n and embeddings of d dimensions.

lightly does the first three in a process of its own (``--peer-python`` names its interpreter), with the same
networks, weights, optimizer and augmentations (its blur is Pillow's approximation of a Gaussian) on Pillow's
images, and two workers. lrn and lightly are measured in turn in every round, by the processor seconds of all
their threads and processes, without compilation; wall seconds are shown beside. The tables have medians over
the rounds, and medians of the ratios within a round.

On a GPU the first two report examples a second of wall time and the share of the peak rate of matrix
products in float32 as TF32 that the networks' own operations reach (MFU); use larger ``--batch`` and
``--steps`` there. The exit code is 1 if a limit is missed.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import tyro

from experiments.bench._ssl_costs import Cost, mae, measured, memory, on_gpu
from experiments.bench._ssl_peer import Lightly
from experiments.bench._ssl_settings import (
    RATE,
    SETTINGS,
    TEMPERATURE,
    channels,
    fitted,
    load,
    projector,
)
from lrn import check
from lrn.ssl.views import View, draw
from lrn.types import Array, Key
from lrn.xla.runtime import enable_compilation_cache, processors

SEEDS = 8
# The least ratio of lightly's cost to lrn's.
LIMITS = {"simclr": 1.5, "resnet": 1.0, "augment mnist": 5.0, "augment cifar10": 5.0}
SEEDS_LIMIT = 8.5  # the most times the cost of one seed
Task = Literal["simclr", "resnet", "augment", "seeds", "mae", "memory"]
TASKS: tuple[Task, ...] = ("simclr", "resnet", "augment", "seeds", "mae", "memory")


@dataclasses.dataclass
class Args:
    """What to measure."""

    tasks: Annotated[tuple[Task, ...], tyro.conf.Positional] = TASKS
    """The tasks to measure; all by default."""
    peers: bool = False
    """Measure lightly in the same rounds."""
    peer_python: Path = Path(sys.executable)
    """The Python interpreter that has lightly and torchvision."""
    workers: int = 2
    """The processes of lightly's data loader."""
    rounds: int = 3
    """The number of rounds."""
    batch: int = 0
    """Examples in a batch; by default 256 for "simclr" and 64 for "resnet"."""
    steps: int = 0
    """Steps of a training; by default 20 for "simclr" and 8 for "resnet", the first allocates memory."""
    json: Path | None = None
    """A file for the figures, as JSON."""


ALONE = {"mae": mae, "memory": memory}


def main(argv: list[str]) -> int:
    """Measure and print; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench ssl", description=__doc__)
    check.integer("rounds", args.rounds, low=1)
    for name in ("batch", "steps", "workers"):
        check.integer(name, getattr(args, name), low=0)
    enable_compilation_cache()
    print(f"{platform.machine()}, {processors()} processors, {jax.devices()[0].device_kind}")
    peer = Lightly(args.peer_python) if args.peers else None
    if peer is not None:
        print(peer.versions)
    figures, short = {}, False
    for task in args.tasks:
        if task in ("simclr", "resnet"):
            figures[task], missed = training(task, args, peer)
        elif task == "augment":
            figures[task], missed = augmentation(args, peer)
        else:
            figures[task], missed = seeds(args) if task == "seeds" else ALONE[task](args.rounds)
        short |= missed
        if args.json:
            machine = {"machine": platform.machine(), "processors": processors(), "load": os.getloadavg()}
            args.json.write_text(json.dumps({**machine, **figures}, indent=1))
    if peer is not None:
        peer.close()
    return int(short)


def report(name: str, rounds: list[dict[str, Cost]], count: int) -> tuple[dict[str, Any], bool]:
    """Print the cost of ``count`` examples on each side; the figures, and whether the limit is missed."""
    print(f"\n{name}: {count} examples")
    print(f"  {'':<9}{'cpu ms each':>12}{'a cpu-second':>14}{'wall s':>9}{'ratio':>8}")
    figures, short = {}, False
    for side in rounds[0]:
        cpu = statistics.median(r[side]["cpu"] for r in rounds)
        wall = statistics.median(r[side]["wall"] for r in rounds)
        ratio = statistics.median(r[side]["cpu"] / r["lrn"]["cpu"] for r in rounds)
        missed = side != "lrn" and ratio < LIMITS[name]
        note = "  short of its limit" * missed
        row = f"{1e3 * cpu / count:>12.3f}{count / cpu:>14,.0f}{wall:>9.2f}{ratio:>8.2f}"
        print(f"  {side:<9}{row}{note}", flush=True)
        figures[side] = {"cpu": cpu, "wall": wall, "examples_a_cpu_second": count / cpu, "ratio": ratio}
        short |= missed
    return {**figures, "rounds": rounds, "examples": count}, short


def training(task: str, args: Args, peer: Lightly | None) -> tuple[dict[str, Any], bool]:
    """SimCLR, in turn with lightly's."""
    setting, images = SETTINGS[task], load(SETTINGS[task].name)
    batch, steps = args.batch or setting.batch, args.steps or setting.steps
    if batch * steps > len(images):
        raise check.InputError(
            f"{steps} steps of {batch} images exceed the {len(images)} of {setting.name}; take fewer steps."
        )
    rounds, state = [], None
    for i in range(args.rounds):
        fit = fitted(setting, images, [i], batch, steps)
        own = {"lrn": {"cpu": fit.cpu["train"], "wall": fit.timing["train"]}}
        state = jax.tree.map(lambda leaf: leaf[0], fit.arm("default")).training
        if peer is not None:
            peer.give(state.params, images=images[: batch * steps])
            options = {
                "method": "simclr",
                "network": setting.network,
                "hidden": setting.head[0],
                "out": setting.head[1],
                "temperature": TEMPERATURE,
                "optimizer": "adam",
                "rate": RATE,
                "epochs": 1,
                "batch": batch,
                "workers": args.workers,
                "seed": i,
            }
            if i == 0:  # the first steps allocate memory and choose kernels
                peer.give(state.params, images=images[: 2 * batch])
                peer.run("train", **options)
                peer.give(state.params, images=images[: batch * steps])
            found = peer.run("train", **options)
            own["lightly"] = {name: found[name] for name in ("cpu", "wall")}
        rounds.append(own)
    figures, short = report(task, rounds, batch * steps)
    if jax.default_backend() == "gpu":
        rate = batch * steps / figures["lrn"]["wall"]
        figures["gpu"] = on_gpu(setting.encoder, projector(setting), state, channels(images[:1]).shape, rate)
    return figures, short


def augmentation(args: Args, peer: Lightly | None) -> tuple[dict[str, Any], bool]:
    """The views alone, in turn with those of torchvision without workers."""
    figures, short = {}, False
    for task in ("simclr", "resnet"):
        setting, count = SETTINGS[task], 2048
        images = load(setting.name)[:count]
        x = jnp.asarray(channels(images))
        views = jax.jit(functools.partial(both_views, setting.view)).lower(jax.random.key(0), x).compile()
        jax.block_until_ready(views(jax.random.key(0), x))
        rounds = []
        for i in range(args.rounds):
            key = jax.random.key(i)
            own = {"lrn": measured(lambda views=views, key=key, x=x: [views(key, x) for _ in range(4)])}
            own["lrn"] = {name: value / 4 for name, value in own["lrn"].items()}
            if peer is not None:
                peer.give(images=images)
                found = peer.run("augment")
                own["lightly"] = {name: found[name] for name in ("cpu", "wall")}
            rounds.append(own)
        name = f"augment {setting.name}"
        figures[name], missed = report(name, rounds, count)
        short |= missed
    return figures, short


def both_views(view: View, key: Key, x: Array) -> Array:
    """Two views [batches, 2, 256, ...] of images uint8, batch after batch."""
    parts = x.reshape(-1, 256, *x.shape[1:])
    keys = jax.random.split(key, parts.shape[0])
    return jax.lax.map(lambda each: jnp.stack(draw(view, each[0], each[1] / jnp.float32(255))), (keys, parts))


def seeds(args: Args) -> tuple[dict[str, Any], bool]:
    """Eight seeds in one call, against one."""
    setting, images = SETTINGS["simclr"], load("mnist")
    batch, steps, rounds = args.batch or setting.batch, args.steps or setting.steps, []
    for _ in range(args.rounds):
        costs = {n: fitted(setting, images, range(n), batch, steps).cpu["train"] for n in (1, SEEDS)}
        rounds.append(costs[SEEDS] / costs[1])
    multiple = statistics.median(rounds)
    note = "  beyond its limit" * (multiple > SEEDS_LIMIT)
    print(f"\nseeds: {SEEDS} seeds in one call cost {multiple:.2f} times one seed{note}", flush=True)
    return {"multiple": multiple, "rounds": rounds}, multiple > SEEDS_LIMIT
