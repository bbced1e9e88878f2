"""Returns, compared with rlax's on one episode, and with a slow loop over terminations and truncations.

The numbers in RLAX were computed once with rlax (its main branch of 30 March 2026, `multistep` and `vtrace`),
on the inputs below, rounded to six digits; a termination there is a discount of 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check
from lrn.rl import returns


def wave(n, phase, scale=1.0):
    return np.round(scale * np.sin(phase + 1.7 * np.arange(n)), 3).astype(np.float32)


T, DISCOUNT = 8, 0.9
REWARDS, VALUES, RATIOS = wave(T, 0.3, 2.0), wave(T + 1, 1.1, 3.0), np.exp(wave(T, 2.0))
ENDED = np.array([0, 0, 0, 1, 0, 0, 0, 0], bool)  # by a termination
RLAX = {
    "discounted": [0.242466, -0.38726, -2.4514, -1.546, 0.564246, -0.99306, -2.4034, -0.716],
    "n_step 1": [1.4955, -0.8207, -1.2841, -1.546, 0.9873, -1.4058, -0.6241, 1.5673],
    "n_step 3": [1.187979, -0.38726, -2.4514, -1.546, 2.005479, 0.856413, -0.34843, 1.5673],
    "n_step 20": [0.242466, -0.38726, -2.4514, -1.546, 2.228771, 0.856413, -0.34843, 1.5673],
    "lambda 0.0": [1.4955, -0.8207, -1.2841, -1.546, 0.9873, -1.4058, -0.6241, 1.5673],
    "lambda 0.7": [0.675447, -0.296672, -2.10121, -1.546, 1.395948, 0.125647, -0.431131, 1.5673],
    "lambda 1.0": [0.242466, -0.38726, -2.4514, -1.546, 2.228771, 0.856413, -0.34843, 1.5673],
    "gae": [-1.998554, -1.301672, 0.83179, -1.297, -1.601052, 0.648647, 2.430869, 0.3063],
    "vtrace errors": [-2.03966, -0.956844, 0.222319, -1.297, -1.74889, 0.289789, 1.757169, 0.3063],
    "vtrace advantages": [-2.03966, -0.956844, 0.222319, -1.297, -1.74889, 0.289789, 1.757169, 0.3063],
    # lambda .6, ratios of the differences cut at 1.5
    "cut errors": [-2.300636, -0.986825, 0.276205, -1.9455, -3.002082, 0.023089, 1.737898, 0.45945],
    "cut advantages": [-2.567079, -0.986826, 0.276205, -1.9455, -2.995848, 0.023089, 1.737898, 0.45945],
}


def equals_rlax(actual, name):
    np.testing.assert_allclose(actual, RLAX[name], rtol=1e-5, atol=1e-5)


def test_discounted_returns_equal_rlax():
    equals_rlax(returns.discounted_returns(REWARDS, ENDED, DISCOUNT), "discounted")


@pytest.mark.parametrize("n", [1, 3, 20])
def test_n_step_returns_equal_rlax(n):
    equals_rlax(returns.n_step(REWARDS, VALUES[1:], ENDED, ENDED, DISCOUNT, n), f"n_step {n}")


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_lambda_returns_equal_rlax(lambda_):
    result = returns.lambda_returns(REWARDS, VALUES[1:], ENDED, ENDED, DISCOUNT, lambda_)
    equals_rlax(result, f"lambda {lambda_}")


def test_gae_equals_rlax():
    equals_rlax(returns.gae(REWARDS, VALUES[:-1], VALUES[1:], ENDED, ENDED, DISCOUNT, 0.7), "gae")


@pytest.mark.parametrize(
    ("name", "options"), [("vtrace", {}), ("cut", {"lambda_": 0.6, "rho_bar": 1.5, "c_bar": 1.0})]
)
def test_vtrace_equals_rlax(name, options):
    v, next_v = VALUES[:-1], VALUES[1:]
    result = returns.vtrace(REWARDS, v, next_v, ENDED, ENDED, RATIOS, DISCOUNT, **options)
    equals_rlax(result.targets - v, f"{name} errors")
    equals_rlax(result.advantages, f"{name} advantages")


# Stretches with terminations and truncations: the references follow the definitions forward, in float64.


@pytest.fixture(scope="module")
def play():
    """A stretch [40, 3] whose episodes end both ways, also at the last step, and both at once (DeepSea)."""
    rng = np.random.RandomState(0)
    shape = (40, 3)
    terminated, truncated = rng.rand(*shape) < 0.15, rng.rand(*shape) < 0.15
    truncated[-1] = [True, False, False]
    terminated[-1] = [False, True, False]
    terminated[5] = truncated[5] = True
    values, next_values = rng.randn(2, *shape)
    # Within an episode the next value is the value of the next step; at the end of an episode it differs.
    next_values[:-1] = np.where((terminated | truncated)[:-1], next_values[:-1], values[1:])
    return {
        "rewards": rng.randn(*shape),
        "values": values,
        "next_values": next_values,
        "terminated": terminated,
        "ended": terminated | truncated,
    }


def without_values(play):
    return {k: v for k, v in play.items() if k != "values"}


def forward(play, t, b, steps, discount=DISCOUNT):
    """The return of ``steps`` steps from t, following the episode until it ends."""
    total, weight = 0.0, 1.0
    for k in range(t, len(play["rewards"])):
        total += weight * play["rewards"][k, b]
        weight *= discount
        if play["terminated"][k, b]:
            return total
        if play["ended"][k, b] or k - t + 1 == steps or k == len(play["rewards"]) - 1:
            return total + weight * play["next_values"][k, b]
    raise AssertionError


def length(play, t, b):
    """Steps from t to the end of its episode, or of the stretch."""
    ends = np.flatnonzero(play["ended"][t:, b])
    return int(ends[0]) + 1 if len(ends) else len(play["ended"]) - t


def each(play, value):
    T, B = play["rewards"].shape
    return np.array([[value(t, b) for b in range(B)] for t in range(T)])


@pytest.mark.parametrize("n", [1, 2, 5, 100])
def test_n_step_by_its_definition(play, n):
    result = returns.n_step(**without_values(play), discount=DISCOUNT, n=n)
    np.testing.assert_allclose(result, each(play, lambda t, b: forward(play, t, b, n)), atol=1e-5)


def mixture(play, t, b, lambda_):
    """The lambda-return as the weighted mean of n-step returns (Sutton and Barto 2018, eq. 12.3)."""
    most = length(play, t, b)
    weights = [(1 - lambda_) * lambda_ ** (n - 1) for n in range(1, most)] + [lambda_ ** (most - 1)]
    return sum(w * forward(play, t, b, n) for n, w in enumerate(weights, 1))


@pytest.mark.parametrize("lambda_", [0.0, 0.4, 0.95, 1.0])
def test_lambda_returns_and_gae_mix_n_step_returns(play, lambda_):
    expected = each(play, lambda t, b: mixture(play, t, b, lambda_))
    result = returns.lambda_returns(**without_values(play), discount=DISCOUNT, lambda_=lambda_)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    advantages = returns.gae(**play, discount=DISCOUNT, lambda_=lambda_)
    np.testing.assert_allclose(advantages, expected - play["values"], atol=1e-5)


def test_discounted_returns_by_their_definition(play):
    none = play | {"next_values": np.zeros_like(play["rewards"])}
    result = returns.discounted_returns(play["rewards"], play["ended"], DISCOUNT)
    np.testing.assert_allclose(result, each(play, lambda t, b: forward(none, t, b, 100)), atol=1e-5)


def test_vtrace_by_its_definition(play):
    """Targets sum temporal differences weighted by products of traces (Espeholt et al. 2018, eq. 1)."""
    rho_bar, c_bar = 1.3, 0.8
    ratios = np.exp(np.random.RandomState(1).randn(*play["rewards"].shape))
    rho, c = np.minimum(ratios, rho_bar), np.minimum(ratios, c_bar)
    delta = rho * (play["rewards"] + DISCOUNT * ~play["terminated"] * play["next_values"] - play["values"])

    def target(t, b):
        steps = range(t, t + length(play, t, b))
        return play["values"][t, b] + sum(
            DISCOUNT ** (s - t) * np.prod(c[t:s, b]) * delta[s, b] for s in steps
        )

    def advantage(t, b):
        last = t == len(delta) - 1
        follows = play["next_values"][t, b] if last or play["ended"][t, b] else target(t + 1, b)
        alive = not play["terminated"][t, b]
        return rho[t, b] * (play["rewards"][t, b] + DISCOUNT * alive * follows - play["values"][t, b])

    result = returns.vtrace(**play, ratios=ratios, discount=DISCOUNT, rho_bar=rho_bar, c_bar=c_bar)
    np.testing.assert_allclose(result.targets, each(play, target), atol=1e-5)
    np.testing.assert_allclose(result.advantages, each(play, advantage), atol=1e-5)


def test_vtrace_on_policy_gives_lambda_returns(play):
    ones = np.ones_like(play["rewards"])
    result = returns.vtrace(**play, ratios=ones, discount=DISCOUNT, lambda_=0.7)
    advantages = returns.gae(**play, discount=DISCOUNT, lambda_=0.7)
    np.testing.assert_allclose(result.targets, play["values"] + advantages, atol=1e-5)


def test_merging_truncation_with_termination_is_another_answer(play):
    right = returns.gae(**play, discount=DISCOUNT, lambda_=0.9)
    wrong = returns.gae(**play | {"terminated": play["ended"]}, discount=DISCOUNT, lambda_=0.9)
    cut = play["ended"] & ~play["terminated"]
    assert cut.any()
    off = np.abs(np.asarray(right - wrong))[cut]
    np.testing.assert_allclose(off, DISCOUNT * np.abs(play["next_values"])[cut], atol=1e-5)


def test_nothing_leaks_between_episodes(play):
    """Steps after the end of an episode, of either kind, do not change the advantages before it."""
    changed = {k: v.copy() for k, v in play.items()}
    changed["rewards"][6:] += 100
    before, after = (np.asarray(returns.gae(**p, discount=DISCOUNT, lambda_=0.95)) for p in (play, changed))
    assert play["ended"][5].all()
    np.testing.assert_array_equal(before[:6], after[:6])
    assert (before[6:] != after[6:]).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e38])
def test_what_follows_a_termination_is_worth_nothing_whatever_it_is(play, value):
    """The value of a terminal observation is ignored, even if infinite or NaN."""
    spoiled = play | {"next_values": np.where(play["terminated"], value, play["next_values"])}
    assert play["terminated"].any()
    ones = np.ones_like(play["rewards"])
    results = [
        (
            returns.n_step(**without_values(p), discount=0.9, n=3),
            returns.lambda_returns(**without_values(p), discount=0.9, lambda_=0.5),
            returns.gae(**p, discount=0.9, lambda_=0.5),
            *returns.vtrace(**p, ratios=ones, discount=0.9, lambda_=0.5),
        )
        for p in (play, spoiled)
    ]
    for clean, other in zip(*results):
        np.testing.assert_array_equal(other, clean)


def test_one_dimension_and_many_agree_with_a_batch(play):
    def call(p):
        ones = np.ones_like(p["rewards"])
        short = without_values(p)
        return (
            returns.discounted_returns(p["rewards"], p["ended"], 0.9),
            returns.n_step(**short, discount=0.9, n=3),
            returns.lambda_returns(**short, discount=0.9, lambda_=0.5),
            returns.gae(**p, discount=0.9, lambda_=0.5),
            *returns.vtrace(**p, ratios=ones, discount=0.9),
        )

    batch = call(play)
    one = call({k: v[:, 1] for k, v in play.items()})
    many = call({k: v[:, None, :, None] for k, v in play.items()})
    for a, b, c in zip(batch, one, many):
        np.testing.assert_allclose(a[:, 1], b, rtol=1e-6)
        np.testing.assert_allclose(a, c[:, 0, :, 0], rtol=1e-6)


def test_the_rates_can_be_traced_and_differentiated(play):
    swept = jax.jit(jax.vmap(lambda g, k: returns.gae(**play, discount=g, lambda_=k)))(
        jnp.array([0.5, 0.9]), jnp.array([0.1, 0.95])
    )
    np.testing.assert_allclose(
        swept[1], returns.gae(**play, discount=0.9, lambda_=0.95), rtol=1e-5, atol=1e-6
    )

    def total(values):
        return returns.gae(**play | {"values": values}, discount=0.9, lambda_=0.0).sum()

    np.testing.assert_array_equal(jax.grad(total)(jnp.zeros((40, 3))), -np.ones((40, 3)))


def test_bad_input_is_one_sentence(play):
    with pytest.raises(check.InputError, match=r"values has shape \(3,\), but rewards \(40, 3\)"):
        returns.gae(**play | {"values": play["values"][0]}, discount=0.9, lambda_=0.9)
    with pytest.raises(check.InputError, match="must have a time axis"):
        returns.discounted_returns(1.0, 0.0, 0.9)
    with pytest.raises(check.InputError, match="n must be at least 1"):
        returns.n_step(REWARDS, VALUES[1:], ENDED, ENDED, 0.9, 0)
