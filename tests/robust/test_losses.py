"""Losses against optax, float64 arithmetic and loops."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrn.robust.losses import LOSSES, cross_entropy, dlr, is_correct, loss_function, margin, targeted_dlr


def value_and_gradient(loss):
    def total(z, y):
        values = loss(z, y)
        return values.sum(), values

    def run(z, y):
        (_, values), gradient = jax.value_and_grad(total, has_aux=True)(z, y)
        return values, gradient

    return jax.jit(run)


@pytest.fixture
def logits():
    a, b = jax.random.split(jax.random.key(0))
    return 3 * jax.random.normal(a, (32, 5)), jax.random.randint(b, (32,), 0, 5)


def test_cross_entropy_and_its_gradient_match_optax(logits):
    z, y = logits
    ours, gradient = value_and_gradient(cross_entropy)(z, y)
    theirs, peer_gradient = value_and_gradient(optax.losses.softmax_cross_entropy_with_integer_labels)(z, y)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, peer_gradient, atol=1e-6)


def test_cross_entropy_keeps_its_gradient_where_the_network_is_sure():
    z, y = jnp.array([[40.0, 0.0, 1.0]]), jnp.array([0])
    _, (ours,) = value_and_gradient(cross_entropy)(z, y)
    exact = np.exp(np.array([0.0, 1.0])) / np.exp(40)  # p_1 and p_2; p_0 - 1 is minus their sum
    np.testing.assert_allclose(ours, [-exact.sum(), *exact], rtol=1e-4)
    _, (theirs,) = value_and_gradient(optax.losses.softmax_cross_entropy_with_integer_labels)(z, y)
    assert theirs[0] == 0  # the textbook form rounds to 0


def test_margin_and_dlr_match_their_definitions(logits):
    z, y = logits
    margins, ratios = np.asarray(jax.jit(margin)(z, y)), np.asarray(jax.jit(dlr)(z, y))
    for i, (row, label) in enumerate(zip(np.asarray(z, np.float64), np.asarray(y))):
        best_other = max(v for j, v in enumerate(row) if j != label)
        ranked = sorted(row, reverse=True)
        assert margins[i] == pytest.approx(best_other - row[label], abs=1e-5)
        assert ratios[i] == pytest.approx(-(row[label] - best_other) / (ranked[0] - ranked[2]), abs=1e-4)


def test_dlr_ignores_shift_and_scale(logits):
    z, y = logits
    np.testing.assert_allclose(dlr(7 * z + 3, y), dlr(z, y), rtol=1e-3, atol=1e-4)


def test_targeted_dlr_matches_its_definition_and_refuses_few_classes_and_bad_targets(logits):
    z, y = logits
    target = (y + 1 + jnp.arange(32) % 4) % 5
    ours = np.asarray(jax.jit(targeted_dlr)(z, y, target))
    for i, row in enumerate(np.asarray(z, np.float64)):
        first, _, third, fourth = sorted(row, reverse=True)[:4]
        exact = -(row[y[i]] - row[target[i]]) / (first - (third + fourth) / 2)
        assert ours[i] == pytest.approx(exact, abs=1e-4)
    bad = jnp.where(jnp.arange(32) == 3, 5, target)
    np.testing.assert_array_equal(np.isnan(jax.jit(targeted_dlr)(z, y, bad)), np.arange(32) == 3)
    with pytest.raises(ValueError, match=r"labels must lie between 0 and 4, got .* to 5"):
        targeted_dlr(z, y, bad)
    with pytest.raises(ValueError, match="needs at least 4 classes, got 3"):
        targeted_dlr(z[:, :3], y, target)


def test_is_correct_matches_argmax_and_counts_ties_and_nan_as_wrong(logits):
    z, y = logits
    np.testing.assert_array_equal(is_correct(z, y), jnp.argmax(z, axis=1) == y)
    odd = jnp.array([[1.0, 1.0], [jnp.nan, 0.0], [jnp.inf, 0.0], [2.0, 1.0]])
    np.testing.assert_array_equal(is_correct(odd, jnp.zeros(4, int)), [False, False, True, True])


@pytest.mark.usefixtures("float16")
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_finite_in_half_precision(name):
    z = jnp.array([[60000.0, -60000.0, 0.0]], jnp.float16)
    loss = loss_function(name)(z, jnp.array([1]))
    assert loss.dtype == jnp.float32
    assert jnp.isfinite(loss).all()


def test_bad_logits():
    y = jnp.zeros(3, int)
    with pytest.raises(ValueError, match=r"logits must be \[batch, classes\] for 3 labels, got shape \(3,\)"):
        margin(jnp.zeros(3), y)
    with pytest.raises(ValueError, match="for 3 labels, got shape"):
        cross_entropy(jnp.zeros((2, 4)), y)
    with pytest.raises(ValueError, match="needs at least 2 classes, got 1"):
        is_correct(jnp.zeros((3, 1)), y)
    with pytest.raises(ValueError, match="needs at least 3 classes, got 2"):
        dlr(jnp.zeros((3, 2)), y)
    with pytest.raises(ValueError, match="loss 'ce' is not known"):
        loss_function("ce")
