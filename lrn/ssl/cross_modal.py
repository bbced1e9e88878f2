"""CLIP (Radford et al., "Learning transferable visual models from natural language supervision", 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, between
from lrn.config import config
from lrn.ssl import gather
from lrn.ssl.crops import init_embedding
from lrn.ssl.pretraining import Objective, Parts, Value, forward, pretrain_on
from lrn.ssl.similarity import products, unit
from lrn.ssl.views import View, draw
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Net, NetState, Params, PyTree


class Modality(NamedTuple):
    """How one modality becomes embeddings.

    encoder: maps inputs to features h [batch, dim]. head: maps features to embeddings z [batch, dim], of the
    same dim in both modalities. view: draws a random view of a batch; None takes the inputs as they are.
    """

    encoder: Net
    head: Net
    view: View | None = None


@config
class CLIPConfig:
    """Settings of CLIP.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    temperature: divides the cosine similarities, in (0, 1]; the initial value if it is learned.
    learned: whether the temperature is learned, through the logarithm of its inverse, the scale.
    largest_scale: the scale is clipped to [1, ``largest_scale``] after each step.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    temperature: float = 0.07
    learned: bool = True
    largest_scale: float = 100.0

    def __post_init__(self) -> None:
        check.positive("temperature", self.temperature)
        check.between("temperature", self.temperature, 0, 1)
        check.boolean("learned", self.learned)
        check.between("largest_scale", self.largest_scale, 1, math.inf)


def clip_loss(a: Array, b: Array, scale: ArrayLike) -> Array:
    """The symmetric InfoNCE of paired embeddings (figure 3 of the paper), in nats, a scalar.

    Each row picks its partner among all rows of the other modality, by a softmax over cosine similarities
    times the scale; the loss is the mean cross-entropy of both directions.

    Args:
        a, b: embeddings [n, dim], n of 2 or more; row i of both is one pair.
        scale: the inverse of the temperature, above 0; may be traced, and gives NaN where it is not above 0.

    Raises:
        InputError: the shapes differ, there are fewer than two rows, or the scale is not positive.
    """
    if a.ndim != 2 or a.shape != b.shape or a.shape[0] < 2:
        raise check.InputError(
            f"embeddings of pairs must be [n, dim] of one shape with n of 2 or more, got {a.shape} and "
            f"{b.shape}."
        )
    check.positive("scale", scale)
    logits = products(unit(a), unit(b)) * above_zero(scale)
    rows, columns = jax.nn.log_softmax(logits, axis=1), jax.nn.log_softmax(logits, axis=0)
    return -jnp.mean(jnp.diagonal(rows) + jnp.diagonal(columns)) / 2


def clip(image: Modality, text: Modality, config: CLIPConfig) -> Learner:
    """Pull the embeddings of an image and its text together and push those of other pairs away.

    Batches are ``{"image": floats [batch, ...], "text": [batch, ...]}``; texts are arrays of any dtype that
    their encoder takes. The networks of the state are "encoder" and "head" of images, "text_encoder" and
    "text_head", and, if it is learned, the scalar "log_scale". The metric ``scale`` is the inverse of the
    temperature.

    Args:
        image, text: the networks and views of both modalities.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if the batch has no pairs or fewer than two, a network's output is not
            [batch, dim], or the two heads give different dims.
    """

    def init(key: Key, batch: Mapping[str, Array]) -> tuple[Parts, Parts, PyTree]:
        params, states = init_both(key, image, text, batch["image"], batch["text"])
        return *with_scale(config, params, states), ()

    def loss(key: Key, params: Parts, net_state: Parts, memory: PyTree, batch: Mapping[str, Array]) -> Value:
        a_key, b_key = jax.random.split(key)
        a, net_state = embedded(image, "", params, net_state, batch["image"], a_key)
        b, net_state = embedded(text, "text_", params, net_state, batch["text"], b_key)
        scale = scale_of(config, params)
        return clip_loss(a, b, scale), (net_state, memory, {"scale": scale})

    return pretrain_on(Objective(init, loss, clipping(config), divided=True, read=pairs_of), config)


