"""AutoAttack against pyautoattack on the same network and points (references/auto_attack_digits.md)."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from digits import REFERENCES, X, Y, network

from lrn import check
from lrn.robust.auto_attack import ATTACKS, AutoAttackConfig, attack_all, auto_attack
from lrn.robust.losses import is_correct
from lrn.robust.norms import distance

FOUND = np.load(REFERENCES / "auto_attack_digits.npz")


def reference(norm, seed=0):
    return np.unpackbits(FOUND[f"{norm}_{seed}"])[:200].astype(bool)


@pytest.mark.parametrize("norm", ["linf", *(pytest.param(n, marks=pytest.mark.slow) for n in ("l2", "l1"))])
def test_the_broken_points_are_those_of_pyautoattack(norm):
    eps = float(FOUND[f"{norm}_eps"])
    config = AutoAttackConfig(eps=eps, norm=norm, queries=1000)  # Square finds nothing here, in either
    found = jax.jit(lambda: attack_all(jax.random.key(0), network, X, Y, config))()
    robust, other = np.asarray(found.robust), reference(norm)
    assert abs(robust.mean() - other.mean()) <= 0.005
    assert (robust != other).sum() <= 2
    assert (np.asarray(distance(found.x, jnp.asarray(X), norm)) <= eps * (1 + 1e-5)).all()
    assert (np.asarray(is_correct(network(found.x), jnp.asarray(Y))) == robust).all()
    after = [np.asarray(found.after[name]) for name in ("clean", *ATTACKS)]
    assert all((late <= early).all() for early, late in itertools.pairwise(after))
    assert after[0].mean() > after[1].mean() >= after[2].mean()


def test_few_classes_take_the_margin():
    """The difference-of-logits loss needs four classes; two linear classes have a known answer."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(16, 2)).astype(np.float32)
    x = rng.uniform(0.3, 0.7, size=(30, 4, 4, 1)).astype(np.float32)

    def linear(z):
        return (z.reshape(len(z), 16) - 0.5) @ w

    logits = linear(x)
    y = logits.argmax(1)
    margin = np.abs(logits[:, 0] - logits[:, 1])
    within = 0.05 * np.abs(w[:, 0] - w[:, 1]).sum()
    assert (np.abs(margin - within) > 1e-3).all()
    config = AutoAttackConfig(eps=0.05, steps=10, queries=10)
    found = jax.jit(lambda: attack_all(jax.random.key(0), linear, jnp.asarray(x), jnp.asarray(y), config))()
    assert 0 < found.robust.mean() < 1
    assert (np.asarray(found.robust) == (margin > within)).all()


def test_one_attack_alone_and_the_attack_form():
    config = AutoAttackConfig(eps=0.1, attacks=("apgd_ce",), steps=20)
    x, y = jnp.asarray(X[:40]), jnp.asarray(Y[:40])
    found = jax.jit(lambda: attack_all(jax.random.key(0), network, x, y, config))()
    assert set(found.after) == {"clean", "apgd_ce"}
    x_adv = jax.jit(lambda: auto_attack(config)(jax.random.key(0), network, x, y))()
    assert (np.asarray(x_adv) == np.asarray(found.x)).all()


def test_bad_input_is_one_sentence():
    with pytest.raises(check.InputError, match="attack 'apgd' is not known"):
        AutoAttackConfig(attacks=("apgd",))
    with pytest.raises(check.InputError, match="each attack once"):
        AutoAttackConfig(attacks=("square", "square"))
    with pytest.raises(check.InputError, match="must name one attack or more"):
        AutoAttackConfig(attacks=())
    with pytest.raises(check.InputError, match="divide an eps on the"):
        AutoAttackConfig(eps=8.0)
    with pytest.raises(check.InputError, match="x must lie in"):
        attack_all(jax.random.key(0), network, 255 * X, Y, AutoAttackConfig())
    with pytest.raises(check.InputError, match="labels must lie between 0 and 9"):
        attack_all(jax.random.key(0), network, X, Y + 5, AutoAttackConfig())
