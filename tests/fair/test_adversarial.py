"""Adversarial debiasing: one step by hand, the projection, and gaps that training without it leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_net import GROUP, PARAMS, PLAIN_SGD, WEIGHT, Y, batch, linear, logit, loss, moved, sigmoid

from lrn import nets
from lrn.check import InputError
from lrn.fair import training
from lrn.fair.adversarial import (
    AdversarialConfig,
    adversarial,
    adversary_inputs,
    cosine,
    debiased,
    predictor,
)
from lrn.fair.penalized import PenalizedConfig, fit_penalized, no_penalty
from lrn.supervised.optimizers import OptimizerConfig
from tests import plain
from tests.fair.references.peer_data import data

RIVALS = {
    "demographic_parity": {"w": np.array([[0.7, -0.4]]), "b": np.array([0.1, 0.2])},
    "equalized_odds": {"w": np.array([[0.5, -0.2], [0.7, -0.4], [-0.3, 0.6]]), "b": np.array([0.1, 0.2])},
}


def rival_loss(params, rival, fairness):
    """The adversary's cross-entropy of the groups."""
    z = logit(params)
    seen = z[:, None] if fairness == "demographic_parity" else np.stack([Y, z, Y * z], axis=1)
    log_p = plain.log_softmax(seen @ rival["w"] + rival["b"])
    return -float(np.average(log_p[np.arange(len(Y)), GROUP], weights=WEIGHT))


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize("fairness", RIVALS)
def test_a_step_is_that_of_the_paper(fairness):
    rival = RIVALS[fairness]
    config = AdversarialConfig(PLAIN_SGD, adversary=PLAIN_SGD, alpha=0.7, growth=0.5, fairness=fairness)
    learner = adversarial(linear(params=PARAMS), linear(2, rival), 2, config)
    before = jax.jit(learner.init)(jax.random.key(0), batch())
    before = before._replace(predictor=before.predictor._replace(step=np.int32(3)))
    after, metrics = jax.jit(learner.step)(jax.random.key(1), before, batch())

    own = plain.gradient(loss, PARAMS)
    helps = plain.gradient(lambda p: rival_loss(p, rival, fairness), PARAMS)
    g, h = flat(own), flat(helps)
    # alpha of .7 times the root of 4 steps
    wanted = g - (g @ h) / (h @ h) * h - 1.4 * h
    found = moved(before.predictor.params, after.predictor.params)
    np.testing.assert_allclose(flat(found), wanted, atol=2e-5)
    # The projection of each array alone would give another step.
    each = [
        a - np.vdot(a, b) / np.vdot(b, b) * b - 1.4 * b for a, b in zip(*map(jax.tree.leaves, (own, helps)))
    ]
    assert np.abs(flat(each) - wanted).max() > 0.01

    other = moved(before.adversary.params, after.adversary.params)
    plain.assert_trees_close(
        other, plain.gradient(lambda a: rival_loss(PARAMS, a, fairness), rival), 1e-3, 2e-5
    )
    assert metrics["loss"] == pytest.approx(loss(PARAMS), rel=1e-5)
    assert metrics["adversary_loss"] == pytest.approx(rival_loss(PARAMS, rival, fairness), rel=1e-5)
    assert metrics["cosine"] == pytest.approx(g @ h / np.sqrt(g @ g * (h @ h)), rel=1e-3)
    assert after.predictor.step == 4


def test_the_direction_is_orthogonal_to_what_helps_the_adversary():
    rng = np.random.default_rng(0)
    own, helps = ({"w": rng.normal(size=(3, 4)), "b": rng.normal(size=2)} for _ in range(2))
    with jax.enable_x64(True):
        found = debiased(own, helps, 0.0)
        assert float(cosine(found, helps)) == pytest.approx(0, abs=1e-12)
        along = flat(debiased(own, helps, 2.0)) - flat(found)
        np.testing.assert_allclose(along, -2 * flat(helps))
        nothing = jax.tree.map(np.zeros_like, helps)
        np.testing.assert_array_equal(flat(debiased(own, nothing, 1.0)), flat(own))
        assert float(cosine(own, nothing)) == 0


