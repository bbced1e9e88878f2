"""Whole steps of `supervised` against plain NumPy, with every option on.

The network is BatchNorm, dropout and a linear layer. The reference takes only random numbers from jax: it
draws the dropout mask and the share of mixup from the documented keys.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import plain

from lrn.supervised import losses
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedConfig, supervised, weights
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Net

BATCH, DIM, CLASSES, DROP, EPS, STEPS = 6, 3, 4, 0.3, 1e-3, 4


def network() -> Net:
    def init(key, x):
        params = {
            "w": 0.5 * jax.random.normal(key, (DIM, CLASSES)),
            "b": jnp.linspace(-0.1, 0.2, CLASSES),
            "scale": jnp.linspace(0.8, 1.2, DIM),
        }
        return params, {"mean": jnp.zeros(DIM), "var": jnp.ones(DIM)}

    def apply(params, state, x, *, key=None, train=False):
        mean, var = (x.mean(axis=0), x.var(axis=0)) if train else (state["mean"], state["var"])
        z = (x - mean[None]) / jnp.sqrt(var + EPS)[None] * params["scale"][None]
        if train:
            assert key is not None
            state = {
                "mean": 0.9 * state["mean"] + 0.1 * mean,
                "var": 0.9 * state["var"] + 0.1 * var,
            }
            z = jnp.where(jax.random.bernoulli(key, 1 - DROP, z.shape), z / (1 - DROP), 0)
        return z @ params["w"] + params["b"][None], state

    return Net(init, apply)


def randomness(key, alpha):
    """The share of mixup and the dropout mask in a step."""
    mix_key, net_key = jax.random.split(key)
    mask = jax.random.bernoulli(net_key, 1 - DROP, (BATCH, DIM))
    return float(jax.random.beta(mix_key, alpha, alpha)), np.asarray(mask)


def forward(params, x, mask):
    z = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + EPS) * params["scale"]
    return np.where(mask, z / (1 - DROP), 0) @ params["w"] + params["b"]


def moved(state, x):
    return {
        "mean": 0.9 * state["mean"] + 0.1 * x.mean(axis=0),
        "var": 0.9 * state["var"] + 0.1 * x.var(axis=0),
    }


def run(config, loss, y):
    """The learner's first state, the states after all steps, all metrics, and the keys and inputs."""
    learner = supervised(network(), loss, config)
    keys = jax.random.split(jax.random.key(7), STEPS)
    x = 1.5 + jax.random.normal(jax.random.key(8), (STEPS, BATCH, DIM))
    first = learner.init(jax.random.key(3), {"x": x[0], "y": y[0]})

    def step(state, given):
        key, x, y = given
        state, metrics = learner.step(key, state, {"x": x, "y": y})
        return state, (state, metrics)

    states, metrics = jax.jit(lambda s: jax.lax.scan(step, s, (keys, x, y))[1])(first)
    return first, states, metrics, keys, np.asarray(x, np.float64)


def mean_of(trees, shares):
    shares = np.asarray(shares) / np.sum(shares)
    return jax.tree.map(lambda *leaves: sum(s * leaf for s, leaf in zip(shares, leaves)), *trees)


