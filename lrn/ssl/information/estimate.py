"""A learner that estimates mutual information: it trains a critic to maximize a bound on samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.ssl.information.critics import Critic, column, paired, stateless
from lrn.ssl.information.donsker_varadhan import donsker_varadhan
from lrn.ssl.information.flo import flo
from lrn.ssl.information.info_nce import info_nce
from lrn.ssl.information.jensen_shannon import jensen_shannon
from lrn.ssl.information.mine import mine, start
from lrn.ssl.information.nwj import nwj
from lrn.ssl.information.smile import smile
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, initial_state, update, weights
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, Params

BOUNDS = ("donsker_varadhan", "flo", "info_nce", "jensen_shannon", "mine", "nwj", "smile")


@config
class EstimateConfig:
    """Settings of an estimate.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    bound: the estimator, one of `BOUNDS`.
    clip: the largest log density ratio of smile, in nats. decay: that of mine's moving average.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    bound: str = "info_nce"
    clip: float = 5.0
    decay: float = 0.99

    def __post_init__(self) -> None:
        check.choice("bound", self.bound, BOUNDS)
        check.positive("clip", self.clip)
        check.between("decay", self.decay, 0, 1)


class EstimateState(NamedTuple):
    """State of an estimate.

    training: the parameters {"critic", "dual"} and the optimizer's state. log_average: that of mine, a
        scalar.
    """

    training: SupervisedState
    log_average: Array


def estimate(critic: Critic, config: EstimateConfig, dual: Net | None = None) -> Learner:
    """Train a critic on batches ``{"x": [n, ...], "y": [n, ...]}`` of joint pairs.

    The metrics are ``information``, the estimate of the batch in nats, and ``gradient_norm``. The estimate of
    a batch on which a critic was trained is too large; `information` gives that of other samples.

    Args:
        critic: scores pairs; see `lrn.ssl.information.critics`.
        config: the settings; its floats may be swept.
        dual: for the bound "flo": maps [n, dim of x + dim of y] to [n, 1], the dual variable.

    Raises:
        InputError: "flo" has no dual, or another bound has one; at trace time, if a batch is wrong.
    """
    if (config.bound == "flo") != (dual is not None):
        raise check.InputError(
            f"the bound 'flo' and a dual network go together, got {config.bound!r} and dual "
            f"{'none' if dual is None else 'given'}; give both or neither."
        )

    def init(key: Key, batch: Batch) -> EstimateState:
        x, y = pairs(batch)
        critic_key, dual_key = jax.random.split(key)
        params = {"critic": critic.init(critic_key, x, y)}
        if dual is not None:
            params["dual"] = stateless(dual, dual_key, paired(x, y))
        return EstimateState(initial_state(config, params, ()), start())

    def step(key: Key, state: EstimateState, batch: Batch) -> tuple[EstimateState, Metrics]:
        del key
        x, y = pairs(batch)

        def loss(params: Params) -> tuple[Array, Array]:
            value, average = _value(critic, config, dual, params, state.log_average, x, y)
            return -value, average

        (value, average), gradient = jax.value_and_grad(loss, has_aux=True)(state.training.params)
        training = update(config, state.training, gradient, ())
        metrics = {"information": -value, "gradient_norm": optax.tree.norm(gradient)}
        return EstimateState(training, average), metrics

    return Learner(init, step)


def information(
    critic: Critic, config: EstimateConfig, state: EstimateState, batch: Batch, dual: Net | None = None
) -> Array:
    """The estimate in nats of a trained critic on fresh joint pairs, a scalar.

    Args:
        critic, config, dual: those of the training.
        state: the state after it; the averaged weights are used if there are any.
        batch: ``{"x": [n, ...], "y": [n, ...]}``. Where n is not that of the training, InfoNCE's limit log n
            differs too.
    """
    x, y = pairs(batch)
    return _value(critic, config, dual, weights(state.training)[0], state.log_average, x, y)[0]


def pairs(batch: Any) -> tuple[Array, Array]:
    """x and y of a batch of joint pairs.

    Raises:
        InputError: an entry is missing, they are no floats of equal length, or there are fewer than two
        pairs.
    """
    if not isinstance(batch, Mapping) or not {"x", "y"} <= set(batch):
        raise check.InputError("a batch must be a dict with the entries 'x' and 'y'; name the two variables.")
    x, y = jnp.asarray(batch["x"]), jnp.asarray(batch["y"])
    floats = all(jnp.issubdtype(v.dtype, jnp.floating) for v in (x, y))
    if not floats or min(x.ndim, y.ndim) < 2 or x.shape[0] != y.shape[0] or x.shape[0] < 2:
        raise check.InputError(
            f"x and y must be floats [n, ...] with one n of 2 or more, got {x.shape} of {x.dtype} and "
            f"{y.shape} of {y.dtype}; give one row a pair."
        )
    return x, y


def _value(
    critic: Critic,
    config: EstimateConfig,
    dual: Net | None,
    params: Params,
    log_average: Array,
    x: Array,
    y: Array,
) -> tuple[Array, Array]:
    """The estimate, a scalar whose gradient trains the critic, and mine's moving average."""
    scores = critic.score(params["critic"], x, y)
    if config.bound == "mine":
        return mine(scores, log_average, config.decay)
    if config.bound == "smile":
        return smile(scores, config.clip), log_average
    if dual is not None:
        return flo(scores, column(dual, params["dual"], paired(x, y))), log_average
    plain = {
        "donsker_varadhan": donsker_varadhan,
        "info_nce": info_nce,
        "jensen_shannon": jensen_shannon,
        "nwj": nwj,
    }
    return plain[config.bound](scores), log_average


def example() -> Example:
    """A small separable critic on Gaussians with 1 nat of information."""
    from lrn import nets
    from lrn.data import gaussians
    from lrn.ssl.information.critics import separable

    dim = 2
    # Small weights: where scores begin large, MINE's moving average begins large and learning slow.
    critic = separable(*(nets.mlp(8, (32,), initial_scale=0.3) for _ in "xy"))
    return Example(
        factory=lambda config: estimate(critic, config),
        config=EstimateConfig(OptimizerConfig(learning_rate=0.003), bound="mine", decay=0.9),
        sampler=gaussians.sampler(32, dim, float(gaussians.correlation(1.0, dim))),
        solves=Goal("information", above=0.6),
    )