def gap(decision, kept, group):
    return abs(decision[kept & (group == 1)].mean() - decision[kept & (group == 0)].mean())


@pytest.mark.parametrize(
    "fairness", [pytest.param("demographic_parity", marks=pytest.mark.slow), "equalized_odds"]
)
def test_the_gap_closes_where_training_without_it_has_one(fairness):
    x, y, group = data(1000, 4, 2, 3)
    x = np.concatenate([x, group[:, None]], axis=1).astype(np.float32)
    config = AdversarialConfig(
        OptimizerConfig("adam", 0.02, schedule="cosine", steps=600),
        adversary=OptimizerConfig("adam", 0.05),
        alpha=1.0,
        fairness=fairness,
    )
    net = linear()
    rows = {"x": x, "y": y, "group": group}

    @jax.jit
    def run(key):
        state, _ = training.descend(key, adversarial(net, nets.mlp(2, ()), 2, config), rows, 600)
        plainly = fit_penalized(
            jax.random.key(1),
            net,
            no_penalty,
            x,
            y,
            group,
            2,
            PenalizedConfig(OptimizerConfig("adam", 0.05)),
            steps=300,
        )
        return predictor(net, state)(x), plainly(x)

    fair, plainly = (np.asarray(p) > 0.5 for p in run(jax.random.key(0)))
    events = [y == y] if fairness == "demographic_parity" else [y == 0, y == 1]
    before = max(gap(plainly, kept, group) for kept in events)
    after = max(gap(fair, kept, group) for kept in events)
    assert before > 0.25
    assert after < before / 4
    assert np.mean(fair == y) > 0.72
    assert 0.2 < fair.mean() < 0.8


def test_hidden_wrong_values_give_nan():
    config = AdversarialConfig(PLAIN_SGD, adversary=PLAIN_SGD)
    learner = adversarial(linear(params=PARAMS), linear(2), 2, config)
    state = jax.jit(learner.init)(jax.random.key(0), batch())
    step = jax.jit(learner.step)
    for wrong in (batch(group=GROUP + 1), batch(y=Y + 1), batch(weight=-WEIGHT)):
        after, metrics = step(jax.random.key(1), state, jax.tree.map(np.asarray, wrong))
        assert np.isnan(metrics["loss"])
        assert np.isnan(after.predictor.params["w"]).all()


def test_bad_input():
    key = jax.random.key(0)
    with pytest.raises(InputError, match="alpha must be a finite number, 0 or more"):
        AdversarialConfig(alpha=-1.0)
    with pytest.raises(InputError, match="growth must be a finite number, 0 or more"):
        AdversarialConfig(growth=-1.0)
    with pytest.raises(InputError, match="fairness 'parity' is not known"):
        AdversarialConfig(fairness="parity")
    with pytest.raises(InputError, match="fairness 'parity' is not known"):
        adversary_inputs(jnp.ones(3), jnp.ones(3), "parity")
    with pytest.raises(InputError, match="the adversary must give logits"):
        adversarial(linear(), linear(3), 2, AdversarialConfig()).init(key, batch())
    with pytest.raises(InputError, match="one logit a row"):
        adversarial(linear(2), linear(2), 2, AdversarialConfig()).init(key, batch())


def test_chances_are_those_of_the_predictor():
    learner = adversarial(linear(params=PARAMS), linear(2), 2, AdversarialConfig())
    state = jax.jit(learner.init)(jax.random.key(0), batch())
    found = jax.jit(lambda s, x: predictor(linear(params=PARAMS), s)(x))(state, batch()["x"])
    np.testing.assert_allclose(found, sigmoid(logit(PARAMS)), rtol=1e-5)