def test_adamw_on_labels_with_every_option():
    rate, decay, clip, warmup, end, b1, b2, eps, ema, smoothing, alpha = (
        0.1, 0.5, 0.3, 2.0, 0.1, 0.8, 0.9, 1e-4, 0.6, 0.2, 0.7,
    )  # fmt: skip
    config = SupervisedConfig(
        OptimizerConfig(
            "adamw", rate, decay, clip=clip, warmup=warmup, schedule="cosine", steps=STEPS, end=end, b1=b1,
            b2=b2, eps=eps,
        ),
        AverageConfig("ema", ema), smoothing=smoothing, mixup=True, alpha=alpha,
    )  # fmt: skip
    y = jax.random.randint(jax.random.key(9), (STEPS, BATCH), 0, CLASSES)
    first, states, metrics, keys, x = run(config, losses.cross_entropy, y)

    params, net_state = plain.as_float64(first.params), plain.as_float64(first.net_state)
    adam, history, norms = plain.Adam(params, b1, b2, eps), [], []
    for t in range(STEPS):
        share, mask = randomness(keys[t], alpha)
        hot = np.eye(CLASSES)[np.asarray(y[t])]
        inputs, target = (share * a + (1 - share) * a[::-1] for a in (x[t], hot))
        soft = (1 - smoothing) * target + smoothing / CLASSES

        def loss(p, inputs=inputs, mask=mask, soft=soft):
            return -(soft * plain.log_softmax(forward(p, inputs, mask))).sum(axis=1).mean()

        logits, gradient = forward(params, inputs, mask), plain.gradient(loss, params)
        np.testing.assert_allclose(metrics["loss"][t], loss(params), rtol=1e-4)
        right = target[np.arange(BATCH), logits.argmax(axis=1)].mean()
        np.testing.assert_allclose(metrics["accuracy"][t], right, rtol=1e-4)
        norms.append(plain.global_norm(gradient))
        np.testing.assert_allclose(metrics["gradient_norm"][t], norms[-1], rtol=1e-3)
        if t < warmup:
            now = rate * (t + 1) / warmup
        else:
            now = rate * (end + (1 - end) * 0.5 * (1 + np.cos(np.pi * (t - warmup) / (STEPS - warmup))))
        before = params
        params = adam.step(params, plain.clipped(gradient, clip), now)
        params["w"] = params["w"] - now * decay * before["w"]  # biases and scales do not decay
        net_state = moved(net_state, inputs)
        history.append((params, net_state))
        at: Any = jax.tree.map(lambda a, t=t: a[t], states)
        plain.assert_trees_close((at.params, at.net_state), history[-1], rtol=1e-3, atol=1e-4)
        average = mean_of(history, [ema ** (t - i) for i in range(t + 1)])
        plain.assert_trees_close(weights(at), average, rtol=1e-3, atol=1e-4)
        assert int(at.step) == t + 1
    assert max(norms) > clip > 0  # the clip was active


def test_sgd_on_numbers_with_every_option():
    rate, decay, clip, momentum, drop, alpha = 0.2, 0.1, 1.0, 0.7, 0.25, 0.5
    config = SupervisedConfig(
        OptimizerConfig(
            "sgd", rate, decay, "all", clip, schedule="piecewise", drops=(1, 3), drop=drop, momentum=momentum,
            nesterov=True,
        ),
        AverageConfig("swa", start=2, every=2), mixup=True, alpha=alpha,
    )  # fmt: skip
    y = jax.random.normal(jax.random.key(9), (STEPS, BATCH, CLASSES))
    first, states, metrics, keys, x = run(config, losses.squared_error, y)
    assert set(metrics) == {"loss", "gradient_norm"}

    params, net_state = plain.as_float64(first.params), plain.as_float64(first.net_state)
    trace, taken = jax.tree.map(np.zeros_like, params), []
    for t in range(STEPS):
        share, mask = randomness(keys[t], alpha)
        inputs, target = (share * a + (1 - share) * a[::-1] for a in (x[t], np.asarray(y[t], np.float64)))

        def loss(p, inputs=inputs, mask=mask, target=target):
            return np.square(forward(p, inputs, mask) - target).mean(axis=1).mean()

        np.testing.assert_allclose(metrics["loss"][t], loss(params), rtol=1e-4)
        gradient = plain.clipped(plain.gradient(loss, params), clip)
        gradient = jax.tree.map(lambda g, p: g + decay * p, gradient, params)
        trace = jax.tree.map(lambda g, m: g + momentum * m, gradient, trace)
        now = rate * drop ** sum(t >= at for at in (1, 3))
        params = jax.tree.map(lambda p, g, m, now=now: p - now * (g + momentum * m), params, gradient, trace)
        net_state = moved(net_state, inputs)
        at: Any = jax.tree.map(lambda a, t=t: a[t], states)
        plain.assert_trees_close((at.params, at.net_state), (params, net_state), rtol=1e-3, atol=1e-4)
        if t + 1 in (2, 4):
            taken.append((params, net_state))
        average = mean_of(taken, np.ones(len(taken))) if taken else (params, net_state)
        plain.assert_trees_close(weights(at), average, rtol=1e-3, atol=1e-4)
