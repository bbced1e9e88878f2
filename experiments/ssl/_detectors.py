"""What is measured of networks that may have collapsed: a probe, detectors, and how well detectors tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ssl._guards import TRIVIAL, Scene
from experiments.ssl._tasks import floats
from lrn.ssl.health.instances import variance_ratio
from lrn.ssl.health.rank import rank_me
from lrn.ssl.health.spread import std
from lrn.ssl.views import draw
from lrn.supervised.probes.linear import linear_probe
from lrn.types import Array

MEASURES = {"std": std, "RankMe": rank_me, "variance ratio": variance_ratio}
DETECTORS = tuple(f"{name} of {place}" for name in MEASURES for place in "hz")
VIEWS, PENALTIES, FITS = 4, (1e-2, 1e-1), 40  # views of an example; of the probe: penalties, steps


def judged(of: Scene, rows: int) -> Callable[[Any, Any], dict[str, Array]]:
    """A function of one seed that probes and examines the networks of many runs.

    It maps ``own``, {"params", "states": leaves [runs, ...], "rows": the seed's rows, "seed"}, and the data
    to {"validation", "test": accuracies of the probe [runs], each of `DETECTORS`: [runs], and
    "trivial embedding": the accuracy of the probe of a constant}.
    """

    def each(own: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Array]:
        x = {part: floats(arrays[of.task.column][r]) for part, r in own["rows"].items()}
        y = {part: jnp.asarray(arrays["label"])[r] for part, r in own["rows"].items()}
        drawn = jnp.stack(draw(of.view, jax.random.key(own["seed"]), x["test"][:rows], VIEWS))

        def run(nets_of: tuple[Any, Any]) -> dict[str, Array]:
            params, states = nets_of

            def embed(x: Array) -> tuple[Array, Array]:
                h = of.encoder.apply(params["encoder"], states["encoder"], x)[0]
                return h, of.head.apply(params["head"], states["head"], h)[0]

            found = probed({part: embed(v)[0] for part, v in x.items()}, y, of.task.classes)
            for place, e in zip("hz", jax.lax.map(embed, drawn)):
                e = e.swapaxes(0, 1)
                found |= {
                    f"{m} of {place}": f(e if f is variance_ratio else e[:, 0]) for m, f in MEASURES.items()
                }
            return found

        found = jax.lax.map(run, (own["params"], own["states"]))
        constant = {part: jnp.ones((len(v), 1)) for part, v in y.items()}
        return found | {TRIVIAL: probed(constant, y, of.task.classes)["test"]}

    return each


def probed(h: Mapping[str, Array], y: Mapping[str, Array], classes: int) -> dict[str, Array]:
    """The accuracies of a linear probe on validation and test features, its penalty chosen on validation."""
    probe = linear_probe(
        h["train"], y["train"], h["validation"], y["validation"], classes, l2=PENALTIES, steps=FITS
    )
    right = jnp.mean(jnp.argmax(probe.logits(h["test"]), 1) == y["test"], dtype=jnp.float32)
    return {"validation": probe.accuracy[probe.chosen], "test": right}


def auroc(low: np.ndarray, event: np.ndarray) -> float:
    """The chance that a run with the event has a lower value than one without; NaN if either is missing."""
    hit, rest = low[event], low[~event]
    if not (len(hit) and len(rest)):
        return float("nan")
    return float(np.mean((hit[:, None] < rest[None]) + 0.5 * (hit[:, None] == rest[None])))


def scores(
    found: Sequence[Mapping[str, np.ndarray]], random: str, parts: Mapping[str, slice], best: str
) -> list[tuple[str, str, np.ndarray]]:
    """The AUROC of detectors for "the probe is below the random encoder's", over the runs of each seed.

    Args:
        found: what `judged` gives for the runs of several heads, [seeds, ...], and under ``random`` the
            accuracy of the random encoder.
        parts: from a metric to the heads over whose runs it is.
        best: the name of the detector that is the best on the other seeds, by the first metric.

    Returns:
        (metric, detector or ``best``, [seeds]) of all, and ("", "", share of the runs that are below).
    """
    seeds = len(found[0][random])
    below = [(v["test"] < v[random]).reshape(seeds, -1) for v in found]
    table = {}
    for metric, part in parts.items():
        events = np.concatenate(below[part], 1)
        for d in DETECTORS:
            low = np.concatenate([v[d].reshape(seeds, -1) for v in found[part]], 1)
            table[metric, d] = np.array([auroc(*pair) for pair in zip(low, events)])
    first = np.nan_to_num([table[next(iter(parts)), d] for d in DETECTORS], nan=0.5)
    chosen = [DETECTORS[np.delete(first, s, 1).mean(1).argmax()] for s in range(seeds)]
    for metric in parts:
        table[metric, best] = np.array([table[metric, d][s] for s, d in enumerate(chosen)])
    share = np.concatenate(below, 1).mean(1)
    return [*((metric, d, values) for (metric, d), values in table.items()), ("", "", share)]
