"""Masked autoencoders (He et al., "Masked autoencoders are scalable vision learners", 2022)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.ssl.masking import check_hidden, places_of, random_mask, take
from lrn.ssl.pretraining import Objective, Parts, Value, pretrain_on
from lrn.ssl.similarity import wide
from lrn.ssl.views import View, draw
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, MaskedNet, Net, NetState, Params, PyTree


@config
class MAEConfig:
    """Settings of a masked autoencoder.

    hidden: the number of hidden places of an example; the paper hides 3 of 4 (`lrn.ssl.masking.count`).
    optimizer: the optimizer's config. average: the config of the averaged weights.
    normalize: whether the target of a place is standardized by its own mean and variance.

    Raises:
        InputError: a field is out of its range.
    """

    hidden: int
    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    normalize: bool = True

    def __post_init__(self) -> None:
        check.integer("hidden", self.hidden, 1)
        check.boolean("normalize", self.normalize)


def standardize(patches: Array) -> Array:
    """Patches [..., values] minus their mean, over the root of their unbiased variance plus 1e-6.

    Raises:
        InputError: a patch has fewer than two values, whose unbiased variance is 0 / 0.
    """
    if patches.shape[-1] < 2:
        raise check.InputError(
            "a place of one value has no variance; make places larger or set normalize=False."
        )
    x = wide(patches)
    centered = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.sum(jnp.square(centered), axis=-1, keepdims=True) / (x.shape[-1] - 1)
    return centered * jax.lax.rsqrt(variance + 1e-6)


def patch_errors(prediction: Array, patches: Array, normalize: bool = True) -> Array:
    """The mean squared error of each patch [batch, n], for predictions and patches [batch, n, values].

    Raises:
        InputError: the shapes differ, or as `standardize`.
    """
    if prediction.shape != patches.shape:
        raise check.InputError(
            f"predictions must have the shape {patches.shape} of the patches, got {prediction.shape}; set "
            "the decoder's number of outputs to the values of a patch."
        )
    target = standardize(patches) if normalize else wide(patches)
    return jnp.mean(jnp.square(wide(prediction) - target), axis=-1)


def mae_loss(prediction: Array, patches: Array, mask: Array, normalize: bool = True) -> Array:
    """The mean of `patch_errors` over the hidden patches of a batch, a scalar (He et al. 2022).

    Visible patches have no part in value or gradient, not even where they are NaN. The loss of a mask that
    hides nothing is NaN.

    Args:
        prediction, patches: [batch, n, values].
        mask: bool [batch, n], True for hidden patches.
        normalize: whether targets are standardized, patch by patch.

    Raises:
        InputError: as `patch_errors`.
    """
    prediction = jnp.where(mask[:, :, None], prediction, 0)
    patches = jnp.where(mask[:, :, None], patches, 0)
    errors = jnp.where(mask, patch_errors(prediction, patches, normalize), 0)
    return jnp.sum(errors) / jnp.sum(mask)


def mae(encoder: MaskedNet, decoder: Net, view: View, config: MAEConfig) -> Learner:
    """Reconstruct hidden patches from the visible ones; the encoder sees the visible patches only.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The networks of the state are
    "encoder" and "decoder"; `lrn.ssl.pretraining.encode` takes ``encoder.net``. Sequences are patched by
    their encoder, `lrn.nets.sequence_transformer`, in the same way.

    Args:
        encoder: maps visible places to tokens, such as `lrn.nets.masked_vit`.
        decoder: maps (tokens, kept, hidden) to the values of hidden places, such as `lrn.nets.mask_decoder`.
        view: draws a random view of a batch, such as a crop.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if the mask hides all or nothing, or the decoder's output does not have the
            shape of the hidden patches.
    """

    def init(key: Key, x: Array) -> tuple[Parts, Parts, PyTree]:
        view_key, encoder_key, decoder_key = jax.random.split(key, 3)
        seen = jax.eval_shape(view, view_key, x)
        x = jnp.zeros(seen.shape, seen.dtype)
        params, states = {}, {}
        params["encoder"], states["encoder"] = encoder.net.init(encoder_key, x)
        given = decoder_inputs(encoder, params["encoder"], states["encoder"], x, config.hidden)
        params["decoder"], states["decoder"] = decoder.init(decoder_key, given)
        return params, states, ()

    def loss(key: Key, params: Parts, net_state: Parts, memory: PyTree, x: Array) -> Value:
        view_key, mask_key, encoder_key, decoder_key = jax.random.split(key, 4)
        (x,) = draw(view, view_key, x, 1)
        patches = encoder.split(x)
        patches = patches.reshape(x.shape[0], -1, patches.shape[-1])
        kept, hidden = random_mask(mask_key, x.shape[0], patches.shape[1], config.hidden)
        states = dict(net_state)
        tokens, states["encoder"] = encoder.tokens.apply(
            params["encoder"], states["encoder"], (x, kept), key=encoder_key, train=True
        )
        prediction, states["decoder"] = decoder.apply(
            params["decoder"], states["decoder"], (tokens, kept, hidden), key=decoder_key, train=True
        )
        errors = patch_errors(prediction, take(patches, hidden), config.normalize)
        return jnp.mean(errors), (states, memory, {})

    return pretrain_on(Objective(init, loss, least=1), config)


def decoder_inputs(
    encoder: MaskedNet, params: Params, state: NetState, x: Array, hidden: int
) -> tuple[Array, Array, Array]:
    """Zeros in the form of a decoder's input (tokens, kept, hidden), for inputs ``x`` [batch, ...].

    Raises:
        InputError: the mask hides all or nothing of the places of ``x``.
    """
    places = places_of(encoder.split, x)[1]
    check_hidden(hidden, places)
    kept = jnp.zeros((x.shape[0], places - hidden), jnp.int32)
    tokens, _ = jax.eval_shape(encoder.tokens.apply, params, state, (x, kept))
    return jnp.zeros(tokens.shape, tokens.dtype), kept, jnp.zeros((x.shape[0], hidden), jnp.int32)


def example() -> Example:
    """A small transformer on the digits, four patches of which are visible."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    encoder = nets.masked_vit(2, 16, 1, 2, hidden=32)
    decoder = nets.mask_decoder(4, 16, 16, 1, 2, hidden=32)
    return Example(
        factory=lambda config: mae(encoder, decoder, lambda key, x: x, config),
        config=MAEConfig(12, OptimizerConfig(learning_rate=0.003, eps=1e-4)),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("loss", below=0.48),
    )
