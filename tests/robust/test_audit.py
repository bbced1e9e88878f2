"""The audit: a sound network and attack pass all checks, and each planted fault raises its own flag."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from digits import X, Y, network

from lrn.robust.attack import no_attack
from lrn.robust.audit import CHECKS, AuditConfig, audit, said
from lrn.robust.fgsm import FGSMConfig, fgsm

N = 40
IMAGES, LABELS = X[:N], Y[:N]
CONFIG = AuditConfig(eps=0.1, steps=20, queries=150, tolerance=0.03)  # more than one of the examples


def run(logits_fn, config=CONFIG, **options):
    labels = jnp.asarray(LABELS)
    return jax.jit(lambda x: audit(jax.random.key(0), logits_fn, x, labels, config, **options))(IMAGES)


def flagged(result):
    return {name for name, flag in result.flags.items() if bool(flag)}


@functools.cache
def sound():
    return run(network, surrogates=[lambda z: 0.5 * network(z)])


def test_a_sound_network_passes_every_check():
    result = sound()
    assert set(result.numbers) == set(CHECKS) == set(result.flags)
    assert flagged(result) == set()
    assert said(result) == []
    assert all(0 <= float(number) <= 1 for number in result.numbers.values())


def steps_hide(z):
    """The network behind a staircase: its gradient is zero, and small changes of pixels still fool it."""
    return network(jnp.round(8 * z) / 8)


def test_a_staircase_has_no_gradient():
    result = run(steps_hide)
    assert {"zero gradients", "black box is stronger"} <= flagged(result)
    assert float(result.numbers["zero gradients"]) == 1
    assert any("the gradient is zero" in sentence for sentence in said(result))


def test_a_weak_attack_is_stronger_elsewhere():
    weak = fgsm(FGSMConfig(eps=0.01))
    result = run(network, attack=weak, surrogates=[network])
    assert {"black box is stronger", "transfer is stronger", "not converged"} <= flagged(result)
    still = run(network, attack=no_attack)
    assert float(still.numbers["not converged"]) > float(result.numbers["not converged"])


def test_probabilities_are_named():
    result = run(lambda z: jax.nn.softmax(network(z)))
    assert "probabilities" in flagged(result)
    assert float(result.numbers["probabilities"]) == 1


def batch_norm(z):
    hidden = z.reshape(len(z), -1)
    return network(((hidden - hidden.mean(0)[None]) / (hidden.std(0) + 0.1)[None]).reshape(z.shape))


def dropped(z):
    keep = jax.random.bernoulli(jax.random.key(3), 0.5, z.shape)
    return network(z * keep)


@pytest.mark.parametrize("logits_fn", [batch_norm, dropped])
def test_logits_that_depend_on_the_batch_are_named(logits_fn):
    assert float(run(logits_fn).numbers["depends on the batch"]) > 0.5
    assert float(sound().numbers["depends on the batch"]) == 0


def test_nan_is_named_and_leaves_no_number_that_passes():
    def nan_for_some(z):
        return jnp.where(z[:, 4, 4, :1] > 0.5, jnp.nan, network(z))

    result = run(nan_for_some)
    share = (IMAGES[:, 4, 4, 0] > 0.5).mean()
    assert 0 < share < 1
    np.testing.assert_allclose(result.numbers["not finite"], share)
    assert {"not finite", "loss falls"} <= flagged(result)
    assert "an unknown share" in " ".join(said(result))


def test_a_large_scale_masks_the_gradient_of_the_cross_entropy_and_not_of_the_margin():
    def scaled(z):
        return 1000 * network(z)

    masked = run(scaled, config=dataclasses.replace(CONFIG, loss="cross_entropy"))
    assert {"zero gradients", "spared at will", "black box is stronger"} <= flagged(masked)
    assert flagged(run(scaled)) == set()


def test_without_images_there_is_no_square():
    flat = IMAGES.reshape(N, 64)
    result = jax.eval_shape(lambda: audit(jax.random.key(0), network, flat, LABELS, CONFIG))
    assert set(CHECKS) - set(result.numbers) == {"black box is stronger", "transfer is stronger"}
