"""Linear methods, compared with projected fixed points, closed forms and Baird's counterexample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check
from lrn.rl import identity, linear, mdp
from lrn.rl.env import merge_truncation
from lrn.rl.linear import baird
from lrn.rl.linear.lstd import System
from lrn.rl.tabular import Schedule

METHODS = {
    "td": (linear.semi_gradient_td, linear.LinearTDConfig),
    "tdc": (linear.tdc, linear.TDCConfig),
    "emphatic": (linear.emphatic_td, linear.LinearTDConfig),
    "lstd": (linear.lstd, linear.LSTDConfig),
}


def run(learner_of, steps, cases, seeds=4):
    """The weights after each step of ``learner_of(case)`` for every case, [case, seeds, steps, feature]."""

    def one(case, key):
        learner = learner_of(case)
        first, rest = jax.random.split(key)

        def step(state, key):
            state, _ = learner.step(key, state, None)
            return state, state.learnt.weights

        return jax.lax.scan(step, learner.init(first, None), jax.random.split(rest, steps))[1]

    def all_seeds(case):
        return jax.vmap(one, (None, 0))(case, jax.random.split(jax.random.key(0), seeds))

    return np.asarray(jax.jit(jax.vmap(all_seeds))(cases))


def run_one(learner, steps):
    """The weights after each step, [seeds, steps, feature]."""
    return run(lambda case: learner, steps, np.zeros(1))[0]


@pytest.fixture(scope="module")
def world():
    """A random MDP, three features of its eight states, a target policy and a similar behavior."""

    def draw():
        m = mdp.garnet(jax.random.key(1), 8, 2, 3, 0.7)
        x = jax.random.normal(jax.random.key(2), (8, 3))
        target = jax.nn.softmax(jax.random.normal(jax.random.key(3), (8, 2)))
        return m, x, target, 0.7 * target + 0.3 * mdp.uniform_policy(m)

    return jax.jit(draw)()


under, stationary, policy_values = map(jax.jit, (mdp.under, mdp.stationary, mdp.policy_values))
emphasis_of, moments_of, td_fixed_point = map(
    jax.jit, (linear.emphasis, linear.moments, linear.td_fixed_point)
)


def projected_fixed_point(m, x, target, weighting):
    """The weights w with X w = Pi T(X w), where Pi is the weighted projection, in float64."""
    x, d = np.asarray(x, np.float64), np.diag(np.asarray(weighting, np.float64))
    p, r = (np.asarray(v, np.float64) for v in under(m, target))
    pi = x @ np.linalg.inv(x.T @ d @ x) @ x.T @ d
    values = np.linalg.solve(np.eye(len(r)) - pi @ (float(m.discount) * p), pi @ r)
    return np.linalg.lstsq(x, values, rcond=None)[0]


def test_fixed_point_is_the_projected_one(world):
    m, x, target, behavior = world
    for policy in (target, behavior):
        d = stationary(m, policy)
        weights = td_fixed_point(moments_of(m, x, target, d))
        np.testing.assert_allclose(weights, projected_fixed_point(m, x, target, d), atol=1e-4)


def test_with_one_feature_a_state_the_fixed_point_is_exact(world):
    m, _, target, _ = world
    weights = td_fixed_point(moments_of(m, np.eye(8, dtype=np.float32), target, np.full(8, 1 / 8)))
    np.testing.assert_allclose(weights, policy_values(m, target), rtol=1e-4)


def test_lstd_reaches_the_projected_fixed_point(world):
    """On-policy and off-policy, in one program."""
    m, x, target, behavior = world
    env, config = mdp.as_env(m, time_limit=100), linear.LSTDConfig(0.7, interactions=5000)
    acting = np.stack([target, behavior])
    weights = run(lambda policy: linear.lstd(env, x, target, config, policy), 3, cases=acting)[:, :, -1]
    # Episodes truncated after 100 steps hardly change the share of visits of a state.
    exact = [projected_fixed_point(m, x, target, stationary(m, policy)) for policy in acting]
    np.testing.assert_allclose(weights.mean(1), exact, atol=0.04)


def test_lstd_with_lambda_one_regresses_on_returns():
    """Batch LSTD(1) of whole episodes equals least squares on Monte-Carlo returns (Boyan 2002)."""
    rng, g = np.random.default_rng(0), 0.9
    zero = jnp.zeros(3)
    system = System(jnp.zeros((3, 3)), zero, zero, jnp.int32(0))
    update, xs, returns = jax.jit(linear.lstd_update), [], []
    for _ in range(20):
        x, r = rng.normal(size=(7, 3)), rng.normal(size=6)
        for t in range(6):
            system = update(system, x[t], r[t], x[t + 1] * (t < 5), 1.0, g, 1.0)
        system = system._replace(trace=zero)
        xs.append(x[:6])
        returns.append([sum(g**k * v for k, v in enumerate(r[t:])) for t in range(6)])
    exact = np.linalg.lstsq(np.concatenate(xs), np.concatenate(returns), rcond=None)[0]
    np.testing.assert_allclose(jax.jit(linear.lstd_weights)(system), exact, atol=1e-4)


@pytest.mark.parametrize("name", ["td", "tdc", "emphatic"])
def test_sampled_methods_reach_their_fixed_points_off_policy(name, world):
    m, x, target, behavior = world
    d = stationary(m, behavior)
    weighting = emphasis_of(m, target, d) if name == "emphatic" else d
    exact = projected_fixed_point(m, x, target, weighting)
    method, config_of = METHODS[name]
    slow = Schedule(0.05, rate=1e-3, power=0.8)
    options = {"correction": Schedule(0.2, rate=1e-3, power=0.7)} if name == "tdc" else {}
    config = config_of(0.7, step_size=slow, interactions=20_000, **options)
    learner = method(mdp.as_env(m), x, target, config, behavior)
    weights, x = run_one(learner, 3)[:, -1].mean(0), np.asarray(x)
    np.testing.assert_allclose(x @ weights, x @ exact, atol=0.06)


def test_emphasis_and_on_policy_stability(world):
    m, x, target, behavior = world
    d = np.asarray(stationary(m, behavior))
    emphasis, p = np.asarray(emphasis_of(m, target, d)), np.asarray(under(m, target)[0])
    np.testing.assert_allclose(emphasis, d + 0.7 * p.T @ emphasis, atol=1e-6)
    np.testing.assert_allclose(emphasis.sum(), 1 / 0.3, rtol=1e-4)
    # On-policy, A is positive definite for all features (Tsitsiklis and Van Roy 1997).
    a = np.asarray(moments_of(m, x, target, stationary(m, target)).a)
    assert np.linalg.eigvalsh(a + a.T).min() > 0


def test_updates_by_hand():
    w, x, x_next = np.array([[1.0, 2.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
    new, error = linear.td_update(w, x, 1.0, x_next, 2.0, 0.1, 0.5)
    assert float(error) == pytest.approx(1.0)  # 1 + .5 * 2 - 1
    np.testing.assert_allclose(new, [1.2, 2.0])
    second = jnp.array([0.5, 0.0])
    new, second, _ = linear.tdc_update(w, second, x, 1.0, x_next, 2.0, 0.1, 0.2, 0.5)
    np.testing.assert_allclose(new, [1.2, 2 - 0.1 * 2 * 0.5 * 0.5])
    np.testing.assert_allclose(second, [0.5 + 0.2 * 2 * (1 - 0.5), 0.0])
    new, emphasis, _ = linear.emphatic_td_update(w, 3.0, x, 1.0, x_next, 2.0, 0.1, 0.5)
    np.testing.assert_allclose(new, [1.6, 2.0])
    assert float(emphasis) == pytest.approx(4.0)  # 1 + .5 * 2 * 3


def baird_moments():
    m = mdp.baird()
    return m, moments_of(m, baird.features(), baird.target(), np.full(7, 1 / 7))


def iterate(step, start, count=3000):
    return jax.jit(lambda s: jax.lax.fori_loop(0, count, lambda _, x: step(x), s))(start)


def test_baird_td_diverges_sampled_and_expected():
    m, moments = baird_moments()
    np.testing.assert_allclose(stationary(m, baird.behavior()), np.full(7, 1 / 7), atol=1e-5)
    assert float(jax.jit(linear.growth)(moments, 0.01)) > 1.0005
    first = baird.initial_weights()
    late = iterate(lambda w: linear.expected_td(moments, w, 0.01), first)
    assert np.abs(late).max() > 30
    assert np.isfinite(late).all()
    config = linear.LinearTDConfig(0.99, Schedule(0.01), interactions=3000)
    learner = linear.semi_gradient_td(
        mdp.as_env(m), baird.features(), baird.target(), config, baird.behavior(), first
    )
    assert np.linalg.norm(run_one(learner, 1)[:, -1], axis=-1).min() > 10 * np.linalg.norm(first)


def test_baird_expected_tdc_converges_very_slowly():
    """No mode grows; modes that affect values shrink, the slowest by half in millions of steps."""
    with jax.enable_x64(True):
        m = mdp.baird()
        x = np.asarray(baird.features(), np.float64)

        @jax.jit
        def steps(basis):
            moments = linear.moments(m, jnp.asarray(x), baird.target(), jnp.full(7, 1 / 7))
            return jax.vmap(lambda z: linear.expected_tdc(moments, z[:8], z[8:], 0.005, 0.05))(basis)

        matrix = np.concatenate([np.asarray(part) for part in steps(np.eye(16))], 1).T
    assert np.abs(np.linalg.eigvals(matrix)).max() < 1 + 1e-12
    start = np.r_[np.asarray(baird.initial_weights(), np.float64), np.zeros(8)]
    largest = {
        n: np.abs(x @ (np.linalg.matrix_power(matrix, n) @ start)[:8]).max() for n in (1, 10**4, 10**8)
    }
    # After the transient the values stay near 2, as in Sutton and Barto's figure 11.5, and later fall to 0.
    assert largest[1] > 10
    assert largest[10**4] == pytest.approx(1.95, abs=0.01)
    assert largest[10**8] < 1e-3


def test_baird_sampled_tdc_does_not_diverge():
    config = linear.TDCConfig(0.99, Schedule(0.005), Schedule(0.05), interactions=3000)
    first = baird.initial_weights()
    env = mdp.as_env(mdp.baird())
    learner = linear.tdc(env, baird.features(), baird.target(), config, baird.behavior(), first)
    weights = run_one(learner, 1)[:, -1]
    assert np.linalg.norm(weights, axis=-1).max() < 1.5 * np.linalg.norm(first)
    assert np.abs(weights @ np.asarray(baird.features()).T).max() < 6


def test_baird_expected_emphatic_td_converges():
    m, _ = baird_moments()
    emphasis = emphasis_of(m, baird.target(), np.full(7, 1 / 7))
    moments = moments_of(m, baird.features(), baird.target(), emphasis)
    late = iterate(lambda w: linear.expected_td(moments, w, 0.03), baird.initial_weights(), 20_000)
    assert np.abs(np.asarray(baird.features()) @ late).max() < 0.1


@pytest.mark.parametrize("name", METHODS)
def test_time_limits_do_not_change_values(name):
    """On two endless states, truncated after five steps, values are exact within 1e-3.

    With truncations merged into terminations the values are far off.
    """
    g = 0.9
    exact = np.array([1 + 2 * g, 2 + g]) / (1 - g**2)
    env, merged = identity.two_state_truncating(5), merge_truncation(identity.two_state_truncating(5))
    method, config_of = METHODS[name]
    if name == "lstd":
        config = config_of(g, ridge=1e-5, interactions=500)
    elif name == "tdc":
        config = config_of(g, Schedule(0.5), Schedule(0.2), interactions=10_000)
    else:
        config = config_of(g, Schedule(0.1 if name == "emphatic" else 0.3), interactions=4000)

    def learnt(merge):  # both versions in one program
        def move(key, state, action):
            (state, step), (_, other) = env.move(key, state, action), merged.move(key, state, action)
            return state, step._replace(terminated=jnp.where(merge, other.terminated, step.terminated))

        learner = method(env._replace(move=move), jnp.eye(2), jnp.full((2, 2), 0.5), config)
        one, two = jax.random.split(jax.random.key(0))
        return learner.step(one, learner.init(two, None), None)[0].learnt.weights

    right, wrong = np.asarray(jax.jit(jax.vmap(learnt))(np.array([False, True])))
    np.testing.assert_allclose(right, exact, atol=1e-3)
    assert (exact - wrong).min() > 3


ENV, HALF = identity.echo(2), np.full((2, 2), 0.5)
BAD = {
    "features": (
        lambda: linear.tdc(ENV, jnp.eye(3), HALF, linear.TDCConfig()),
        r"features must have shape \[2, features\]",
    ),
    "coverage": (
        lambda: linear.semi_gradient_td(
            ENV, jnp.eye(2), HALF, linear.LinearTDConfig(), np.array([[0.0, 1.0], [0.5, 0.5]])
        ),
        "never takes action 0 in state 0",
    ),
    "target": (lambda: linear.lstd(ENV, jnp.eye(2), 2 * HALF, linear.LSTDConfig()), "target must be prob"),
    "ridge": (lambda: linear.LSTDConfig(ridge=0.0), "ridge must be"),
    "continuous": (
        lambda: linear.emphatic_td(identity.continuous_echo(), jnp.eye(1), HALF, linear.LinearTDConfig()),
        "discrete",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case):
    call, message = BAD[case]
    with pytest.raises(check.InputError, match=message):
        call()
