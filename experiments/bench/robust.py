"""``python -m experiments.bench robust [TASK ...] [--peers --python PYTHON]``: the speed of attacks.

autoattack: standard AutoAttack in Linf on 256 test images of MNIST.
pgd: PGD, 50 steps from ten starts, on the same images.
smoothing: certificates of 50 images with n = 10,000.
curve: AutoAttack of four networks at eight radii in one program, in units of one network at one radius.

All attack one network (Wong & Kolter 2018, briefly trained by RS-FGSM), and PyTorch's libraries get its
weights; they run in a process of their own with one thread for each processor (``--python`` names its
interpreter). foolbox runs on jax in this process. lrn divides the images among devices, and each processor is
a device (`lrn.robust.share`). lrn and the peers are measured in turn in every round,
without compilation, which is shown beside. The tables have medians, and medians of the ratios within a round.
The exit code is 1 if a ratio is below its limit or an accuracy differs by over half a point.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments.bench._peer_process import PeerProcess
from experiments.bench.robust_numbers import SMALL, triangle
from lrn import check, data, train
from lrn.data.sampler import minibatch
from lrn.robust.auto_attack import AutoAttackConfig, attack_all, standard
from lrn.robust.cascade import cascade
from lrn.robust.curve import robustness_curve
from lrn.robust.interpolation import InterpolationConfig, interpolated
from lrn.robust.losses import is_correct
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm
from lrn.robust.share import share
from lrn.robust.smoothing import SmoothingConfig, certified_accuracy, certify
from lrn.types import Array, Key, Params
from lrn.xla.runtime import device_per_processor, processors

EPS, IMAGES, NETWORKS = 0.2, 256, 4
# The least ratio of a peer's time to lrn's; of "curve" the largest multiple of one run.
LIMITS = {
    "autoattack": {"pyautoattack": 3.0, "torchattacks": 3.0},
    "pgd": {"foolbox": 2.0, "torchattacks": 2.0},
    "smoothing": {"torch": 1.0},
}
CURVE_LIMIT = 10.0


@dataclasses.dataclass
class Args:
    """What to measure."""

    tasks: Annotated[tuple[Literal["autoattack", "pgd", "smoothing", "curve"], ...], tyro.conf.Positional] = (
        "autoattack",
        "pgd",
        "smoothing",
        "curve",
    )
    """The tasks to measure; all by default."""
    peers: bool = False
    """Measure the peers in the same rounds."""
    python: Path = Path(sys.executable)
    """The Python interpreter that has PyTorch's libraries."""
    rounds: int = 3
    """The number of rounds."""
    steps: int = 1800
    """The length of the training, in batches of 100."""
    json: Path | None = None
    """A file for the figures, as JSON."""


Run = Callable[[], tuple[float, float]]  # () -> seconds, accuracy