def pairs_of(batch: Any, least: int = 2) -> dict[str, Array]:
    """The images and texts of a batch ``{"image": [batch, ...], "text": [batch, ...]}``.

    Raises:
        InputError: the batch lacks one of the two, they differ in number, or there are fewer than ``least``.
    """
    if not isinstance(batch, Mapping) or not {"image", "text"} <= set(batch):
        found = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
        raise check.InputError(f"a batch of pairs must have the entries 'image' and 'text', got {found}.")
    pair = {name: jnp.asarray(batch[name]) for name in ("image", "text")}
    a, b = pair["image"], pair["text"]
    if a.ndim < 2 or b.ndim < 2 or a.shape[0] != b.shape[0]:
        raise check.InputError(
            f"images and texts must be [batch, ...] of one batch size, got {a.shape} and {b.shape}."
        )
    if a.shape[0] < least:
        raise check.InputError(
            f"the batch has {a.shape[0]} pairs and this objective compares at least {least}; enlarge the "
            "batch."
        )
    return pair


def parts_of(modality: Modality, prefix: str) -> dict[str, Net]:
    """The networks of a modality by the names they have in the state."""
    return {f"{prefix}encoder": modality.encoder, f"{prefix}head": modality.head}


def init_both(
    key: Key, image: Modality, text: Modality, images: Array, texts: Array
) -> tuple[dict[str, Params], dict[str, NetState]]:
    """Parameters and states of the networks of both modalities, by name.

    Raises:
        InputError: an output is not [batch, dim], or the two heads give different dims.
    """
    made = [
        init_embedding(each, one.view or _same, x, parts_of(one, prefix))
        for each, one, x, prefix in zip(
            jax.random.split(key), (image, text), (images, texts), ("", "text_"), strict=True
        )
    ]
    (params_a, states_a, dim_a), (params_b, states_b, dim_b) = made
    if dim_a != dim_b:
        raise check.InputError(
            f"the heads of both modalities must give embeddings of one dim, got {dim_a} and {dim_b}."
        )
    return {**params_a, **params_b}, {**states_a, **states_b}


def embedded(
    modality: Modality, prefix: str, params: Parts, net_state: Parts, x: Array, key: Key
) -> tuple[Array, dict[str, NetState]]:
    """The embeddings [batch, dim] of a view of inputs, and all states afterwards.

    Several devices may share the batch (`lrn.ssl.gather`); each gets the embeddings of the whole batch.
    """
    view_key, key = jax.random.split(key)
    seen = gather.own(draw(modality.view or _same, view_key, x, 1)[0])
    outputs, net_state = forward(parts_of(modality, prefix), params, net_state, seen, gather.own_key(key))
    return gather.whole(outputs[f"{prefix}head"]), net_state


def with_scale(config: Any, params: Parts, states: Parts) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
    """Parameters and states with the logarithm of the scale, if the temperature is learned."""
    if not config.learned:
        return dict(params), dict(states)
    log_scale = -jnp.log(jnp.asarray(_temperature(config), jnp.float32))
    return {**params, "log_scale": log_scale}, {**states, "log_scale": ()}


def scale_of(config: Any, params: Parts) -> Array:
    """The scale of the similarities, the inverse of the temperature."""
    return jnp.exp(params["log_scale"]) if config.learned else 1 / jnp.asarray(_temperature(config))


def _temperature(config: Any) -> ArrayLike:
    """The temperature; NaN where it is swept and not in (0, 1]."""
    return between(above_zero(config.temperature), 0, 1)


def clipping(config: Any) -> Any:
    """What clips the learned scale after each step; None where the temperature is not learned."""

    def after(params: Parts, net_state: Parts, memory: PyTree, step: Array) -> tuple[Parts, PyTree]:
        largest = jnp.log(between(config.largest_scale, 1, math.inf))
        return {**params, "log_scale": jnp.clip(params["log_scale"], 0, largest)}, memory

    return after if config.learned else None


def _same(key: Key, x: Array) -> Array:
    return x


def example() -> Example:
    """Two small networks on the digits: the upper half of a picture is the "image", the lower the "text"."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    digits = data.load("digits", "train")
    halves = {"image": digits["image"][:, :4], "text": data.as_float(digits["image"][:, 4:])}
    settings = CLIPConfig(OptimizerConfig(learning_rate=0.01), temperature=0.2)
    one, other = (Modality(nets.mlp(16, (32,)), nets.mlp(8, ())) for _ in range(2))
    return Example(
        factory=lambda config: clip(one, other, config),
        config=settings,
        data=halves,
        sampler=minibatch(32, columns=("image", "text")),
        solves=Goal("loss", below=2.0),
    )
