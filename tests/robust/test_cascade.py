"""The cascade and the curve: what they attack, what they keep, and that they equal attacks one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from digits import X, Y, network

from lrn import check
from lrn.robust.cascade import cascade
from lrn.robust.curve import robustness_curve
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.losses import is_correct
from lrn.robust.pgd import PGDConfig, pgd

N = 41  # no multiple of the batch size
SMALL = {"x": X[:N], "y": Y[:N]}
WEAK = {
    "fgsm": lambda eps: fgsm(FGSMConfig(eps=eps / 2)),
    "pgd": lambda eps: pgd(PGDConfig(eps=eps, step_size=eps / 3 + 1e-6, steps=5, random_start=False)),
}


@functools.cache
def run(batch_size, attacks=tuple(WEAK)):
    chosen = {name: WEAK[name] for name in attacks}
    return jax.jit(lambda eps: cascade(jax.random.key(0), network, **SMALL, eps=eps, attacks=chosen,
                                       batch_size=batch_size))  # fmt: skip


def right_after(attack):
    """Whether each example withstands an attack on all examples at once."""
    x_adv = jax.jit(lambda: attack(jax.random.key(0), network, jnp.asarray(SMALL["x"]), jnp.asarray(Y[:N])))()
    return np.asarray(is_correct(network(x_adv), jnp.asarray(Y[:N]))), np.asarray(x_adv)


@pytest.mark.parametrize("batch_size", [8, 100])
def test_each_attack_is_tried_on_what_the_others_left(batch_size):
    found = run(batch_size)(0.1)
    clean = np.asarray(is_correct(network(SMALL["x"]), jnp.asarray(Y[:N])))
    one, x_one = right_after(WEAK["fgsm"](0.1))
    two, x_two = right_after(WEAK["pgd"](0.1))
    assert clean.sum() > (clean & one).sum() > (clean & one & two).sum() > 0, "every stage matters here"
    assert (np.asarray(found.after["clean"]) == clean).all()
    assert (np.asarray(found.after["fgsm"]) == clean & one).all()
    assert (np.asarray(found.after["pgd"]) == clean & one & two).all()
    assert (np.asarray(found.robust) == clean & one & two).all()
    kept = np.where((clean & ~one)[:, None, None, None], x_one, SMALL["x"])
    kept = np.where((clean & one & ~two)[:, None, None, None], x_two, kept)
    np.testing.assert_allclose(found.x, kept, atol=1e-6)
    assert (np.asarray(is_correct(network(found.x), jnp.asarray(Y[:N]))) == found.robust).all()


def test_only_batches_with_robust_examples_are_attacked():
    """A network that counts its calls: the second attack runs once for every batch that still needs it."""
    calls = []

    def counted(z):
        jax.debug.callback(lambda: calls.append(1))
        return network(z)

    def still(key, logits_fn, x, y):
        jax.debug.callback(lambda: calls.append("attacked"))
        return x

    def count(eps):
        calls.clear()
        attacks = {"pgd": WEAK["pgd"], "still": lambda eps: still}
        found = cascade(jax.random.key(0), counted, **SMALL, eps=eps, attacks=attacks, batch_size=8)
        jax.block_until_ready(found)
        jax.effects_barrier()
        return calls.count("attacked"), int(found.after["pgd"].sum())

    for eps in (0.02, 0.1, 0.4):
        attacked, left = count(eps)
        assert attacked == -(-left // 8)
    assert left == 0


def test_every_example_has_its_own_eps_whatever_the_order():
    eps = np.linspace(0, 0.2, N, dtype=np.float32)
    found = run(8)(eps)
    change = np.abs(np.asarray(found.x) - SMALL["x"]).max((1, 2, 3))
    assert (change <= eps + 1e-6).all()
    assert change.max() > 0.05
    same = run(100)(eps)
    assert (np.asarray(found.robust) == np.asarray(same.robust)).all()


def test_vmap_equals_a_loop():
    radii = jnp.asarray([0.05, 0.15])
    both = jax.vmap(run(8))(radii)
    for i, eps in enumerate(radii):
        one = run(8)(eps)
        assert (np.asarray(one.robust) == np.asarray(both.robust)[i]).all()
        np.testing.assert_allclose(one.x, both.x[i], atol=1e-6)


def test_only_the_examples_among_the_given_are_attacked():
    all_of_them, among = run(8)(0.2), np.arange(N) % 3 == 0
    found = cascade(jax.random.key(0), network, **SMALL, eps=0.2, attacks=WEAK, among=jnp.asarray(among))
    clean, robust = np.asarray(found.after["clean"]), np.asarray(found.robust)
    assert (robust[~among] == clean[~among]).all()
    assert (robust[among] == np.asarray(all_of_them.robust)[among]).all()
    assert robust[among].mean() < clean[among].mean()
    np.testing.assert_array_equal(np.asarray(found.x)[~among], SMALL["x"][~among])


@pytest.mark.parametrize("radii", [[0.0, 0.05, 0.1, 0.2], [0.1], [0.02, 0.05, 0.1, 0.15, 0.2]])
def test_the_curve_is_the_cascade_at_each_radius_and_never_rises(radii):
    curve = jax.jit(
        lambda radii: robustness_curve(jax.random.key(0), network, **SMALL, radii=radii, attacks=WEAK)
    )(jnp.asarray(radii))
    robust, smallest = np.asarray(curve.robust), np.asarray(curve.smallest)
    assert (np.diff(robust.astype(int), axis=0) <= 0).all()
    clean = np.asarray(is_correct(network(SMALL["x"]), jnp.asarray(Y[:N])))
    for i, eps in enumerate(radii):
        alone = np.asarray(run(100)(eps).robust)
        assert (robust[i] != alone).sum() <= 1, "the weak attack draws other starts"
        assert (robust[i] == (clean & (smallest > np.float32(eps)))).all()
    assert (smallest[~clean] == 0).all()
    fooled = np.isfinite(smallest)
    assert not np.asarray(is_correct(network(curve.x), jnp.asarray(Y[:N])))[fooled].any()
    change = np.abs(np.asarray(curve.x) - SMALL["x"]).max((1, 2, 3))
    assert (change <= np.where(fooled, smallest, 0) + 1e-6).all()


def test_every_start_is_tried_on_what_is_left_with_a_key_of_its_own():
    """An attack that draws a random corner of the ball: more starts fool more, and the first ones stay."""

    def corner(eps):
        def attack(key, logits_fn, x, y):
            sign = jnp.where(jax.random.bernoulli(key, shape=x.shape), 1, -1)
            return jnp.clip(x + eps.reshape(-1, 1, 1, 1) * sign, 0, 1)

        return attack

    def after(starts):
        attacks = {"corner": corner}
        return jax.jit(lambda: cascade(jax.random.key(0), network, **SMALL, eps=0.2, attacks=attacks,
                                       starts=starts))()  # fmt: skip

    one, four = after(1), after(4)
    assert (np.asarray(four.robust) <= np.asarray(one.robust)).all()
    assert four.robust.sum() < one.robust.sum()
    kept = np.asarray(one.after["clean"]) & ~np.asarray(one.robust)
    np.testing.assert_allclose(np.asarray(four.x)[kept], np.asarray(one.x)[kept], atol=1e-6)


def test_a_pixel_out_of_range_counts_as_fooled_under_jit():
    x = SMALL["x"].copy()
    x[3, 0, 0, 0] = 2
    found = jax.jit(lambda x: cascade(jax.random.key(0), network, x, Y[:N], 0.0, WEAK))(x)
    before = np.asarray(is_correct(network(SMALL["x"]), jnp.asarray(Y[:N])))
    assert before[3]
    assert (np.flatnonzero(before & ~np.asarray(found.robust)) == [3]).all()


def test_bad_input_is_one_sentence():
    with pytest.raises(check.InputError, match="one attack or more"):
        cascade(jax.random.key(0), network, **SMALL, eps=0.1, attacks={})
    with pytest.raises(check.InputError, match="one attack or more"):
        cascade(jax.random.key(0), network, **SMALL, eps=0.1, attacks={"clean": WEAK["pgd"]})
    for eps in (25.0, np.full(N, 25.0), np.linspace(0, 25, N)):
        with pytest.raises(check.InputError, match="divide an eps on the"):  # under jit too
            jax.jit(lambda x, eps=eps: cascade(jax.random.key(0), network, x, Y[:N], eps, WEAK))(SMALL["x"])
    radii = jnp.asarray([0.1, 25.0])  # concrete, while jit traces all that is done with it
    with pytest.raises(check.InputError, match="divide an eps on the"):
        jax.jit(lambda x: robustness_curve(jax.random.key(0), network, x, Y[:N], radii, WEAK))(SMALL["x"])
    with pytest.raises(check.InputError, match="eps must be a finite number, 0 or more"):
        cascade(jax.random.key(0), network, **SMALL, eps=-0.1, attacks=WEAK)
    for among in (np.arange(N), np.ones(3, bool)):
        with pytest.raises(check.InputError, match="among must be bools"):
            cascade(jax.random.key(0), network, **SMALL, eps=0.1, attacks=WEAK, among=jnp.asarray(among))
    with pytest.raises(check.InputError, match="one for each of 41 examples"):
        cascade(jax.random.key(0), network, **SMALL, eps=np.full(3, 0.1), attacks=WEAK)
    with pytest.raises(check.InputError, match="divide an eps on the"):
        robustness_curve(jax.random.key(0), network, **SMALL, radii=np.asarray([0.1, 8.0]), attacks=WEAK)
    with pytest.raises(check.InputError, match="radii must ascend"):
        robustness_curve(jax.random.key(0), network, **SMALL, radii=jnp.asarray([0.2, 0.1]), attacks=WEAK)
    with pytest.raises(check.InputError, match="radii must be"):
        robustness_curve(jax.random.key(0), network, **SMALL, radii=jnp.asarray(0.2), attacks=WEAK)
