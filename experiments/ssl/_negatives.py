"""Methods with few negatives or none, as one objective, and probes for random targets of what is hidden.

One objective has all methods, and a weight in its config says which one a lane trains. A sweep over methods,
settings and rates is then one compiled program for each batch size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ssl._tasks import Task, divided
from lrn import nets
from lrn.config import config
from lrn.data import content_style
from lrn.ssl.barlow_twins import barlow_twins_loss
from lrn.ssl.joint_embedding import two_views
from lrn.ssl.pretraining import Parts, pretrain_on
from lrn.ssl.sigreg import directions, sigreg
from lrn.ssl.simclr import nt_xent
from lrn.ssl.similarity import grouped
from lrn.ssl.vicreg import vicreg_loss
from lrn.ssl.views import View
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Key, Learner, Metrics, Net

SMALL = 4  # the examples of a group of InfoNCE with few negatives
FEW, MANY = f"InfoNCE in groups of {SMALL}", "InfoNCE in the batch"
# What is tried: the weight of variance and invariance, of the redundancy, of SIGReg; temperatures.
SETTINGS = {
    "VICReg": (2.0, 10.0),
    "Barlow Twins": (0.04, 0.16),
    "LeJEPA": (0.1, 0.4),
    FEW: (0.08, 0.2),
    MANY: (0.08, 0.2),
}
METHODS = tuple(SETTINGS)
LATENT, WORLD = content_style.ContentStyleConfig(slope=0.2, style_scale=3.0), 17  # one for all seeds
UNITS = 16  # the hidden units of a random target
RIDGES = tuple(10.0**p for p in range(-4, 3))  # the penalties of its probe
DIRECTIONS = 64


@config
class MethodConfig:
    """Settings of a lane.

    optimizer, average: as in every method. setting: the method's own setting, see `SETTINGS`. vicreg, barlow,
    lejepa, few, many: 1 for the method that is trained, 0 for the others.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    setting: float = 1.0
    vicreg: float = 0.0
    barlow: float = 0.0
    lejepa: float = 0.0
    few: float = 0.0
    many: float = 0.0

    @property
    def weights(self) -> tuple[Any, ...]:
        """The weight of each of `METHODS`."""
        return self.vicreg, self.barlow, self.lejepa, self.few, self.many


def lane(method: str, setting: float, rate: float) -> MethodConfig:
    """The config of a method."""
    one = [float(method == m) for m in METHODS]
    return MethodConfig(OptimizerConfig(learning_rate=rate), AverageConfig(), setting, *one)


class Scene(NamedTuple):
    """Content and style: the rows of each seed, the view that redraws the style, and the networks."""

    task: Task
    view: View
    encoder: Net
    head: Net


def scene(seeds: Sequence[int], sizes: Sequence[int]) -> Scene:
    """The data, divided by each seed into training, validation and test rows, and the networks."""
    world_key, key = jax.random.split(jax.random.key(WORLD))
    world = content_style.world(world_key, LATENT)
    arrays = {k: np.asarray(v) for k, v in content_style.sample(key, world, 2 * sum(sizes), LATENT).items()}
    view = content_style.view(world, LATENT)
    return Scene(divided(arrays, seeds, sizes), view, nets.mlp(64, (128,)), nets.projector(32, (64,)))


def learner(of: Scene, config: MethodConfig) -> Learner:
    """The method of a lane."""

    def compare(
        key: Key, params: Parts, a: Mapping[str, Array], b: Mapping[str, Array]
    ) -> tuple[Array, Metrics]:
        terms = losses(key, a["head"], b["head"], config.setting)
        return jnp.asarray(sum(w * loss for w, loss in zip(config.weights, terms))), {}

    return pretrain_on(two_views({"encoder": of.encoder, "head": of.head}, of.view, compare), config)


def losses(key: Key, a: Array, b: Array, setting: Any) -> list[Array]:
    """The losses of `METHODS` for embeddings of two views [n, dim], each with this setting."""
    along = directions(key, a.shape[1], DIRECTIONS)
    weight = jnp.clip(setting, 0.0, 1.0)  # of lanes of other methods the setting may be larger
    normal = 0.5 * (sigreg(a, along) + sigreg(b, along))
    contrast = jax.vmap(lambda a, b: nt_xent(a, b, setting))
    return [
        vicreg_loss(a, b, setting, setting, 1.0),
        barlow_twins_loss(a, b, setting),
        (1.0 - weight) * 0.25 * jnp.mean(jnp.square(a - b)) + weight * normal,
        jnp.mean(contrast(grouped(a, SMALL), grouped(b, SMALL))),
        nt_xent(a, b, setting),
    ]


