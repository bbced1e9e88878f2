"""Randomized smoothing against the formulas of Cohen et al., and where the smoothed classifier is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from lrn.check import InputError
from lrn.config import stack
from lrn.robust.smoothing import (
    ABSTAIN,
    SmoothingConfig,
    average_certified_radius,
    certificate,
    certified_accuracy,
    certify,
    counts,
    predict,
    prediction,
)

RNG = np.random.default_rng(0)
W = RNG.normal(size=(6, 3)).astype(np.float32)
X = jnp.asarray(RNG.uniform(size=(5, 2, 3)), jnp.float32)


def network(z):
    return z.reshape(-1, 6) @ jnp.asarray(W, z.dtype)


def difference(z):
    """Two classes with margin z_0 - z_1, whose gradient has norm sqrt(2)."""
    score = z[:, :1] - z[:, 1:]
    return jnp.concatenate([score, -score], axis=1)


@pytest.mark.parametrize("batch_size", [7, 100])
def test_counts_are_those_of_a_loop(batch_size):
    # 45 noisy inputs: batches of 7, of two images and padded; or one batch.
    run = jax.jit(lambda key, x: counts(key, network, x, 0.6, 9, batch_size))
    wanted, size = np.zeros((5, 3), int), min(batch_size, 45)
    for index in range(45):
        batch, row = divmod(index, size)
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(3), batch), (size, 2, 3))[row]
        image = index // 9
        noisy = np.asarray(X[image], np.float64) + 0.6 * np.asarray(noise, np.float64)
        wanted[image, np.argmax(noisy.reshape(6) @ W)] += 1
    found = run(jax.random.key(3), X)
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, wanted)
    assert (wanted > 0).sum() > 8


def test_noise_is_normal_and_not_clipped():
    # The network tells noisy pixels below 0, above 1, and beyond 2 sigma.
    def classes(z):
        z = z.reshape(-1, 1)
        score = jnp.where(z < 0, 0, jnp.where(z > 1, 1, 2)) + jnp.where(jnp.abs(z - 0.5) > 0.8, 3, 0)
        return jax.nn.one_hot(score[:, 0], 6)

    share = jax.jit(lambda key: counts(key, classes, jnp.full((1, 1), 0.5), 0.4, 20_000))(jax.random.key(0))
    inner, outer = stats.norm.cdf(-1.25) - stats.norm.cdf(-2), stats.norm.cdf(-2)
    wanted = np.array([inner, inner, 1 - 2 * stats.norm.cdf(-1.25), outer, outer, 0])
    np.testing.assert_allclose(share[0] / 20_000, wanted, atol=0.01)


def test_nan_logits_and_inputs_out_of_range_are_of_no_class():
    def fails(z):  # NaN where the first pixel is above its own noise-free value of .5
        logits = z.reshape(-1, 6) + jnp.arange(6.0)[None] * 100
        return jnp.where(z.reshape(-1, 6)[:, :1] > 0.5, jnp.nan, logits)

    x = jnp.full((3, 2, 3), 0.5).at[1].set(1.5).at[2].set(jnp.nan)
    config = SmoothingConfig(estimation=2000, selection=50)
    run = jax.jit(lambda seed, x: counts(jax.random.key(seed), fails, x, 0.3, 2000))
    found = np.asarray(run(0, x))
    assert found[0, :5].sum() == 0
    assert 800 < found[0, 5] < 1200
    assert found[1:].sum() == 0
    lenient = lambda z: jnp.nan_to_num(fails(z))  # noqa: E731
    run = jax.jit(lambda seed, x: certify(jax.random.key(seed), lenient, x, config))
    assert run(0, x).label[1:].tolist() == [ABSTAIN, ABSTAIN]
    with pytest.raises(InputError, match="not finite"):
        counts(jax.random.key(0), fails, x, 0.3, 10)
    # All copies without NaN are of one class, but those with NaN forbid a certificate and a prediction.
    assert certificate(found, found, 2000, 0.3, 0.001).label[0] == ABSTAIN
    assert prediction(found, 2000, 0.001)[0] == ABSTAIN


def test_half_precision_inputs_get_float32_noise():
    run = jax.jit(lambda x: counts(jax.random.key(0), network, x, 0.25, 400))
    exact, half = np.asarray(run(X)), np.asarray(run(X.astype(jnp.bfloat16)))
    assert np.abs(exact - half).max() <= 30
    assert (half.sum(1) == 400).all()


def test_a_certificate_is_that_of_the_public_program():
    n, sigma, alpha = 1000, 0.5, 0.001
    estimated = np.array(
        [[1000, 0, 0], [0, 999, 1], [300, 700, 0], [540, 460, 0], [550, 450, 0], [10, 90, 900]]
    )
    selected = np.array([[100, 0, 0], [20, 80, 0], [60, 40, 0], [51, 49, 0], [51, 49, 0], [0, 0, 100]])
    ours = jax.jit(lambda a, b: certificate(a, b, n, sigma, alpha))(selected, estimated)
    labels, radii = [], []
    for first, second in zip(selected, estimated):
        top = first.argmax()
        low = float(np.asarray(proportion_confint(second[top], n, alpha=2 * alpha, method="beta")[0]))
        labels.append(ABSTAIN if low < 0.5 else top)
        radii.append(0.0 if low < 0.5 else sigma * stats.norm.ppf(low))
    np.testing.assert_array_equal(ours.label, labels)
    np.testing.assert_allclose(ours.radius, radii, rtol=1e-4, atol=1e-6)
    assert (np.asarray(ours.radius, np.float64) <= radii).all()
    assert labels == [0, 1, ABSTAIN, ABSTAIN, 0, 2]


def test_a_prediction_is_that_of_the_public_program():
    found = np.array([[60, 40, 0], [75, 25, 0], [10, 30, 60], [50, 50, 0], [0, 100, 0], [32, 33, 35]])
    wanted = []
    for row in found:
        second, first = np.sort(row)[-2:]
        p = stats.binomtest(int(first), int(first + second), 0.5).pvalue
        wanted.append(ABSTAIN if p > 0.01 else row.argmax())
    np.testing.assert_array_equal(prediction(found, 100, 0.01), wanted)
    assert wanted == [ABSTAIN, 1 - 1, 2, ABSTAIN, 1, ABSTAIN]


def test_on_a_linear_classifier_the_radius_is_below_the_distance_and_near_it(linear):
    # P(class | x + noise) is Phi(margin / (sigma |w|)), so the exact radius is the distance to the plane.
    distance = -linear.margins(linear.x) / np.linalg.norm(linear.w.astype(np.float64))
    config = SmoothingConfig(sigma=0.3, estimation=4000)
    run = jax.jit(lambda key, x: certify(key, linear.logits, x, config))
    label, radius = (np.asarray(value) for value in run(jax.random.key(1), linear.x))
    certified = label != ABSTAIN
    assert (label[certified] == np.asarray(linear.y)[certified]).all()
    assert (radius[~certified] == 0).all()
    assert (radius <= distance).all()  # 48 certificates, each false with a chance of .001
    near = certified & (distance < 2 * 0.3)  # farther away 4000 draws cannot tell
    assert near.sum() > 20
    assert (distance - radius)[near].max() < 0.06
    assert distance[~certified].max() < 0.07
    # No attack within the ball changes the class of the exact smoothed classifier.
    step = radius[:, None] * linear.direction / np.linalg.norm(linear.w)
    moved = np.asarray(linear.x).reshape(48, 64) + 0.999 * step
    assert (linear.margins(moved)[certified] < 0).all()


LEVEL = 0.1
ON_THE_PLANE = jnp.full((3000, 2), 0.5)  # each class has a chance of 1/2: every certificate is false


def test_false_certificates_are_as_rare_as_alpha_says():
    # Of 100 draws 57 or more are a certificate, which has a chance of .0967. A class that the counted draws
    # selected would be certified with a chance of .193, and a two-sided alpha would certify with .044.
    config = SmoothingConfig(sigma=0.5, selection=100, estimation=100, alpha=LEVEL, batch_size=30_000)
    found = jax.jit(lambda key: certify(key, difference, ON_THE_PLANE, config))(jax.random.key(5))
    share = float((np.asarray(found.label) != ABSTAIN).mean())
    exact = stats.binom.sf(56, 100, 0.5)
    assert exact == pytest.approx(0.0967, abs=1e-4)
    assert share == pytest.approx(exact, abs=0.02)
    assert share < LEVEL + 0.02


def test_planted_errors_would_be_caught():
    # The test above, for counts drawn by NumPy: its tolerance excludes the two usual errors.
    rng, n = np.random.default_rng(0), 100
    first, second = (rng.binomial(n, 0.5, 3000) for _ in range(2))
    selected, estimated = (np.stack([k, n - k], 1) for k in (first, second))
    run = jax.jit(lambda a, b, alpha: certificate(a, b, n, 0.5, alpha).label != ABSTAIN)
    right, reused, two_sided = (
        float(np.mean(run(a, b, alpha)))
        for a, b, alpha in [
            (selected, estimated, LEVEL),
            (estimated, estimated, LEVEL),
            (selected, estimated, LEVEL / 2),
        ]
    )
    assert right == pytest.approx(0.0967, abs=0.02)
    assert reused > LEVEL + 0.05
    assert two_sided < 0.0967 - 0.03


def test_false_predictions_are_as_rare_as_alpha_says():
    config = SmoothingConfig(sigma=0.5, estimation=100, alpha=LEVEL, batch_size=30_000)
    label = np.asarray(jax.jit(lambda key: predict(key, difference, ON_THE_PLANE, config))(jax.random.key(6)))
    # 59 of 100 or more, on either side; a one-sided test would give .193.
    assert (label != ABSTAIN).mean() == pytest.approx(2 * stats.binom.sf(58, 100, 0.5), abs=0.02)


def test_sigma_alpha_and_keys_sweep_under_vmap():
    base = SmoothingConfig(selection=20, estimation=200, batch_size=64)
    configs = [dataclasses.replace(base, sigma=s, alpha=a) for s, a in [(0.2, 0.1), (0.5, 0.01)]]
    one = lambda seed, config: certify(jax.random.key(seed), network, X, config)  # noqa: E731
    swept = jax.jit(jax.vmap(one))(jnp.arange(2), stack(configs))
    alone = jax.jit(one)
    for i in range(2):
        each = alone(i, configs[i])
        np.testing.assert_array_equal(swept.label[i], each.label)
        np.testing.assert_allclose(swept.radius[i], each.radius, rtol=1e-5)
    assert (np.asarray(swept.label) == ABSTAIN).any()
    assert (np.asarray(swept.radius) > 0).any()


def test_curves():
    radius, correct = np.array([0.0, 0.5, 1.0, 2.0]), np.array([False, True, True, False])
    accuracy = certified_accuracy(radius, correct, np.array([0.0, 0.5, 0.75, 1.5]))
    np.testing.assert_allclose(accuracy, [0.5, 0.5, 0.25, 0])
    assert average_certified_radius(radius, correct) == pytest.approx(1.5 / 4)


@pytest.mark.parametrize(
    "changes",
    [{"sigma": 0.0}, {"selection": 0}, {"estimation": 2**24 + 1}, {"alpha": 0.7}, {"batch_size": 0}],
)
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(InputError):
        SmoothingConfig(**changes)


@pytest.mark.parametrize("x", [jnp.zeros((2, 3), int), jnp.zeros(3), jnp.zeros((0, 3))])
def test_inputs_of_the_wrong_form_are_refused(x):
    with pytest.raises(InputError, match="x must hold floats"):
        counts(jax.random.key(0), network, x, 0.3, 10)


def test_too_many_noisy_inputs_are_refused():
    with pytest.raises(InputError, match="32 bits"):
        counts(jax.random.key(0), network, X, 0.3, 2**24 * 100)
