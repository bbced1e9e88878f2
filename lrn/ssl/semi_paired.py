"""Few pairs and many examples of each modality alone: CLIP's loss for pairs, SimCLR's for the others.

SLIP (Mu et al. 2022) adds SimCLR's loss of images to CLIP's. Here examples without a partner have it, in both
modalities. All losses share the heads: the pairs align the space that the other examples shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import zero_or_more
from lrn.config import config
from lrn.data.sampler import minibatch
from lrn.ssl.cross_modal import (
    Modality,
    clip_loss,
    clipping,
    embedded,
    init_both,
    pairs_of,
    scale_of,
    with_scale,
)
from lrn.ssl.pretraining import Objective, Parts, Value, pretrain_on
from lrn.ssl.simclr import nt_xent
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, PyTree, Sampler

ALONE = ("image_alone", "text_alone")


@config
class SemiPairedConfig:
    """Settings of learning from pairs and from examples without a partner.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    temperature, learned, largest_scale: those of the loss of pairs, as in `lrn.ssl.cross_modal.CLIPConfig`.
    alone_temperature: that of SimCLR's losses, above 0.
    alone_weight: the weight of SimCLR's losses, 0 or more; the loss of pairs has weight 1.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    temperature: float = 0.07
    learned: bool = True
    largest_scale: float = 100.0
    alone_temperature: float = 0.2
    alone_weight: float = 1.0

    def __post_init__(self) -> None:
        check.positive("temperature", self.temperature)
        check.between("temperature", self.temperature, 0, 1)
        check.boolean("learned", self.learned)
        check.between("largest_scale", self.largest_scale, 1, math.inf)
        check.positive("alone_temperature", self.alone_temperature)
        check.non_negative("alone_weight", self.alone_weight)


def semi_paired(image: Modality, text: Modality, config: SemiPairedConfig) -> Learner:
    """Minimize CLIP's loss of the pairs, plus SimCLR's loss of the images alone and of the texts alone.

    Batches have any of ``"image"`` with ``"text"``, rows of which are pairs; ``"image_alone"``; and
    ``"text_alone"``, of other sizes. Without pairs the two modalities are learned apart, for
    `lrn.ssl.matching`. The networks of the state are those of `lrn.ssl.cross_modal.clip`. The metrics are the
    losses ``pairs_loss``, ``image_loss`` and ``text_loss`` of the parts that the batch has, and ``scale``.

    Args:
        image, text: the networks and views of both modalities; examples alone need a view.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if the batch has none of the parts, a part has fewer than two examples, a
            modality is missing or has no view, or a network's output is not [batch, dim].
    """
    modalities = {"image_alone": (image, ""), "text_alone": (text, "text_")}

    def init(key: Key, batch: Mapping[str, Array]) -> tuple[Parts, Parts, PyTree]:
        images, texts = (
            batch[name] if name in batch else batch[f"{name}_alone"] for name in ("image", "text")
        )
        params, states = init_both(key, image, text, images, texts)
        return *with_scale(config, params, states), ()

    def loss(key: Key, params: Parts, net_state: Parts, memory: PyTree, batch: Mapping[str, Array]) -> Value:
        keys = iter(jax.random.split(key, 6))
        total, metrics = jnp.zeros(()), {"scale": scale_of(config, params)}
        if "image" in batch:
            a, net_state = embedded(image, "", params, net_state, batch["image"], next(keys))
            b, net_state = embedded(text, "text_", params, net_state, batch["text"], next(keys))
            total = metrics["pairs_loss"] = clip_loss(a, b, metrics["scale"])
        for name, (modality, prefix) in modalities.items():
            if name in batch:
                if modality.view is None:
                    raise check.InputError(f"{name!r} needs two views of each example; give its view.")
                a, net_state = embedded(modality, prefix, params, net_state, batch[name], next(keys))
                b, net_state = embedded(modality, prefix, params, net_state, batch[name], next(keys))
                value = nt_xent(a, b, config.alone_temperature)
                metrics[name.replace("alone", "loss")] = value
                total = total + zero_or_more(config.alone_weight) * value
        return total, (net_state, memory, metrics)

    objective = Objective(init, loss, clipping(config), divided=True, read=parts_of_batch)
    return pretrain_on(objective, config)