def judged(of: Scene, count: int, labels: int) -> Callable[[Any, Any], dict[str, Array]]:
    """A function of one seed that probes the encoders of many runs for ``count`` random targets.

    The regressions are fitted on the first ``labels`` training rows.

    It maps ``own``, {"params", "states": of encoders, leaves [runs, ...], "rows": the seed's rows, "seed"},
    and the data to what `explained` gives for runs, [runs], and for "raw inputs: ..." and "content: ...",
    scalars.
    """

    def each(own: Mapping[str, Any], arrays: Mapping[str, Array]) -> dict[str, Array]:
        rows = {**own["rows"], "train": own["rows"]["train"][:labels]}
        x, hidden = ({part: jnp.asarray(arrays[k])[r] for part, r in rows.items()} for k in ("x", "latent"))
        keys = jax.random.split(jax.random.key(own["seed"]))
        content = {part: v[:, : LATENT.content] for part, v in hidden.items()}
        style = {part: v[:, LATENT.content :] for part, v in hidden.items()}
        y = {"content": targets(keys[0], content, count), "style": targets(keys[1], style, count)}

        def run(net: tuple[Any, Any]) -> dict[str, Array]:
            return explained({part: of.encoder.apply(*net, v)[0] for part, v in x.items()}, y)

        found = jax.lax.map(run, (own["params"], own["states"]))
        references = {"raw inputs": x, "content": content}
        return found | {
            f"{name}: {k}": v for name, h in references.items() for k, v in explained(h, y).items()
        }

    return each


def targets(key: Key, hidden: Mapping[str, Array], count: int) -> dict[str, Array]:
    """Random functions of hidden variables, [n, count] for each part, with mean 0 and variance 1 on "train".

    A target is a random network of one layer of `UNITS` tanh units, whose inputs have variance 1.
    """
    into_key, out_key = jax.random.split(key)
    into = jax.random.normal(into_key, (hidden["train"].shape[1], count * UNITS))
    into = into / jnp.linalg.norm(into, axis=0)[None]
    out = jax.random.normal(out_key, (count, UNITS)) / math.sqrt(UNITS)
    raw = {
        part: jnp.sum(jnp.tanh(v @ into).reshape(len(v), count, UNITS) * out[None], 2)
        for part, v in hidden.items()
    }
    mean, std = jnp.mean(raw["train"], 0)[None], jnp.std(raw["train"], 0)[None]
    return {part: (v - mean) / std for part, v in raw.items()}


def explained(h: Mapping[str, Array], y: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """R2 of ridge regressions, the worst and the mean over targets, on validation and on test rows.

    The penalty of each target is chosen on validation rows. The keys are such as "worst content validation".

    Args:
        h: features [n, dim] of each part. y: from a kind of target to targets [n, count] of each part.
    """
    mean, std = jnp.mean(h["train"], 0)[None], jnp.std(h["train"], 0)[None]
    x = {part: (v - mean) / jnp.maximum(std, 1e-6) for part, v in h.items()}
    values, vectors = jnp.linalg.eigh(x["train"].T @ x["train"] / len(x["train"]))
    shrunk = 1.0 / (jnp.maximum(values, 0.0)[None] + jnp.asarray(RIDGES)[:, None])  # [penalties, dim]
    found = {}
    for kind, of in y.items():
        turned = vectors.T @ (x["train"].T @ of["train"]) / len(x["train"])
        weight = vectors[None] @ (shrunk[:, :, None] * turned[None])  # [penalties, dim, count]
        validation, test = (_r2(x[part][None] @ weight, of[part]) for part in ("validation", "test"))
        chosen = jnp.argmax(validation, 0)[None]
        for part, r2 in (("validation", validation), ("test", test)):
            best = jnp.take_along_axis(r2, chosen, 0)
            found |= {f"worst {kind} {part}": jnp.min(best), f"mean {kind} {part}": jnp.mean(best)}
    return found


def _r2(guess: Array, of: Array) -> Array:
    """R2 [penalties, count] of predictions [penalties, n, count] of targets [n, count]."""
    return 1.0 - jnp.mean(jnp.square(of[None] - guess), 1) / jnp.var(of, 0)[None]
