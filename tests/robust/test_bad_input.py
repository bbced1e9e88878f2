"""What a user gets wrong most often is one sentence, from the functions that a user calls."""

import jax
import jax.numpy as jnp
import pytest
from digits import X, Y, network

from lrn import check
from lrn.robust.apgd import APGDConfig, apgd
from lrn.robust.audit import AuditConfig, audit, said
from lrn.robust.auto_attack import AutoAttackConfig, attack_all
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.pgd import PGDConfig, pgd

N = 20
IMAGES, LABELS = jnp.asarray(X[:N]), jnp.asarray(Y[:N])


def two_classes(z):
    return network(z)[:, :2]


def attacked(attack, logits_fn=network, x=IMAGES, y=LABELS):
    return attack(jax.random.key(0), logits_fn, x, y)


def auto_attacked(config=None, **images):
    images = {"x": IMAGES, "y": LABELS, **images}
    return attack_all(jax.random.key(0), network, **images, config=config or AutoAttackConfig())


WRONG = {
    "a label that is no class": (lambda: auto_attacked(y=LABELS + 1), "labels must lie between 0 and 9, got"),
    "a negative label": (lambda: attacked(pgd(PGDConfig()), y=LABELS - 1), "labels must lie between 0 and 9"),
    "pixels on 0..255": (lambda: auto_attacked(x=255 * IMAGES), r"x must lie in \[0, 1\], got values from 0"),
    "pixels around 0": (lambda: attacked(fgsm(FGSMConfig()), x=IMAGES - 0.5), r"x must lie in \[0, 1\]"),
    "eps on 0..255": (lambda: AutoAttackConfig(eps=8.0), "got 8.0; .* divide an eps on the 0..255 scale"),
    "eps on 0..255 in L2": (
        lambda: auto_attacked(AutoAttackConfig(eps=128.0, norm="l2")),
        "an L2 ball of radius 128 holds every image .* divide an eps on the 0..255 scale",
    ),
    "two classes with the DLR loss": (
        lambda: attacked(apgd(APGDConfig(loss="dlr")), two_classes, y=LABELS % 2),
        "needs at least 3 classes, got 2; use the loss 'margin'",
    ),
    "two classes with the targeted DLR loss": (
        lambda: attacked(apgd(APGDConfig(loss="targeted_dlr")), two_classes, y=LABELS % 2),
        "needs at least 4 classes, got 2; use the loss 'margin'",
    ),
    "one logit": (
        lambda: attacked(pgd(PGDConfig()), lambda z: network(z)[:, :1], y=LABELS % 2),
        "needs at least 2 classes, got 1; return a logit for each class",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_sentence(name):
    call, sentence = WRONG[name]
    with pytest.raises(check.InputError, match=sentence) as error:
        call()
    assert "\n" not in str(error.value)


def rounded_probabilities(z):
    """A network without any gradient, which returns probabilities."""
    return jax.nn.softmax(network(jnp.round(4 * z) / 4))


def test_probabilities_and_gradients_that_are_zero_everywhere_are_a_sentence_each_of_the_audit():
    config = AuditConfig(eps=0.1, steps=2, queries=2)
    found = jax.jit(lambda: audit(jax.random.key(0), rounded_probabilities, IMAGES, LABELS, config))()
    sentences = said(found)
    for words in ("returns probabilities for 100.0% of", "For 100.0% of the examples the gradient is zero"):
        (own,) = (sentence for sentence in sentences if words in sentence)
        assert own.endswith(".")
        assert own.count(". ") == 0
