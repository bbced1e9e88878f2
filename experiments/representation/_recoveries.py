"""Recovery of sources behind a known mixing, by side information that holds, fails or has tied sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import nets
from lrn.data import mixing, sources
from lrn.data.gaussians import Bijection
from lrn.data.sampler import minibatch
from lrn.representation import few_labels as few
from lrn.representation import interventional as causal
from lrn.representation import ivae as conditional
from lrn.representation import paired_views as paired
from lrn.representation import permutation_contrastive as pcl
from lrn.representation.codes import Autoencoder, posterior
from lrn.representation.fast_ica import best_start
from lrn.representation.intervention_score import interventions
from lrn.representation.mcc import mcc
from lrn.supervised.learner import SupervisedConfig, supervised, weights
from lrn.supervised.losses import squared_error
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Key, Learner, Net

HOLDS, GAUSSIAN, TIED = "side information", "Gaussian control", "tied sources"
WORLDS = (HOLDS, GAUSSIAN, TIED)
KNOWN, LINEAR, IVAE, PAIRS, CAUSES, LABELS, TIME = (
    "known mixing", "linear ICA", "iVAE", "weak pairs", "interventions", "few labels", "autocorrelation",
)  # fmt: skip
METHODS = (KNOWN, LINEAR, IVAE, PAIRS, CAUSES, LABELS, TIME)
TRAINED = METHODS[2:]
DIM, SEGMENTS, NAMED, TIE = 3, 20, 100, 0.8
RATES = (1e-3, 3e-3)
BATCH, SPARE, JUDGED = 128, 1000, 1000
WIDTHS = (64, 64)
ENCODER, MOMENTS, DECODER = (nets.mlp(out, WIDTHS) for out in (DIM, 2 * DIM, DIM))
MODEL = Autoencoder(MOMENTS, DECODER, "gaussian")
PRIOR = nets.mlp(2 * DIM, ())


class Rows(NamedTuple):
    """s: sources [n, dim]. extra: what else the method sees, arrays [n, ...]."""

    s: Array
    extra: dict[str, Array]


def mixing_of(seed: Any, slope: float) -> Bijection:
    """The mixing of a seed: three random matrices with leaky ReLUs in between; linear with a slope of 1."""
    return mixing.leaky_mlp(jax.random.fold_in(jax.random.key(seed), 1), DIM, 3, slope)


def drawn(key: Key, method: str, world: str, n: int) -> Rows:
    """Sources with the side information that a method needs, or without what it needs (`GAUSSIAN`).

    In `TIED` the side information is there, and the sources are correlated or cause each other.
    """
    first, second, third = jax.random.split(key, 3)
    kind = "gaussian" if world == GAUSSIAN else "laplace"
    base = sources.correlated(first, n, DIM, TIE if world == TIED else 0.0, kind)
    if method in (KNOWN, LINEAR):
        return Rows(base, {})
    if method == LABELS:
        named = jnp.arange(n) % (n // NAMED) == 0
        return Rows(base, {"factors": base, "labeled": named})
    if method == PAIRS:
        # Noise that is the same in all directions tells nothing of the axes.
        noise = sources.independent(second, n, DIM, kind)
        return Rows(base, {"partner": 0.5 * noise})  # the change; the pair is mixed in `observed`
    if method == CAUSES:
        environment = jax.random.randint(second, (n,), 0, DIM + 1)
        of = sources.causes(third, DIM, 0.0 if world == GAUSSIAN else 2.0 if world == TIED else 0.5)
        told = jnp.zeros_like(environment) if world == GAUSSIAN else environment
        return Rows(sources.intervened(first, of, told), {"environment": environment})
    if method == TIME:
        noise = base
        memory = 0.8

        def move(before: Array, now: Array) -> tuple[Array, Array]:
            after = memory * before + (1 - memory**2) ** 0.5 * now
            return after, after

        s = jax.lax.scan(move, noise[0], noise)[1]
        return Rows(s, {"before": jnp.concatenate([noise[:1], s[:-1]])})
    segment = jax.random.randint(second, (n,), 0, SEGMENTS)
    spread = 1.0 if world == GAUSSIAN else 4.0
    scale = spread ** jax.random.uniform(third, (SEGMENTS, DIM), minval=-1.0, maxval=1.0)
    scale = scale / jnp.sqrt(jnp.mean(jnp.square(scale), axis=0))[None]
    return Rows(base * scale[segment], {"side": jax.nn.one_hot(segment, SEGMENTS)})


def observed(seed: Any, method: str, world: str, n: int, slope: float) -> dict[str, Array]:
    """The rows of a seed [n, ...]: observations "x", the sources "s", and what else the method sees."""
    mix = mixing_of(seed, slope)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 2), WORLDS.index(world))
    rows = drawn(key, method, world, n)
    extra = dict(rows.extra)
    if method == PAIRS:
        extra["partner"] = mix.forward(rows.s + extra["partner"])
    if method == TIME:
        extra["before"] = mix.forward(extra["before"])
    return {"x": mix.forward(rows.s), "s": rows.s, **extra}


def learner(method: str, optimizer: OptimizerConfig) -> Learner:
    """The learner of a method."""
    if method == IVAE:
        return conditional.ivae(MODEL, PRIOR, conditional.IVAEConfig(optimizer))
    if method == PAIRS:
        return paired.paired_views(ENCODER, paired.PairedViewsConfig(optimizer))
    if method == CAUSES:
        return causal.interventional(ENCODER, causal.InterventionalConfig(optimizer))
    if method == LABELS:
        return few.few_labels(ENCODER, DECODER, few.FewLabelsConfig(optimizer))
    return pcl.permutation_contrastive(ENCODER, pcl.PermutationContrastiveConfig(optimizer))


def codes(method: str, state: Any, rows: Mapping[str, Array]) -> Array:
    """The codes [n, dim] of a trained method."""
    if method == IVAE:
        return posterior(MODEL, state, conditional.joint(rows["x"], rows["side"]))[0]
    params = weights(state)[0]
    params = params if method == PAIRS else params["features" if method == TIME else "encoder"]
    return ENCODER.apply(params, (), rows["x"])[0]


def settings(rate: float, steps: int) -> OptimizerConfig:
    """Adam, whose rate falls along half a cosine."""
    return OptimizerConfig("adam", rate, schedule="cosine", steps=steps)


def recovered(
    context: Any, method: str, world: str, n: int, steps: int, slope: float
) -> tuple[np.ndarray, np.ndarray]:
    """The codes of all rows, standardized, [rates, seeds, n, dim], and validation losses [rates, seeds].

    The first rows train; the next `SPARE` rows validate, by the method's own objective; the last are judged.
    """
    name, seeds = f"{method}, {world}", np.asarray(context.seeds, np.uint32)
    data = context.once(
        f"{name}, rows", lambda: jax.jit(jax.vmap(lambda s: observed(s, method, world, n, slope)))(seeds)
    )
    if method in (KNOWN, LINEAR):
        find = _known if method == KNOWN else _linear
        found = context.per_seed(f"{name}, codes", find, {"rows": data, "seed": seeds})
        return found["codes"][None], np.zeros((1, len(seeds)))
    train = np.tile(np.arange(n - SPARE - JUDGED), (len(seeds), 1))
    columns = tuple(k for k in data if k != "s")
    fit = context.fit(
        lambda optimizer: learner(method, optimizer),
        {f"{name}, rate {r:g}": settings(r, steps) for r in RATES},
        name=name,
        steps=steps,
        per_seed={**data, "train": train},
        sampler=minibatch(BATCH, rows="train", columns=columns),
    )
    lanes = [fit.arm(f"{name}, rate {r:g}") for r in RATES]
    states = jax.tree.map(lambda *s: np.stack(s, 1), *lanes)

    def judge(each: Any, shared: Any) -> dict[str, Array]:
        spare = {k: each["rows"][k][-SPARE - JUDGED : -JUDGED] for k in columns}

        def lane(state: Any) -> dict[str, Array]:
            # A step reports its loss before its update.
            _, metrics = learner(method, settings(1e-3, 1)).step(jax.random.key(0), state, spare)
            return {"codes": _standard(codes(method, state, each["rows"])), "loss": metrics["loss"]}

        return jax.lax.map(lane, each["states"])

    found = context.per_seed(f"{name}, codes", judge, {"rows": data, "states": states})
    return np.swapaxes(found["codes"], 0, 1), found["loss"].T


def decoded(context: Any, name: str, z: np.ndarray, x: np.ndarray, steps: int) -> Any:
    """Train a decoder from codes [seeds, n, dim] to observations; the state's leaves have a seed axis."""
    train = np.tile(np.arange(z.shape[1] - SPARE - JUDGED), (len(z), 1))
    fit = context.fit(
        lambda config: supervised(DECODER, squared_error, config),
        {name: SupervisedConfig(settings(RATES[-1], steps))},
        name=name,
        steps=steps,
        per_seed={"x": z, "y": x, "train": train},
        sampler=minibatch(BATCH, rows="train", columns=("x", "y")),
    )
    return fit.arm(name)


