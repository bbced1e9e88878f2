"""Contrastive recovery of causal sources from interventions (Buchholz et al., NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import nan_where, zero_or_more
from lrn.config import config
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, descend, initial_state, weights
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, NetState, Params


@config
class InterventionalConfig:
    """Settings of the recovery from interventions.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    acyclic: the weight of the penalty on cycles among the causes. sparse: that of the L1 norm of the causes.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    acyclic: float = 1e-3
    sparse: float = 1e-4

    def __post_init__(self) -> None:
        check.non_negative("acyclic", self.acyclic)
        check.non_negative("sparse", self.sparse)


def interventional(encoder: Net, config: InterventionalConfig) -> Learner:
    """Tell each environment with an intervention from the one without, by log odds of the causal form.

    The sources are a linear Gaussian causal model seen through any injective mixing. In environment i > 0 a
    perfect intervention hits source i, whose number is not known to the data. The log odds are then quadratic
    in one source and in one linear form (equation 6), and an encoder that attains them is the sources, up to
    order, scale and shift (theorem 1).

    Batches are ``{"x": floats [batch, ...], "environment": int [batch]}``; 0 is the environment without an
    intervention, and each batch needs rows of it. A batch without such rows, or with an environment that has
    no code, makes loss and parameters NaN. The metrics are ``loss``, the mean over interventions in nats;
    ``accuracy``, balanced; ``gradient_norm``. The parts of the parameters are "encoder" and "odds".

    Args:
        encoder: maps observations to codes [batch, sources], without a state. Code i - 1 is that of
            environment i.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch or the codes have the wrong form.
    """

    def init(key: Key, batch: Batch) -> SupervisedState:
        x, _ = _environments(batch)
        encoder_key, cause_key = jax.random.split(key)
        params, net_state = encoder.init(encoder_key, x)
        if jax.tree.leaves(net_state):
            raise check.InputError("the encoder must keep no state (BatchNorm mixes environments).")
        dim = jax.eval_shape(encoder.apply, params, net_state, x)[0].shape[1]
        odds = {
            "constant": jnp.zeros(dim), "square": jnp.zeros(dim), "linear": jnp.zeros(dim),
            "causes": 0.1 * jax.random.normal(cause_key, (dim, dim)) + 0.5 * jnp.eye(dim),
        }  # fmt: skip
        return initial_state(config, {"encoder": params, "odds": odds}, ())

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        del key
        x, environment = _environments(batch)

        def objective(params: Params) -> tuple[Array, tuple[NetState, Metrics]]:
            codes = encoder.apply(params["encoder"], (), x)[0]
            odds = log_odds(params["odds"], codes)
            numbers = jnp.arange(1, codes.shape[1] + 1)[None]
            changed, none = environment[:, None] == numbers, (environment == 0)[:, None]
            loss = _mean(jax.nn.softplus(-odds), changed) + _mean(jax.nn.softplus(odds), none)
            right = _mean(1.0 * (odds > 0), changed) + _mean(1.0 * (odds < 0), none)
            wrong = jnp.any((environment < 0) | (environment > codes.shape[1])) | ~jnp.any(none)
            total = jnp.mean(loss) / 2 + penalty(params["odds"]["causes"], config)
            return nan_where(wrong, total), ((), {"accuracy": jnp.mean(right) / 2})

        return descend(config, state, objective)

    return Learner(init, step)


def log_odds(params: Mapping[str, Array], codes: Array) -> Array:
    """For each intervention the log odds that a row is from it, [n, sources].

    ``constant_i - square_i h_i^2 + linear_i h_i + <causes_i, h>^2``: the density of source i under the
    intervention is normal, and that without it is normal given its causes.

    Args:
        params: "constant", "square" and "linear" [sources]; "causes" [sources, sources].
        codes: h [n, sources].
    """
    forms = jnp.square(codes @ params["causes"].T)
    own = params["constant"][None] - params["square"][None] * jnp.square(codes)
    return own + params["linear"][None] * codes + forms


def penalty(causes: Array, config: InterventionalConfig) -> Array:
    """Cycles, trace(exp(W * W)) - dim without the diagonal (Zheng et al. 2018), and the L1 norm of W."""
    others = causes * (1 - jnp.eye(causes.shape[0]))
    cycles = jnp.trace(jax.scipy.linalg.expm(jnp.square(others))) - causes.shape[0]
    acyclic, sparse = zero_or_more(config.acyclic), zero_or_more(config.sparse)
    return acyclic * cycles + sparse * jnp.sum(jnp.abs(others))


def codes_of(encoder: Net, state: SupervisedState, x: Array) -> Array:
    """The codes [n, sources] under trained weights, the averaged ones if there are any."""
    return encoder.apply(weights(state)[0]["encoder"], (), x)[0]


def _mean(values: Array, which: Array) -> Array:
    """The mean over the rows that are marked, for each column; 0 where none is."""
    which = jnp.broadcast_to(which, values.shape)
    return jnp.sum(jnp.where(which, values, 0), axis=0) / jnp.maximum(jnp.sum(which, axis=0), 1)


def _environments(batch: Batch) -> tuple[Array, Array]:
    if not isinstance(batch, Mapping) or not {"x", "environment"} <= set(batch):
        raise check.InputError("a batch must be a dict with the entries 'x' and 'environment'.")
    x, environment = jnp.asarray(batch["x"]), jnp.asarray(batch["environment"])
    whole = jnp.issubdtype(environment.dtype, jnp.integer)
    if x.ndim < 2 or environment.shape != x.shape[:1] or not whole:
        raise check.InputError(
            f"'x' must be [batch, ...] and 'environment' integers [batch], got {x.shape} and "
            f"{environment.dtype} {environment.shape}."
        )
    return x, environment


def example() -> Example:
    """Two sources, one of which causes the other, mixed linearly."""
    from lrn import nets
    from lrn.data import mixing, sources
    from lrn.data.sampler import minibatch

    environment = jnp.arange(768, dtype=jnp.int32) % 3
    of = sources.causes(jax.random.key(0), 2)
    s = sources.intervened(jax.random.key(1), of, environment)
    x = mixing.linear(jax.random.key(2), 2).forward(s)
    net = nets.mlp(2, (16,))
    return Example(
        factory=lambda config: interventional(net, config),
        config=InterventionalConfig(OptimizerConfig(learning_rate=0.01)),
        data={"x": x, "environment": environment},
        sampler=minibatch(64, columns=("x", "environment")),
        solves=Goal("loss", below=0.5),
    )
