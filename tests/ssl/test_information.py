"""Estimators of mutual information: loops, gradients, limits with the optimal critic, and bad input."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.data import gaussians
from lrn.ssl.information.donsker_varadhan import donsker_varadhan
from lrn.ssl.information.flo import flo
from lrn.ssl.information.info_nce import info_nce
from lrn.ssl.information.jensen_shannon import jensen_shannon, jensen_shannon_divergence
from lrn.ssl.information.mine import mine, start
from lrn.ssl.information.nwj import nwj
from lrn.ssl.information.smile import smile

N, CLIP, DECAY = 6, 1.0, 0.9
AVERAGE = 0.4  # the logarithm of MINE's moving average before the batch
SCORES = np.random.default_rng(0).normal(size=(N, N)).astype(np.float32) * 2
U = np.random.default_rng(1).normal(size=N).astype(np.float32)


def estimators(scores, u) -> dict:
    return {
        "info_nce": info_nce(scores),
        "nwj": nwj(scores),
        "donsker_varadhan": donsker_varadhan(scores),
        "mine": mine(scores, jnp.asarray(AVERAGE), DECAY)[0],
        "jensen_shannon_divergence": jensen_shannon_divergence(scores),
        "jensen_shannon": jensen_shannon(scores),
        "smile": smile(scores, CLIP),
        "smile without clip": smile(scores, 100.0),
        "flo": flo(scores, u),
    }


VALUES = jax.jit(estimators)
GRADIENTS = jax.jit(jax.jacrev(estimators))


def by_loops() -> dict[str, np.floating]:
    """Every estimator from its definition, one pair at a time, in float64."""
    f, u = SCORES.astype(np.float64), U.astype(np.float64)
    joint = [f[i, i] for i in range(N)]
    others = [f[i, j] for i in range(N) for j in range(N) if i != j]
    log_mean = np.log(np.mean([np.exp(v) for v in others]))
    clipped = np.log(np.mean([np.exp(min(max(v, -CLIP), CLIP)) for v in others]))
    picked = [np.log(np.exp(f[i, i]) / np.mean([np.exp(f[i, j]) for j in range(N)])) for i in range(N)]
    divergence = np.log(2) + 0.5 * np.mean([np.log(1 / (1 + np.exp(-v))) for v in joint])
    divergence += 0.5 * np.mean([np.log(1 - 1 / (1 + np.exp(-v))) for v in others])
    dual = [
        u[i] + np.exp(-u[i]) * np.mean([np.exp(f[i, j] - f[i, i]) for j in range(N) if j != i])
        for i in range(N)
    ]
    return {
        "info_nce": np.mean(picked),
        "nwj": np.mean(joint) - np.mean([np.exp(v - 1) for v in others]),
        "donsker_varadhan": np.mean(joint) - log_mean,
        "mine": np.mean(joint) - log_mean,
        "jensen_shannon_divergence": divergence,
        "jensen_shannon": np.mean(joint) + 1 - np.mean([np.exp(v) for v in others]),
        "smile": np.mean(joint) - clipped,
        "smile without clip": np.mean(joint) - log_mean,
        "flo": 1 - np.mean(dual),
    }


def test_values_equal_loops():
    ours, loops = VALUES(SCORES, U), by_loops()
    for name, value in loops.items():
        assert float(ours[name]) == pytest.approx(value, rel=1e-5, abs=1e-6), name
    half = VALUES(SCORES.astype(jnp.bfloat16), U)
    assert all(value.dtype == jnp.float32 for value in half.values())


def test_gradients_are_those_the_papers_train_by():
    gradient = {name: np.asarray(g, np.float64) for name, g in GRADIENTS(SCORES, U).items()}
    f, off = SCORES.astype(np.float64), ~np.eye(N, dtype=bool)
    joint = np.eye(N) / N
    weight = np.where(off, np.exp(f), 0) / (N * (N - 1))
    sigmoid = 1 / (1 + np.exp(-f))
    classifier = np.where(off, -sigmoid / (N * (N - 1)), (1 - sigmoid) / N)
    softmax = np.exp(f) / np.exp(f).sum(1, keepdims=True)
    average = DECAY * np.exp(AVERAGE) + (1 - DECAY) * weight.sum()
    expected = {
        "info_nce": joint - softmax / N,
        "nwj": joint - weight / np.e,
        "donsker_varadhan": joint - weight / weight.sum(),
        "mine": joint - weight / average,
        "jensen_shannon_divergence": classifier / 2,
        "jensen_shannon": classifier,
        "smile": classifier,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(gradient[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_the_moving_average_of_mine():
    batch = np.log(np.mean(np.exp(SCORES.astype(np.float64))[~np.eye(N, dtype=bool)]))
    average = jax.jit(lambda old: mine(jnp.asarray(SCORES), old, DECAY)[1])
    assert float(average(start())) == pytest.approx(batch, rel=1e-5)
    second = average(jnp.asarray(AVERAGE))
    assert np.exp(second) == pytest.approx(DECAY * np.exp(AVERAGE) + (1 - DECAY) * np.exp(batch), rel=1e-5)


def test_constants_and_functions_of_x_do_not_matter_where_the_docstrings_say_so():
    a, shifted, rows = (
        VALUES(scores.astype(np.float32), U)
        for scores in (SCORES, SCORES + 3, SCORES + 3 * np.arange(N)[:, None])
    )
    for name in ("info_nce", "donsker_varadhan", "mine", "flo"):
        assert float(shifted[name]) == pytest.approx(float(a[name]), abs=1e-4)
    for name in ("info_nce", "flo"):
        assert float(rows[name]) == pytest.approx(float(a[name]), abs=1e-4)
    for name in ("nwj", "smile", "jensen_shannon"):
        assert abs(float(shifted[name] - a[name])) > 0.1


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_non_finite_scores_give_nan_in_value_and_gradient(wrong):
    scores = SCORES.copy()
    scores[2, 3] = wrong
    for name, value in VALUES(scores, U).items():
        assert np.isnan(value), name
    for name, value in GRADIENTS(scores, U).items():
        assert np.isnan(value).all(), name
    assert np.isnan(VALUES(SCORES, np.where(np.arange(N) == 1, wrong, U).astype(np.float32))["flo"])


def test_large_scores_overflow_only_where_the_value_does():
    values = VALUES((SCORES + 200).astype(np.float32), U)
    for name in ("info_nce", "donsker_varadhan", "mine", "smile without clip", "flo"):
        assert np.isfinite(values[name]), name
    assert values["nwj"] == -np.inf


# One dimension, so that integrals over the product distribution are sums over a grid.

RHO, LIMIT = 0.9, 1.0


def integrals() -> dict[str, float]:
    """The limits of infinitely many samples with the optimal critic, by quadrature in float64."""
    grid = np.linspace(-9, 9, 1801)
    density = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi) * (grid[1] - grid[0])
    product = density[:, None] * density[None]
    x, y = grid[:, None], grid[None]
    log_r = -0.5 * np.log(1 - RHO**2) - (RHO**2 * (x**2 + y**2) - 2 * RHO * x * y) / (2 * (1 - RHO**2))
    r = np.exp(log_r)
    mi = np.sum(product * r * log_r)
    assert mi == pytest.approx(-0.5 * np.log(1 - RHO**2), rel=1e-6)
    middle = (1 + r) / 2
    divergence = 0.5 * np.sum(product * (r * (log_r - np.log(middle)) - np.log(middle)))
    clipped = np.log(np.sum(product * np.exp(np.clip(log_r, -LIMIT, LIMIT))))
    return {"information": mi, "jensen_shannon_divergence": divergence, "clipped": clipped}


def test_the_optimal_critic_gives_the_known_limits():
    """Means over 400 batches of 64 against quadrature, within four standard errors."""

    @jax.jit
    def batches(key):
        def one(key):
            x, y = gaussians.sample(key, 64, 1, RHO)
            f = gaussians.log_ratio(x, y, RHO)
            return {
                "nwj": nwj(f + 1),
                "jensen_shannon": jensen_shannon(f),
                "flo": flo(f, -jnp.diagonal(f)),
                "donsker_varadhan": donsker_varadhan(f),
                "jensen_shannon_divergence": jensen_shannon_divergence(f),
                # Without the mean of the joint pairs, whose variance hides the effect of the clip.
                "clipped": jnp.mean(jnp.diagonal(f)) - smile(f, LIMIT),
                "info_nce": info_nce(f),
            }

        return jax.lax.map(one, jax.random.split(key, 400))

    values = {name: np.asarray(v, np.float64) for name, v in batches(jax.random.key(0)).items()}
    mean = {name: v.mean() for name, v in values.items()}
    error = {name: v.std() / 20 for name, v in values.items()}
    limit = integrals()
    for name in ("nwj", "jensen_shannon", "flo"):  # unbiased at the optimum
        assert abs(mean[name] - limit["information"]) < 4 * error[name], name
        assert error[name] < 0.03
    assert (
        abs(mean["jensen_shannon_divergence"] - limit["jensen_shannon_divergence"])
        < 4 * error["jensen_shannon_divergence"]
    )
    # The log of a mean over n (n - 1) pairs has a bias of about minus its variance over 2.
    assert abs(mean["clipped"] - limit["clipped"]) < 4 * error["clipped"] + 0.001
    assert abs(limit["clipped"]) > 5 * error["clipped"]
    assert -4 * error["donsker_varadhan"] < mean["donsker_varadhan"] - limit["information"] < 0.1
    assert mean["info_nce"] < limit["information"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda f: info_nce(f[:, :3]), r"\[n, n\] with n of 2 or more"),
        (lambda f: nwj(f[:1, :1]), r"\[n, n\] with n of 2 or more"),
        (lambda f: donsker_varadhan(f.astype(int)), "scores must be floats"),
        (lambda f: smile(f, 0.0), "clip"),
        (lambda f: mine(f, start(), 1.5), "decay"),
        (lambda f: flo(f, jnp.ones((N, 1))), "u must be"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(jnp.asarray(SCORES))
