"""Derivatives of every order against exact ones: means over all possible trajectories, in float64."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check
from lrn.meta.rl.dice import dice, loaded_dice, magic_box, sampling_term, score_function
from lrn.rl import returns

STATES, ACTIONS, TIME, DISCOUNT, RATE = 2, 2, 3, 0.8, 0.7
_rng = np.random.default_rng(0)
START = np.array([0.6, 0.4])
MOVES = _rng.dirichlet(np.ones(STATES), size=(STATES, ACTIONS))
REWARDS = _rng.normal(size=(STATES, ACTIONS))
THETA = _rng.normal(size=(STATES, ACTIONS))
# Every trajectory, [time, trajectories].
_paths = list(itertools.product(itertools.product(range(STATES), repeat=TIME), repeat=2))
S, A = (np.array([path[i] for path in _paths]).T for i in (0, 1))
REWARD = REWARDS[S, A]
ENDED = np.zeros(S.shape, bool)
ENDED[-1] = True


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def log_policy(theta):
    """[time, trajectories]."""
    return jax.nn.log_softmax(theta)[S, A]


def chances(theta):
    """The probability of each trajectory."""
    nature = START[S[0]] * np.prod(MOVES[S[:-1], A[:-1], S[1:]], axis=0)
    return nature * jnp.exp(log_policy(theta).sum(0))


def exact(theta):
    """The expected discounted return of the softmax policy, by the flow of states: no trajectories."""
    policy, flow, total = jax.nn.softmax(theta), jnp.asarray(START), jnp.zeros(())
    for t in range(TIME):
        pairs = flow[:, None] * policy
        total = total + DISCOUNT**t * (pairs * REWARDS).sum()
        flow = jnp.einsum("sa,sat->t", pairs, MOVES)
    return total


def true_values(theta):
    """The value of each state at each time, [time + 1, state]."""
    policy = np.exp(theta) / np.exp(theta).sum(-1, keepdims=True)
    values = np.zeros((TIME + 1, STATES))
    for t in reversed(range(TIME)):
        values[t] = (policy * (REWARDS + DISCOUNT * MOVES @ values[t + 1])).sum(-1)
    return values


def gae(values, lambda_):
    """Advantages [time, trajectories] from values [time + 1, state]."""
    now = np.stack([values[t][S[t]] for t in range(TIME)])
    following = np.concatenate([now[1:], np.zeros_like(now[:1])])
    return returns.gae(REWARD, now, following, ENDED, ENDED, DISCOUNT, lambda_)


ANY_VALUES = np.random.default_rng(1).normal(size=(TIME + 1, STATES))
ADVANTAGES = {
    "returns": lambda: gae(np.zeros((TIME + 1, STATES)), 1.0),
    "returns less any baseline": lambda: gae(ANY_VALUES, 1.0),
    "gae of the true values": lambda: gae(true_values(THETA), 0.6),
    "gae of other values": lambda: gae(ANY_VALUES, 0.2),
}


def expectation(form, theta):
    """The mean of a surrogate over the policy's trajectories, whose probabilities are constants."""
    return (jax.lax.stop_gradient(chances(theta)) * form(log_policy(theta))).sum()


def derivatives(f):
    """The value and the first two derivatives at THETA."""
    first = jax.grad(f)
    all_three = (first, jax.jacfwd(first), jax.jacfwd(jax.jacfwd(first)))
    return jax.jit(lambda theta: [d(theta) for d in all_three])(jnp.asarray(THETA))


def test_the_exact_objective():
    """The flow of states equals the sum over trajectories, and its derivatives equal central differences."""
    theta = jnp.asarray(THETA)
    assert float(chances(theta).sum()) == pytest.approx(1, abs=1e-12)
    discounts = DISCOUNT ** np.arange(TIME)[:, None]
    np.testing.assert_allclose((chances(theta) * (discounts * REWARD).sum(0)).sum(), exact(theta), rtol=1e-12)
    gradient, hessian, _ = derivatives(exact)
    np.testing.assert_allclose(gradient, differences(exact), atol=1e-9)
    np.testing.assert_allclose(hessian, differences(jax.grad(exact)), atol=1e-9)
    assert np.abs(hessian).max() > 0.05


