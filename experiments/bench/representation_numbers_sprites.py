"""``python -m experiments.bench representation_numbers_sprites [LINE ...] [--save FOLDER] [--slow]``: VAEs.

beta-VAE (beta 4), TCVAE (beta 6), FactorVAE (gamma 10): the networks of `SMALL` on white sprites of shape,
    scale and position at 32x32 pixels, for a budget of 6,000 steps of 64 pictures, ten codes, Adam 1e-3.
dsprites beta-VAE, dsprites TCVAE, dsprites FactorVAE (with --slow, for a GPU): the protocol of Locatello et
    al. (2019): dSprites from ``$LRN_DATA_DIR``, the convolutional networks, 300,000 steps of 64, Adam 1e-4, a
    discriminator of six layers of 1,000. Their study's medians over seeds and strengths are known in figures
    alone, so nothing is compared.

Each line trains ten seeds in one call and reports all metrics of `lrn.representation.metrics` of the mean
codes of 10,000 pictures (5,000 others judge), with the distortion and the rate of the last steps, as means
over seeds with 95% t intervals. Nothing is known of these figures for the small budget; the exit code is 1 if
a figure is not finite. With ``--save`` a stopped line is resumed.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from lrn import check, nets, stats, train
from lrn.data import factor_sets
from lrn.data.nuisance_sprites import NuisanceConfig, sample
from lrn.data.sampler import minibatch
from lrn.representation.beta_tcvae import BetaTCVAEConfig, beta_tcvae
from lrn.representation.beta_vae import BetaVAEConfig, beta_vae
from lrn.representation.codes import Autoencoder, encode
from lrn.representation.factor_vae import FactorVAEConfig, factor_vae
from lrn.representation.metrics import metrics
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Learner, Net
from lrn.xla.runtime import enable_compilation_cache

CODES, BATCH, SIZE = 10, 64, 32
LEVELS = (("shape", 3), ("scale", 6), ("x", 16), ("y", 16))
METHODS = ("beta-VAE", "TCVAE", "FactorVAE")
SMALL = tuple(METHODS)
PROTOCOL = tuple(f"dsprites {method}" for method in METHODS)


@dataclasses.dataclass
class Args:
    """What to run."""

    lines: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names of lines; by default those of the small budget."""
    save: Path | None = None
    """A folder for checkpoints, from which the same command resumes."""
    slow: bool = False
    """Run the dSprites protocol too; use a GPU."""
    steps: int = 0
    """The steps of a training; by default 6,000, and 300,000 for the dSprites protocol."""
    seeds: int = 10
    """The number of seeds."""
    first_seed: int = 0
    """The first seed; use 1000 and above for trials."""
    json: Path | None = None
    """A file for the figures, as JSON."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """A budget: the networks, the discriminator, the optimizer's rate, and the steps."""

    model: Autoencoder
    rival: Net
    rate: float
    steps: int


def budget(line: str) -> Budget:
    """The budget of a line."""
    if line in PROTOCOL:
        rival = nets.mlp(1, (1000,) * 6, activation="leaky_relu")
        model = Autoencoder(nets.dsprites_encoder(2 * CODES), nets.dsprites_decoder())
        return Budget(model, rival, 1e-4, 300_000)
    model = Autoencoder(nets.mlp(2 * CODES, (128, 128)), nets.mlp_decoder((SIZE, SIZE, 1), (128, 128)))
    return Budget(model, nets.mlp(1, (128, 128), activation="leaky_relu"), 1e-3, 6000)


def method(line: str, own: Budget) -> tuple[Callable[[Any], Learner], Any]:
    """The factory and the config of a line."""
    adam = OptimizerConfig("adam", own.rate)
    if line.endswith("FactorVAE"):
        rival = OptimizerConfig("adam", own.rate, b1=0.5, b2=0.9)
        made = FactorVAEConfig(adam, discriminator=rival, gamma=10.0)
        return lambda c: factor_vae(own.model, own.rival, c), made
    if line.endswith("TCVAE"):
        return lambda c: beta_tcvae(own.model, c), BetaTCVAEConfig(adam, beta=6.0)
    return lambda c: beta_vae(own.model, c), BetaVAEConfig(adam, beta=4.0)


