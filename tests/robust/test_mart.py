"""MART against PyTorch, NumPy and finite differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_layers import (
    BATCH,
    PLAIN_SGD,
    WEIGHTS,
    WEIGHTS32,
    X,
    Y,
    cross_entropy,
    kl,
    logits,
    start,
    use_noise,
)

from lrn.robust.mart import MARTConfig, boosted_cross_entropy, mart, mart_attack, mart_objective
from lrn.types import Net
from tests import plain

# A script in PyTorch, float64, wrote the attack after the official code (as in test_trades.py) and the loss
# after equation 7: the loss, the norm of the gradient, and the gradient of the first row of the second layer.
TORCH = {
    "linf": (3.287373693, 3.126579033, [-1.023484982, 0.741915477, 0.258742681, 0.022826823]),
    "l2": (3.662798697, 2.941632549, [-1.01029496, 0.767606329, 0.220740318, 0.021948313]),
}
OFFICIAL = 3.287004988  # "linf", with the small numbers that the official code adds to probabilities
RADII = {"linf": (0.1, 0.04), "l2": (0.4, 0.3)}


def settings(norm="linf", **changes):
    eps, step_size = RADII[norm]
    base = MARTConfig(PLAIN_SGD, beta=4.0, eps=eps, step_size=step_size, steps=3, norm=norm)
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize("norm", TORCH)
def test_a_step_is_that_of_torch(mlp, monkeypatch, norm):
    use_noise(monkeypatch)
    learner = mart(mlp(6, 4), settings(norm))
    before = start(learner)
    after, metrics = jax.jit(learner.step)(jax.random.key(1), before, BATCH)
    loss, size, row = TORCH[norm]
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5)
    assert metrics["gradient_norm"] == pytest.approx(size, rel=1e-5)
    np.testing.assert_allclose(before.params[1]["w"][0] - after.params[1]["w"][0], row, atol=3e-6)
    assert metrics["loss"] == pytest.approx(
        float(metrics["boosted_loss"] + 4 * metrics["divergence"]), rel=1e-5
    )
    assert metrics["clean_accuracy"] == pytest.approx((logits(WEIGHTS, X).argmax(1) == Y).mean())
    if norm == "linf":
        assert metrics["loss"] == pytest.approx(OFFICIAL, rel=2e-4)


def boosted(z, y):
    """-log p_y - log(1 - max_{k != y} p_k), by a loop over examples."""
    values = []
    for row, label in zip(np.exp(plain.log_softmax(z)), y):
        values.append(-np.log(row[label]) - np.log(1 - max(np.delete(row, label))))
    return np.array(values)


def test_every_term_has_a_gradient(mlp):
    x_adv = np.clip(X + 0.1 * np.sign(np.random.default_rng(0).normal(size=X.shape)), 0, 1)

    def loss(weights):
        clean, attacked = logits(weights, X), logits(weights, x_adv)
        doubt = 1 - np.exp(-cross_entropy(clean))
        return boosted(attacked, Y).mean() + 4 * (kl(clean, attacked) * doubt).mean()

    objective = mart_objective(mlp(6, 4), settings())
    value = jax.value_and_grad(objective.loss, argnums=1, has_aux=True)
    (ours, _), gradient = jax.jit(value)(
        jax.random.key(0), WEIGHTS32, (), BATCH["image"], x_adv.astype(np.float32), Y
    )
    assert ours == pytest.approx(loss(WEIGHTS), rel=1e-5)
    plain.assert_trees_close(gradient, plain.gradient(loss, WEIGHTS), 1e-4, 1e-5)


def test_boosted_cross_entropy():
    z, y = np.random.default_rng(1).normal(size=(20, 4)) * 3, np.arange(20) % 4
    ours = jax.jit(boosted_cross_entropy)(jnp.float32(z), y)
    np.testing.assert_allclose(ours, boosted(z, y), rtol=1e-4)
    # Two classes: 1 - p_other = p_y, so the loss is twice the cross-entropy. No bound where p rounds to 1.
    sure = jnp.float32([[60.0, -60.0], [-60.0, 60.0]])
    np.testing.assert_allclose(boosted_cross_entropy(sure, jnp.array([1, 1])), [240.0, 0.0], rtol=1e-6)
    assert jnp.isnan(jax.jit(boosted_cross_entropy)(sure, jnp.array([1, 2]))[1])


def test_running_statistics_take_clean_then_attacked():
    modes = []

    def apply(params, state, x, *, key=None, train=False):
        modes.append(train)
        state = {"mean": 0.5 * state["mean"] + 0.5 * x.mean()} if train else state
        return x.reshape(len(x), -1) @ params, state

    net = Net(lambda key, x: (jnp.eye(12, 4), {"mean": jnp.zeros(())}), apply)
    learner = mart(net, settings())
    state = jax.jit(learner.init)(jax.random.key(0), BATCH)
    modes.clear()
    after, _ = jax.jit(learner.step)(jax.random.key(1), state, BATCH)
    assert modes[-2:] == [True] * 2
    assert not any(modes[:-2])  # the attack sees evaluation mode
    attack_key = jax.random.split(jax.random.key(1))[0]
    logits_fn = lambda z: z.reshape(5, -1) @ jnp.eye(12, 4)  # noqa: E731
    x_adv = np.asarray(mart_attack(settings())(attack_key, logits_fn, BATCH["image"], Y), np.float64)
    assert abs(x_adv.mean() - X.mean()) > 1e-3
    assert after.net_state["mean"] == pytest.approx(0.25 * X.mean() + 0.5 * x_adv.mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": -1.0}, "beta must be a finite number, 0 or more"),
        ({"eps": -0.1}, "eps must be a finite number, 0 or more"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"norm": "L2"}, "norm 'L2' is not known; did you mean l2"),
    ],
)
def test_bad_configs(change, message):
    with pytest.raises(ValueError, match=message):
        MARTConfig(**change)
