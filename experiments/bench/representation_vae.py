"""``python -m experiments.bench representation_vae [--peers --peer-python PYTHON]``: the cost of VAE steps.

step: one training step of beta-VAE with the networks of the dSprites protocol on sprites of 64x64 pixels, in
    batches of 64, in lrn's driver; with ``--peers`` the same in PyTorch, with the same weights.
sweep: 8 betas x 2 seeds in one call, in units of one training.

lrn and PyTorch (in a process of its own, in both memory layouts) are measured in turn in every round, by the
processor seconds of all their threads, without compilation; wall seconds are shown beside. The table has
medians over the rounds, and medians of the ratios within a round. Both sides begin with the same loss. The
exit code is 1 if a limit is missed.

On a GPU the figures are wall seconds; there --models measures that many models (betas x seeds) in one call,
and extrapolates to the 12,600 models x 300,000 steps of Locatello et al. (2019).
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments.bench._peer_process import PeerProcess
from lrn import check, config, nets, train
from lrn.data.nuisance_sprites import NuisanceConfig, sample
from lrn.data.sampler import minibatch
from lrn.representation.beta_vae import BetaVAEConfig, beta_vae
from lrn.representation.codes import Autoencoder
from lrn.representation.elbo import decoded_pass, split_moments
from lrn.supervised.optimizers import OptimizerConfig
from lrn.xla.runtime import enable_compilation_cache, processors

CODES, RATE, ROWS = 10, 1e-4, 2048
BETAS, SEEDS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0), 2
STEP_LIMIT = 1.0  # the least ratio of the cost of PyTorch's faster layout to lrn's
SWEEP_LIMIT = 17.0  # the most times the cost of one training
LAYOUTS = ("contiguous", "channels_last")
STUDY = 12_600, 300_000  # models and steps
Task = Literal["step", "sweep"]


@dataclasses.dataclass
class Args:
    """What to measure."""

    tasks: Annotated[tuple[Task, ...], tyro.conf.Positional] = ("step", "sweep")
    """The tasks to measure; both by default."""
    peers: bool = False
    """Measure PyTorch in the same rounds."""
    peer_python: Path = Path(sys.executable)
    """The Python interpreter that has PyTorch."""
    rounds: int = 5
    """The number of rounds."""
    steps: int = 60
    """The steps of one measurement; a third of them for the sweep."""
    batch: int = 64
    """The images in a batch."""
    models: int = 0
    """On a GPU: the number of models in one call; 256 for the extrapolation."""
    json: Path | None = None
    """A file for the figures, as JSON."""


def model() -> Autoencoder:
    """The networks of the dSprites protocol."""
    return Autoencoder(nets.dsprites_encoder(2 * CODES), nets.dsprites_decoder())


def images() -> np.ndarray:
    """White sprites on black, uint8 [rows, 64, 64, 1]."""
    levels = (("shape", 3), ("scale", 6), ("orientation", 40), ("x", 32), ("y", 32))
    drawn = jax.jit(lambda key: sample(key, ROWS, NuisanceConfig(levels, brightness=0.0))["image"])
    return np.asarray(jnp.round(drawn(jax.random.key(0)) * 255), np.uint8)


def fitted(pixels: np.ndarray, betas: tuple[float, ...], seeds: int, args: Args, first: int) -> train.Fit:
    """A training of all betas with all seeds in one call."""
    return train.fit(
        lambda c: beta_vae(model(), c),
        config.grid(BetaVAEConfig(OptimizerConfig("adam", RATE)), beta=betas),
        range(first, first + seeds),
        steps=args.steps,
        data={"image": pixels},
        sampler=minibatch(args.batch, columns=("image",)),
        progress=False,
        log_every=args.steps,
    )


def cost(fit: train.Fit) -> dict[str, float]:
    """The processor and wall seconds of a training, without compilation."""
    return {"cpu": fit.cpu["train"], "wall": fit.timing["train"]}


def first_loss(params: Any, x: jax.Array) -> float:
    """The loss of a batch at beta 4, with codes without noise."""
    net = model()
    moments = net.encoder.apply(params["encoder"], (), x)[0]
    mean, log_variance = split_moments(moments, x.shape[0])
    still = jnp.full_like(log_variance, -200.0)
    states = {"encoder": (), "decoder": ()}
    keys = jax.random.split(jax.random.key(0))
    passed, _ = decoded_pass(net, params, states, keys, mean, still, x, 1.0)
    rate = 0.5 * jnp.sum(mean**2 + jnp.expm1(log_variance) - log_variance, axis=1)
    return float(jnp.mean(passed.distortion + 4 * rate))


def step(args: Args, pixels: np.ndarray) -> tuple[dict[str, Any], bool]:
    """One step, in turn with PyTorch's."""
    script = Path(__file__).with_name("_vae_torch.py")
    peer = PeerProcess(args.peer_python, script, "PyTorch") if args.peers else None
    print(f"\nstep: beta-VAE, batches of {args.batch}" + (f", PyTorch {peer.versions}" if peer else ""))
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "arrays.npz"
        params = (
            beta_vae(model(), BetaVAEConfig()).init(jax.random.key(0), {"image": pixels[:2] / 255.0}).params
        )
        paths = jax.tree_util.tree_leaves_with_path(params)
        weights = {"/".join(str(part.key) for part in path): np.asarray(leaf) for path, leaf in paths}
        np.savez(file, images=pixels, **weights)  # pyright: ignore[reportArgumentType]
        ours = first_loss(params, jnp.asarray(pixels[: args.batch], jnp.float32) / 255)
        for i in range(args.rounds):
            own = {"lrn": cost(fitted(pixels, (4.0,), 1, args, i))}
            for layout in LAYOUTS if peer else ():
                options = {"file": str(file), "layout": layout, "batch": args.batch, "steps": args.steps}
                assert peer is not None
                own[layout] = peer.ask({**options, "rate": RATE, "beta": 4.0})
                if abs(own[layout]["loss"] - ours) > 1e-3 * abs(ours):
                    raise SystemExit(f"error: the networks differ: losses {ours} and {own[layout]['loss']}")
            rounds.append(own)
    if peer:
        peer.close()
    best = [
        min(r[side]["cpu"] for side in r if side != "lrn") / r["lrn"]["cpu"] for r in rounds if len(r) > 1
    ]
    print(f"  {'':<14}{'cpu ms a step':>14}{'wall ms':>10}{'ratio':>8}")
    figures: dict[str, Any] = {"rounds": rounds}
    for side in rounds[0]:
        cpu, wall = (
            1e3 / args.steps * statistics.median(r[side][kind] for r in rounds) for kind in ("cpu", "wall")
        )
        ratio = statistics.median(r[side]["cpu"] / r["lrn"]["cpu"] for r in rounds)
        print(f"  {side:<14}{cpu:>14.1f}{wall:>10.1f}{ratio:>8.2f}", flush=True)
        figures[side] = {"cpu_ms": cpu, "wall_ms": wall, "ratio": ratio}
    if not best:
        return figures, False
    figures["ratio"] = statistics.median(best)
    missed = figures["ratio"] < STEP_LIMIT
    print(
        f"  PyTorch's faster layout costs {figures['ratio']:.2f} times lrn" + "  short of its limit" * missed
    )
    return figures, missed


