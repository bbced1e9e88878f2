"""Intervention scores against known decoders, and decoders and regressors that do not fit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.representation.intervention_score import interventions, matched

KEY = jax.random.key(0)
Z = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
MIX = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0].astype(np.float32)


@jax.jit
def scores(mixes, reads):
    """Linear decoders [models, 4, 4] and regressors [models, 4, 3]."""

    def of(mix, read):
        return interventions(KEY, lambda z: z @ mix, lambda x: x @ read, Z)

    return jax.vmap(of)(mixes, reads)


def test_responses_of_linear_decoders_have_their_closed_form():
    eye = np.eye(4, dtype=np.float32)
    blind = eye.copy()
    blind[1] = 0  # the decoder ignores code 1
    mixes = np.stack([MIX, eye, blind, MIX])
    reads = np.stack([MIX.T[:, :3], MIX[:, :3], eye[:, :3], eye[:, :3]])
    found = scores(mixes, reads)
    # The regressor undoes the decoder: each factor has a code, and nothing else moves.
    np.testing.assert_allclose(found.score[0], 1, atol=1e-5)
    assert found.code[0].tolist() == [0, 1, 2]
    # Of independent normal codes the mean absolute change grows with the length of the weights; |w| = 1 here.
    for model in (1, 3):
        np.testing.assert_allclose(found.response[model], np.abs(MIX[:, :3]), atol=0.04)
    # A code that the decoder ignores moves nothing, and its factor can be moved by no code.
    np.testing.assert_allclose(found.response[2, 1], 0, atol=1e-6)
    np.testing.assert_allclose(found.target[2], [1, 0, 1], atol=1e-5)
    np.testing.assert_allclose(found.score[2], 2 / 3, atol=1e-5)


def test_more_swaps_change_the_estimate_and_not_what_is_estimated():
    several = interventions(KEY, lambda z: z @ MIX, lambda x: x[:, :3], Z[:500], swaps=3)
    np.testing.assert_allclose(several.response, np.abs(MIX[:, :3]), atol=0.05)


def test_the_matching_gives_each_factor_a_code_of_its_own():
    found = matched(jnp.asarray([[1.0, 0.9], [0.0, 0.5], [0.2, 0.1]]))
    assert found.code.tolist() == [0, 1]
    np.testing.assert_allclose(found.target, [1, 0.5])
    np.testing.assert_allclose(found.off_target, [0.9, 0])
    assert float(found.score) == pytest.approx((0.1 + 0.5) / 2)


def test_values_that_are_not_finite_give_nan():
    read = np.eye(4, dtype=np.float32)[:, :3]
    broken = MIX.copy()
    broken[0, 0] = np.nan
    assert np.isnan(scores(np.stack([broken, MIX, MIX, MIX]), np.stack([read] * 4)).score[0])
    bad = jax.jit(lambda z: interventions(KEY, lambda z: z, lambda x: x, z).score)
    assert np.isnan(bad(jnp.asarray(Z).at[0, 0].set(jnp.inf)))


@pytest.mark.parametrize(
    ("decode", "regressor", "codes", "said"),
    [
        (lambda z: z[:7], lambda x: x, Z, "one observation for each of the 2000 rows of codes, got"),
        (lambda z: z @ MIX[:3], lambda x: x, Z, "the decoder cannot take codes of shape"),
        (lambda z: z[:, :2], lambda x: x @ MIX, Z, "the regressor cannot take the decoder's output of shape"),
        (lambda z: z, lambda x: x[:, 0], Z, r"the regressor must give floats \[2000, factors\]"),
        (lambda z: z, lambda x: jnp.argmax(x, 1, keepdims=True), Z, "the regressor must give floats"),
        (lambda z: z, lambda x: x[:, :1], Z, "needs 2 factors or more"),
        (lambda z: z, lambda x: x, np.ones_like(Z), "codes are constant"),
        (lambda z: jnp.tile(z, 2), lambda x: x, Z, "each factor needs a code of its own, got 4 codes for 8"),
    ],
)
def test_what_does_not_fit_is_refused(decode, regressor, codes, said):
    with pytest.raises(InputError, match=said):
        interventions(KEY, decode, regressor, codes)
