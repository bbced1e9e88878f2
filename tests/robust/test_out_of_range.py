"""Labels outside of the classes and pixels outside of the box raise an error, or give NaN under jit."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.core import Tracer

from lrn import nets
from lrn.robust.adversarial_training import AdversarialTrainingConfig, adversarial_training
from lrn.robust.apgd import APGDConfig, apgd
from lrn.robust.attack import check_batch, check_examples, check_inputs, no_attack
from lrn.robust.evaluate import correct_under_attack, robust_accuracy
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.losses import LOSSES, is_correct, loss_function
from lrn.robust.norms import NORMS, project, random_start
from lrn.robust.pgd import PGDConfig, ascend, pgd
from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm
from lrn.robust.square import SquareConfig, square
from lrn.robust.validity import largest_drop, loss_by_step, zero_gradient_fraction

ATTACKS = {
    "none": no_attack,
    "fgsm": fgsm(FGSMConfig(eps=0.1)),
    "fgm_l2": fgsm(FGSMConfig(eps=0.1, norm="l2", loss="dlr")),
    "rs_fgsm": rs_fgsm(RSFGSMConfig(eps=0.1)),
    "pgd": pgd(PGDConfig(0.1, 0.05, 2, restarts=2, loss="margin")),
    "pgd_l2_last": pgd(PGDConfig(0.1, 0.05, 2, norm="l2", keep="last")),
    "pgd_l1": pgd(PGDConfig(0.3, 0.1, 2, norm="l1")),
    "apgd": apgd(APGDConfig(0.1, 2)),
    "apgd_l1": apgd(APGDConfig(0.3, 5, norm="l1", early_stop=True)),
    "square": square(SquareConfig(0.1, 4)),
}
WEIGHTS = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)


def logits(z):
    """Three classes with all logits below 0: a missing true logit that counted as 0 would beat them."""
    return z.reshape(z.shape[0], -1) @ jnp.asarray(WEIGHTS) - 20


GOOD = np.random.default_rng(1).uniform(0.3, 0.7, (7, 2, 2, 2)).astype(np.float32)
LABELS = np.argmax(GOOD.reshape(7, 8) @ WEIGHTS, 1)
OFF = {1: -0.1, 2: 1.5, 3: np.nan, 4: 255.0}  # from example to one of its pixels


def broken():
    """Images and labels; only the first and the last example are in range."""
    x, y = GOOD.copy(), LABELS.copy()
    for i, pixel in OFF.items():
        x[i, 1, 0, 1] = pixel
    y[5] = 3
    return x, y


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_gives_nan_for_that_example_alone_under_jit(name):
    run = jax.jit(lambda x, y: ATTACKS[name](jax.random.key(0), logits, x, y))
    whole, part = run(GOOD, LABELS), run(*broken())
    assert jnp.isfinite(whole).all()
    np.testing.assert_array_equal(part[np.array([0, 6])], whole[np.array([0, 6])])
    assert jnp.isnan(part[1:6]).all()


SENTENCES = [
    ({"x": GOOD * 255}, r"x must lie in \[0, 1\], got values from .* to 17\d\.\d+; rescale the pixels"),
    ({"x": GOOD - 0.5}, r"x must lie in \[0, 1\], got values from -0\.18\d+ to 0\.19\d+; rescale"),
    ({"x": np.where(GOOD > 0.69, np.float32(1.0000001), GOOD)}, r"got values from 0\.3\d* to 1\.00000012"),
    ({"x": np.where(GOOD > 0.69, np.inf, GOOD)}, "values that are not finite"),
    ({"y": LABELS - 1}, "labels must lie between 0 and 2, got -1 to 1"),
    ({"y": np.full(7, 3)}, "labels must lie between 0 and 2, got 3 to 3"),
    ({"y": np.full(7, 255, np.uint8)}, "labels must lie between 0 and 2, got 255 to 255"),
    ({"y": LABELS.astype(np.float32)}, "integer class labels"),
    ({"y": LABELS == 1}, "integer class labels"),
    ({"y": np.eye(3, dtype=int)[LABELS]}, "not one-hot rows"),
    ({"y": LABELS[:, None]}, "integer class labels of shape"),
    ({"y": LABELS[:1]}, "7 inputs and 1 labels"),
    ({"x": GOOD[:, :0]}, "the batch is empty, of shape"),
]


@pytest.mark.parametrize(("change", "sentence"), SENTENCES)
@pytest.mark.parametrize("where", [*ATTACKS, "robust_accuracy", "check_batch", "init", "step"])
def test_refused_in_one_sentence_where_the_values_can_be_read(where, change, sentence):
    x, y = change.get("x", GOOD), change.get("y", LABELS)
    key, ran = jax.random.key(0), []

    def net(z):
        ran.append(isinstance(z, Tracer))
        return logits(z)

    learner = adversarial_training(
        nets.from_function(lambda key, x: (), lambda p, z: net(z)), AdversarialTrainingConfig()
    )
    batch = {"image": x, "label": y}
    call = {
        "robust_accuracy": lambda: robust_accuracy(key, net, x, y, {"clean": no_attack}),
        "check_batch": lambda: check_batch(x, y, 3),
        "init": lambda: learner.init(key, batch),
        "step": lambda: learner.step(key, learner.init(key, {"image": GOOD, "label": LABELS}), batch),
    }.get(where) or (lambda: ATTACKS[where](key, net, x, y))
    with pytest.raises(ValueError, match=sentence) as error:
        call()
    assert "\n" not in str(error.value)
    if where != "step":  # the loss checks the labels, because it has the logits
        assert all(ran)  # the network was traced at most, and computed nothing


def test_values_that_a_jitted_function_closes_over_are_read():
    for x, y in ((GOOD + 1, LABELS), (GOOD, LABELS + 1)):
        for convert in (np.asarray, jnp.asarray):
            a: Any = convert(x)
            b: Any = convert(y)
            with pytest.raises(ValueError, match="must lie"):
                jax.jit(lambda key, a=a, b=b: pgd(PGDConfig())(key, logits, a, b))(jax.random.key(0))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_nan_in_value_and_gradient_for_a_label_that_is_no_class(name):
    loss: Callable = loss_function(name)
    z = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32) - 9
    y = np.array([0, -1, 3, 4, 255, 1])

    def both(z, y):
        values, pullback = jax.vjp(lambda z: loss(z, y), z)
        return values, *pullback(jnp.ones_like(values)), is_correct(z, y)

    run = jax.jit(both)
    values, gradient, correct = run(z, y)
    right = np.array([0, 2, 5])
    known = run(z, np.where(np.isin(np.arange(6), right), y, 0))
    for ours, exact in zip((values, gradient, correct), known):
        np.testing.assert_allclose(ours[right], exact[right], rtol=1e-6)
    assert np.isnan(np.delete(values, right)).all()
    assert np.isnan(np.delete(gradient, right, axis=0)).all()
    assert not np.delete(correct, right).any()
    for label in (-1, 4, 255):
        with pytest.raises(ValueError, match=f"labels must lie between 0 and 3, got .*{label}"):
            loss(z, np.where(y == 3, label, 0))
    for wrong in (y.astype(np.float32), np.eye(4, dtype=int)[[0, 1, 2, 3, 0, 1]], y[:, None]):
        with pytest.raises(ValueError, match="integer class labels"):
            loss(z, wrong)
    with pytest.raises(ValueError, match=r"\[batch, classes\] for 1 labels, got shape \(6, 4\)"):
        loss(z, y[:1])
    with pytest.raises(ValueError, match=r"one array \[batch, classes\], got tuple; Net.apply returns"):
        loss((z, ()), y)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32])
def test_labels_of_few_bits_name_the_class_they_say(dtype):
    # A count of classes in 8 bits would wrap at 256 and find two true classes in a row of 300.
    z = jnp.asarray(np.random.default_rng(0).normal(size=(3, 300)), jnp.float32)
    y = np.array([3, 100, 127])
    for name in LOSSES:
        ours, exact = (jax.jit(loss_function(name))(z, labels) for labels in (y.astype(dtype), y))
        np.testing.assert_array_equal(ours, exact)
        assert np.isfinite(exact).all()
    if dtype == np.int8:
        assert np.isnan(jax.jit(loss_function("margin"))(z, y.astype(dtype) * dtype(0) - dtype(1))).all()


def test_robust_accuracy_and_validity_are_nan_and_the_masks_false():
    attacks = {name: ATTACKS[name] for name in ("none", "fgsm")}

    @jax.jit
    def run(x, y):
        accuracy = robust_accuracy(jax.random.key(0), logits, x, y, attacks, 3)
        mask = correct_under_attack(
            jax.random.key(1), lambda z: jnp.nan_to_num(logits(z)), x, y, no_attack, 3
        )
        config = PGDConfig(0.1, 0.05, 2)
        path = loss_by_step(jax.random.key(2), logits, x, y, config)
        return accuracy, mask, path, zero_gradient_fraction(logits, x, y)

    accuracy, mask, path, dead = run(GOOD, LABELS)
    assert (accuracy["none"], dead) == (1, 0)
    assert mask.all()
    assert jnp.isfinite(path).all()
    accuracy, mask, path, dead = run(*broken())
    assert all(jnp.isnan(value) for value in (*accuracy.values(), dead, *path))
    np.testing.assert_array_equal(mask, [True, *(5 * [False]), True])


def test_a_path_that_is_nan_has_no_drop():
    for path in ([jnp.nan, jnp.nan], [1.0, jnp.nan, 2.0], [1.0, jnp.inf]):
        assert jnp.isnan(largest_drop(jnp.array(path)))


@pytest.mark.parametrize("attack", [None, fgsm(FGSMConfig(0.1))])
def test_training_on_such_a_batch_is_not_finite(attack):
    net = nets.from_function(lambda key, x: jnp.asarray(WEIGHTS), lambda p, z: z.reshape(7, 8) @ p)
    learner = adversarial_training(net, AdversarialTrainingConfig(), attack)
    state = learner.init(jax.random.key(0), {"image": GOOD, "label": LABELS})
    step = jax.jit(lambda x, y: learner.step(jax.random.key(1), state, {"image": x, "label": y}))
    wrong_pixel = np.where(np.arange(GOOD.size).reshape(GOOD.shape) == 9, 2, GOOD)
    for x, y in ((wrong_pixel, LABELS), (GOOD, np.where(np.arange(7) == 2, 3, LABELS))):
        after, metrics = step(x, y)
        assert jnp.isnan(metrics["loss"])
        assert jnp.isnan(metrics["gradient_norm"])
        assert jnp.isnan(after.params).all()
    after, metrics = step(GOOD, LABELS)
    assert jnp.isfinite(after.params).all()


@pytest.mark.parametrize("norm", NORMS)
def test_geometry_has_one_box(norm):
    z = x = jnp.array([[-1.0, 0.5], [1.0, 2.0]])

    def climb(x):
        config = PGDConfig(0.1, 0.1, 1, norm=norm, random_start=False)
        return ascend(jax.random.key(0), lambda z: (z.sum(1), z.sum(1) > 9), x, config)[0]

    calls = {
        "project": lambda x: project(z, x, 0.1, norm),
        "start": lambda x: random_start(jax.random.key(0), x, 0.1, norm),
        "ascend": climb,
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=r"x must lie in \[0, 1\], got values from -1 to 2"):
            call(x)
        out = jax.jit(call)(x)
        outside = (x < 0) | (x > 1)
        assert np.isnan(out if name == "ascend" else out[outside]).all()


def test_checks_give_the_arrays_themselves():
    x, y = check_inputs(GOOD, LABELS)
    assert isinstance(x, jax.Array)
    np.testing.assert_array_equal(x, GOOD)
    np.testing.assert_array_equal(check_examples(logits, GOOD, LABELS)[1], y)
    with pytest.raises(ValueError, match="got shape"):
        check_examples(lambda z: logits(z)[:, 0], GOOD, LABELS)