def main(argv: list[str]) -> int:
    """Measure and print; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench robust", description=__doc__)
    check.integer("rounds", args.rounds, low=1)
    check.integer("steps", args.steps, low=10)
    device_per_processor()
    networks, x, y = trained(args.steps), *images()
    one = jax.tree.map(lambda leaf: leaf[0], networks)
    print(f"{platform.machine()}, {processors()} processors, {jax.devices()[0].device_kind}")
    peers = Peers(args.python, one, x, y) if args.peers else None
    measured, short = {}, False
    for task in args.tasks:
        if task == "curve":
            measured[task] = curve(networks, x, y)
            short |= measured[task]["multiple"] > CURVE_LIMIT
            continue
        compiled, ours = OURS[task](one, x, y)
        ways: dict[str, Run] = {"lrn": ours}
        if peers is not None:
            ways |= peers.ways(task)
            if task == "pgd":
                ways["foolbox"] = functools.partial(foolbox_pgd, one, x, y)
        rounds = [{name: way() for name, way in ways.items()} for _ in range(args.rounds)]
        measured[task] = {"compile": compiled, "rounds": rounds}
        short |= report(task, compiled, rounds)
    if peers is not None:
        peers.close()
    if args.json:
        args.json.write_text(json.dumps({"machine": platform.machine(), "cores": os.cpu_count(), **measured}))
    return int(short)


def report(task: str, compiled: float, rounds: list[dict[str, tuple[float, float]]]) -> bool:
    """Print a table; whether a limit is missed."""
    short = False
    print(
        f"\n{task} (lrn compiles in {compiled:.1f} s)\n  {'':<14}{'seconds':>10}{'ratio':>8}{'accuracy':>10}"
    )
    for name in rounds[0]:
        seconds = statistics.median(r[name][0] for r in rounds)
        ratio = statistics.median(r[name][0] / r["lrn"][0] for r in rounds)
        right = statistics.median(r[name][1] for r in rounds)
        slow = ratio < LIMITS[task].get(name, 0)
        other = abs(right - statistics.median(r["lrn"][1] for r in rounds)) > 0.005
        note = "  short of its limit" * slow + "  another accuracy" * other
        print(f"  {name:<14}{seconds:>10.2f}{ratio:>8.2f}{right:>10.4f}{note}", flush=True)
        short |= slow or other
    return short


def trained(steps: int) -> Params:
    """The parameters of four networks, leaves [4, ...]."""
    config = InterpolationConfig(triangle(0.005, steps), robust_share=1.0)
    attack = rs_fgsm(RSFGSMConfig(eps=EPS, clip_start=False))
    fit = train.fit(
        lambda c: interpolated(SMALL, c, attack),
        config,
        range(NETWORKS),
        steps=steps,
        log_every=steps,
        data=dict(data.load("mnist", "train")),
        sampler=minibatch(100),
    )
    return fit.arm("default").params


def images() -> tuple[Array, Array]:
    """The first test images in [0, 1], and their labels."""
    test = data.load("mnist", "test")
    x = np.asarray(test["image"][:IMAGES], np.float32) / 255
    return jnp.asarray(x), jnp.asarray(test["label"][:IMAGES], jnp.int32)


def logits(params: Params, z: Array) -> Array:
    """The network's logits."""
    return SMALL.apply(params, (), z)[0]


def _timed(f: Callable[..., Array], *args: Any) -> tuple[float, Run]:
    """Compile ``f(key, *args) -> accuracy``: the seconds that takes, and a run with a new key each time."""
    begin = time.perf_counter()
    compiled = jax.jit(f).lower(jax.random.key(0), *args).compile()
    spent = time.perf_counter() - begin
    keys = iter(jax.random.split(jax.random.key(1), 1000))

    def run() -> tuple[float, float]:
        key = next(keys)
        begin = time.perf_counter()
        right = float(compiled(key, *args))
        return time.perf_counter() - begin, right

    return spent, run


def our_autoattack(params: Params, x: Array, y: Array) -> tuple[float, Run]:
    """AutoAttack of lrn."""
    config = AutoAttackConfig(eps=EPS)

    def attacked(key: Key, params: Params, x: Array, y: Array) -> Array:
        def attack(key: Key, x: Array, y: Array) -> Array:
            return attack_all(key, lambda z: logits(params, z), x, y, config).robust

        return share(attack)(key, x, y).mean()

    return _timed(attacked, params, x, y)


def our_pgd(params: Params, x: Array, y: Array) -> tuple[float, Run]:
    """PGD of lrn, each start on what the starts before it left, as in torchattacks."""
    attacks = {"pgd": lambda eps: pgd(PGDConfig(eps=eps, step_size=0.01, steps=50, keep="last"))}

    def attacked(key: Key, params: Params, x: Array, y: Array) -> Array:
        def attack(key: Key, x: Array, y: Array) -> Array:
            return cascade(key, lambda z: logits(params, z), x, y, EPS, attacks, starts=10).robust

        return share(attack)(key, x, y).mean()

    return _timed(attacked, params, x, y)


def our_smoothing(params: Params, x: Array, y: Array) -> tuple[float, Run]:
    """Certificates of lrn."""

    def certified(key: Key, params: Params, x: Array, y: Array) -> Array:
        found = certify(key, lambda z: logits(params, z), x, SmoothingConfig(sigma=0.25))
        return certified_accuracy(found.radius, found.label == y, 0.0)

    return _timed(certified, params, x[:50], y[:50])


OURS = {"autoattack": our_autoattack, "pgd": our_pgd, "smoothing": our_smoothing}