def pictures(line: str, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [rows, height, width, 1] and factors int32 [rows, factors]."""
    if line in PROTOCOL:
        whole = factor_sets.load("dsprites")
        chosen = np.sort(np.random.default_rng(seed).choice(whole.rows, rows, replace=False))
        return np.asarray(whole.images[chosen]) * np.uint8(255 // whole.white), whole.factors[chosen]
    config = NuisanceConfig(LEVELS, SIZE, brightness=0.0)
    drawn = jax.jit(lambda key: sample(key, rows, config))(jax.random.key(seed))
    return np.asarray(jnp.round(drawn["image"] * 255), np.uint8), np.asarray(drawn["factors"])


def measure(line: str, args: Args) -> dict[str, np.ndarray]:
    """The figures of a line, [seeds] each."""
    own = budget(line)
    steps, seeds = args.steps or own.steps, range(args.first_seed, args.first_seed + args.seeds)
    factory, config = method(line, own)
    fit = train.fit(
        factory,
        config,
        seeds,
        steps=steps,
        data={"image": pictures(line, 60_000 if line in PROTOCOL else 20_000, 0)[0]},
        sampler=minibatch(BATCH, columns=("image",)),
        folder=args.save and args.save / line.replace(" ", "_"),
        log_every=max(1, steps // 20),
        progress=False,
    )
    sets = [pictures(line, rows, seed) for rows, seed in ((10_000, 1), (5000, 2))]
    states = fit.arm("default")

    @jax.jit
    def codes(images: Any, states: Any) -> Any:
        return jax.lax.map(lambda state: encode(own.model, state, images / jnp.float32(255)), states)

    (known, factors), (judge, judge_factors) = [(codes(images, states), y) for images, y in sets]
    found = metrics(jax.random.key(0), known, factors, test=(judge, judge_factors))
    values = {name: np.asarray(value) for name, value in found.items()}
    for name in ("distortion", "rate"):
        values[name] = fit.table.final("default", name)
    return values


def main(argv: list[str]) -> int:
    """Train, judge, report; see the module's docstring."""
    prog = "python -m experiments.bench representation_numbers_sprites"
    args = tyro.cli(Args, args=argv, prog=prog, description=__doc__)
    check.integer("seeds", args.seeds, low=1)
    for field in ("first_seed", "steps"):
        check.integer(field, getattr(args, field), low=0)
    every = (*SMALL, *PROTOCOL)
    for name in args.lines:
        if name not in every:
            raise check.InputError(f"there is no line {name!r}; {check.nearest(name, every)}")
        if name in PROTOCOL and not args.slow:
            raise check.InputError(f"the line {name!r} takes days without a GPU; give --slow to run it.")
    enable_compilation_cache()
    finite, rows = True, {}
    for name in args.lines or (every if args.slow else SMALL):
        begin, spent = time.perf_counter(), time.process_time()
        values = measure(name, args)
        rows[name] = {}
        for figure, own in values.items():
            mean = low = high = float(np.mean(own))
            if len(own) > 1 and np.isfinite(own).all():
                _, low, high = (float(x) for x in stats.t_interval(own)[:3])
            finite &= bool(np.isfinite(own).all())
            print(f"{name:<20}{figure:<24}{f'{mean:.3f} [{low:.3f}, {high:.3f}]':>28}", flush=True)
            rows[name][figure] = {"mean": mean, "low": low, "high": high, "by_seed": np.asarray(own).tolist()}
        cpu, wall = time.process_time() - spent, time.perf_counter() - begin
        rows[name]["cost"] = {"cpu": cpu, "wall": wall, "seeds": args.seeds, "steps": args.steps}
        print(f"{name:<20}{args.seeds} seeds, {cpu:.0f} s of processor time, {wall:.0f} s", flush=True)
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1))
    return int(not finite)
