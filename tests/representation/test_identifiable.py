"""Nonlinear recovery: losses by loops, and sources that are found with side information and not without."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import linear_sum_assignment

from lrn import nets
from lrn.check import InputError
from lrn.data import mixing, sources
from lrn.representation import few_labels as few
from lrn.representation import interventional as causal
from lrn.representation import paired_views as paired
from lrn.representation import permutation_contrastive as pcl
from lrn.representation import time_contrastive as tcl
from lrn.supervised.learner import SupervisedConfig
from lrn.supervised.optimizers import OptimizerConfig

DIM = 2
TURN = jnp.array([[1.0, 0.8], [-0.7, 1.0]])  # mixes two sources about equally


def matched(a, b):
    """The mean absolute correlation of the best matching of columns."""
    table = np.abs(np.corrcoef(np.asarray(a).T, np.asarray(b).T)[: a.shape[1], a.shape[1] :])
    rows, columns = linear_sum_assignment(-table)
    return table[rows, columns].mean()


def trained(learner, data, steps, batch=256):
    """The state after steps on random rows, and the metrics of all steps."""
    data = {k: jnp.asarray(v) for k, v in data.items()}
    n = len(next(iter(data.values())))

    @jax.jit
    def run(key, data):
        first, rest = jax.random.split(key)
        state = learner.init(first, {k: v[:batch] for k, v in data.items()})

        def step(state, key):
            rows_key, step_key = jax.random.split(key)
            rows = jax.random.randint(rows_key, (batch,), 0, n)
            return learner.step(step_key, state, {k: v[rows] for k, v in data.items()})

        return jax.lax.scan(step, state, jax.random.split(rest, steps))

    return run(jax.random.key(9), data)


def optimizer(steps, rate=1e-2):
    return OptimizerConfig("adam", rate, schedule="cosine", steps=steps)


@pytest.mark.slow
def test_time_contrastive_features_are_functions_of_single_sources():
    made = sources.nonstationary(jax.random.key(0), 30, 200, DIM, 6.0)
    x = made.s @ TURN
    net, steps = nets.mlp(DIM, (32,)), 1500
    learner = tcl.time_contrastive(net, 30, SupervisedConfig(optimizer(steps)))
    state, _ = trained(learner, {"x": x, "label": made.segment}, steps)
    _, found = tcl.unmix(jax.random.key(2), net, state, x)
    assert matched(found, np.abs(made.s)) > 0.85
    assert matched(np.abs(x), np.abs(made.s)) < 0.85


def test_the_score_of_neighbors_by_loops():
    rng = np.random.default_rng(0)
    params: dict[str, Any] = {k: rng.normal(size=3) for k in ("now", "past", "shift", "own", "own shift")} | {
        "bias": 0.4
    }
    now, past = rng.normal(size=(2, 5, 3))
    found = jax.jit(pcl.score)(jax.tree.map(jnp.float32, params), now, past)
    for i in range(5):
        total = params["bias"]
        for j in range(3):
            total += abs(params["own"][j] * now[i, j] + params["own shift"][j])
            total -= abs(params["now"][j] * now[i, j] + params["past"][j] * past[i, j] + params["shift"][j])
        assert found[i] == pytest.approx(total, rel=1e-4)


@pytest.mark.slow
def test_permutation_contrastive_features_are_sources():
    s = sources.autoregressive(jax.random.key(3), 6001, DIM, 0.8)
    x = s @ TURN
    net, steps = nets.mlp(DIM, (32,)), 1500
    learner = pcl.permutation_contrastive(net, pcl.PermutationContrastiveConfig(optimizer(steps)))
    state, metrics = trained(learner, {"x": x[1:], "before": x[:-1]}, steps)
    assert metrics["loss"][0] > metrics["loss"][-50:].mean()
    assert matched(pcl.features_of(net, state, x), s) > 0.95
    assert matched(x, s) < 0.9


def test_interventions_identify_causal_sources():
    environment: Any = np.arange(9000, dtype=np.int32) % 3

    @jax.jit
    def drawn(first, second):
        s = sources.intervened(second, sources.causes(first, DIM, 1.5), environment)
        return s, s @ TURN

    s, x = drawn(jax.random.key(0), jax.random.key(1))
    net, steps = nets.mlp(DIM, ()), 1500
    learner = causal.interventional(net, causal.InterventionalConfig(optimizer(steps)))
    state, metrics = trained(learner, {"x": x, "environment": environment}, steps)
    codes = causal.codes_of(net, state, x)
    assert matched(codes, s) > 0.95
    assert matched(x, s) < 0.9
    assert np.mean(np.asarray(metrics["loss"])[-50:]) < 0.5


def test_the_log_odds_of_interventions_hold_the_true_ones():
    """With the parameters of the model the odds are those of the densities, for every row."""
    weight, shift, scale = 1.5, 2.0, 0.7
    s = np.random.default_rng(1).normal(size=(6, 2))
    odds = {
        "constant": np.array([-(shift**2) / (2 * scale**2), -(shift**2) / (2 * scale**2)]) - math.log(scale),
        "square": np.full(2, 1 / (2 * scale**2)),
        "linear": np.full(2, shift / scale**2),
        "causes": np.array([[1, 0], [-weight, 1]]) / math.sqrt(2),
    }
    found = jax.jit(causal.log_odds)(jax.tree.map(jnp.float32, odds), jnp.float32(s))

    def log_normal(v, mean, std):
        return -((v - mean) ** 2) / (2 * std**2) - math.log(std)

    for i, (a, b) in enumerate(s):
        np.testing.assert_allclose(found[i, 0], log_normal(a, shift, scale) - log_normal(a, 0, 1), atol=1e-4)
        true = log_normal(b, shift, scale) - log_normal(b, weight * a, 1)
        np.testing.assert_allclose(found[i, 1], true, atol=1e-4)
    causes = np.array([[5.0, 0.3], [-0.8, 2.0]])
    others = np.array([[0, 0.3], [-0.8, 0]])
    expected = 0.5 * (np.trace(expm(others**2)) - 2) + 0.1 * 1.1
    config = causal.InterventionalConfig(acyclic=0.5, sparse=0.1)
    given = jax.jit(lambda causes: causal.penalty(causes, config))(jnp.float32(causes))
    assert float(given) == pytest.approx(expected, rel=1e-5)


def test_pairs_identify_sources_by_the_l1_distance():
    rng = np.random.default_rng(4)
    s = rng.uniform(-(3**0.5), 3**0.5, (4000, DIM))
    partner = s + 0.3 * rng.laplace(size=s.shape)
    net, steps = nets.mlp(DIM, ()), 800
    data: Any = {"x": np.float32(s @ TURN), "partner": np.float32(partner @ TURN)}
    learner = paired.paired_views(net, paired.PairedViewsConfig(optimizer(steps, 0.03)))
    state, _ = trained(learner, data, steps, 64)
    assert matched(paired.codes_of(net, state, data["x"]), s) > 0.97
    assert matched(data["x"], s) < 0.9


def test_distances_by_loops():
    a, b = np.random.default_rng(2).normal(size=(2, 4, 3)).astype(np.float32)
    b[0] = a[0]
    both = jax.jit(jax.value_and_grad(lambda a, power: jnp.sum(paired.distances(a, b, power))))
    for power in (1.0, 2.0):
        found, slope = both(a, power)
        loop = sum(abs(p - q) ** power for x in a for y in b for p, q in zip(x, y))
        assert found == pytest.approx(loop, rel=1e-5)
        assert np.isfinite(slope).all()


@pytest.mark.slow
def test_few_labels_name_the_codes():
    s = sources.independent(jax.random.key(6), 2000, DIM, "uniform")
    x = mixing.leaky_mlp(jax.random.key(12), DIM, 2).forward(s)
    labeled = np.arange(2000) < 100
    factors = np.where(labeled[:, None], s, np.nan)  # the others are not read
    encoder, decoder, steps = nets.mlp(DIM, (32,)), nets.mlp(DIM, (32,)), 800
    learner = few.few_labels(encoder, decoder, few.FewLabelsConfig(optimizer(steps)))
    state, metrics = trained(learner, {"x": x, "factors": factors, "labeled": labeled}, steps)
    codes = few.codes_of(encoder, state, x)
    assert np.mean((np.asarray(codes) - np.asarray(s)) ** 2) < 0.1
    back = few.decode(decoder, state, codes)
    assert np.mean((np.asarray(back) - np.asarray(x)) ** 2) < 0.05 * float(jnp.var(x))
    assert float(metrics["loss"][-1]) == pytest.approx(
        float(metrics["reconstruction"][-1] + metrics["labels"][-1]), rel=1e-5
    )


NET = nets.mlp(2, ())
BATCH = {"x": jnp.ones((4, 2)), "environment": jnp.zeros(4, int)}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tcl.time_contrastive(nets.mlp(2, ()), 1, SupervisedConfig()), "segments"),
        (lambda: _init(pcl.permutation_contrastive(NET, pcl.PermutationContrastiveConfig())), "before"),
        (lambda: _init(paired.paired_views(nets.mlp(2, ()), paired.PairedViewsConfig())), "partner"),
        (lambda: _init(few.few_labels(nets.mlp(2, ()), nets.mlp(2, ()), few.FewLabelsConfig())), "labeled"),
        (lambda: causal.interventional(nets.mlp(2, ()), causal.InterventionalConfig()).init(
            jax.random.key(0), {"x": jnp.ones((4, 2)), "environment": jnp.zeros(4)}), "environment"),
        (lambda: few.few_labels(nets.mlp(2, ()), nets.mlp(2, ()), few.FewLabelsConfig()).init(
            jax.random.key(0), {**BATCH, "factors": jnp.ones((4, 2)), "labeled": jnp.ones((4, 1), bool)}),
            r"bool \(4, 1\) for inputs \(4, 2\)"),
        (lambda: paired.paired_views(NET, paired.PairedViewsConfig()).init(
            jax.random.key(0), {**BATCH, "partner": jnp.ones((3, 2))}), "entry 'partner' of the form"),
        (lambda: paired.paired_views(NET, paired.PairedViewsConfig()).init(
            jax.random.key(0), {"x": jnp.ones((4, 2), int), "partner": jnp.ones((4, 2), int)}), "floats"),
        (lambda: causal.InterventionalConfig(acyclic=-1.0), "acyclic"),
        (lambda: paired.PairedViewsConfig(power=0.5), "power"),
        (lambda: paired.PairedViewsConfig(temperature=0.0), "temperature"),
        (lambda: few.FewLabelsConfig(labels=-1.0), "labels"),
        (lambda: paired.distances(jnp.ones((2, 2)), jnp.ones((2, 3)), 1.0), "codes"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_by_recoveries(call, said):
    with pytest.raises(InputError, match=said):
        call()


def _init(learner):
    return jax.eval_shape(learner.init, jax.random.key(0), BATCH)


def test_wrong_environments_make_loss_and_parameters_nan():
    net = nets.mlp(2, ())
    learner = causal.interventional(net, causal.InterventionalConfig())
    state = jax.jit(learner.init)(jax.random.key(0), BATCH)
    step = jax.jit(learner.step)
    for environment, right in (([0, 1, 2, 1], True), ([0, 1, 2, 3], False), ([1, 1, 2, 2], False)):
        batch = {**BATCH, "environment": np.array(environment)}
        after, metrics = step(jax.random.key(1), state, batch)
        leaves = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(after.params["odds"])])
        assert np.isfinite(metrics["loss"]) == right
        assert np.isfinite(leaves).all() if right else np.isnan(leaves).all()
