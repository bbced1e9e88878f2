"""Latent prediction: predict the features that a slow copy of the encoder gives hidden places.

The form of I-JEPA (Assran et al., "Self-supervised learning from images with a joint-embedding predictive
architecture", 2023), with the loss of data2vec (Baevski et al. 2022) as an option.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, between
from lrn.config import config
from lrn.ssl.masking import block_mask, places_of, take
from lrn.ssl.pretraining import Objective, Parts, Value, pretrain_on
from lrn.ssl.similarity import wide
from lrn.ssl.target import towards
from lrn.ssl.views import View, draw, inputs_or_tokens
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.schedules import progress
from lrn.types import Array, Example, Goal, Key, Learner, MaskedNet, Net, PyTree

LOSSES = ("smooth_l1", "squared")


@config
class LatentPredictionConfig:
    """Settings of latent prediction.

    block: the size of a block to predict, with one entry for each axis of the grid.
    visible: the number of places that the encoder sees.
    blocks: the number of blocks of an example, which are predicted one by one.
    optimizer: the optimizer's config. average: the config of the averaged weights.
    loss: "smooth_l1", as in data2vec and in the code of I-JEPA, or "squared", as in the paper of I-JEPA.
    beta: the error at which smooth L1 becomes linear; 1 in I-JEPA, 2 in data2vec.
    decay: the decay of the target's weights at the first step, in [0, 1].
    last_decay: that after ``decay_steps`` steps, with a straight line between them.
    decay_steps: a number of steps; inf keeps ``decay``.
    stop_gradient: whether the target is the slow copy, which gets no gradient. False removes this guard
        against collapse: the target is the encoder itself, with its gradient.

    Raises:
        InputError: a field is out of its range.
    """

    block: tuple[int, ...]
    visible: int
    blocks: int = 4
    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    loss: str = "smooth_l1"
    beta: float = 1.0
    decay: float = 0.996
    last_decay: float = 1.0
    decay_steps: float = math.inf
    stop_gradient: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.block, tuple) or not self.block:
            raise check.InputError(
                f"block must be a tuple of sizes, got {self.block!r}; write (2, 2), or (4,) for sequences."
            )
        for size in self.block:
            check.integer("every entry of block", size, 1)
        check.counts(self, "visible", "blocks")
        check.choice("loss", self.loss, LOSSES)
        check.positive("beta", self.beta)
        check.between("decay", self.decay, 0, 1)
        check.between("last_decay", self.last_decay, 0, 1)
        if not (isinstance(self.decay_steps, float) and self.decay_steps == math.inf):
            check.positive("decay_steps", self.decay_steps)
        check.boolean("stop_gradient", self.stop_gradient)


def decay_at(config: LatentPredictionConfig, step: ArrayLike) -> Array:
    """The decay of the target's update after step ``step``, counted from 1, float32."""
    share = progress(jnp.asarray(step, jnp.float32) - 1, config.decay_steps)
    first, last = between(config.decay, 0, 1), between(config.last_decay, 0, 1)
    return jnp.asarray((1.0 - share) * first + share * last)


def layer_norm(x: Array) -> Array:
    """Vectors [..., dim] minus their mean, over the root of their variance plus 1e-5, as a target is."""
    x = wide(x)
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-5)


def smooth_l1(prediction: Array, target: Array, beta: ArrayLike) -> Array:
    """``d^2 / (2 beta)`` where ``d = |prediction - target|`` is below beta, else ``d - beta / 2``; [...].

    beta is above 0 and may be traced; any other beta gives NaN.
    """
    beta = above_zero(beta)
    d = jnp.abs(wide(prediction) - wide(target))
    return jnp.where(d < beta, 0.5 * jnp.square(d) / beta, d - 0.5 * beta)


