"""Training on Gaussian noise, for the base classifier of randomized smoothing (Cohen et al. 2019).

`train_on_noise` is the step that `noise_training` shares with `lrn.robust.smooth_adv`, `lrn.robust.macer` and
`lrn.robust.consistency`: a loss of the logits of several noisy copies of each input. A copy is ``x + noise``,
noise from N(0, sigma^2 I), without a clip to [0, 1] and before any normalization in the network, as in
`lrn.robust.smoothing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.robust.attack import LogitsFn
from lrn.robust.losses import cross_entropy, is_correct
from lrn.robust.norms import widen
from lrn.robust.training import begin, read
from lrn.supervised import targets
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, update
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.settings import Settings
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, Params

# ``terms(logits, y)``: the terms of a loss by name, each [batch], of logits [batch, samples, classes] and
# labels [batch]. The loss is the mean of their sum.
Terms = Callable[[Array, Array], Mapping[str, Array]]
# ``move(logits_fn, x, y, noise, step) -> x``: inputs in place of x, for the same noise [batch, samples, ...].
Move = Callable[[LogitsFn, Array, Array, Array, Array], Array]


class NoiseSettings(Settings, Protocol):
    """Any config with the fields of `NoiseTrainingConfig`."""

    @property
    def sigma(self) -> float:
        """The standard deviation of the noise."""
        ...

    @property
    def samples(self) -> int:
        """The number of noisy copies of each input."""
        ...


@config
class NoiseTrainingConfig:
    """Settings of training on noise.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    sigma: the standard deviation of the noise, in the unit of the pixels, which lie in [0, 1]; usually that
        of the certificate.
    samples: the number of noisy copies of each input; 1 in the paper.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    sigma: float = 0.25
    samples: int = 1

    def __post_init__(self) -> None:
        check_noise(self)


def check_noise(config: NoiseSettings, least: int = 1) -> None:
    """Raise InputError unless sigma is positive and there are ``least`` samples or more."""
    check.positive("sigma", config.sigma)
    check.integer("samples", config.samples, least)


def noise_training(net: Net, config: NoiseTrainingConfig) -> Learner:
    """Minimize the cross-entropy of noisy inputs.

    The metrics are those of `train_on_noise`, with the term ``cross_entropy`` in nats.

    Args:
        net: the network, whose logits are [batch, classes].
        config: the settings; its floats may be swept.

    Raises:
        ValueError: as `train_on_noise`.
    """
    return train_on_noise(net, config, lambda logits, y: {"cross_entropy": mean_cross_entropy(logits, y)})


def train_on_noise(net: Net, config: NoiseSettings, terms: Terms, move: Move | None = None) -> Learner:
    """Minimize a loss of noisy copies; all copies of a batch pass the network together, in training mode.

    Batches are ``{"image" or "x": float [batch, ...] in [0, 1], "label" or "y": int [batch]}``. The state is
    a `SupervisedState`, so `lrn.supervised.learner.weights` gives the weights to evaluate. The metrics are
    ``loss``, the minimized value; each of its terms under its name; ``accuracy`` on the noisy copies, in
    [0, 1]; and ``gradient_norm``, the L2 norm over all parameters before clipping.

    A pixel outside of [0, 1] or a label outside of the classes raises an error where its value can be
    read; within a jitted training it makes loss and parameters NaN.

    Args:
        net: the network, whose logits are [batch, classes].
        config: the settings; its floats may be swept.
        terms: the terms of the loss.
        move: an attack that changes the inputs before the noise is added, or None. It gets the network in
            evaluation mode, and no gradient flows through it.

    Raises:
        ValueError: at trace time, for a batch that `check_inputs` refuses.
    """

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        x, y = read(batch)
        noise_key, net_key = jax.random.split(key)
        noise = gaussian(noise_key, x, config.sigma, config.samples)
        if move is not None:

            def logits_fn(z: Array) -> Array:
                return net.apply(state.params, state.net_state, z)[0]

            x = jax.lax.stop_gradient(move(logits_fn, x, y, noise, state.step))

        def objective(params: Params):
            z = noisy_copies(x, noise)
            logits, net_state = net.apply(params, state.net_state, z, key=net_key, train=True)
            metrics = {"accuracy": jnp.mean(is_correct(logits, jnp.repeat(y, config.samples)))}
            parts = terms(logits.reshape(len(y), config.samples, -1), y)
            parts = {name: jnp.mean(term) for name, term in parts.items()}
            return sum(parts.values(), jnp.zeros(())), (net_state, parts | metrics)

        (loss, (net_state, parts)), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        metrics = {"loss": loss, **parts, "gradient_norm": optax.tree.norm(gradient)}
        return update(config, state, gradient, net_state), metrics

    return Learner(lambda key, batch: begin(net, config, key, batch), step)


def gaussian(key: Key, x: Array, sigma: Array | float, samples: int) -> Array:
    """Noise from N(0, sigma^2) for each copy of each input, [batch, samples, ...], in float32 or wider."""
    wide = widen(x)
    noise = jax.random.normal(key, (x.shape[0], samples, *x.shape[1:]), wide.dtype)
    return jnp.asarray(sigma, wide.dtype) * noise


def noisy_copies(x: Array, noise: Array) -> Array:
    """``x + noise`` as one batch [batch * samples, ...], the copies of an input in a row.

    The copies have the dtype of ``x``; half-precision inputs get float32 noise before they are rounded.

    Args:
        x: inputs [batch, ...]. noise: [batch, samples, ...].
    """
    return (widen(x)[:, None] + noise).reshape(-1, *x.shape[1:]).astype(x.dtype)


def mean_cross_entropy(logits: Array, y: Array) -> Array:
    """The mean over copies of their cross-entropies in nats, [batch].

    Args:
        logits: [batch, samples, classes]. y: labels [batch].

    Raises:
        ValueError: there are fewer than 2 classes, or the labels are refused.
    """
    batch, samples, classes = logits.shape
    losses = cross_entropy(logits.reshape(batch * samples, classes), jnp.repeat(y, samples))
    return losses.reshape(batch, samples).mean(axis=1)


def log_mean_softmax(logits: Array) -> Array:
    """The logarithm of the mean over copies of their probabilities, [batch, classes].

    The result comes from logits and has no lower bound. The public programs of SmoothAdv, MACER and
    consistency take the logarithm of a probability, to which they add 1e-10, or which they clip at 1e-20.

    Args:
        logits: [batch, samples, classes].
    """
    log_p = jax.nn.log_softmax(widen(logits))
    return jax.nn.logsumexp(log_p, axis=1) - jnp.log(logits.shape[1])


def smoothed_cross_entropy(logits: Array, y: Array) -> Array:
    """The cross-entropy of the mean over copies of their probabilities, in nats, [batch].

    This is the loss of the soft smoothed classifier (Salman et al. 2019; Zhai et al. 2020).

    Args:
        logits: [batch, samples, classes]. y: labels [batch].

    Raises:
        InputError: a label that can be read is outside of the classes.
    """
    log_p = log_mean_softmax(logits)
    return -jnp.sum(targets.one_hot(y, log_p.shape[1]) * log_p, axis=1)


def example() -> Example:
    """A small network on the digits."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    net = nets.mlp(10, (32,), dropout=0.1)
    return Example(
        factory=lambda config: noise_training(net, config),
        config=NoiseTrainingConfig(OptimizerConfig(learning_rate=0.01), AverageConfig("ema", 0.9)),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("accuracy", above=0.7),
    )
