"""Recovery of sources behind a known mixing, by side information that holds, fails or has tied sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import nets
from lrn.config import config
from lrn.data import mixing, sources
from lrn.data.gaussians import Bijection
from lrn.representation import few_labels as few
from lrn.representation import interventional as causal
from lrn.representation import ivae as conditional
from lrn.representation import paired_views as paired
from lrn.representation import permutation_contrastive as pcl
from lrn.representation.codes import Autoencoder, posterior
from lrn.representation.fast_ica import best_start
from lrn.supervised.learner import weights
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Key, Learner, Sampler

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


@config
class LaneConfig:
    """Settings of a lane: the optimizer's, and the number of the place whose rows it sees."""

    optimizer: OptimizerConfig = OptimizerConfig()
    place: float = 0.0


class Rows(NamedTuple):
    """s: sources [n, dim]. extra: what else the method sees, arrays [n, ...]."""

    s: Array
    extra: dict[str, Array]


def mixing_of(seed: Any, slope: Any) -> Bijection:
    """The mixing of a seed: three random matrices with leaky ReLUs in between; linear with a slope of 1."""
    return mixing.leaky_mlp(jax.random.fold_in(jax.random.key(seed), 1), DIM, 3, slope)


def drawn(key: Key, method: str, world: str, n: int) -> Rows:
    """Sources with the side information that a method needs, or without what it needs (`GAUSSIAN`).

    In `TIED` the side information is there, and the sources are correlated or cause each other.
    """
    first, second, third = jax.random.split(key, 3)
    kind = "gaussian" if world == GAUSSIAN else "laplace"
    # The theory of pairs asks for sources that fill a box.
    of_base = "uniform" if method == PAIRS and world != GAUSSIAN else kind
    base = sources.correlated(first, n, DIM, TIE if world == TIED else 0.0, of_base)
    if method in (KNOWN, LINEAR):
        return Rows(base, {})
    if method == LABELS:
        named = jnp.arange(n) % max((n - SPARE - JUDGED) // NAMED, 1) == 0
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


def on_place(of: Callable[[OptimizerConfig], Learner], config: LaneConfig) -> Learner:
    """A learner on the rows of one place, of batches {"at": rows, "data": arrays [places, rows, ...]}."""
    inner = of(config.optimizer)

    def seen(batch: Any) -> dict[str, Array]:
        place = jnp.asarray(config.place, jnp.int32)
        return {k: v[place, batch["at"]] for k, v in batch["data"].items()}

    return Learner(
        lambda key, batch: inner.init(key, seen(batch)),
        lambda key, state, batch: inner.step(key, state, seen(batch)),
    )


def draw_rows(key: Key, data: Mapping[str, Array]) -> dict[str, Any]:
    count = next(iter(data.values())).shape[1] - SPARE - JUDGED
    return {"at": jax.random.randint(key, (BATCH,), 0, count), "data": dict(data)}


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
    context: Any, method: str, worlds: Sequence[str], n: int, steps: int, slope: float
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Rows [seeds, worlds, n, ...], standardized codes [rates, seeds, worlds, n, dim], validation losses.

    The first rows train; the next `SPARE` rows validate, by the method's own objective, [worlds, rates,
    seeds]; the last are judged. Methods that do not train have one "rate".
    """
    seeds = np.asarray(context.seeds, np.uint32)

    def drawn_for(seed: Any) -> dict[str, Array]:
        every = [observed(seed, method, world, n, slope) for world in worlds]
        return jax.tree.map(lambda *rows: jnp.stack(rows), *every)

    data = context.once(f"{method}, rows", lambda: jax.jit(jax.vmap(drawn_for))(seeds))
    if method in (KNOWN, LINEAR):
        find = _known if method == KNOWN else _linear
        found = context.per_seed(f"{method}, codes", find, {"rows": data, "seed": seeds})
        return data, found["codes"][None], np.zeros((len(worlds), 1, len(seeds)))
    seen = {k: v for k, v in data.items() if k != "s"}
    lanes = {
        f"{method}, {w}, rate {r:g}": LaneConfig(settings(r, steps), place=float(i))
        for i, w in enumerate(worlds)
        for r in RATES
    }
    fit = context.fit(
        lambda config: on_place(lambda optimizer: learner(method, optimizer), config),
        lanes,
        name=method,
        steps=steps,
        per_seed=seen,
        sampler=Sampler(draw_rows),
    )
    states = jax.tree.map(lambda *s: np.stack(s, 1), *(fit.arm(name) for name in lanes))

    def judge(each: Any, shared: Any) -> dict[str, Array]:
        def lane(given: Any) -> dict[str, Array]:
            place, state = given
            rows = {k: v[place] for k, v in each["rows"].items()}
            spare = {k: v[-SPARE - JUDGED : -JUDGED] for k, v in rows.items()}
            # A step reports its loss before its update.
            metrics: Any = learner(method, settings(1e-3, 1)).step(jax.random.key(0), state, spare)[1]
            loss = metrics["loss"] if "loss" in metrics else -metrics["elbo"]
            return {"codes": standard(codes(method, state, rows)), "loss": loss}

        return jax.lax.map(lane, (jnp.repeat(jnp.arange(len(worlds)), len(RATES)), each["states"]))

    found = context.per_seed(f"{method}, codes", judge, {"rows": seen, "states": states})
    shape = len(seeds), len(worlds), len(RATES)
    z = np.moveaxis(found["codes"].reshape(*shape, n, DIM), 2, 0)
    return data, z, np.moveaxis(found["loss"].reshape(shape), 0, 2)


def standard(z: Array) -> Array:
    return (z - jnp.mean(z, axis=0)[None]) / jnp.maximum(jnp.std(z, axis=0), 1e-6)[None]


def _known(each: Any, shared: Any) -> dict[str, Array]:
    return {"codes": jax.vmap(standard)(each["rows"]["s"])}


def _linear(each: Any, shared: Any) -> dict[str, Array]:
    key = jax.random.fold_in(jax.random.key(each["seed"]), 4)
    return {"codes": jax.lax.map(lambda x: standard(best_start(key, x).sources(x)), each["rows"]["x"])}
