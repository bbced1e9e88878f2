"""Robust accuracy against unbatched loops, and the validity checks on networks that cheat in known ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.robust.attack import no_attack
from lrn.robust.evaluate import correct_under_attack, robust_accuracy
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.square import SquareConfig, square
from lrn.robust.validity import largest_drop, loss_by_step, masking_gap, unbounded, zero_gradient_fraction


@pytest.mark.parametrize("batch_size", [1, 7, 48, 1000])
def test_batches_do_not_matter_and_padding_does_not_count(linear, batch_size):
    attack = fgsm(FGSMConfig(eps=0.03))
    x_adv = jax.jit(attack, static_argnums=1)(jax.random.key(0), linear.logits, linear.x, linear.y)
    exact = linear.margins(x_adv) < 0
    assert 0 < exact.mean() < 1
    assert exact[0] != exact.mean()  # the padding repeats example 0
    run = jax.jit(
        lambda key: correct_under_attack(key, linear.logits, linear.x, linear.y, attack, batch_size)
    )
    np.testing.assert_array_equal(run(jax.random.key(0)), exact)


def test_accuracies_and_the_worst(linear):
    attacks = {"clean": no_attack, "fgsm": fgsm(FGSMConfig(0.05)), "l2": fgsm(FGSMConfig(0.3, norm="l2"))}
    run = jax.jit(lambda key: robust_accuracy(key, linear.logits, linear.x, linear.y, attacks, 20))
    accuracy = run(jax.random.key(0))
    assert list(accuracy) == ["clean", "fgsm", "l2", "worst"]
    assert accuracy["clean"] == 1
    masks = {
        n: np.asarray(correct_under_attack(jax.random.key(0), linear.logits, linear.x, linear.y, a))
        for n, a in attacks.items()
    }
    for name, mask in masks.items():
        assert accuracy[name] == pytest.approx(mask.mean())
    assert accuracy["worst"] == pytest.approx(np.all(list(masks.values()), axis=0).mean())


def test_vmap_over_seeds_and_parameters_equals_loop(linear):
    attacks = {"pgd": pgd(PGDConfig(0.03, 0.005, 4)), "square": square(SquareConfig(0.03, 20))}
    scales = jnp.array([1.0, 0.5, -1.0])

    @jax.jit
    def run(key, scale):
        return robust_accuracy(key, lambda z: scale * linear.logits(z), linear.x, linear.y, attacks, 20)

    together = jax.vmap(run)(jax.vmap(jax.random.key)(jnp.arange(3)), scales)
    for i in range(3):
        alone = run(jax.random.key(i), scales[i])
        for name in alone:
            assert together[name][i] == pytest.approx(float(alone[name]))
    assert together["worst"][2] == 0  # a network that is wrong everywhere stays wrong


def test_bad_arguments(linear):
    args = jax.random.key(0), linear.logits, linear.x, linear.y
    with pytest.raises(ValueError, match="at least one attack, got none"):
        robust_accuracy(*args, {})
    with pytest.raises(ValueError, match="'worst' names the accuracy under all attacks together"):
        robust_accuracy(*args, {"worst": no_attack})
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        robust_accuracy(*args, {"clean": no_attack}, batch_size=0)
    with pytest.raises(ValueError, match="48 inputs and 47 labels"):
        robust_accuracy(*args[:3], linear.y[1:], {"clean": no_attack})


def test_loss_by_step_rises_on_a_linear_model(linear):
    config = PGDConfig(eps=0.1, step_size=0.01, steps=12, restarts=2, keep="best")
    run = jax.jit(lambda key: loss_by_step(key, linear.logits, linear.x, linear.y, config))
    losses = run(jax.random.key(0))
    assert losses.shape == (13,)
    assert losses[-1] > losses[0] + 0.1
    assert largest_drop(losses) == pytest.approx(0, abs=1e-4)


def test_largest_drop():
    assert largest_drop(jnp.array([0.0, 1.0, 0.5, 2.0])) == pytest.approx(0.25)
    assert largest_drop(jnp.array([3.0, 2.0, 1.0])) == pytest.approx(1)
    assert largest_drop(jnp.array([1.0, 1.0])) == 0


def test_zero_gradient_fraction(linear):
    def half_dead(z):  # the logits of dark images are constant
        alive = (z.mean(axis=(1, 2, 3)) > jnp.median(linear.x.mean(axis=(1, 2, 3))))[:, None]
        return jnp.where(alive, linear.logits(z), jax.lax.stop_gradient(linear.logits(z)))

    @jax.jit
    def fractions():
        networks = linear.logits, half_dead, lambda z: linear.logits(z) * jnp.nan
        return [zero_gradient_fraction(f, linear.x, linear.y) for f in networks]

    assert fractions() == [0, pytest.approx(0.5), 1]
    # d loss / dx = p_wrong w; its largest entry is above the tolerance for some examples only.
    p_wrong = 1 / (1 + np.exp(-linear.margins(linear.x)))
    largest = p_wrong * np.abs(linear.w).max()
    share = jax.jit(lambda t: zero_gradient_fraction(linear.logits, linear.x, linear.y, tolerance=t))
    assert share(0.1) == pytest.approx((largest <= 0.1).mean())
    assert 0 < (largest <= 0.1).mean() < 1


def test_a_network_that_hides_its_gradient_is_caught_and_an_honest_one_is_not(linear):
    # Rounding to 64 levels costs no accuracy and removes the gradient: robustness to PGD is only apparent.
    @jax.jit
    def measure(key, hide):
        def logits(z):
            return linear.logits(jnp.where(hide, jnp.round(63 * z) / 63, z))

        config = PGDConfig(0.05, 0.01, 20, random_start=False)
        attacks = pgd(config), square(SquareConfig(0.05, 300)), unbounded(config)
        masks = [
            correct_under_attack(k, logits, linear.x, linear.y, attack)
            for k, attack in zip(jax.random.split(key, 3), attacks)
        ]
        dead = zero_gradient_fraction(logits, linear.x, linear.y)
        return [m.mean() for m in masks], masking_gap(*masks[:2]), dead

    (white, black, free), gap, dead = measure(jax.random.key(0), True)
    assert white > 0.9  # the network looks robust
    assert dead == 1
    assert black < white - 0.3
    assert gap == pytest.approx(float(white - black), abs=1e-6)
    assert free > 0.9  # an attack without limits fails, so the attack is broken
    (white, black, free), gap, dead = measure(jax.random.key(0), False)
    assert 0 < white <= black
    assert gap == dead == free == 0