def differences(f, h=1e-5):
    """Central differences of f at THETA, the axes of theta last."""
    steps = h * jnp.eye(THETA.size).reshape(-1, *THETA.shape)
    ends = jax.jit(jax.vmap(lambda e: f(THETA + e) - f(THETA - e)))(steps) / (2 * h)
    return np.moveaxis(np.asarray(ends), 0, -1).reshape(*ends.shape[1:], *THETA.shape)


def test_dice_has_the_derivatives_of_the_return_and_its_value():
    form = lambda log_prob: dice(log_prob, REWARD, ENDED, DISCOUNT)  # noqa: E731
    np.testing.assert_allclose(expectation(form, jnp.asarray(THETA)), exact(jnp.asarray(THETA)), rtol=1e-12)
    for found, expected in zip(derivatives(lambda theta: expectation(form, theta)), derivatives(exact)):
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["returns", "returns less any baseline", "gae of the true values"])
def test_loaded_dice_has_the_derivatives_of_the_return(kind):
    form = lambda log_prob: loaded_dice(log_prob, ADVANTAGES[kind](), ENDED, DISCOUNT)  # noqa: E731
    assert float(expectation(form, jnp.asarray(THETA))) == 0
    for found, expected in zip(derivatives(lambda theta: expectation(form, theta)), derivatives(exact)):
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("dependence", [0.0, 0.5])
def test_less_dependence_changes_the_second_derivative_only(dependence):
    advantage = ADVANTAGES["gae of the true values"]()
    form = lambda log_prob: loaded_dice(log_prob, advantage, ENDED, DISCOUNT, dependence)  # noqa: E731
    ours, expected = derivatives(lambda theta: expectation(form, theta)), derivatives(exact)
    np.testing.assert_allclose(ours[0], expected[0], atol=1e-12)
    assert np.abs(ours[1] - expected[1]).max() > 0.002


def test_the_usual_surrogate_fails_from_the_second_derivative_on():
    advantage = ADVANTAGES["returns"]()
    form = lambda log_prob: score_function(log_prob, advantage, ENDED, DISCOUNT)  # noqa: E731
    ours, expected = derivatives(lambda theta: expectation(form, theta)), derivatives(exact)
    np.testing.assert_allclose(ours[0], expected[0], atol=1e-12)
    assert np.abs(ours[1] - expected[1]).max() > 0.5 * np.abs(expected[1]).max()


def test_other_advantages_are_told_apart():
    """The bias with wrong values at lambda below 1, and without the discount of the states."""
    biased = lambda log_prob: loaded_dice(log_prob, ADVANTAGES["gae of other values"](), ENDED, DISCOUNT)  # noqa: E731
    undiscounted = lambda log_prob: loaded_dice(log_prob, ADVANTAGES["returns"](), ENDED)  # noqa: E731
    for form in (biased, undiscounted):
        gradient = jax.grad(lambda theta: expectation(form, theta))(jnp.asarray(THETA))  # noqa: B023
        assert np.abs(gradient - jax.grad(exact)(jnp.asarray(THETA))).max() > 0.005


@pytest.mark.parametrize("objective", [dice, loaded_dice, score_function])
def test_episodes_in_one_stretch_do_not_mix(objective):
    """Two consecutive episodes give the sum of both, with all derivatives; steps of weight 0 add nothing."""
    order = np.random.default_rng(2).permutation(S.shape[1])
    pair = lambda x: jnp.concatenate([x, x[:, order], x])  # noqa: E731
    weight = jnp.concatenate([REWARD, REWARD[:, order], np.zeros_like(REWARD)])

    def together(theta):
        return objective(pair(log_policy(theta)), weight, pair(jnp.asarray(ENDED)), DISCOUNT)

    def apart(theta):
        one = objective(log_policy(theta), REWARD, ENDED, DISCOUNT)
        return one + one[order]

    for d in (lambda f: f, jax.jacfwd, lambda f: jax.jacfwd(jax.jacrev(f))):
        one, other = jax.jit(lambda theta, d=d: (d(together)(theta), d(apart)(theta)))(jnp.asarray(THETA))
        np.testing.assert_allclose(one, other, atol=1e-12)


