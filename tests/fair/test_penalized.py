"""Penalized training against NumPy, finite differences and scikit-learn; the MLP in the reduction."""

import dataclasses

import jax
import numpy as np
import pytest
from linear_net import (
    GROUP,
    PARAMS,
    PLAIN_SGD,
    WEIGHT,
    Y,
    batch,
    linear,
    logit,
    loss,
    moved,
    sigmoid,
)
from sklearn.linear_model import LogisticRegression

from lrn import nets, train
from lrn.check import InputError
from lrn.config import grid
from lrn.data.sampler import minibatch
from lrn.fair import training
from lrn.fair.exponentiated_gradient import ReductionConfig, expected_decision, exponentiated_gradient
from lrn.fair.mlp import MLPConfig, mlp_fit
from lrn.fair.penalized import PenalizedConfig, fit_penalized, no_penalty, on_scores, penalized
from lrn.fair.penalties import covariance_penalty
from lrn.supervised.optimizers import OptimizerConfig
from tests import plain
from tests.fair.references.peer_data import data

PARITY = on_scores(covariance_penalty, 2)
ODDS = on_scores(covariance_penalty, 2, given_label=True)
ADAM = OptimizerConfig("adam", 0.05)


def covariance(score, kept):
    """The penalty by NumPy's covariance of copies of rows."""
    rows = np.repeat(np.arange(len(Y)), (WEIGHT * kept).astype(int))
    cov = [np.cov(score[rows], GROUP[rows] == g, bias=True)[0, 1] for g in range(2)]
    return float(np.square(cov).sum())


@pytest.mark.parametrize(
    ("penalty", "wanted"),
    [
        (PARITY, lambda z: covariance(sigmoid(z), np.ones(len(Y)))),
        (on_scores(covariance_penalty, 2, of="logit"), lambda z: covariance(z, np.ones(len(Y)))),
        (ODDS, lambda z: sum(covariance(sigmoid(z), label == Y) for label in (0, 1))),
    ],
)
def test_a_step_descends_the_loss_and_the_penalty(penalty, wanted):
    learner = penalized(linear(params=PARAMS), penalty, 2, PenalizedConfig(PLAIN_SGD, strength=7.0))
    before = jax.jit(learner.init)(jax.random.key(0), batch())
    after, metrics = jax.jit(learner.step)(jax.random.key(1), before, batch())
    gradient = plain.gradient(lambda p: loss(p) + 7 * wanted(logit(p)), PARAMS)
    plain.assert_trees_close(moved(before.params, after.params), gradient, 1e-4, 1e-5)
    assert metrics["loss"] == pytest.approx(loss(PARAMS), rel=1e-5)
    assert metrics["penalty"] == pytest.approx(wanted(logit(PARAMS)), rel=1e-4)
    right = np.average((logit(PARAMS) > 0) == (Y == 1), weights=WEIGHT)
    assert metrics["accuracy"] == pytest.approx(right, rel=1e-5)
    assert metrics["gradient_norm"] == pytest.approx(plain.global_norm(gradient), rel=1e-4)


def test_without_strength_the_fit_is_logistic_regression():
    x, y, group = data(300, 4, 2, 5)
    x, w = x.astype(np.float32), np.random.default_rng(0).integers(0, 3, 300).astype(np.float32)

    @jax.jit
    def run(x, y, w):
        config = PenalizedConfig(ADAM, strength=0.0)
        fit = fit_penalized(jax.random.key(0), linear(), PARITY, x, y, group, 2, config, w, steps=600)
        return fit(x)

    model = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(x, y, sample_weight=w)
    found = run(x, y, w)
    np.testing.assert_allclose(found, model.predict_proba(x)[:, 1], atol=3e-3)
    assert np.isnan(run(x, y + 1, w)).all()
    assert np.isnan(run(x, y, -w)).all()
    assert np.isnan(run(x, y, 0 * w)).all()


def test_strengths_under_vmap_copies_of_rows_and_names_of_groups():
    x, y, group = data(300, 4, 2, 5)
    x, w = x.astype(np.float32), np.random.default_rng(0).integers(0, 3, 300)

    def one(strength, x, y, group, w, penalty=PARITY):
        config = PenalizedConfig(ADAM, strength=strength)
        fit = fit_penalized(jax.random.key(0), linear(), penalty, x, y, group, 2, config, w, steps=200)
        return fit(x)

    strengths = np.array([0.0, 2.0, 50.0], np.float32)
    sweep = jax.jit(jax.vmap(one, in_axes=(0, None, None, None, None)))
    found = np.asarray(sweep(strengths, x, y, group, w.astype(np.float32)))
    alone = jax.jit(one)
    copies = np.repeat(np.arange(300), w)
    for i in (1, 2):
        again = alone(strengths[i], x, y, group, w.astype(np.float32))
        np.testing.assert_allclose(found[i], again, atol=1e-4)
    renamed = alone(strengths[1], x, y, 1 - group, w.astype(np.float32))
    np.testing.assert_allclose(found[1], renamed, atol=1e-4)
    doubled = jax.jit(one)(
        strengths[1], x[copies], y[copies], group[copies], np.ones(len(copies), np.float32)
    )
    np.testing.assert_allclose(found[1][copies], doubled, atol=1e-3)
    gaps = [abs(p[copies][group[copies] == 1].mean() - p[copies][group[copies] == 0].mean()) for p in found]
    assert gaps[0] > 0.12
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < gaps[0] / 2.5


