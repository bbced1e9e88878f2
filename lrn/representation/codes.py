"""Codes of a trained autoencoder: `encode` maps inputs to mean codes, `decode` maps codes to mean outputs.

Metrics and interventions need these two functions alone. All generative learners of this folder share the
form: the parameters of their state are a dict with the entries "encoder" and "decoder".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.supervised.learner import SupervisedState
from lrn.supervised.learner import weights as final_weights
from lrn.types import Array, Net

LIKELIHOODS = ("bernoulli", "gaussian")


class Autoencoder(NamedTuple):
    """An encoder with a decoder, and how the decoder's output is read.

    encoder: maps inputs [batch, ...] to moments [batch, 2 z]: the means of z codes, then their log variances.
    decoder: maps codes [batch, z] to an output of the shape of the inputs.
    likelihood: "bernoulli", where the output is the logits of pixels in [0, 1]; or "gaussian", where it is
        the mean of the inputs.
    """

    encoder: Net
    decoder: Net
    likelihood: str = "bernoulli"


class Codec(NamedTuple):
    """A pair of functions between inputs and codes.

    encode: maps inputs [n, ...] to codes [n, z]. decode: maps codes [n, z] to inputs [n, ...].
    """

    encode: Callable[[Array], Array]
    decode: Callable[[Array], Array]


def codec(model: Autoencoder, state: Any, *, chunk: int = 256) -> Codec:
    """The functions `encode` and `decode` of a trained model."""
    return Codec(
        lambda x: encode(model, state, x, chunk=chunk), lambda codes: decode(model, state, codes, chunk=chunk)
    )


def encode(model: Autoencoder, state: Any, x: Array, *, chunk: int = 256) -> Array:
    """The mean codes [n, z] of inputs [n, ...], in evaluation mode, ``chunk`` examples at a time.

    Args:
        model: the model that was trained.
        state: a `SupervisedState`, or a state whose field ``training`` is one.
        x: the inputs. chunk: the number of examples that pass the network at once.

    Raises:
        InputError: the encoder's output is no moments [batch, 2 z].
    """
    return posterior(model, state, x, chunk=chunk)[0]


def posterior(model: Autoencoder, state: Any, x: Array, *, chunk: int = 256) -> tuple[Array, Array]:
    """The means [n, z] and the log variances [n, z] of the codes of inputs [n, ...]; as `encode`."""
    params, net_state = weights(state)

    def moments(part: Array) -> Array:
        out = model.encoder.apply(params["encoder"], net_state["encoder"], part)[0]
        return jnp.concatenate(split_moments(out, part.shape[0]), axis=1)

    return split_moments(in_chunks(moments, x, chunk), x.shape[0])


def decode(model: Autoencoder, state: Any, codes: Array, *, chunk: int = 256) -> Array:
    """The mean outputs [n, ...] of codes [n, z], in evaluation mode, ``chunk`` examples at a time.

    Args:
        model, state, chunk: as for `encode`.
        codes: [n, z].

    Raises:
        InputError: the codes are not [n, z].
    """
    if codes.ndim != 2:
        raise check.InputError(f"codes must be [n, z], got shape {codes.shape}; add or drop an axis.")
    params, net_state = weights(state)

    def mean(part: Array) -> Array:
        return mean_output(
            model.likelihood, model.decoder.apply(params["decoder"], net_state["decoder"], part)[0]
        )

    return in_chunks(mean, codes, chunk)


def weights(state: Any) -> tuple[Any, Any]:
    """Parameters and network states, dicts by network: the averaged ones if there are any, else the last.

    Raises:
        InputError: neither the state nor its field ``training`` is that of a generative learner.
    """
    training = getattr(state, "training", state)
    if not isinstance(training, SupervisedState):
        raise check.InputError(
            f"the state must be that of a generative learner, got {type(state).__name__}; pass the state "
            "that its init or step returned."
        )
    return final_weights(training)


def mean_output(likelihood: str, output: Array) -> Array:
    """The mean of the inputs under the decoder's output: probabilities of logits, or the output itself."""
    check.choice("likelihood", likelihood, LIKELIHOODS)
    return jax.nn.sigmoid(output) if likelihood == "bernoulli" else output


def split_moments(moments: Any, rows: int) -> tuple[Array, Array]:
    """The means [rows, z] and the log variances [rows, z] of an encoder's output [rows, 2 z].

    Raises:
        InputError: the output has another form.
    """
    shape = getattr(moments, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != rows or shape[1] % 2 or shape[1] < 2:
        raise check.InputError(
            f"the encoder must give moments [{rows}, 2 z], means and log variances of z codes, got "
            f"{shape or type(moments).__name__}; give its last layer two outputs for each code."
        )
    mean, log_variance = jnp.split(moments, 2, axis=1)
    return mean, log_variance


def in_chunks(function: Callable[[Array], Array], x: Array, chunk: int) -> Array:
    """``function(x)`` for rows [n, ...], ``chunk`` rows at a time."""
    check.integer("chunk", chunk, 1)
    rows = x.shape[0]
    chunk = min(chunk, rows)
    if rows == chunk:
        return function(x)
    whole = rows // chunk * chunk
    parts = jax.lax.map(function, x[:whole].reshape(-1, chunk, *x.shape[1:]))
    out = parts.reshape(whole, *parts.shape[2:])
    return out if whole == rows else jnp.concatenate([out, function(x[whole:])])