def meta(form):
    """The mean of the estimated meta-gradient, by two nested derivatives."""

    def adapted(theta):
        return theta + RATE * jax.grad(lambda t: expectation(form, t))(theta)

    return jax.jit(jax.grad(lambda theta: expectation(form, adapted(theta))))(jnp.asarray(THETA))


def test_the_meta_gradient_is_that_of_the_exact_objective():
    expected = differences(lambda theta: exact(theta + RATE * jax.grad(exact)(theta)))
    advantage = ADVANTAGES["returns"]()
    first = lambda log_prob: dice(log_prob, REWARD, ENDED, DISCOUNT)  # noqa: E731
    loaded = lambda log_prob: loaded_dice(log_prob, advantage, ENDED, DISCOUNT)  # noqa: E731
    naive = lambda log_prob: score_function(log_prob, advantage, ENDED, DISCOUNT)  # noqa: E731
    np.testing.assert_allclose(meta(first), expected, atol=1e-8)
    np.testing.assert_allclose(meta(loaded), expected, atol=1e-8)
    assert np.abs(meta(naive) - expected).max() > 0.1 * np.abs(expected).max()


def test_the_sampling_term_completes_e_maml():
    """The mean over one sampled episode of what it adapts to, J(theta + rate g(episode)): not J at the mean.

    Its gradient is that at fixed samples plus the sampling term, here over all pairs of two tasks, each the
    other's baseline.
    """
    theta = jnp.asarray(THETA)
    to_go = ADVANTAGES["returns"]()

    def outcomes(theta):
        """The return after adaptation to each single episode, [trajectories]."""

        def adapted(i):
            one = lambda t: score_function(log_policy(t), to_go, ENDED, DISCOUNT)[i]  # noqa: E731
            return theta + RATE * jax.grad(one)(theta)

        return jax.vmap(lambda i: exact(adapted(i)))(jnp.arange(S.shape[1]))

    expected = differences(lambda theta: (chances(theta) * outcomes(theta)).sum())
    weight = jax.lax.stop_gradient(chances(theta))
    pairs = jnp.asarray(list(itertools.product(range(S.shape[1]), repeat=2)))

    def surrogate(theta, sampling):
        value, likelihood = outcomes(theta), log_policy(theta).sum(0)
        terms = jax.vmap(lambda pair: sampling_term(likelihood[pair], value[pair]).mean())(pairs)
        return (weight * value).sum() + sampling * (weight[pairs].prod(-1) * terms).sum()

    gradient = jax.jit(jax.grad(surrogate))
    np.testing.assert_allclose(gradient(theta, 1.0), expected, atol=1e-8)
    without = gradient(theta, 0.0)
    assert np.abs(without - expected).max() > 0.1 * np.abs(expected).max()


def test_the_magic_box():
    box = lambda x: magic_box(3 * x)  # noqa: E731
    x = jnp.array(-2.0)
    assert [float(f(x)) for f in (box, jax.grad(box), jax.grad(jax.grad(box)))] == [1, 3, 9]


def test_bad_input_is_one_sentence():
    one = jnp.zeros((3, 2))
    with pytest.raises(check.InputError, match=r"reward has shape \[3\], but log_prob \[3, 2\]"):
        dice(one, jnp.zeros(3), one)
    with pytest.raises(check.InputError, match=r"ended has shape \[2\]"):
        loaded_dice(one, one, jnp.zeros(2))
    with pytest.raises(check.InputError, match="log_prob must have a time axis"):
        score_function(jnp.zeros(()), 1.0, True)
    with pytest.raises(check.InputError, match="dependence must lie between 0 and 1"):
        loaded_dice(one, one, one, dependence=1.5)
    with pytest.raises(check.InputError, match=r"must have one shape \[tasks\]"):
        sampling_term(jnp.zeros(3), jnp.zeros(2))