def sweep(args: Args, pixels: np.ndarray) -> tuple[dict[str, Any], bool]:
    """All betas and seeds in one call, against one training."""
    rounds, args = [], dataclasses.replace(args, steps=-(-args.steps // 3))
    for i in range(args.rounds):
        many, one = (
            cost(fitted(pixels, *which, args, i))["cpu"] for which in ((BETAS, SEEDS), (BETAS[:1], 1))
        )
        rounds.append(many / one)
    multiple = statistics.median(rounds)
    missed = multiple > SWEEP_LIMIT
    note = "  beyond its limit" * missed
    print(
        f"\nsweep: {len(BETAS)} betas x {SEEDS} seeds cost {multiple:.2f} times one training{note}",
        flush=True,
    )
    return {"multiple": multiple, "rounds": rounds}, missed


def study(args: Args, pixels: np.ndarray) -> dict[str, Any]:
    """The wall seconds of many models in one call, extrapolated to the large study."""
    seeds = max(1, args.models // len(BETAS))
    wall = cost(fitted(pixels, BETAS, seeds, args, 0))["wall"]
    count = seeds * len(BETAS)
    hours = wall / args.steps / count * STUDY[0] * STUDY[1] / 3600
    print(
        f"\nstudy: {count} models take {1e3 * wall / args.steps:.1f} ms a step; {STUDY[0]:,} models x "
        f"{STUDY[1]:,} steps would take {hours:,.0f} device hours",
        flush=True,
    )
    return {"models": count, "wall": wall, "steps": args.steps, "hours": hours}


def main(argv: list[str]) -> int:
    """Measure and print; see the module's docstring."""
    name = "python -m experiments.bench representation_vae"
    args = tyro.cli(Args, args=argv, prog=name, description=__doc__)
    for field in ("rounds", "steps", "batch"):
        check.integer(field, getattr(args, field), low=1)
    check.integer("models", args.models, low=0)
    enable_compilation_cache()
    print(f"{platform.machine()}, {processors()} processors, {jax.devices()[0].device_kind}")
    pixels, figures, short = images(), {}, False
    for task in args.tasks:
        figures[task], missed = (step if task == "step" else sweep)(args, pixels)
        short |= missed
    if args.models:
        figures["study"] = study(args, pixels)
    if args.json:
        machine = {"machine": platform.machine(), "processors": processors(), "load": os.getloadavg()}
        args.json.write_text(json.dumps({**machine, **figures}, indent=1))
    return int(short)
