"""Certified training: the loss by hand, the ramp, linear networks in closed form, and what it is for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.config import stack
from lrn.robust.certified_training import CertifiedTrainingConfig, certified_training, phase
from lrn.robust.crown import CROWNConfig, crown, hidden_bounds, linear_margins, make_ball
from lrn.robust.ibp import IBPConfig, certified, ibp
from lrn.robust.read_layers import read_layers
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Net

SGD = OptimizerConfig("sgd", learning_rate=0.1, momentum=0.0)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    x = 0.1 + 0.8 * rng.uniform(size=(16, 4)).astype(np.float32)
    return {"image": jnp.asarray(x), "label": jnp.asarray(rng.integers(0, 3, 16))}


def cross_entropy(z, y):
    z = np.asarray(z, np.float64)
    return np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y])


def test_the_ramp():
    config = CertifiedTrainingConfig(
        eps=0.2, warmup=10.0, ramp=20.0, kappa_start=0.9, kappa_end=0.4, beta_start=1.0, beta_end=0.25
    )
    eps, kappa, beta = jax.jit(lambda t: phase(config, t))(jnp.array([0, 10, 15, 30, 99]))
    np.testing.assert_allclose(eps, [0, 0, 0.05, 0.2, 0.2], atol=1e-6)
    np.testing.assert_allclose(kappa, [0.9, 0.9, 0.775, 0.4, 0.4], atol=1e-6)
    np.testing.assert_allclose(beta, [1, 1, 0.8125, 0.25, 0.25], atol=1e-6)


@pytest.mark.parametrize("bounds", ["ibp", "crown_ibp"])
def test_a_step_minimizes_the_mixture(mlp, batch, bounds):
    """The loss from the certifiers' margins and NumPy's cross-entropy."""
    net = mlp(6, 5, 3, activation=jax.nn.relu)
    config = CertifiedTrainingConfig(
        SGD, bounds, eps=0.2, ramp=4.0, kappa_start=0.8, kappa_end=0.2, beta_start=0.9, beta_end=0.1
    )
    learner = certified_training(net, config)
    x, y = batch["image"], batch["label"]
    state = learner.init(jax.random.key(0), batch)._replace(step=jnp.int32(2))  # halfway along the ramp

    @jax.jit
    def run(state):
        def logits(z):
            return net.apply(state.params, (), z)[0]

        layers, ball = read_layers(logits, x), make_ball(x, 0.1)
        hidden = hidden_bounds(layers, ball, CROWNConfig(0.1, intermediate="ibp"))
        lines = linear_margins(layers, hidden, ball, y, "linf", "adaptive")
        return (
            learner.step(jax.random.key(1), state, batch),
            logits(x),
            ibp(IBPConfig(0.1))(logits, x, y),
            lines,
        )

    (after, metrics), z, margins, lines = run(state)
    if bounds == "crown_ibp":
        assert np.abs(lines - margins).max() > 0.05
        margins = 0.5 * lines + 0.5 * margins
    wanted = 0.5 * cross_entropy(z, y) + 0.5 * cross_entropy(-margins, y)
    assert metrics["loss"] == pytest.approx(wanted, rel=1e-4)
    assert metrics["eps"] == pytest.approx(0.1)
    assert metrics["accuracy"] == pytest.approx((np.argmax(z, 1) == y).mean())
    assert metrics["certified"] == pytest.approx(np.mean(certified(margins, y)))
    assert after.step == 3


def test_on_a_linear_network_it_minimizes_the_worst_case_loss(batch):
    """The margins of a linear network are closed: w.x + b - eps |w|_1, with w the difference of two rows."""
    net = Net(
        lambda key, x: ({"w": jax.random.normal(key, (4, 3)), "b": jnp.zeros(3)}, ()),
        lambda params, state, x, *, key=None, train=False: (x @ params["w"] + params["b"][None], state),
    )
    x, y = batch["image"], batch["label"]

    def worst(params):
        rows = params["w"].T[y][:, None] - params["w"].T[None]
        margins = (rows * x[:, None]).sum(2) + (params["b"][y][:, None] - params["b"][None])
        margins = margins - 0.05 * jnp.abs(rows).sum(2)
        return jnp.mean(jax.nn.logsumexp(-margins, axis=1))

    for bounds in ("ibp", "crown_ibp"):
        config = CertifiedTrainingConfig(SGD, bounds, eps=0.05, ramp=0.0, kappa_end=0.0, beta_end=1.0)
        learner = certified_training(net, config)
        state = learner.init(jax.random.key(0), batch)
        after, metrics = jax.jit(learner.step)(jax.random.key(1), state, batch)
        value, gradient = jax.jit(jax.value_and_grad(worst))(state.params)
        assert metrics["loss"] == pytest.approx(float(value), rel=1e-4)
        for name in ("w", "b"):
            np.testing.assert_allclose(
                after.params[name], state.params[name] - 0.1 * gradient[name], atol=1e-5
            )


def test_floats_sweep_under_vmap(mlp, batch):
    net = mlp(5, 3, activation=jax.nn.relu)
    base = CertifiedTrainingConfig(SGD, "crown_ibp", ramp=2.0)
    configs = [base, dataclasses.replace(base, eps=0.02, kappa_end=0.1, beta_end=0.6, ramp=1.0)]

    @jax.jit
    def run(config):
        learner = certified_training(net, config)
        state = learner.init(jax.random.key(0), batch)
        return learner.step(jax.random.key(2), learner.step(jax.random.key(1), state, batch)[0], batch)

    swept = jax.jit(jax.vmap(run))(stack(configs))
    for i, config in enumerate(configs):
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-5), swept, run(config))


def test_it_makes_a_network_certifiable(mlp):
    """One large feature is reliable; sixty tiny features predict, and an eps of .1 reverses them."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 256)
    sign = (2.0 * y - 1)[:, None]
    x = 0.5 + np.concatenate([0.3 * sign, 0.03 * sign * np.ones((1, 60))], axis=1)
    x = np.clip(x + 0.1 * rng.normal(size=x.shape), 0, 1).astype(np.float32)
    data, net = {"image": jnp.asarray(x), "label": jnp.asarray(y)}, mlp(16, 2, activation=jax.nn.relu)
    config = CertifiedTrainingConfig(OptimizerConfig(learning_rate=0.01), "crown_ibp", 0.1, 10.0, 60.0)

    @jax.jit
    def run(config):
        learner = certified_training(net, config)

        def step(state, i):
            return learner.step(jax.random.fold_in(jax.random.key(1), i), state, data)

        state, metrics = jax.lax.scan(step, learner.init(jax.random.key(0), data), jnp.arange(150))
        margins = crown(CROWNConfig(0.1))(lambda z: net.apply(state.params, (), z)[0], *data.values())
        return jnp.mean(certified(margins, data["label"])), metrics

    share, metrics = run(config)
    standard, _ = run(dataclasses.replace(config, eps=0.0))
    assert share > standard + 0.3
    assert metrics["certified"][-1] > 0.8
    assert metrics["eps"][9] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bounds": "crown"}, "bounds 'crown' is not known"),
        ({"eps": 8.0}, "between 0 and 1"),
        ({"ramp": -1.0}, "ramp must be"),
        ({"kappa_end": 1.5}, "kappa_end must lie between 0 and 1"),
        ({"beta_start": -0.5}, "beta_start must lie between 0 and 1"),
    ],
)
def test_bad_configs(settings, message):
    with pytest.raises(ValueError, match=message):
        CertifiedTrainingConfig(**settings)


def test_networks_that_cannot_be_read_are_refused(mlp, batch):
    learner = certified_training(mlp(5, 3), CertifiedTrainingConfig())  # tanh
    state = learner.init(jax.random.key(0), batch)
    with pytest.raises(ValueError, match="it applies tanh"):
        jax.eval_shape(learner.step, jax.random.key(1), state, batch)
