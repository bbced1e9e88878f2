"""InfoNCE against loops and the table of true critics; critics; groups of negatives at a fixed batch."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets
from lrn.check import InputError
from lrn.ssl.info_nce import (
    InfoNCEConfig,
    bilinear,
    contrastive,
    cosine,
    info_nce,
    pairwise,
    scores_in_groups,
    separable,
)
from lrn.ssl.simclr import SimCLRConfig, nt_xent, simclr
from lrn.ssl.views import draw


def by_loops(scores):
    return float(np.mean([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(scores)]))


def test_the_loss_equals_loops_in_both_directions():
    scores = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)
    rows = np.mean([by_loops(group) for group in scores])
    columns = np.mean([by_loops(group.T) for group in scores])
    one, both = jax.jit(lambda s: (info_nce(s), info_nce(s, symmetric=True)))(scores)
    assert one.loss == pytest.approx(rows, rel=1e-5)
    assert both.loss == pytest.approx((rows + columns) / 2, rel=1e-5)
    assert one.bound == pytest.approx(np.log(4) - rows, rel=1e-4)


# The expected value with the true critic, for correlated normal vectors of 20 dimensions.
TABLE = {(2, 8): 1.281, (2, 64): 1.823, (6, 8): 2.000, (6, 64): 3.739}


def gaussian(information: float, n: int, seed: int, dim: int = 20):
    """Pairs [n, dim] with ``information`` nats, and their correlation."""
    rho = np.sqrt(1 - np.exp(-2 * information / dim))
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, dim))
    return a, rho * a + np.sqrt(1 - rho**2) * rng.normal(size=(n, dim)), rho


def true_scores(a, b, rho):
    """log p(b | a) / p(b) of all pairs within groups [..., K, dim], in float64."""
    products = a @ np.swapaxes(b, -1, -2)
    squares_a, squares_b = (a**2).sum(-1)[..., :, None], (b**2).sum(-1)[..., None, :]
    exponent = (2 * rho * products - rho**2 * (squares_a + squares_b)) / (2 * (1 - rho**2))
    return exponent - a.shape[-1] / 2 * np.log(1 - rho**2)


@pytest.mark.parametrize("k", [8, 64])
def test_the_bound_of_the_true_critic_is_that_of_the_table(k):
    value = jax.jit(jax.vmap(lambda s: info_nce(s[None]).bound))
    for information in (2, 6):
        a, b, rho = gaussian(information, 8192, seed=information)
        scores = true_scores(a.reshape(-1, k, 20), b.reshape(-1, k, 20), rho)
        bounds = np.asarray(value(scores.astype(np.float32)))
        error = np.std(bounds) / np.sqrt(len(bounds))
        assert np.mean(bounds) == pytest.approx(TABLE[information, k], abs=4 * error + 5e-4)
        assert np.mean(bounds) < min(information, np.log(k))
        assert np.max(bounds) <= np.log(k)


def test_critics_score_pairs():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32)
    net = nets.mlp(1, (6,))
    matrix = rng.normal(size=(4, 4)).astype(np.float32)
    params = pairwise(net).init(jax.random.key(0), 4)

    @jax.jit
    def scores(a, b):
        both = jnp.concatenate([a[1], b[3]])[None]
        return (
            cosine().scores((), a, b),
            separable().scores((), a, b),
            bilinear().scores(matrix, a, b),
            pairwise(net).scores(params, a, b),
            net.apply(params, (), both)[0],
        )

    cosines, inner, form, network, one = scores(a, b)
    lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None]
    np.testing.assert_allclose(cosines, a @ b.T / lengths, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(inner, a @ b.T, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(form, a @ matrix @ b.T, rtol=1e-4, atol=1e-5)
    assert network.shape == (3, 5)
    assert network[1, 3] == pytest.approx(float(one[0, 0]), rel=1e-5)


def test_groups_are_the_blocks_of_the_diagonal():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 12, 4)).astype(np.float32)
    grouped = jax.jit(partial(scores_in_groups, separable(), (), group=4))(a, b)
    whole = a @ b.T
    for i in range(3):
        part = slice(4 * i, 4 * i + 4)
        np.testing.assert_allclose(grouped[i], whole[part, part], rtol=1e-4, atol=1e-5)


def identity():
    return nets.from_function(lambda key, x: (), lambda params, x: x)


def test_simclr_takes_negatives_from_its_group_or_none():
    """The first loss of each option, for embeddings that are the views."""
    x = np.random.default_rng(4).normal(size=(12, 4)).astype(np.float32)
    groups = {"0": 12, "2": 2, "4": 4}
    configs = {group: SimCLRConfig(temperature=0.5, group=int(group)) for group in groups}
    configs["none"] = SimCLRConfig(temperature=0.5, negatives=False)

    def noisy(key, x):
        return x + jax.random.normal(key, x.shape)

    @jax.jit
    def losses(x):
        key, out = jax.random.key(1), {}
        for name, config in configs.items():
            learner = simclr(identity(), identity(), noisy, config)
            state = learner.init(jax.random.key(0), {"x": x})
            out[name] = learner.step(key, state, {"x": x})[1]["loss"]
        a, b = draw(noisy, jax.random.split(key, 3)[0], x)  # the views of the step
        for name, group in groups.items():
            parts = zip(jnp.split(a, 12 // group), jnp.split(b, 12 // group))
            out[f"{name} by hand"] = jnp.mean(jnp.stack([nt_xent(*part, 0.5) for part in parts]))
        return out, a, b

    out, a, b = jax.device_get(losses(x))
    for group in groups:
        assert out[group] == pytest.approx(float(out[f"{group} by hand"]), rel=1e-5)
    assert out["0"] > out["4"] > out["2"]
    similar = np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert out["none"] == pytest.approx(-similar.mean() / 0.5, rel=1e-5)


def test_a_learned_critic_learns():
    """Two views share a sign that the encoder passes on; a bilinear critic finds it through a rotation."""
    x = np.random.default_rng(5).normal(size=(64, 4)).astype(np.float32)
    config = InfoNCEConfig(temperature=1.0, group=8, symmetric=True)
    learner = contrastive(identity(), identity(), lambda key, x: x, config, bilinear())

    @jax.jit
    def train(x):
        state = learner.init(jax.random.key(0), {"x": x})
        return jax.lax.scan(
            lambda state, key: learner.step(key, state, {"x": x}),
            state,
            jax.random.split(jax.random.key(1), 300),
        )

    state, metrics = train(x)
    assert metrics["bound"][-1] > metrics["bound"][0] + 0.2
    assert np.all(metrics["bound"] <= np.log(8))
    assert state.training.params["critic"].shape == (4, 4)


def two_outputs():
    return pairwise(nets.mlp(2, ()))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a: info_nce(a), "square|K, K"),
        (lambda a: info_nce(a[:1, :1]), "K of 2 or more"),
        (lambda a: InfoNCEConfig(group=1), "no negatives"),
        (lambda a: SimCLRConfig(group=1), "no negatives"),
        (lambda a: InfoNCEConfig(temperature=0.0), "temperature"),
        (lambda a: scores_in_groups(cosine(), (), a, a, 4), "do not divide a batch of 6"),
        (lambda a: two_outputs().scores(two_outputs().init(jax.random.key(0), 3), a, a), "one output"),
        (lambda a: pairwise(nets.projector(1, (4,))).init(jax.random.key(0), 3), "without BatchNorm"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(jnp.ones((6, 3)))
