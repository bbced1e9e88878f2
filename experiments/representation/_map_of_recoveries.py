"""How well codes match sources, and what setting a code does, as the exact unmixing reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.representation._recoveries import (
    DECODER,
    DIM,
    JUDGED,
    RATES,
    LaneConfig,
    draw_rows,
    mixing_of,
    on_place,
    settings,
    standard,
)
from lrn.representation.intervention_score import interventions
from lrn.representation.mcc import mcc
from lrn.supervised.learner import SupervisedConfig, supervised, weights
from lrn.supervised.losses import squared_error
from lrn.types import Array, Sampler

TURN = np.eye(DIM) - 2 / DIM * np.ones((DIM, DIM))  # a reflection that mixes all sources
FAR = 4.0


def judged(
    context: Any, names: Sequence[str], rows: Mapping[str, np.ndarray], steps: int, slopes: Sequence[float]
) -> dict[str, np.ndarray]:
    """Train a decoder for each place, and judge codes and decoder: from metric to [places, seeds].

    Args:
        names: of the places. rows: "z", "s" and "x", [seeds, places, n, dim]. steps: of a decoder.
        slopes: of the mixing, by place.
    """
    fit = context.fit(
        lambda config: on_place(lambda o: supervised(DECODER, squared_error, SupervisedConfig(o)), config),
        {
            f"{name}, decoder": LaneConfig(settings(RATES[-1], steps), place=float(i))
            for i, name in enumerate(names)
        },
        name="decoders",
        steps=steps,
        per_seed={"x": rows["z"], "y": rows["x"]},
        sampler=Sampler(draw_rows),
    )
    states = jax.tree.map(lambda *s: np.stack(s, 1), *(fit.arm(f"{name}, decoder") for name in names))
    each = {**rows, "states": states, "seed": np.asarray(context.seeds, np.uint32)}

    def judge(own: Any, slope: Array) -> dict[str, Array]:
        def place(given: Any) -> dict[str, Array]:
            z, s, x, state, bent = given

            def decode(codes: Array) -> Array:
                return DECODER.apply(weights(state)[0], (), codes)[0]

            return judge_one(own["seed"], bent, z, s, x, decode)

        return jax.lax.map(place, (own["z"], own["s"], own["x"], own["states"], slope))

    return {
        k: v.T for k, v in context.per_seed("judged", judge, each, np.asarray(slopes, np.float32)).items()
    }


def judge_one(
    seed: Any, slope: Any, z: Array, s: Array, x: Array, decode: Callable[[Array], Array]
) -> dict[str, Array]:
    """MCC, and the intervention score of a decoder that the exact unmixing reads, on the last rows.

    Readings are cut at `FAR` standard deviations of the sources, where a decoder's output is no observation.
    """
    mix = mixing_of(seed, slope)
    mean, std = (f(s, axis=0)[None] for f in (jnp.mean, jnp.std))
    z, s, x = (v[-JUDGED:] for v in (z, s, x))
    key = jax.random.fold_in(jax.random.key(seed), 3)
    found = interventions(key, decode, lambda x: jnp.clip((mix.inverse(x) - mean) / std, -FAR, FAR), z)
    return {
        "MCC": mcc(z, s).mcc,
        "rank MCC": mcc(z, s, "spearman").mcc,
        "manipulation": found.score,
        "target": jnp.mean(found.target),
        "off target": jnp.mean(found.off_target),
        "not decoded": jnp.mean(jnp.square(decode(z) - x)) / jnp.mean(jnp.var(x, axis=0)),
    }


def exact(context: Any, data: Mapping[str, np.ndarray], slope: float) -> dict[str, np.ndarray]:
    """The same with the mixing as decoder, of the sources and of the sources turned: [2, worlds, seeds]."""
    turns = jnp.asarray(np.stack([np.eye(DIM), TURN]), jnp.float32)

    def judge(own: Any, shared: Any) -> dict[str, Array]:
        def place(turn: Array, rows: Mapping[str, Array]) -> dict[str, Array]:
            s, mix = rows["s"], mixing_of(own["seed"], slope)
            mean, std = (f(s, axis=0)[None] for f in (jnp.mean, jnp.std))

            def decode(codes: Array) -> Array:
                return mix.forward((codes @ turn.T) * std + mean)

            return judge_one(own["seed"], slope, standard(s) @ turn, s, rows["x"], decode)

        return jax.lax.map(lambda turn: jax.lax.map(lambda rows: place(turn, rows), own["rows"]), turns)

    each = {"rows": data, "seed": np.asarray(context.seeds, np.uint32)}
    return {k: np.moveaxis(v, 0, 2) for k, v in context.per_seed("exact", judge, each).items()}
