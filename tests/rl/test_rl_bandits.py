"""Bandits, compared with closed forms, proven bounds and the ten-armed testbed of Sutton and Barto."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy import stats as reference

from lrn import check, train
from lrn.rl import bandits
from lrn.rl.bandits.gradient import GradientState
from lrn.rl.bandits.policy import SampleMeans
from lrn.rl.bandits.theory import uniform_regret
from lrn.rl.bandits.thompson import gaussian_posterior
from lrn.rl.bandits.ucb1 import index

MEANS = (0.9, 0.8, 0.5, 0.1)


def policies(arms):
    """One policy of each kind, with settings that use all of its code."""
    return {
        "epsilon-greedy": bandits.epsilon_greedy(arms, bandits.EpsilonGreedyConfig()),
        "decaying epsilon": bandits.epsilon_greedy(
            arms, bandits.EpsilonGreedyConfig(schedule="decaying", gap=0.5)
        ),
        "optimistic": bandits.optimistic(arms, bandits.OptimisticConfig()),
        "optimistic means": bandits.optimistic(arms, bandits.OptimisticConfig(initial=1.0, step="mean")),
        "Boltzmann": bandits.boltzmann(arms, bandits.BoltzmannConfig()),
        "decaying Boltzmann": bandits.boltzmann(arms, bandits.BoltzmannConfig(schedule="decaying")),
        "UCB1": bandits.ucb1(arms, bandits.UCB1Config()),
        "Beta Thompson": bandits.beta_thompson(arms, bandits.BetaThompsonConfig()),
        "Gaussian Thompson": bandits.gaussian_thompson(arms, bandits.GaussianThompsonConfig()),
        "gradient": bandits.gradient(arms, bandits.GradientConfig()),
    }


def fed(policy, pulls):
    """The state after the given (arm, reward) pairs."""
    state = policy.init()
    for arm, reward in pulls:
        state = policy.update(state, jnp.int32(arm), jnp.float32(reward))
    return state


def drawn(policy, state, n=4000, seed=0):
    """The fractions of choices of each arm in a state."""
    arms = jax.vmap(lambda key: policy.choose(key, state))(jax.random.split(jax.random.key(seed), n))
    return np.bincount(np.asarray(arms), minlength=3) / n


def played(bandit, policy, problems, pulls, steps, seed=0):
    """Metrics of each step [steps], and the final state."""
    learner = bandits.play(bandit, policy, problems, pulls)
    init, run = jax.random.split(jax.random.key(seed))

    def go():
        state = learner.init(init, None)
        return jax.lax.scan(lambda s, k: learner.step(k, s, None), state, jax.random.split(run, steps))

    return jax.jit(go)()


# Problems and theory.


def test_pulls_have_the_arms_means():
    keys = jax.random.split(jax.random.key(0), 20_000)
    for bandit in (bandits.bernoulli(means=MEANS), bandits.gaussian(means=MEANS, std=0.5)):
        means = bandit.sample(jax.random.key(1))
        np.testing.assert_allclose(means, MEANS, rtol=1e-6)
        for arm in range(4):
            pulls = jax.vmap(lambda k, b=bandit, a=arm, m=means: b.pull(k, m, jnp.int32(a)))(keys)
            assert (
                abs(float(pulls.mean()) - MEANS[arm]) < 4 * float(pulls.std()) / math.sqrt(len(keys)) + 1e-6
            )


def test_divergences_equal_scipys():
    p, q = np.array([0.2, 0.5, 0.9, 0.0]), np.array([0.6, 0.1, 0.91, 0.5])
    expected = [reference.entropy([a, 1 - a], [b, 1 - b]) for a, b in zip(p, q)]
    divergence = bandits.bernoulli(4).divergence(jnp.asarray(p), jnp.asarray(q))
    np.testing.assert_allclose(divergence, expected, rtol=1e-4, atol=1e-6)
    # The divergence between two normals of equal variance, integrated numerically.
    x = np.linspace(-30, 30, 200_001)
    f, g = reference.norm.pdf(x, 0.3, 2), reference.norm.pdf(x, 1.5, 2)
    integral = np.sum(f * np.log(f / g)) * (x[1] - x[0])
    np.testing.assert_allclose(
        bandits.gaussian(2, std=2.0).divergence(jnp.float32(0.3), jnp.float32(1.5)), integral, rtol=1e-4
    )


def test_lai_robbins_by_hand():
    kl = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    bandit = bandits.bernoulli(means=(0.75, 0.5, 0.75))
    np.testing.assert_allclose(
        bandits.lai_robbins(bandit, jnp.array([[0.75, 0.5, 0.75]])), [0.25 / kl], rtol=1e-5
    )
    # Normal arms: the sum of 2 std^2 / gap.
    bandit = bandits.gaussian(means=(1.0, 0.0, 0.5), std=3.0)
    np.testing.assert_allclose(
        bandits.lai_robbins(bandit, jnp.array([1.0, 0.0, 0.5])), 2 * 9 * (1 + 1 / 0.5), rtol=1e-5
    )


def test_ucb1s_bound_by_hand():
    bound = bandits.ucb1_bound(jnp.array([0.9, 0.8, 0.9, 0.5]), 1000)
    expected = 8 * math.log(1000) * (1 / 0.1 + 1 / 0.4) + (1 + math.pi**2 / 3) * 0.5
    np.testing.assert_allclose(bound, expected, rtol=1e-5)


def test_pseudo_regret_is_pulls_times_gaps():
    bandit = bandits.bernoulli(means=MEANS)
    state, metrics = played(bandit, policies(4)["UCB1"], problems=3, pulls=7, steps=5)
    assert state.pulls.sum(1).tolist() == [35] * 3
    expected = (np.asarray(state.pulls) @ (0.9 - np.array(MEANS))).mean()
    np.testing.assert_allclose(bandits.pseudo_regret(state).mean(), expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["gap"].mean() * 35, expected, rtol=1e-5)
    np.testing.assert_allclose(
        metrics["optimal"].mean(), np.asarray(state.pulls)[:, 0].mean() / 35, rtol=1e-5
    )


# Policies.


def test_sample_means():
    state = fed(policies(3)["UCB1"], [(0, 1.0), (2, 0.5), (0, 0.0), (0, 1.0)])
    assert state.pulls.tolist() == [3, 0, 1]
    np.testing.assert_allclose(state.mean, [2 / 3, 0, 0.5], rtol=1e-6)


def test_epsilon_greedy_explores_as_often_as_it_says():
    policy = bandits.epsilon_greedy(3, bandits.EpsilonGreedyConfig(epsilon=0.3))
    state = fed(policy, [(0, 0.1), (1, 0.9), (2, 0.2)])
    np.testing.assert_allclose(drawn(policy, state), [0.1, 0.8, 0.1], atol=0.025)


def test_decaying_epsilon_follows_auer():
    """At pull t epsilon is min(1, c K / (d^2 t)): here .5 after 599 pulls, and 1 at the start."""
    config = bandits.EpsilonGreedyConfig(schedule="decaying", scale=4.0, gap=0.2)
    policy = bandits.epsilon_greedy(3, config)
    assert drawn(policy, policy.init()).min() > 0.28
    late = SampleMeans(jnp.array([200, 199, 200]), jnp.array([0.1, 0.9, 0.2]))
    np.testing.assert_allclose(drawn(policy, late)[0], (4 * 3 / (0.04 * 600)) / 3, atol=0.025)


def test_optimism_tries_every_arm_and_then_is_greedy():
    policy = bandits.optimistic(3, bandits.OptimisticConfig(initial=5.0, step_size=0.5))
    state = fed(policy, [(0, 1.0), (1, 0.0)])
    np.testing.assert_allclose(state.mean, [3.0, 2.5, 5.0])
    assert drawn(policy, state).tolist() == [0, 0, 1]
    assert drawn(policy, policy.init()).min() > 0.28


def test_optimistic_means_count_the_initial_value_once():
    policy = bandits.optimistic(3, bandits.OptimisticConfig(initial=4.0, step="mean"))
    state = fed(policy, [(0, 1.0), (0, 0.0), (1, 1.0)])
    np.testing.assert_allclose(state.mean, [5 / 3, 2.5, 4.0], rtol=1e-6)


def test_boltzmann_is_a_softmax():
    policy = bandits.boltzmann(3, bandits.BoltzmannConfig(temperature=0.5))
    state = fed(policy, [(0, 0.0), (1, 0.5), (2, 1.0)])
    expected = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    np.testing.assert_allclose(drawn(policy, state), expected, atol=0.025)
    colder = bandits.boltzmann(3, bandits.BoltzmannConfig(temperature=0.5, schedule="decaying"))
    power = np.exp(np.array([0, 1, 2]) * math.log(5))  # three pulls were made: the next divides by ln 5
    np.testing.assert_allclose(drawn(colder, state), power / power.sum(), atol=0.025)


def test_ucb1s_index_by_hand():
    state = SampleMeans(jnp.array([10, 5, 0]), jnp.array([0.6, 0.4, 0.0]))
    bounds = index(state, 2.0)
    expected = [0.6 + math.sqrt(2 * math.log(15) / 10), 0.4 + math.sqrt(2 * math.log(15) / 5)]
    np.testing.assert_allclose(bounds[:2], expected, rtol=1e-6)
    assert bounds[2] == jnp.inf
    policy = policies(3)["UCB1"]
    assert drawn(policy, state).tolist() == [0, 0, 1]
    assert drawn(policy, state._replace(pulls=jnp.array([10, 5, 40]))).tolist() == [0, 1, 0]
    many = index(SampleMeans(jnp.full(3, 2**30, jnp.int32), jnp.zeros(3)), 2.0)  # more pulls than int32 holds
    np.testing.assert_allclose(many, math.sqrt(2 * math.log(3 * 2.0**30) / 2**30), rtol=1e-5)


def test_beta_posterior_is_the_closed_form():
    config = bandits.BetaThompsonConfig(a=2.0, b=3.0)
    policy = bandits.beta_thompson(2, config)
    state = fed(policy, [(0, 1), (0, 1), (0, 0), (1, 0)])
    assert state.a.tolist() == [4.0, 2.0]
    assert state.b.tolist() == [4.0, 4.0]
    # The normalized product of prior and likelihood on a grid is the same density.
    p = np.linspace(0.0005, 0.9995, 1000)
    posterior = reference.beta.pdf(p, 2, 3) * p**2 * (1 - p)
    np.testing.assert_allclose(
        reference.beta.pdf(p, 4, 4), posterior / (posterior.sum() * 0.001), rtol=1e-2, atol=1e-3
    )
    # An arm is drawn with its probability of being the best under the posterior.
    x = np.linspace(0, 1, 2001)
    better = np.sum(reference.beta.pdf(x, 4, 4) * special.betainc(2, 4, x)) / 2000
    np.testing.assert_allclose(drawn(policy, state)[0], better, atol=0.03)


def test_gaussian_posterior_is_the_closed_form():
    """The reference conditions the joint normal distribution of mean and rewards by linear algebra."""
    config = bandits.GaussianThompsonConfig(mean=0.5, std=2.0, noise=1.5)
    rewards = np.array([1.0, 3.0, 2.0])
    state = fed(bandits.gaussian_thompson(2, config), [(0, r) for r in rewards])
    mean, std = gaussian_posterior(state, config)
    covariance = 4.0 + 1.5**2 * np.eye(3)
    gain = np.full(3, 4.0) @ np.linalg.inv(covariance)
    np.testing.assert_allclose(mean, np.array([0.5 + gain @ (rewards - 0.5), 0.5]), rtol=1e-5)
    np.testing.assert_allclose(std, [math.sqrt(4.0 - gain @ np.full(3, 4.0)), 2.0], rtol=1e-5)


def test_a_thompson_arm_is_drawn_as_often_as_it_is_best():
    config = bandits.GaussianThompsonConfig(std=1.0, noise=1.0)
    policy = bandits.gaussian_thompson(2, config)
    state = fed(policy, [(0, 1.0), (0, 1.0), (1, 0.5)])
    mean, std = (np.asarray(x) for x in gaussian_posterior(state, config))
    better = reference.norm.cdf((mean[0] - mean[1]) / math.hypot(*std))
    np.testing.assert_allclose(drawn(policy, state)[0], better, atol=0.03)


@pytest.mark.parametrize("baseline", [True, False])
def test_the_gradient_bandit_ascends_the_expected_reward(baseline):
    """The update, averaged over arms, is the step size times the gradient, for every baseline."""
    config = bandits.GradientConfig(step_size=0.3, baseline=baseline)
    policy = bandits.gradient(4, config)
    preference, means = jnp.array([0.5, -0.2, 0.1, 1.0]), jnp.array(MEANS)
    state = GradientState(preference, jnp.float32(0.37), jnp.int32(5))
    chances = jax.nn.softmax(preference)
    moved = [policy.update(state, jnp.int32(a), means[a]).preference - preference for a in range(4)]
    average = sum(float(chances[a]) * np.asarray(moved[a]) for a in range(4))

    def expected(h):
        e = np.exp(h - h.max())
        return e @ np.array(MEANS) / e.sum()

    h, d = np.asarray(preference, np.float64), 1e-5
    slope = [(expected(h + d * e) - expected(h - d * e)) / (2 * d) for e in np.eye(4)]
    np.testing.assert_allclose(average, 0.3 * np.array(slope), rtol=1e-4, atol=1e-6)


def test_the_baseline_is_the_mean_of_the_rewards_before():
    policy = policies(3)["gradient"]
    state = fed(policy, [(0, 1.0), (1, 0.0), (1, 2.0)])
    assert float(state.mean) == pytest.approx(1.0)
    state = fed(policy, [(0, 7.0)])  # against a baseline of 0, not of 7
    np.testing.assert_allclose(state.preference, 0.1 * 7 * (np.eye(3)[0] - 1 / 3), rtol=1e-5)


# Whole runs.


def test_ucb1_stays_below_its_bound_and_above_lai_robbins():
    """Theorem 1 bounds the expected regret from above, not tightly; Lai and Robbins bound it from below."""
    bandit = bandits.bernoulli(means=(0.9, 0.6, 0.6))
    state, _ = played(bandit, policies(3)["UCB1"], problems=100, pulls=500, steps=10)
    regret = float(bandits.pseudo_regret(state).mean())
    means = jnp.array([0.9, 0.6, 0.6])
    assert regret < float(bandits.ucb1_bound(means, 5000))
    assert regret > float(bandits.lai_robbins(bandit, means)) * math.log(5000)
    assert regret < 0.1 * float(uniform_regret(means, 5000))


@pytest.mark.slow
def test_thompson_beats_ucb1():
    bandit = bandits.bernoulli(10)
    thompson_, ucb = (played(bandit, policies(10)[p], 50, 100, 10)[0] for p in ("Beta Thompson", "UCB1"))
    np.testing.assert_allclose(thompson_.means, ucb.means)  # the same problems
    regrets = [float(bandits.pseudo_regret(s).mean()) for s in (thompson_, ucb)]
    assert regrets[0] < 0.5 * regrets[1]


def test_the_ten_armed_testbed():
    """The statements of Sutton & Barto (2018, section 2.3) on figure 2.2, over 2000 problems.

    The best reward possible is about 1.54; greedy reaches about 1 and finds the best arm in about a third of
    the problems; epsilon .1 takes it about 80% of the time by step 1000, and never more than 91%.
    """
    bandit = bandits.gaussian(10)

    @jax.jit
    @jax.vmap
    def go(epsilon):
        policy = bandits.epsilon_greedy(10, bandits.EpsilonGreedyConfig(epsilon=epsilon))
        return played(bandit, policy, problems=2000, pulls=50, steps=20)

    state, metrics = go(jnp.array([0.0, 0.01, 0.1]))
    assert float(state.means[0].max(1).mean()) == pytest.approx(1.54, abs=0.05)
    greedy, small, large = metrics["optimal"][:, -1].tolist()
    assert 0.3 < greedy < 0.4
    assert 0.75 < large < 0.85
    assert greedy < small < large
    np.testing.assert_allclose(metrics["reward"][jnp.array([0, 2]), -1], [1.05, 1.4], atol=0.08)


@pytest.mark.slow
def test_the_baseline_helps_where_rewards_are_far_from_zero():
    """With means around 4 (section 2.8) the learner with baseline is unaffected, the one without suffers."""
    near = bandits.gaussian(10)
    far = near._replace(sample=lambda key: 4.0 + near.sample(key))
    share = {}
    for baseline in (True, False):
        policy = bandits.gradient(10, bandits.GradientConfig(step_size=0.1, baseline=baseline))
        share[baseline] = float(played(far, policy, problems=500, pulls=50, steps=20)[1]["optimal"][-1])
    assert share[True] > 0.7
    assert share[False] < share[True] - 0.2


@pytest.mark.parametrize("name", list(policies(3)))
def test_every_policy_learns(name):
    bandit = bandits.bernoulli(means=(0.9, 0.1, 0.1))
    state, metrics = played(bandit, policies(3)[name], problems=8, pulls=50, steps=20)
    regret = float(bandits.pseudo_regret(state).mean())
    assert regret < 0.75 * float(uniform_regret(jnp.array([0.9, 0.1, 0.1]), 1000))
    assert metrics["gap"][-1] < metrics["gap"][0]


def test_floats_are_swept_in_one_fit():
    bandit = bandits.gaussian(3)
    configs = [bandits.EpsilonGreedyConfig(epsilon=e) for e in (0.0, 1.0)]
    result = train.fit(
        lambda c: bandits.play(bandit, bandits.epsilon_greedy(3, c), 200, 20), configs, [0], steps=10,
        evaluate=bandits.regret, eval_every=5, progress=False,
    )  # fmt: skip
    assert result.table.final("0", "optimal") > 0.6
    assert result.table.final("1", "optimal") == pytest.approx(1 / 3, abs=0.05)
    assert result.table.curve("1", "regret")[0].tolist() == [0, 5, 10]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bandits.bernoulli(1), "arms must be at least 2"),
        (lambda: bandits.bernoulli(means=(0.5, 1.5)), "a mean must lie between 0 and 1"),
        (lambda: bandits.gaussian(3, std=0.0), "std must be a finite number above 0"),
        (lambda: bandits.EpsilonGreedyConfig(epsilon=1.5), "epsilon must lie between 0 and 1"),
        (lambda: bandits.EpsilonGreedyConfig(schedule="linear"), "schedule 'linear' is not known"),
        (lambda: bandits.BoltzmannConfig(temperature=0.0), "temperature must be a finite number above 0"),
        (lambda: bandits.play(bandits.bernoulli(2), policies(2)["UCB1"], problems=0), "problems must be at"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(check.InputError, match=words):
        make()
