"""iVAE: a VAE whose prior is conditioned on a side variable (Khemakhem et al., "Variational autoencoders and
nonlinear ICA", 2020).

Given the side variable u (a segment of time, a class, an environment) the codes are independent normals whose
means and variances a network makes of u. If the variances depend on u enough, the codes are identified up to
permutation and elementwise maps. With u constant the prior is that of a VAE, and nothing is identified.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import zero_or_more
from lrn.config import config
from lrn.representation.codes import Autoencoder, in_chunks, split_moments, weights
from lrn.representation.elbo import decoded_pass, gaussian_kl, init_model
from lrn.representation.vae import bound
from lrn.supervised.averages import AverageConfig
from lrn.supervised.inputs import inputs
from lrn.supervised.learner import SupervisedState, descend, initial_state
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net


@config
class IVAEConfig:
    """Settings of iVAE.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    beta: the weight of the rate, 0 or more; 1 for the evidence lower bound.
    scale: the standard deviation of the Gaussian likelihood, above 0; .1 in the authors' code.
    prior_means: whether the prior's means depend on the side variable. If not, the means are 0, as in the
        authors' code, and the variances alone depend on it.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = OptimizerConfig("adam", 1e-3)
    average: AverageConfig = AverageConfig()
    beta: float = 1.0
    scale: float = 0.1
    prior_means: bool = False

    def __post_init__(self) -> None:
        check.non_negative("beta", self.beta)
        check.positive("scale", self.scale)
        check.boolean("prior_means", self.prior_means)


def ivae(model: Autoencoder, prior: Net, config: IVAEConfig) -> Learner:
    """Maximize E_q log p(x | z) - beta KL(q(z | x, u) || p(z | u)).

    Batches are ``{"image" or "x": floats [batch, ...], "side": floats [batch, k]}``; a side variable of
    classes is one-hot. The state is that of `lrn.representation.vae.generative`, with "prior" as a third
    network. The metrics are those of `lrn.representation.vae.generative`.

    Args:
        model: the encoder takes `joint` inputs [batch, values + k].
        prior: maps the side variable [batch, k] to moments [batch, 2 z], such as ``lrn.nets.mlp(2 * z)``.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch lacks an entry, or an output does not fit.
    """

    def moments(params: Any, net_state: Any, u: Array, key: Key | None) -> tuple[Array, Array, Any]:
        out, after = prior.apply(params["prior"], net_state["prior"], u, key=key, train=key is not None)
        mean, log_variance = split_moments(out, u.shape[0])
        return (mean if config.prior_means else jnp.zeros_like(mean)), log_variance, after

    def init(key: Key, batch: Batch) -> SupervisedState:
        x, u = inputs(batch, 1), side(batch)
        model_key, prior_key = jax.random.split(key)
        params, states = init_model(_behind_joint(model, x, u), model_key, x)
        params["prior"], states["prior"] = prior.init(prior_key, u)
        own = jax.eval_shape(lambda: moments(params, states, u, None)[0])
        encoded, _ = jax.eval_shape(
            model.encoder.apply, params["encoder"], states["encoder"], jax.eval_shape(joint, x, u)
        )
        if 2 * own.shape[1] != encoded.shape[1]:
            raise check.InputError(
                f"the prior gives moments of {own.shape[1]} codes and the encoder of {encoded.shape[1] // 2};"
                " give the last layers of both the same number of outputs."
            )
        return initial_state(config, params, states)

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        x, u = inputs(batch, 1), side(batch)
        encoder_key, prior_key, *rest = jax.random.split(key, 4)

        def loss(params: Any) -> tuple[Array, Any]:
            states = dict(state.net_state)
            out, states["encoder"] = model.encoder.apply(
                params["encoder"], states["encoder"], joint(x, u), key=encoder_key, train=True
            )
            mean, log_variance = split_moments(out, x.shape[0])
            prior_mean, prior_log_variance, states["prior"] = moments(params, states, u, prior_key)
            passed, states["decoder"] = decoded_pass(
                model, params, states, rest, mean, log_variance, x, config.scale
            )
            passed = passed._replace(rate=gaussian_kl(mean, log_variance, prior_mean, prior_log_variance))
            metrics = bound(passed)
            value = metrics["distortion"] + zero_or_more(config.beta) * metrics["rate"]
            return value, (states, metrics)

        return descend(config, state, loss)

    return Learner(init, step)


def _behind_joint(model: Autoencoder, x: Array, u: Array) -> Autoencoder:
    """The model with an encoder of ``x`` alone, whose init and apply see `joint` inputs with this ``u``."""

    def init(key: Key, x: Array) -> Any:
        return model.encoder.init(key, joint(x, u))

    def apply(params: Any, state: Any, x: Array, *, key: Key | None = None, train: bool = False) -> Any:
        return model.encoder.apply(params, state, joint(x, u), key=key, train=train)

    return model._replace(encoder=Net(init, apply))


def joint(x: Array, side: Array) -> Array:
    """What the encoder sees: the values of ``x`` [n, ...] and of the side variable [n, k], [n, values + k].

    ``lrn.representation.codes.encode(model, state, joint(x, side))`` gives the codes after training.
    """
    return jnp.concatenate([x.reshape(x.shape[0], -1), side.astype(x.dtype)], axis=1)


def side(batch: Batch) -> Array:
    """The side variable [batch, k] of a batch, the entry "side".

    Raises:
        InputError: the batch has no such entry, or it is no floats [batch, k].
    """
    rows = inputs(batch, 1).shape[0]
    value = batch.get("side")
    form = getattr(value, "shape", None)
    known = form is not None and len(form) == 2 and form[0] == rows
    if value is None or not known or not jnp.issubdtype(value.dtype, jnp.floating):
        raise check.InputError(
            f"a batch of iVAE needs the entry 'side', floats [{rows}, k], got {form or type(value).__name__};"
            " make a side variable of classes one-hot."
        )
    return jnp.asarray(value)


def prior_moments(prior: Net, state: Any, u: Array, *, chunk: int = 256) -> tuple[Array, Array]:
    """The outputs of the trained prior network: means [n, z] and log variances [n, z] of codes given ``u``.

    Under a config without ``prior_means`` the means of the prior are 0 instead.
    """
    params, net_state = weights(state)

    def moments(part: Array) -> Array:
        return prior.apply(params["prior"], net_state["prior"], part)[0]

    return split_moments(in_chunks(moments, u, chunk), u.shape[0])


def example() -> Example:
    """Two sources whose variances depend on one of eight segments, behind a linear mixture."""
    import numpy as np

    from lrn import nets
    from lrn.data.sampler import minibatch

    rng = np.random.default_rng(0)
    segment = rng.integers(0, 8, 2000)
    sources = rng.normal(size=(2000, 2)) * rng.uniform(0.1, 2.0, (8, 2))[segment]
    x = (sources @ np.array([[1.0, 0.6, -0.4], [-0.5, 1.0, 0.8]])).astype(np.float32)
    model = Autoencoder(nets.mlp(4, (16,)), nets.mlp(3, (16,)), "gaussian")
    prior = nets.mlp(4, ())
    return Example(
        factory=lambda config: ivae(model, prior, config),
        config=IVAEConfig(OptimizerConfig("adam", 0.01), scale=0.3),
        data={"x": x, "side": np.eye(8, dtype=np.float32)[segment]},
        sampler=minibatch(64, columns=("x", "side")),
        solves=Goal("elbo", above=-4.0),
    )