def curve(networks: Params, x: Array, y: Array) -> dict[str, float]:
    """AutoAttack of four networks at eight radii in one program, compilation included, against one run."""
    radii = jnp.linspace(0, 0.35, 9)[1:]
    attacks = standard(AutoAttackConfig(), 10)

    def one(key: Key, params: Params) -> Array:
        def attack(key: Key, x: Array, y: Array) -> Array:
            return robustness_curve(key, lambda z: logits(params, z), x, y, radii, attacks).robust.T

        return share(attack)(key, x, y).mean(axis=0)

    begin = time.perf_counter()
    keys = jax.random.split(jax.random.key(2), NETWORKS)
    found = np.asarray(jax.jit(lambda k, p: jax.lax.map(lambda a: one(*a), (k, p)))(keys, networks))
    every = time.perf_counter() - begin
    compiled, run = our_autoattack(jax.tree.map(lambda leaf: leaf[0], networks), x, y)
    single = compiled + run()[0]
    multiple = every / single
    print(f"\ncurve: {every:.1f} s for {found.size} accuracies, {single:.1f} s for one: x {multiple:.1f}")
    print(f"  {np.asarray(radii).round(3).tolist()}\n  {found.mean(0).round(3).tolist()}", flush=True)
    return {"seconds": every, "single": single, "multiple": multiple}


def foolbox_pgd(params: Params, x: Array, y: Array) -> tuple[float, float]:
    """PGD of foolbox on jax, ten starts."""
    import foolbox

    model = foolbox.JAXModel(  # pyright: ignore[reportPrivateImportUsage]
        jax.jit(lambda z: logits(params, z)), bounds=(0, 1)
    )
    attack = foolbox.attacks.LinfPGD(abs_stepsize=0.01, steps=50)
    begin, right = time.perf_counter(), np.ones(len(y), bool)
    for _ in range(10):
        _, found, _ = attack(model, x, y, epsilons=EPS)
        right &= np.asarray(is_correct(logits(params, jnp.asarray(found)), y))
    return time.perf_counter() - begin, float(right.mean())


class Peers:
    """PyTorch and its libraries in a process of their own, with the network's weights."""

    def __init__(self, python: Path, params: Params, x: Array, y: Array) -> None:
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "network.npz"
        layers, saved = params, {}
        for name in ("conv_0", "conv_1"):
            saved[f"{name}_weight"] = np.transpose(layers[name]["kernel"], (3, 2, 0, 1))
            saved[f"{name}_bias"] = np.asarray(layers[name]["bias"])
        # The inputs of the first dense layer are [rows, columns, channels] here, and channels first there.
        dense = np.asarray(layers["dense_0"]["kernel"]).reshape(7, 7, 32, 100).transpose(3, 2, 0, 1)
        saved |= {"dense_weight": dense.reshape(100, -1), "dense_bias": np.asarray(layers["dense_0"]["bias"])}
        saved |= {"head_weight": np.asarray(layers["head"]["kernel"]).T}
        saved |= {"head_bias": np.asarray(layers["head"]["bias"])}
        np.savez(file, x=np.transpose(x, (0, 3, 1, 2)), y=np.asarray(y), **saved)
        script = Path(__file__).with_name("_robust_torch.py")
        self._process = PeerProcess(python, script, "torch", str(file), sleep=False, remedy="give --python")
        self.versions = dict(item.split("=") for item in self._process.versions.split())
        print(", ".join(f"{name} {version}" for name, version in self.versions.items()))

    def ways(self, task: str) -> dict[str, Run]:
        """What the libraries do of a task."""
        known = {
            "autoattack": ("pyautoattack", "torchattacks"),
            "pgd": ("torchattacks",),
            "smoothing": ("torch",),
        }
        present = [library for library in known[task] if library in self.versions]
        return {library: functools.partial(self._run, library, task) for library in present}

    def _run(self, library: str, task: str) -> tuple[float, float]:
        answer = self._process.ask({"library": library, "task": task, "eps": EPS})
        return answer["seconds"], answer["accuracy"]

    def close(self) -> None:
        """End the process."""
        self._process.close()
        self._folder.cleanup()