def judged(slope: float, exact: bool = False) -> Callable[[Any, Any], dict[str, Array]]:
    """A function of one seed: MCC, and the intervention score of a decoder read by the exact unmixing.

    exact: whether the decoder is the mixing itself, for codes that are the sources.
    """

    def judge(each: Any, shared: Any) -> dict[str, Array]:
        z, s, x = (each[k][-JUDGED:] for k in ("z", "s", "x"))
        mix = mixing_of(each["seed"], slope)
        mean, std = (f(each["s"], axis=0)[None] for f in (jnp.mean, jnp.std))

        def decode(codes: Array) -> Array:
            if exact:
                return mix.forward(codes * std + mean)
            return DECODER.apply(weights(each["state"])[0], (), codes)[0]

        def read(seen: Array) -> Array:
            return (mix.inverse(seen) - mean) / std

        found = interventions(jax.random.fold_in(jax.random.key(each["seed"]), 3), decode, read, z)
        left = jnp.mean(jnp.square(decode(z) - x)) / jnp.mean(jnp.var(x, axis=0))
        return {
            "MCC": mcc(z, s).mcc,
            "rank MCC": mcc(z, s, "spearman").mcc,
            "manipulation": found.score,
            "target": jnp.mean(found.target),
            "off target": jnp.mean(found.off_target),
            "not decoded": left,
        }

    return judge


def _standard(z: Array) -> Array:
    return (z - jnp.mean(z, axis=0)[None]) / jnp.maximum(jnp.std(z, axis=0), 1e-6)[None]


def _known(each: Any, shared: Any) -> dict[str, Array]:
    return {"codes": _standard(each["rows"]["s"])}


def _linear(each: Any, shared: Any) -> dict[str, Array]:
    x = each["rows"]["x"]
    return {"codes": _standard(best_start(jax.random.fold_in(jax.random.key(each["seed"]), 4), x).sources(x))}


def rows_of(method: str, world: str, seeds: Sequence[int], n: int, slope: float) -> dict[str, np.ndarray]:
    """`observed` for all seeds, [seeds, n, ...], as host arrays."""
    found = jax.jit(jax.vmap(lambda s: observed(s, method, world, n, slope)))(np.asarray(seeds, np.uint32))
    return {k: np.asarray(v) for k, v in found.items()}