def parts_of_batch(batch: Any, least: int = 2) -> dict[str, Array]:
    """The pairs and the examples alone of a batch.

    Raises:
        InputError: the batch has none of them, or lacks a modality, or a part has fewer than ``least``.
    """
    if not isinstance(batch, Mapping) or not {"image", "text", *ALONE} & set(batch):
        found = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
        raise check.InputError(
            f"a batch must have 'image' with 'text', 'image_alone' or 'text_alone', got {found}."
        )
    parts = pairs_of(batch, least) if {"image", "text"} & set(batch) else {}
    for name in ALONE:
        if name in batch:
            parts[name] = jnp.asarray(batch[name])
            if parts[name].ndim < 2 or parts[name].shape[0] < least:
                raise check.InputError(
                    f"{name!r} must be [batch, ...] with {least} examples or more, got {parts[name].shape}."
                )
    if "image" not in parts and len(parts) < 2:
        raise check.InputError(
            f"a batch without pairs must have 'image_alone' and 'text_alone', got {sorted(parts)}; for one "
            "modality use lrn.ssl.simclr."
        )
    return parts


def semi_paired_batch(pairs: int, alone: int) -> Sampler:
    """A sampler of pairs and of examples alone, for `semi_paired`.

    The data are ``{"image": [rows, ...], "text": [rows, ...]}``, of which row i is a pair, and indices of
    rows: ``"paired"`` of those whose pairing may be used, ``"image_rows"`` and ``"text_rows"`` of those of
    which the image or the text may be used alone.

    Args:
        pairs: the number of pairs in a batch, drawn without repeats, because a repeated pair would be its own
            negative; 0 for none.
        alone: the number of images and of texts alone in a batch; 0 for none.

    Raises:
        InputError: a number is negative, or both are 0.
    """
    check.integer("pairs", pairs)
    check.integer("alone", alone)
    if pairs == alone == 0:
        raise check.InputError("a batch needs pairs or examples alone, got 0 of both; enlarge one of them.")
    samplers: list[tuple[str, Sampler]] = []
    if pairs:
        samplers.append(("", minibatch(pairs, rows="paired", columns=("image", "text"), replace=False)))
    if alone:
        samplers += [
            ("_alone", minibatch(alone, rows=f"{name}_rows", columns=(name,))) for name in ("image", "text")
        ]

    def draw(key: Key, data: Mapping[str, Array]) -> Batch:
        batch = {}
        for each, (suffix, sampler) in zip(jax.random.split(key, len(samplers)), samplers):
            batch.update({f"{name}{suffix}": x for name, x in sampler.draw(each, data).items()})
        return batch

    def check_all(data: PyTree) -> None:
        for _, sampler in samplers:
            if sampler.check is not None:
                sampler.check(data)

    return Sampler(draw, check=check_all)


def example() -> Example:
    """Two small networks on the digits: the upper half of a picture is the "image", the lower the "text"."""
    from lrn import data, nets
    from lrn.ssl.digits import noisy

    digits = data.load("digits", "train")
    rows = jnp.arange(digits.rows)
    halves = {
        "image": digits["image"][:, :4],
        "text": data.as_float(digits["image"][:, 4:]),
        "paired": rows[:100],
        "image_rows": rows[100:700],
        "text_rows": rows[700:],
    }
    one, other = (Modality(nets.mlp(16, (32,)), nets.mlp(8, ()), noisy()) for _ in range(2))
    return Example(
        factory=lambda config: semi_paired(one, other, config),
        config=SemiPairedConfig(OptimizerConfig(learning_rate=0.01), temperature=0.2),
        data=halves,
        sampler=semi_paired_batch(16, 32),
        solves=Goal("pairs_loss", below=2.3),
    )
