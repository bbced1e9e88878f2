"""Transfer: what the target sees, which point is kept, and that no gradient of the target is taken."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.robust.attack import no_attack
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.norms import distance
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.transfer import transfer

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.uniform(0.2, 0.8, (30, 3, 2)), jnp.float32)
WEIGHTS = [RNG.normal(size=(6, 4)) for _ in range(3)]


def linear(weights):
    return lambda z: z.reshape(z.shape[0], 6) @ jnp.asarray(weights, z.dtype)


TARGET, FIRST, SECOND = (linear(w) for w in WEIGHTS)
Y = np.argmax(np.asarray(X).reshape(30, 6) @ WEIGHTS[0], 1)
Y[0] = (Y[0] + 1) % 4  # the target is wrong on this one


def margins(z):
    scores = np.asarray(z, np.float64).reshape(30, 6) @ WEIGHTS[0]
    return np.array([max(np.delete(row, i)) - row[i] for row, i in zip(scores, Y)])


@jax.custom_vjp
def without_gradient(z):
    return TARGET(z)


def _refuse(*_):
    raise AssertionError("a gradient of the target was taken")


without_gradient.defvjp(lambda z: (TARGET(z), None), _refuse)


def run(attack, target: Any = without_gradient):
    return jax.jit(lambda key: attack(key, target, X, jnp.asarray(Y)))(jax.random.key(0))


def reference(weights, eps=0.2):
    """FGSM on a linear network with the margin loss: the face of the ball, in closed form."""
    scores = np.asarray(X, np.float64).reshape(30, 6) @ weights
    scores[np.arange(30), Y] -= 1e9
    other = np.argmax(scores, 1)
    direction = (weights[:, other] - weights[:, Y]).T.reshape(30, 3, 2)
    return np.clip(np.asarray(X) + eps * np.sign(direction), 0, 1)


def best_of(*points):
    values = np.stack([margins(z) for z in points])
    return np.stack(points)[np.argmax(values, 0), np.arange(30)]


FGSM = fgsm(FGSMConfig(eps=0.2, loss="margin"))


def test_the_worst_of_clean_and_surrogates_points_is_kept():
    clean = np.asarray(X)
    first, second, mean = (reference(w) for w in (WEIGHTS[1], WEIGHTS[2], (WEIGHTS[1] + WEIGHTS[2]) / 2))
    for ours, exact in [
        (transfer(FGSM, FIRST), best_of(clean, first)),
        (transfer(FGSM, [FIRST, SECOND], "worst"), best_of(clean, first, second)),
        (transfer(FGSM, [FIRST, SECOND]), best_of(clean, mean)),
    ]:
        np.testing.assert_allclose(run(ours), exact, atol=1e-6)
        assert 0 < (margins(exact) > 0).mean() < 1


def test_a_point_that_helps_the_target_is_not_returned():
    exact = best_of(np.asarray(X), reference(-WEIGHTS[0]))
    kept = (exact == np.asarray(X)).all((1, 2))
    assert kept.sum() > 5
    np.testing.assert_array_equal(np.asarray(run(transfer(FGSM, linear(-WEIGHTS[0]))))[kept], exact[kept])


def test_its_own_surrogate_gives_the_white_box_and_stays_in_the_ball():
    attack = pgd(PGDConfig(0.1, 0.03, 5, random_start=False, loss="margin"))
    own = run(transfer(attack, TARGET))
    white = run(attack, TARGET)
    np.testing.assert_allclose(margins(own), margins(white), atol=1e-5)
    other = run(transfer(attack, [FIRST, SECOND], "worst"))
    assert (margins(other) >= margins(X) - 1e-6).all()
    assert (margins(other) <= margins(white) + 1e-5).all()
    assert distance(other, X, "linf").max() <= 0.1 + 1e-6


def test_surrogates_are_attacked_by_keys_of_their_own():
    seen = []

    def noisy(key, logits_fn, x, y):
        seen.append(jax.random.key_data(key))
        return jnp.clip(x + 0.3 * jax.random.normal(key, x.shape), 0, 1)

    transfer(noisy, [FIRST, FIRST], "worst")(jax.random.key(0), TARGET, X, jnp.asarray(Y))
    assert len({tuple(np.asarray(k)) for k in seen}) == 2


def test_nan_of_the_target_counts_as_fooled_and_out_of_range_is_nan():
    def fragile(z):
        moved = jnp.abs(z - X).reshape(30, 6).max(1) > 0
        return jnp.where(moved[:, None], jnp.nan, jax.nn.one_hot(jnp.asarray(Y), 4))

    assert (np.asarray(run(transfer(FGSM, FIRST), fragile)) != np.asarray(X)).any((1, 2)).all()
    bad = np.asarray(X).copy()
    bad[3, 0, 0] = 7
    found = jax.jit(lambda x: transfer(FGSM, FIRST)(jax.random.key(0), TARGET, x, jnp.asarray(Y)))(bad)
    assert jnp.isnan(found[3]).all()
    assert jnp.isfinite(found[4:]).all()


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least one surrogate, got none"):
        transfer(no_attack, [])
    with pytest.raises(ValueError, match="combine 'median' is not known"):
        transfer(no_attack, FIRST, "median")
    with pytest.raises(ValueError, match="surrogate 1 has 5 classes and the target has 4"):
        run(transfer(FGSM, [FIRST, linear(np.ones((6, 5)))]))
