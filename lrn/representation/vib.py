"""The variational information bottleneck (Alemi et al., "Deep variational information bottleneck", 2017)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero
from lrn.config import config
from lrn.representation.elbo import gaussian_kl
from lrn.supervised import targets
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, descend, initial_state, weights
from lrn.supervised.losses import cross_entropy, hits
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, Params


@config
class VIBConfig:
    """Settings of the variational information bottleneck.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    beta: the price of a nat of the rate in nats of cross-entropy, above 0. The number is the same where both
        are in bits. The paper's best for MNIST is 1e-3 to 1e-2.
    shift: the encoder's second half of outputs r gives the standard deviation softplus(r - shift); the
        paper's 5 lets training begin almost without noise.
    samples: draws of the code for each example of a batch.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    beta: float = 1e-3
    shift: float = 5.0
    samples: int = 1

    def __post_init__(self) -> None:
        check.positive("beta", self.beta)
        check.finite("shift", self.shift)
        check.integer("samples", self.samples, 1)


class Posterior(NamedTuple):
    """The encoder's Gaussian q(t | x) with independent dimensions: mean and std, each [batch, dim]."""

    mean: Array
    std: Array


def vib(encoder: Net, decoder: Net, config: VIBConfig) -> Learner:
    """Minimize the cross-entropy of labels given a noisy code, plus beta times the rate of the code.

    The rate is the mean of KL(q(t | x) || N(0, I)), an upper bound of I(X; T); H(Y) minus the cross-entropy
    is a lower bound of I(T; Y). Batches are ``{"image" or "x": [batch, ...], "label" or "y": int [batch]}``;
    targets of floats [batch, classes] are probabilities, such as p(y | x) of a known joint.

    The metrics: ``loss``; ``cross_entropy`` and ``rate`` in nats; ``accuracy`` of one draw a code, in [0, 1];
    ``gradient_norm``, the L2 norm over all parameters. The networks of the state are "encoder" and "decoder".

    Args:
        encoder: maps inputs to [batch, 2 dim]: the means, and the numbers that give standard deviations.
        decoder: maps codes [batch, dim] to logits [batch, classes].
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch or an output has the wrong form.
    """

    def init(key: Key, batch: Batch) -> SupervisedState:
        x, _ = targets.read(batch)
        encoder_key, decoder_key = jax.random.split(key)
        params, state = encoder.init(encoder_key, x)
        code = jax.eval_shape(lambda p, s: posterior(encoder.apply(p, s, x)[0], 0.0).mean, params, state)
        of_decoder = decoder.init(decoder_key, jnp.zeros(code.shape, code.dtype))
        networks = {"encoder": params, "decoder": of_decoder[0]}
        return initial_state(config, networks, {"encoder": state, "decoder": of_decoder[1]})

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        x, y = targets.read(batch)
        noise_key, encoder_key, decoder_key = jax.random.split(key, 3)

        def objective(params: Params) -> tuple[Array, tuple[Any, dict[str, Array]]]:
            raw, of_encoder = encoder.apply(
                params["encoder"], state.net_state["encoder"], x, key=encoder_key, train=True
            )
            q = posterior(raw, config.shift)
            noise = jax.random.normal(noise_key, (config.samples, *q.mean.shape), q.mean.dtype)
            codes = (q.mean[None] + q.std[None] * noise).reshape(-1, q.mean.shape[1])
            logits, of_decoder = decoder.apply(
                params["decoder"], state.net_state["decoder"], codes, key=decoder_key, train=True
            )
            target = targets.one_hot(y, logits.shape[1]) if targets.is_labels(y) else y
            target = jnp.tile(target, (config.samples, 1))
            distortion, rates = jnp.mean(cross_entropy(logits, target)), jnp.mean(rate(q))
            loss = distortion + above_zero(config.beta) * rates
            metrics = {
                "cross_entropy": distortion,
                "rate": rates,
                "accuracy": jnp.mean(hits(logits, target)),
            }
            return loss, ({"encoder": of_encoder, "decoder": of_decoder}, metrics)

        return descend(config, state, objective)

    return Learner(init, step)


def posterior(raw: Array, shift: ArrayLike = 5.0) -> Posterior:
    """The Gaussian of an encoder's outputs [batch, 2 dim].

    Raises:
        InputError: the outputs are not [batch, 2 dim].
    """
    if raw.ndim != 2 or raw.shape[1] % 2 or raw.shape[1] == 0:
        raise check.InputError(
            f"the encoder must give [batch, 2 dim], a mean and a number for the standard deviation of each "
            f"dimension, got {raw.shape}; make its last layer even."
        )
    mean, spread = jnp.split(raw, 2, axis=1)
    return Posterior(mean, jax.nn.softplus(spread - jnp.asarray(shift, raw.dtype)))


def rate(q: Posterior) -> Array:
    """KL(q(t | x) || N(0, I)) in nats, [batch]."""
    return jnp.sum(gaussian_kl(q.mean, 2 * jnp.log(q.std)), axis=1)


def encode(encoder: Net, state: SupervisedState, x: Array, config: VIBConfig) -> Posterior:
    """The posterior of inputs [n, ...] under trained weights, the averaged ones if there are any."""
    params, net_state = weights(state)
    return posterior(encoder.apply(params["encoder"], net_state["encoder"], x)[0], config.shift)


def predict(
    nets: tuple[Net, Net],
    state: SupervisedState,
    x: Array,
    config: VIBConfig,
    key: Key | None = None,
    samples: int = 1,
) -> Array:
    """The log-probabilities of classes, [n, classes]: the log of the mean probability over drawn codes.

    Args:
        nets: the encoder and the decoder.
        state: the state after training; the averaged weights are used if there are any.
        x: inputs [n, ...].
        config: that of the training.
        key: the key of the draws; None decodes the mean code, without a draw.
        samples: the number of draws with a key; the paper reports 1 and 12.

    Raises:
        InputError: samples is below 1.
    """
    check.integer("samples", samples, 1)
    encoder, decoder = nets
    q = encode(encoder, state, x, config)
    params, net_state = (part["decoder"] for part in weights(state))

    def log_p(code: Array) -> Array:
        return jax.nn.log_softmax(decoder.apply(params, net_state, code)[0])

    if key is None:
        return log_p(q.mean)

    def add(total: Array, key: Key) -> tuple[Array, None]:
        noise = jax.random.normal(key, q.mean.shape, q.mean.dtype)
        return jnp.logaddexp(total, log_p(q.mean + q.std * noise)), None

    keys = jax.random.split(key, samples)
    total = log_p(q.mean + q.std * jax.random.normal(keys[0], q.mean.shape, q.mean.dtype))
    total, _ = jax.lax.scan(add, total, keys[1:])
    return total - jnp.log(float(samples))


def example() -> Example:
    """A small bottleneck on the digits."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    encoder, decoder = nets.mlp(16, (32,)), nets.mlp(10, ())
    return Example(
        factory=lambda config: vib(encoder, decoder, config),
        config=VIBConfig(OptimizerConfig(learning_rate=0.01), beta=1e-2),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("accuracy", above=0.8),
    )
