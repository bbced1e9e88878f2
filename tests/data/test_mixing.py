"""Mixing functions: inverses, Jacobians and definitions; sources: moments, correlations and interventions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.data import mixing, sources

KEY = jax.random.key(0)


@jax.jit
def mixed(key, slope):
    """Each mixing of the same rows, its inverse, and its Jacobian at a row."""
    s_key, mix_key = jax.random.split(key)
    s = jax.random.normal(s_key, (50, 3))
    made = {
        "linear": mixing.linear(mix_key, 3),
        "leaky": mixing.leaky(slope),
        "mlp": mixing.leaky_mlp(mix_key, 3, 3, slope),
        "moebius": mixing.moebius(mix_key, 3, 8.0),
    }
    found = {}
    for name, mix in made.items():
        x = mix.forward(s)
        jacobian = jax.jacfwd(lambda row, mix=mix: mix.forward(row[None])[0])(s[0])
        found[name] = x, mix.inverse(x), jacobian
    return s, found


def test_mixings_have_their_inverses():
    s, found = mixed(KEY, 0.3)
    for name, (x, back, jacobian) in found.items():
        np.testing.assert_allclose(back, s, atol=1e-4, err_msg=name)
        assert np.abs(np.linalg.det(jacobian)) > 1e-3, name
        assert np.abs(np.asarray(x) - np.asarray(s)).max() > 0.1, name
    s, leaky = np.asarray(s), np.asarray(found["leaky"][0])
    np.testing.assert_allclose(leaky, np.where(s > 0, s, 0.3 * s), rtol=1e-6)
    x = np.asarray(found["linear"][0])
    design = np.c_[s, np.ones(50)]
    left = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    np.testing.assert_allclose(left, 0, atol=1e-4)  # an affine map
    bent = np.asarray(found["mlp"][0])
    assert np.abs(bent - design @ np.linalg.lstsq(design, bent, rcond=None)[0]).max() > 0.05


def test_the_moebius_map_is_conformal_and_bent():
    """The Jacobian is a rotation times a scale, which differs from row to row."""
    jacobian = np.asarray(mixed(KEY, 0.3)[1]["moebius"][2], np.float64)
    gram = jacobian @ jacobian.T
    np.testing.assert_allclose(gram, gram[0, 0] * np.eye(3), atol=1e-4 * gram[0, 0])
    other = np.asarray(mixed(jax.random.key(1), 0.3)[1]["moebius"][2])
    assert abs(np.linalg.det(other) / np.linalg.det(jacobian)) != pytest.approx(1, rel=1e-2)


def test_a_slope_that_is_not_above_zero_gives_nan():
    assert np.isnan(mixed(KEY, -0.3)[1]["mlp"][1]).any()


@jax.jit
def drawn(key, memory, rho):
    keys = jax.random.split(key, 8)
    n = 20_000
    rows = {kind: sources.independent(k, n, 2, kind) for k, kind in zip(keys, sources.KINDS)}
    series = sources.autoregressive(keys[3], n, 2, memory)
    parts = sources.nonstationary(keys[4], 40, 500, 2, 4.0)
    pair = sources.sparse_pairs(keys[5], sources.independent(keys[6], n, 3), 2)
    return (
        rows,
        series,
        parts,
        pair,
        sources.independent(keys[6], n, 3),
        sources.correlated(keys[7], n, 3, rho),
    )


def test_sources_have_their_moments():
    rows, series, parts, (partner, changed), first, tied = jax.device_get(
        drawn(KEY, jnp.array([0.8, -0.5]), 0.6)
    )
    kurtosis = {"gaussian": 3.0, "laplace": 6.0, "uniform": 1.8}
    for kind, s in {**rows, "series": series, "parts": parts.s}.items():
        np.testing.assert_allclose(s.mean(0), 0, atol=0.05, err_msg=kind)
        np.testing.assert_allclose(s.var(0), 1, atol=0.12, err_msg=kind)
        assert abs(np.corrcoef(s.T)[0, 1]) < 0.05
        if kind in kurtosis:
            np.testing.assert_allclose((s**4).mean(0), kurtosis[kind], rtol=0.15)
    lagged = [np.corrcoef(series[1:, j], series[:-1, j])[0, 1] for j in range(2)]
    np.testing.assert_allclose(lagged, [0.8, -0.5], atol=0.03)
    by_segment = np.stack([parts.s[parts.segment == k].std(0) for k in range(40)])
    np.testing.assert_allclose(by_segment, parts.scale, rtol=0.35)
    np.testing.assert_allclose((parts.scale**2).mean(0), 1, rtol=1e-5)
    assert (changed.sum(1) == 2).all()
    np.testing.assert_array_equal(partner[~changed], first[~changed])
    assert (partner[changed] != first[changed]).all()
    np.testing.assert_allclose(np.corrcoef(tied.T), np.where(np.eye(3), 1, 0.6), atol=0.03)


def test_interventions_cut_causes_and_leave_the_rest():
    """Regressions of each source on the earlier ones, with and without an intervention on the second."""
    of = sources.causes(jax.random.key(2), 3, 1.5)
    environment = jnp.repeat(jnp.array([0, 2]), 20_000)
    s = np.asarray(jax.jit(lambda key: sources.intervened(key, of, environment, 2.0, 0.5))(jax.random.key(3)))
    weight = np.asarray(of.weight)
    assert (np.abs(weight[np.triu_indices(3, 1)]) == 1.5).all()
    assert (np.tril(weight) == 0).all()
    for part, cut in ((s[:20_000], False), (s[20_000:], True)):
        second = np.linalg.lstsq(np.c_[part[:, 0], np.ones(20_000)], part[:, 1], rcond=None)[0]
        np.testing.assert_allclose(second, [0, 2.0] if cut else [weight[0, 1], 0], atol=0.05)
        assert part[:, 1].std() == pytest.approx(0.5 if cut else np.sqrt(1 + 1.5**2), rel=0.03)
        third = np.linalg.lstsq(part[:, :2], part[:, 2], rcond=None)[0]
        np.testing.assert_allclose(third, weight[:2, 2], atol=0.06)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: mixing.linear(KEY, 2, 0.5), "spread"),
        (lambda: mixing.leaky_mlp(KEY, 2, 0), "layers"),
        (lambda: mixing.leaky(0.0), "slope"),
        (lambda: mixing.moebius(KEY, 1), "dim must be at least 2"),
        (lambda: mixing.moebius(KEY, 2, -1.0), "distance"),
        (lambda: sources.independent(KEY, 3, 2, "cauchy"), "kind"),
        (lambda: sources.autoregressive(KEY, 3, 2, 1.0), "memory"),
        (lambda: sources.nonstationary(KEY, 1, 3, 2), "segments"),
        (lambda: sources.sparse_pairs(KEY, jnp.ones((3, 2)), 3), "changed"),
        (lambda: sources.correlated(KEY, 3, 2, 1.0), "rho"),
        (lambda: sources.intervened(KEY, sources.causes(KEY, 2), jnp.ones(3)), "integers"),
    ],
)
def test_wrong_input_is_refused_by_mixings_and_sources(call, said):
    with pytest.raises(InputError, match=said):
        call()
