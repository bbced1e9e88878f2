"""The places of `experiments.representation.invariance`: Colored MNIST and worlds of Gaussians, by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import data, nets
from lrn.data import colored_mnist as colored
from lrn.data import spurious_gaussians as gaussians
from lrn.data.in_environments import each
from lrn.data.sampler import minibatch
from lrn.types import Array, Batch, Net, Sampler
from lrn.xla.runtime import jit_brief

PUBLISHED, REDRAWN = "Colored MNIST, drawn once", "Colored MNIST, redrawn"
MANY, FEW = "Gaussians, many environments", "Gaussians, few environments"


MARGIN = slice(2, -2)  # 14x14 pictures of MNIST are nearly empty outside of their middle


class Place(NamedTuple):
    """Where methods are compared.

    environments: the number of environments to train in. nets: networks of the inputs; of the invariant
    inputs; of inputs with the code of the environment. rates: the menu of learning rates.
    shared, per_seed: data for all seeds, and leaves [seeds, ...]. sampler: draws batches {"x", "invariant",
    "y"} with one environment more. sets: ``sets(own, shared) -> {"validation", "test"}``, such batches of one
    seed; the new environment is the last of "validation" and the only one of "test".
    """

    environments: int
    nets: tuple[Net, Net, Net]
    rates: tuple[float, ...]
    shared: Mapping[str, Any]
    per_seed: Mapping[str, Any]
    sampler: Sampler
    sets: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Batch]]


def colored_place(
    redrawn: bool, seeds: Sequence[int], images: int, rows: int, batch: int, hidden: int
) -> Place:
    """Colored MNIST: two environments, drawn from ``images`` of the first 50,000 images.

    Validation rows are of the 10,000 images after these, test rows are MNIST's test images.
    """
    parts = [data.load("mnist", split) for split in ("train", "test")]
    shared = {
        "image": np.concatenate([colored.halved(p["image"])[:, MARGIN, MARGIN] for p in parts]),
        "digit": np.concatenate([p["label"] for p in parts]).astype(np.int32),
    }
    flips = (*colored.FLIPS, colored.TEST_FLIP)
    parts_of = ((0, images), (colored.TRAINING, 10_000), (60_000, 10_000))  # the first image, the number

    def deal(seed: Array, digits: Array) -> dict[str, Any]:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(77), seed), 4)
        old, validation, test = (digits[begin : begin + count] for begin, count in parts_of)
        dealt = {
            "training": colored.assign(keys[0], old),
            "validation": colored.assign(keys[1], validation, flips),
            "test": colored.assign(keys[2], test, flips[-1:]),
        }
        # The model that is told the environment also sees the new one, with images of the others.
        told = colored.assign(keys[3], old, flips[-1:])
        size = {"training": images // 2, "validation": rows, "test": 2 * rows}
        dealt["training"] = {
            k: jnp.concatenate([v, told[k][..., : v.shape[-1]]]) for k, v in dealt["training"].items()
        }
        found = {}
        for (part, own), (begin, _) in zip(dealt.items(), parts_of):
            found |= {f"{part} {k}": v if k == "flip" else v[:, : size[part]] for k, v in own.items()}
            found[f"{part} rows"] += begin
        return found

    drawn = jit_brief(jax.vmap(deal, (0, None)))(np.asarray(seeds, np.uint32), shared["digit"])
    per_seed = {name: np.asarray(value) for name, value in drawn.items()}
    draw = (colored.redrawn if redrawn else colored.painted)(batch).draw
    paint = colored.painted().draw

    def part(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        own = {k: given[f"{name} {k}"] for k in ("rows", "y", "color", "flip")}
        return {"image": given["image"], "digit": given["digit"], **own}

    def grey_too(drawn: Batch) -> Batch:
        return {**drawn, "invariant": colored.grey(drawn["x"])}

    def sets(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Batch]:
        both = {**given, **own}
        return {n: grey_too(paint(jax.random.key(0), part(n, both))) for n in ("validation", "test")}

    net = nets.mlp(1, (hidden,))
    sampler = Sampler(lambda key, given: grey_too(draw(key, part("training", given))))
    return Place(2, (net, net, net), (1e-3, 4e-3), shared, per_seed, sampler, sets)


def gaussian_place(
    environments: int, seeds: Sequence[int], dim: int, samples: int, rows: int, batch: int, hidden: int
) -> Place:
    """Gaussian worlds, one a seed: ``dim`` invariant and ``dim`` spurious dimensions, linear predictors.

    Samples and batches are divided among the environments.
    """

    def deal(seed: Array) -> dict[str, Array]:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(78), seed), 4)
        world = gaussians.draw(keys[0], environments, dim, dim)
        turned = gaussians.reversed_means(world)
        every = world._replace(spurious=jnp.concatenate([world.spurious, turned.spurious]))
        sizes = {"training": samples // environments, "validation": rows}
        drawn = {n: gaussians.sample(k, every, size) for k, (n, size) in zip(keys[1:], sizes.items())}
        drawn["test"] = gaussians.sample(keys[3], turned, 2 * rows)
        for own in drawn.values():
            features = jnp.matmul(own["x"], world.mixing.T, precision="highest")
            own["invariant"] = features[..., :dim]
        return {f"{n} {k}": v for n, own in drawn.items() for k, v in own.items()}

    dealt = jit_brief(jax.vmap(deal))(np.asarray(seeds, np.uint32))
    per_seed = {name: np.asarray(value) for name, value in dealt.items()}
    columns = ("x", "invariant", "y")
    draw = each(minibatch(batch // environments, columns=columns)).draw

    def part(name: str, given: Mapping[str, Any]) -> Batch:
        return {k: given[f"{name} {k}"] for k in columns}

    def sets(own: Mapping[str, Any], given: Any) -> dict[str, Batch]:
        del given
        return {name: part(name, own) for name in ("validation", "test")}

    linear, wide = nets.mlp(1, ()), nets.mlp(1, (hidden,))
    sampler = Sampler(lambda key, given: draw(key, part("training", given)))
    return Place(environments, (linear, linear, wide), (3e-2, 1e-1), {}, per_seed, sampler, sets)