def latent_prediction(
    encoder: MaskedNet, predictor: Net, view: View, config: LatentPredictionConfig
) -> Learner:
    """Predict the layer-normalized target tokens of hidden blocks from the tokens of a visible context.

    Batches are ``{"image" or "x": [batch, ...]}``, integers for an encoder of tokens; labels are ignored. The
    networks of the state are "encoder" and "predictor"; `lrn.ssl.pretraining.encode` takes ``encoder.net``.
    The memory has the weights of the target, an exponential average of the encoder's. The metric
    ``target_std`` is the standard deviation over the batch of the target's tokens before normalization, the
    mean over places and dimensions; it falls to 0 where tokens tell the place alone, or nothing.

    Args:
        encoder: maps visible places to tokens, such as `lrn.nets.masked_vit`.
        predictor: maps (tokens, kept, hidden) to tokens at hidden places, such as `lrn.nets.mask_decoder`
            with the encoder's width as ``out``.
        view: draws a random view of a batch, such as a crop.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if the blocks and the context do not fit the grid, or the predictor's
            output does not have the shape of the target.
    """

    def mask(key: Key, x: Array) -> tuple[Array, Array]:
        grid = places_of(encoder.split, x)[0]
        return block_mask(key, x.shape[0], grid, config.blocks, config.block, config.visible)

    def asked(tokens: Array, kept: Array, hidden: Array) -> tuple[Array, Array, Array]:
        """The input of the predictor: one row for each block, with the context of its example."""
        tokens, kept = (jnp.repeat(part, config.blocks, axis=0) for part in (tokens, kept))
        return tokens, kept, hidden.reshape(-1, hidden.shape[-1])

    def init(key: Key, x: Array) -> tuple[Parts, Parts, PyTree]:
        view_key, mask_key, encoder_key, predictor_key = jax.random.split(key, 4)
        seen = jax.eval_shape(view, view_key, x)
        x = jnp.zeros(seen.shape, seen.dtype)
        params, states = {}, {}
        params["encoder"], states["encoder"] = encoder.net.init(encoder_key, x)

        def given(key: Key) -> tuple[Array, Array, Array]:
            kept, hidden = mask(key, x)
            tokens, _ = encoder.tokens.apply(params["encoder"], states["encoder"], (x, kept))
            return asked(tokens, kept, hidden)

        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(given, mask_key))
        params["predictor"], states["predictor"] = predictor.init(predictor_key, zeros)
        return params, states, jax.tree.map(jnp.copy, params["encoder"])

    def loss(key: Key, params: Parts, net_state: Parts, memory: PyTree, x: Array) -> Value:
        view_key, mask_key, encoder_key, predictor_key = jax.random.split(key, 4)
        (x,) = draw(view, view_key, x, 1)
        kept, hidden = mask(mask_key, x)
        states = dict(net_state)
        copy = memory if config.stop_gradient else params["encoder"]
        whole, _ = encoder.tokens.apply(copy, net_state["encoder"], x)
        target = layer_norm(take(whole, hidden.reshape(x.shape[0], -1)))
        tokens, states["encoder"] = encoder.tokens.apply(
            params["encoder"], states["encoder"], (x, kept), key=encoder_key, train=True
        )
        prediction, states["predictor"] = predictor.apply(
            params["predictor"],
            states["predictor"],
            asked(tokens, kept, hidden),
            key=predictor_key,
            train=True,
        )
        return error(prediction, target), (states, memory, {"target_std": spread(whole)})

    def error(prediction: Array, target: Array) -> Array:
        target = target.reshape(-1, math.prod(config.block), target.shape[-1])
        if prediction.shape != target.shape:
            raise check.InputError(
                f"the predictor must give {target.shape}, got {prediction.shape}; set its number of "
                "outputs to the width of the encoder."
            )
        if config.loss == "squared":
            return jnp.mean(jnp.square(wide(prediction) - target))
        return jnp.mean(smooth_l1(prediction, target, config.beta))

    def after(params: Parts, net_state: Parts, memory: PyTree, step: Array) -> tuple[Parts, PyTree]:
        del net_state
        return params, towards(memory, params["encoder"], decay_at(config, step))

    return pretrain_on(Objective(init, loss, after, least=1, read=inputs_or_tokens), config)


def spread(tokens: Array) -> Array:
    """The standard deviation of tokens [batch, places, dim] over the batch, averaged to a scalar."""
    return jnp.mean(jnp.std(wide(tokens), axis=0))


def example() -> Example:
    """A small transformer on the digits, which predicts two blocks of 2x2 patches."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    encoder = nets.masked_vit(2, 16, 1, 2, hidden=32)
    predictor = nets.mask_decoder(16, 16, 16, 1, 2, hidden=32)
    return Example(
        factory=lambda config: latent_prediction(encoder, predictor, lambda key, x: x, config),
        config=LatentPredictionConfig(
            (2, 2), 8, 2, OptimizerConfig(learning_rate=0.003, eps=1e-4), decay=0.99, decay_steps=300.0
        ),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("loss", below=0.12),
    )
