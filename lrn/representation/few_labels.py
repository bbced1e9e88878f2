"""An autoencoder of which a few rows have known factors (Locatello et al., "few labels", ICLR 2020)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import zero_or_more
from lrn.config import config
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, descend, initial_state, weights
from lrn.supervised.losses import squared_error
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, NetState, Params


@config
class FewLabelsConfig:
    """Settings of an autoencoder with few labels.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    labels: the weight of the labeled rows' squared error, 0 or more; that of the reconstruction is 1.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    labels: float = 1.0

    def __post_init__(self) -> None:
        check.non_negative("labels", self.labels)


def few_labels(encoder: Net, decoder: Net, config: FewLabelsConfig) -> Learner:
    """Reconstruct all rows from codes, whose first entries predict the factors of the labeled rows.

    Batches are ``{"x": floats [batch, ...], "factors": floats [batch, factors], "labeled": bool [batch]}``;
    the factors of rows without labels are not read, and may be NaN. The metrics are ``loss``;
    ``reconstruction``, the mean squared error; ``labels``, the mean squared error of the labeled rows'
    factors; ``gradient_norm``. The parts of the parameters are "encoder" and "decoder".

    Args:
        encoder: maps inputs to codes [batch, dim], at least as many as factors, without a state.
        decoder: maps codes to inputs [batch, ...], without a state.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch or an output has the wrong form.
    """

    def init(key: Key, batch: Batch) -> SupervisedState:
        x, factors, _ = _read(batch)
        encoder_key, decoder_key = jax.random.split(key)
        params, state = encoder.init(encoder_key, x)
        codes = jax.eval_shape(encoder.apply, params, state, x)[0]
        if codes.ndim != 2 or codes.shape[1] < factors.shape[1]:
            raise check.InputError(
                f"the encoder must give at least {factors.shape[1]} codes, one a factor, got {codes.shape}."
            )
        of_decoder, other = decoder.init(decoder_key, jnp.zeros(codes.shape, codes.dtype))
        if jax.tree.leaves((state, other)):
            raise check.InputError("the networks must keep no state (BatchNorm keeps one); use layer norm.")
        return initial_state(config, {"encoder": params, "decoder": of_decoder}, ())

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        del key
        x, factors, labeled = _read(batch)

        def objective(params: Params) -> tuple[Array, tuple[NetState, Metrics]]:
            codes = encoder.apply(params["encoder"], (), x)[0]
            back = decoder.apply(params["decoder"], (), codes)[0]
            if back.shape != x.shape:
                raise check.InputError(f"the decoder must give {x.shape}, as the inputs, got {back.shape}.")
            reconstruction = jnp.mean(squared_error(back, x))
            # The place holder is chosen before the square, so that a factor of NaN has no gradient.
            known = jnp.where(labeled[:, None], factors, jax.lax.stop_gradient(codes[:, : factors.shape[1]]))
            errors = squared_error(codes[:, : factors.shape[1]], known)
            labels = jnp.sum(jnp.where(labeled, errors, 0)) / jnp.maximum(jnp.sum(labeled), 1)
            total = reconstruction + zero_or_more(config.labels) * labels
            return total, ((), {"reconstruction": reconstruction, "labels": labels})

        return descend(config, state, objective)

    return Learner(init, step)


def codes_of(encoder: Net, state: SupervisedState, x: Array) -> Array:
    """The codes [n, dim] under trained weights, the averaged ones if there are any."""
    return encoder.apply(weights(state)[0]["encoder"], (), x)[0]


def decode(decoder: Net, state: SupervisedState, codes: Array) -> Array:
    """The inputs [n, ...] of codes under trained weights, the averaged ones if there are any."""
    return decoder.apply(weights(state)[0]["decoder"], (), codes)[0]


def _read(batch: Batch) -> tuple[Array, Array, Array]:
    if not isinstance(batch, Mapping) or not {"x", "factors", "labeled"} <= set(batch):
        raise check.InputError("a batch must be a dict with the entries 'x', 'factors' and 'labeled'.")
    x, factors, labeled = (jnp.asarray(batch[k]) for k in ("x", "factors", "labeled"))
    rows = x.shape[:1]
    if factors.ndim != 2 or factors.shape[:1] != rows or labeled.dtype != bool or labeled.shape != rows:
        raise check.InputError(
            f"'factors' must be [batch, factors] and 'labeled' bools [batch], got {factors.shape} and "
            f"{labeled.dtype} {labeled.shape} for inputs {x.shape}."
        )
    return x, factors, labeled


def example() -> Example:
    """Two sources behind a small network; a quarter of the rows have labels."""
    from lrn import nets
    from lrn.data import mixing, sources
    from lrn.data.sampler import minibatch

    s = sources.independent(jax.random.key(0), 512, 2)
    x = mixing.leaky_mlp(jax.random.key(1), 2, 2).forward(s)
    encoder, decoder = nets.mlp(2, (32,)), nets.mlp(2, (32,))
    return Example(
        factory=lambda config: few_labels(encoder, decoder, config),
        config=FewLabelsConfig(OptimizerConfig(learning_rate=0.01)),
        data={"x": x, "factors": s, "labeled": jnp.arange(512) % 4 == 0},
        sampler=minibatch(64, columns=("x", "factors", "labeled")),
        solves=Goal("labels", below=0.4),
    )