def test_a_label_that_a_batch_lacks_counts_nothing():
    few = batch(Y == 0)
    people = jax.jit(training.read, static_argnums=1)(few, 2)
    z = logit(PARAMS).astype(np.float32)[Y == 0]
    run = jax.jit(jax.value_and_grad(lambda z: ODDS(jax.random.key(0), z, people)))
    value, gradient = run(z)
    assert value == pytest.approx(covariance(sigmoid(logit(PARAMS)), Y == 0), rel=1e-4)
    assert np.isfinite(gradient).all()
    nothing = people._replace(weights=0 * people.weights)
    assert jax.jit(lambda z: ODDS(jax.random.key(0), z, nothing))(z) == 0


def test_a_hidden_infinite_input_gives_nan_also_where_the_network_bounds_it():
    read = jax.jit(lambda x: training.read(batch(x=x), 2).weights)
    assert np.isnan(read(np.full((24, 3), np.inf, np.float32))).all()
    np.testing.assert_array_equal(read(batch()["x"]), WEIGHT)


@pytest.mark.slow
def test_the_driver_sweeps_strengths_and_rates():
    x, y, group = data(400, 4, 2, 5)
    rows = {"x": x.astype(np.float32), "y": y.astype(np.int32), "group": group.astype(np.int32)}
    found = train.fit(
        lambda config: penalized(nets.mlp(1, ()), PARITY, 2, config),
        grid(PenalizedConfig(ADAM), strength=[0.0, 200.0]),
        [0, 1], steps=200, log_every=100, data=rows,
        sampler=minibatch(200, columns=("x", "y", "group")), progress=False,
    )  # fmt: skip
    gaps = {}
    for arm in found.arms:
        state = found.lane(arm, 0)
        p = np.asarray(training.predictor(nets.mlp(1, ()), state)(rows["x"]))
        gaps[arm] = p[group == 1].mean() - p[group == 0].mean()
    first, last = (gaps[arm] for arm in found.arms)
    assert first > 0.12
    assert abs(last) < first / 2.5


def rings(n):
    """Labels that no linear model finds, with other base rates in the two groups."""
    rng = np.random.default_rng(3)
    group = rng.integers(0, 2, n)
    x = np.concatenate([rng.normal(size=(n, 2)), group[:, None]], axis=1)
    y = (np.square(x[:, :2]).sum(1) < 1.0 + 0.8 * group).astype(int)
    return x.astype(np.float32), y, group


@pytest.mark.slow
def test_an_mlp_is_a_model_of_the_reduction():
    x, y, group = rings(300)
    fit = mlp_fit(MLPConfig(OptimizerConfig("adam", 0.05), (8,), steps=100))

    @jax.jit
    def run(x, y):
        plainly = fit(x, y)(x)
        found = exponentiated_gradient(fit, x, y, group, 2, ReductionConfig(bound=0.05, eps=0.05, rounds=3))
        return plainly, found, expected_decision(found, x)

    plainly, found, p = run(x, y)
    gap = lambda d: abs(d[group == 1].mean() - d[group == 0].mean())  # noqa: E731
    assert np.mean((plainly > 0.5) == y) > 0.93
    assert gap(np.asarray(plainly > 0.5, float)) > 0.15
    assert gap(np.asarray(p)) < 0.12
    assert found.violation < 0.06
    assert found.error < 0.2


@pytest.mark.slow
def test_mlp_fits_under_vmap_and_minibatches():
    x, y, _ = rings(200)
    w = np.random.default_rng(0).integers(0, 2, (2, 200)).astype(np.float32)
    config = MLPConfig(OptimizerConfig("adam", 0.05), (8,), steps=60)

    def one(w):
        few = mlp_fit(dataclasses.replace(config, batch_size=100))
        return mlp_fit(config)(x, y, w)(x), few(x, y, w)(x)

    together, few = jax.jit(jax.vmap(one))(w)
    alone, _ = jax.jit(one)(w[1])
    np.testing.assert_allclose(together[1], alone, atol=1e-3)
    assert np.abs(together[0] - together[1]).max() > 0.05
    assert np.average((few[0] > 0.5) == y, weights=w[0]) > 0.85
    assert np.abs(few[0] - together[0]).max() > 0.05


def test_bad_input():
    config, key = PenalizedConfig(PLAIN_SGD), jax.random.key(0)
    learner = penalized(linear(), PARITY, 2, config)
    with pytest.raises(InputError, match="strength must be a finite number, 0 or more"):
        PenalizedConfig(strength=-1.0)
    with pytest.raises(InputError, match="entry 'group'"):
        learner.init(key, {"x": batch()["x"], "y": batch()["y"]})
    with pytest.raises(InputError, match="group must lie between 0 and 1"):
        learner.init(key, batch(group=GROUP + 1))
    with pytest.raises(InputError, match="label must be 0 or 1"):
        learner.init(key, batch(y=Y + 1))
    with pytest.raises(InputError, match="not finite"):
        learner.init(key, batch(x=np.full((24, 3), np.nan, np.float32)))
    with pytest.raises(InputError, match="one logit a row"):
        penalized(linear(2), PARITY, 2, config).init(key, batch())
    broken = penalized(linear(), lambda key, z, people: z, 2, config)
    with pytest.raises(InputError, match="penalty must be a scalar"):
        jax.eval_shape(broken.step, key, learner.init(jax.random.key(1), batch()), batch())
    with pytest.raises(InputError, match="of 'chances' is not known"):
        on_scores(covariance_penalty, 2, of="chances")
    with pytest.raises(InputError, match="hidden must be a tuple"):
        MLPConfig(hidden=[8])  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="steps must be at least 1"):
        MLPConfig(steps=0)
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        fit_penalized(key, linear(), no_penalty, batch()["x"], Y, GROUP, 2, config, steps=1, batch_size=0)
