"""TRADES against PyTorch, NumPy and finite differences, and its passes of BatchNorm."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_layers import (
    BATCH,
    NOISE,
    PLAIN_SGD,
    WEIGHTS,
    WEIGHTS32,
    X,
    Y,
    cross_entropy,
    kl,
    logits,
    slope,
    start,
    use_noise,
)

from lrn.robust.norms import distance
from lrn.robust.trades import TRADESConfig, kl_divergence, trades, trades_attack, trades_objective
from lrn.types import Net
from tests import plain

RADII = {"linf": (0.1, 0.04), "l2": (0.4, 0.3)}  # eps and step size
# Beside x the gradient of the divergence is the difference of two nearly equal predictions: float32 keeps
# the signs of its entries, and three digits of its direction.
ROUNDING = {"linf": 1e-5, "l2": 1e-3}
# A script in PyTorch, float64, wrote the attack and the loss after the official code (for L2 with steps of
# a given length and the projection ball, then box): the loss, the norm of the gradient, the gradient of the
# first row of the second layer, and the sum of |x_adv - x|.
TORCH = {
    "linf": (1.621021363, 1.475401499, [-0.432879243, 0.379426191, 0.068999147, -0.015546095], 5.306519377),
    "l2": (1.793240503, 1.436793770, [-0.391930898, 0.413026712, -0.00644718, -0.014648634], 5.391889900),
}


def settings(norm="linf", **changes):
    eps, step_size = RADII[norm]
    base = TRADESConfig(PLAIN_SGD, beta=4.0, eps=eps, step_size=step_size, steps=3, norm=norm)
    return dataclasses.replace(base, **changes)


@pytest.fixture
def noise(monkeypatch):
    """The start of the attack in the reference."""
    use_noise(monkeypatch)


@pytest.mark.parametrize("norm", RADII)
def test_a_step_is_that_of_torch(mlp, noise, norm):
    learner = trades(mlp(6, 4), settings(norm))
    before = start(learner)
    after, metrics = jax.jit(learner.step)(jax.random.key(1), before, BATCH)
    loss, size, row, _ = TORCH[norm]
    assert metrics["loss"] == pytest.approx(loss, rel=ROUNDING[norm])
    assert metrics["gradient_norm"] == pytest.approx(size, rel=ROUNDING[norm])
    np.testing.assert_allclose(before.params[1]["w"][0] - after.params[1]["w"][0], row, atol=ROUNDING[norm])
    clean = logits(WEIGHTS, X)
    assert metrics["clean_loss"] == pytest.approx(cross_entropy(clean).mean(), rel=1e-5)
    assert metrics["divergence"] == pytest.approx((loss - cross_entropy(clean).mean()) / 4, rel=2e-3)
    assert metrics["clean_accuracy"] == pytest.approx((clean.argmax(1) == Y).mean())
    assert metrics["robust_accuracy"] <= metrics["clean_accuracy"]


@pytest.mark.parametrize("norm", RADII)
def test_the_attack_climbs_the_divergence_from_noise(mlp, noise, norm):
    eps, step_size = RADII[norm]
    net, z = mlp(6, 4), X + 0.001 * NOISE
    clean = logits(WEIGHTS, X)
    for _ in range(3):
        gradient = slope(lambda v: kl(clean, logits(WEIGHTS, v)), z)
        if norm == "linf":
            z = np.clip(np.clip(z + step_size * np.sign(gradient), X - eps, X + eps), 0, 1)
        else:
            unit = gradient / np.sqrt((gradient**2).sum((1, 2, 3), keepdims=True))
            delta = z + step_size * unit - X
            size = np.sqrt((delta**2).sum((1, 2, 3), keepdims=True))
            z = np.clip(X + delta * np.minimum(1, eps / size), 0, 1)
    logits_fn = lambda v: net.apply(WEIGHTS32, (), v)[0]  # noqa: E731
    ours = jax.jit(lambda key, x: trades_attack(settings(norm))(key, logits_fn, x, Y))(
        jax.random.key(0), BATCH["image"]
    )
    np.testing.assert_allclose(ours, z, atol=ROUNDING[norm])
    assert np.abs(ours - X).sum() == pytest.approx(TORCH[norm][3], rel=ROUNDING[norm])


def test_the_gradient_flows_into_both_predictions(mlp):
    x_adv = np.clip(X + 0.1 * np.sign(NOISE), 0, 1)

    def loss(weights):
        clean, attacked = logits(weights, X), logits(weights, x_adv)
        return cross_entropy(clean).mean() + 4 * kl(clean, attacked).mean()

    objective = trades_objective(mlp(6, 4), settings())
    gradient, _ = jax.jit(jax.grad(objective.loss, argnums=1, has_aux=True))(
        jax.random.key(0), WEIGHTS32, (), BATCH["image"], x_adv.astype(np.float32), Y
    )
    plain.assert_trees_close(gradient, plain.gradient(loss, WEIGHTS), 1e-4, 1e-5)


def test_divergence():
    p, q = logits(WEIGHTS, X), logits(WEIGHTS, 1 - X)
    np.testing.assert_allclose(kl_divergence(jnp.float32(p), jnp.float32(q)), kl(p, q), rtol=1e-5)
    sure = jnp.float32([[200.0, -200.0, 0.0]])
    np.testing.assert_allclose(kl_divergence(sure, -sure), [400.0], rtol=1e-6)
    np.testing.assert_array_equal(kl_divergence(sure, sure), [0.0])


def counting_net(modes=None):
    """Its state is the running mean of its inputs with momentum .5, as that of BatchNorm."""

    def apply(params, state, x, *, key=None, train=False):
        if modes is not None:
            modes.append(train)
        flat = x.reshape(len(x), -1)
        centered = flat - (flat.mean() if train else state["mean"])
        return centered @ params, {"mean": 0.5 * state["mean"] + 0.5 * x.mean()} if train else state

    return Net(lambda key, x: (jnp.eye(12, 4), {"mean": jnp.zeros(())}), apply)


def test_running_statistics_take_clean_attacked_clean():
    modes = []
    learner = trades(counting_net(modes), settings())
    state = jax.jit(learner.init)(jax.random.key(0), BATCH)
    modes.clear()
    after, _ = jax.jit(learner.step)(jax.random.key(1), state, BATCH)
    assert modes[-3:] == [True] * 3
    assert not any(modes[:-3])  # the attack sees evaluation mode
    attack_key = jax.random.split(jax.random.key(1))[0]
    x_adv = trades_attack(settings())(
        attack_key, lambda z: z.reshape(5, -1) @ jnp.eye(12, 4), BATCH["image"], Y
    )
    clean, attacked = X.mean(), float(np.asarray(x_adv, np.float64).mean())
    assert abs(clean - attacked) > 1e-3
    assert after.net_state["mean"] == pytest.approx(0.125 * clean + 0.25 * attacked + 0.5 * clean, rel=1e-5)


@pytest.mark.parametrize(("norm", "dtype"), [("linf", "float32"), ("l2", "float32"), ("linf", "bfloat16")])
def test_ball_and_box(mlp, norm, dtype):
    net, x = mlp(6, 4), jnp.asarray(np.round(X * 1.4 - 0.2, 2).clip(0, 1), dtype)
    eps = np.array([0.0, 0.01, 0.1, 0.3, 0.6], np.float32)  # one radius an example

    @jax.jit
    def run(key, eps):
        config = settings(norm, step_size=0.3, eps=eps)
        logits_fn = lambda z: net.apply(WEIGHTS32, (), z.astype(jnp.float32))[0]  # noqa: E731
        return trades_attack(config)(key, logits_fn, x, jnp.asarray(Y))

    x_adv = run(jax.random.key(0), eps)
    assert x_adv.dtype == x.dtype
    assert ((x_adv >= 0) & (x_adv <= 1)).all()
    moved = np.asarray(distance(x_adv, x, norm))
    assert (moved <= eps * (1 + 1e-5) + 1e-7).all()
    assert (moved[2:] > 0.5 * eps[2:]).all()
    np.testing.assert_array_equal(np.asarray(x_adv[0], np.float32), np.asarray(x[0], np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": -1.0}, "beta must be a finite number, 0 or more"),
        ({"eps": 8.0}, "eps must lie between 0 and 1"),
        ({"step_size": 0.0}, "step_size must be a finite number above 0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"norm": "linfty"}, "norm 'linfty' is not known; did you mean linf"),
    ],
)
def test_bad_configs(change, message):
    with pytest.raises(ValueError, match=message):
        TRADESConfig(**change)
