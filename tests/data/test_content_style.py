"""Content and style: inverse, labels and views against their definitions; information in closed form."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from lrn import nets
from lrn.check import InputError
from lrn.data import content_style
from lrn.data.content_style import ContentStyleConfig, information, log_ratio, relatives, sample
from lrn.supervised.probes import linear_probe

BOTH = ContentStyleConfig(
    content=3, style=2, dim=7, style_scale=2.0, content_correlation=0.8, style_correlation=0.4
)
CONFIG = ContentStyleConfig()
WORLD_KEY, KEY = jax.random.split(jax.random.key(0))


@jax.jit
def drawn(config):
    """A world, examples, the latents found by inversion, and two views, under a traced config."""
    of = content_style.world(WORLD_KEY, config)
    data = sample(KEY, of, 2000, config)
    look = content_style.view(of, config)
    views = [look(key, data["x"]) for key in jax.random.split(jax.random.key(1))]
    found = [content_style.invert(of, x, config) for x in (data["x"], *views)]
    jacobian = jax.jacfwd(lambda row: content_style.observe(of, row[None], config)[0])(data["latent"][0])
    return of, data, found, [content_style.labels(of, latent, config) for latent in found], jacobian


def test_observations_are_a_bijection_of_latents():
    for config in (BOTH, CONFIG):
        of, data, (found, *_), _, jacobian = drawn(config)
        hidden = config.content + config.style
        np.testing.assert_allclose(found, data["latent"], atol=1e-4)
        assert data["x"].shape == (2000, config.dim)
        assert np.linalg.matrix_rank(jacobian) == hidden
        np.testing.assert_allclose(np.cov(data["latent"].T), np.eye(hidden), atol=0.12)
        scale = np.r_[np.ones(config.content), np.full(config.style, config.style_scale)]
        inner = (np.asarray(data["latent"][:5], np.float64) * scale) @ np.asarray(of.into, np.float64)
        expected = np.where(inner > 0, inner, config.slope * inner) @ np.asarray(of.turn, np.float64)
        np.testing.assert_allclose(data["x"][:5], expected, atol=1e-4)


def test_labels_are_of_the_content_alone_and_views_keep_them():
    of, data, (_, a, b), labels, _ = drawn(CONFIG)
    content = np.asarray(data["latent"][:, :8], np.float64)
    np.testing.assert_array_equal(data["label"], (content @ np.asarray(of.label, np.float64)).argmax(1))
    np.testing.assert_allclose(a[:, :8], content, atol=1e-4)
    np.testing.assert_allclose(b[:, :8], content, atol=1e-4)
    assert np.mean(np.asarray(labels[1]) == np.asarray(data["label"])) > 0.999  # but at ties, by rounding
    cross = np.corrcoef(a[:, 8:].T, b[:, 8:].T)[:8, 8:]
    assert np.abs(cross).max() < 0.1  # the style is redrawn
    assert np.bincount(data["label"], minlength=10).min() > 80


def test_two_views_have_the_correlations_and_the_information_of_the_config():
    a, b = drawn(BOTH)[2][1:]
    joint = np.cov(np.concatenate([a, b], axis=1).T)
    correlation = np.diag([0.8] * 3 + [0.4] * 2)
    expected = np.block([[np.eye(5), correlation], [correlation, np.eye(5)]])
    np.testing.assert_allclose(joint, expected, atol=0.1)
    assert float(information(BOTH)) == pytest.approx(-0.5 * np.linalg.slogdet(expected)[1], rel=1e-5)
    assert information(CONFIG) == np.inf
    covariances: list[Any] = [expected, np.eye(10)]
    together, apart = (
        [multivariate_normal.logpdf(np.r_[a[0], y], np.zeros(10), one) for y in b[:3]] for one in covariances
    )
    ratio = np.asarray(log_ratio(a, b, BOTH))
    np.testing.assert_allclose(ratio[0, :3], np.subtract(together, apart), rtol=1e-3, atol=1e-4)
    own = np.diagonal(ratio)
    assert abs(own.mean() - float(information(BOTH))) < 4 * own.std() / np.sqrt(len(own))


def test_worlds_differ_and_vmap_equals_a_loop():
    keys = jax.random.split(jax.random.key(2))

    def first(key):
        return sample(key, content_style.world(key, BOTH), 4, BOTH)["x"]

    many = jax.jit(jax.vmap(first))(keys)
    np.testing.assert_allclose(many[1], jax.jit(first)(keys[1]), rtol=1e-4, atol=1e-5)
    assert np.abs(many[0] - many[1]).max() > 0.1


@pytest.mark.slow
def test_probes_of_the_observations_a_random_encoder_and_the_content():
    """Near the pilot's .886, .549 and .969, with 1,500 training rows and over four worlds."""
    scores = []
    for seed in range(4):
        world_key, data_key, net_key = jax.random.split(jax.random.key(seed), 3)
        data = sample(data_key, content_style.world(world_key, CONFIG), 6500, CONFIG)
        encoder = nets.mlp(64, (64, 64))
        features = encoder.apply(encoder.init(net_key, data["x"])[0], (), data["x"])[0]
        y, row = data["label"], []
        for x in (data["x"], features, data["latent"][:, :8]):
            parts = x[:1500], y[:1500], x[1500:2500], y[1500:2500]
            probe = linear_probe(*parts, 10, l2=(1e-4, 1e-3, 1e-2, 1e-1), steps=100)
            row.append(float(jnp.mean(jnp.argmax(probe.logits(x[2500:]), 1) == y[2500:])))
        scores.append(row)
    np.testing.assert_allclose(np.mean(scores, 0), [0.886, 0.549, 0.969], atol=0.03)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ContentStyleConfig(dim=15), "dim must be at least 16"),
        (lambda: ContentStyleConfig(slope=0.0), "slope"),
        (lambda: ContentStyleConfig(slope=1.5), "slope"),
        (lambda: ContentStyleConfig(content_correlation=1.1), "content_correlation"),
        (lambda: sample(KEY, drawn(BOTH)[0], 0, BOTH), "n must be at least 1"),
        (lambda: content_style.observe(drawn(BOTH)[0], jnp.ones((2, 4)), BOTH), r"latents must be \[n, 5\]"),
        (
            lambda: content_style.invert(drawn(BOTH)[0], jnp.ones((2, 4)), BOTH),
            r"observations must be \[n, 7\]",
        ),
        (lambda: content_style.labels(drawn(BOTH)[0], jnp.ones((2, 4)), BOTH), r"latents must be \[n, 5\]"),
        (lambda: log_ratio(jnp.ones((2, 15)), jnp.ones((2, 15)), CONFIG), r"latents must be \[n, 16\]"),
        (lambda: log_ratio(jnp.ones((2, 16)), jnp.ones((2, 16)), CONFIG), "rho must lie between"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_relatives_of_a_shared_content_are_the_content():
    latent = jnp.ones((3, 16))
    found = relatives(KEY, latent, CONFIG)
    np.testing.assert_array_equal(found[:, :8], 1)
    assert np.abs(found[:, 8:] - 1).min() > 0


def test_a_traced_slope_of_0_or_below_gives_nan():
    of, latent = drawn(BOTH)[0], jnp.asarray([[1.0, -2.0, 0.5, 1.0, -1.0]])
    seen = jax.jit(lambda slope: content_style.observe(of, latent, replace(BOTH, slope=slope)))
    assert np.isfinite(seen(0.5)).all()
    assert np.isnan(seen(0.0)).all()
    assert np.isnan(seen(-0.5)).all()
