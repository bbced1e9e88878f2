"""The online probe: a linear classifier that is trained along with an encoder and cannot change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.ssl.pretraining import PretrainState, one_output, weights
from lrn.ssl.similarity import wide
from lrn.supervised import targets
from lrn.supervised.averages import Average, AverageConfig, averaged, begin, check_decay, ema
from lrn.supervised.learner import SupervisedState, initial_state, update
from lrn.supervised.losses import cross_entropy, hits
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Key, Learner, Metrics, Net, Params


@config
class OnlineProbeConfig:
    """Settings of the probe.

    optimizer: the config of the probe's optimizer. With Adam's usual ``eps`` of 1e-8 the first step would be
        noise for a class that the first batch lacks, whose gradient is 0 but for rounding.
    average: the config of the probe's averaged weights.
    decay: of the moving mean and variance by which features are standardized, in [0, 1).

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig("adam", 1e-2, eps=1e-5)
    average: AverageConfig = AverageConfig()
    decay: float = 0.99

    def __post_init__(self) -> None:
        check_decay(self.decay)


class OnlineProbeState(NamedTuple):
    """State of pretraining with a probe.

    pretraining: the state of the learner that is probed. probe: that of the probe.
    moments: an `Average` of the mean and of the mean square of the features, [dim] each.
    """

    pretraining: PretrainState
    probe: SupervisedState
    moments: Average


def online_probe(learner: Learner, encoder: Net, classes: int, config: OnlineProbeConfig) -> Learner:
    """Pretraining as it is, and a linear probe on the encoder's features of the same batches.

    The probe reads the features of the batch without augmentation, in evaluation mode, after the update of
    the encoder, and standardizes them. Only the probe reads the labels: the wrapped learner gets the key, and
    the batch without labels, so that its parameters are the same bits as without the probe. The accuracy of a
    batch is that before the probe learns from the batch. The number is optimistic where examples repeat, and
    lags behind the encoder: for a result, fit `lrn.supervised.probes.linear_probe` on the final features.

    Args:
        learner: a learner of `lrn.ssl`, whose state is a `PretrainState`.
        encoder: the encoder of the learner.
        classes: the number of classes.
        config: the settings of the probe; its floats may be swept.

    Returns:
        A learner of batches with labels. Its metrics are those of the wrapped learner, ``probe_loss``, in
        nats, and ``probe_accuracy``.

    Raises:
        InputError: at trace time, if a batch has no labels, or the learner's state has no encoder.
    """
    check.integer("classes", classes, 2)

    def init(key: Key, batch: Batch) -> OnlineProbeState:
        pretraining = learner.init(key, without_labels(batch))
        if not isinstance(pretraining, PretrainState):
            raise check.InputError(
                f"the probe needs a learner of lrn.ssl, got one with the state {type(pretraining).__name__}; "
                "make the learner by lrn.ssl.pretraining.pretrain_on."
            )
        x, _ = _labeled(batch)
        shape = jax.eval_shape(lambda x: _features(encoder, pretraining, x), x).shape
        params = {"kernel": jnp.zeros((shape[1], classes)), "bias": jnp.zeros(classes)}
        moments = begin((jnp.zeros(shape[1]), jnp.ones(shape[1])))
        return OnlineProbeState(pretraining, initial_state(config, params, ()), moments)

    def step(key: Key, state: OnlineProbeState, batch: Batch) -> tuple[OnlineProbeState, Metrics]:
        x, y = _labeled(batch)
        stepped = learner.step(key, state.pretraining, without_labels(batch))
        # Behind the barrier XLA compiles the learner's step as it does without the probe.
        pretraining, metrics = jax.lax.optimization_barrier(stepped)
        h = jax.lax.stop_gradient(_features(encoder, pretraining, x))
        moments = ema(state.moments, (jnp.mean(h, axis=0), jnp.mean(jnp.square(h), axis=0)), config.decay)
        z, target = _standardized(moments, h), targets.one_hot(y, classes)

        def objective(params: Params) -> tuple[Array, Array]:
            logits = _logits(params, z)
            return jnp.mean(cross_entropy(logits, target)), jnp.mean(hits(logits, target))

        (loss, accuracy), gradient = jax.value_and_grad(objective, has_aux=True)(state.probe.params)
        probe = update(config, state.probe, gradient, ())
        metrics = {**metrics, "probe_loss": loss, "probe_accuracy": accuracy}
        return OnlineProbeState(pretraining, probe, moments), metrics

    return Learner(init, step)


def probe_logits(encoder: Net, state: OnlineProbeState, x: Array) -> Array:
    """The probe's logits [batch, classes] of inputs [batch, ...]."""
    z = _standardized(state.moments, _features(encoder, state.pretraining, x))
    return _logits(averaged(state.probe.average, (state.probe.params, ()))[0], z)


def without_labels(batch: Batch) -> Batch:
    """The batch without the entries "label" and "y"."""
    if not isinstance(batch, Mapping):
        return batch
    return {name: value for name, value in batch.items() if name not in targets.TARGETS}


def _labeled(batch: Batch) -> tuple[Array, Array]:
    x, y = targets.read(batch)
    if not targets.is_labels(y):
        raise check.InputError(f"the probe needs integer labels, got {y.dtype}; give class indices.")
    return x, y


def _features(encoder: Net, state: PretrainState, x: Array) -> Array:
    params, net_state = weights(state)
    return wide(one_output("encoder", encoder.apply(params, net_state, x)[0], x.shape[0]))


def _standardized(moments: Average, h: Array) -> Array:
    mean, square = moments.value
    variance = jnp.maximum(square - jnp.square(mean), 1e-6 * square)
    return (h - mean[None]) * jax.lax.rsqrt(jnp.maximum(variance, 1e-12))[None]


def _logits(params: Params, z: Array) -> Array:
    return z @ params["kernel"] + params["bias"][None]


def example() -> Example:
    """SimCLR on the digits with a probe."""
    from lrn import nets
    from lrn.ssl.digits import noisy, on_digits
    from lrn.ssl.simclr import SimCLRConfig, simclr
    from lrn.types import Goal

    encoder, head = nets.mlp(None, (32,)), nets.mlp(8, (16,))
    pretrained = simclr(encoder, head, noisy(), SimCLRConfig(OptimizerConfig(learning_rate=0.01)))
    return on_digits(
        lambda view, config: online_probe(pretrained, encoder, 10, config),
        OnlineProbeConfig(),
        Goal("probe_accuracy", above=0.8),
    )
