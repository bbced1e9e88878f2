"""Tabular methods: exact solutions, updates by hand, forward views, time limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check, train
from lrn.rl import evaluate, identity, mdp, tabular
from lrn.rl.env import merge_truncation
from lrn.rl.tabular import Schedule
from lrn.rl.tabular.td_lambda import TracedValues

CONTROL = {
    "q": tabular.q_learning,
    "sarsa": tabular.sarsa,
    "expected": tabular.expected_sarsa,
    "double": tabular.double_q_learning,
}
SEEDS = 4


def run_cases(learner_of, cases, steps, read, seeds=SEEDS):
    """The results of ``read(state)`` after each step of ``learner_of(case)``, [case, seeds, steps, ...]."""

    def one(case, key):
        learner = learner_of(case)
        first, rest = jax.random.split(key)

        def step(state, key):
            state, _ = learner.step(key, state, None)
            return state, read(state)

        return jax.lax.scan(step, learner.init(first, None), jax.random.split(rest, steps))[1]

    def all_seeds(case):
        return jax.vmap(one, (None, 0))(case, jax.random.split(jax.random.key(0), seeds))

    return np.asarray(jax.jit(jax.vmap(all_seeds))(cases))


def run(learner, steps, read, seeds=SEEDS):
    """The results of ``read(state)`` after each step, [seeds, steps, ...]."""
    return run_cases(lambda case: learner, np.zeros(1), steps, read, seeds)[0]


@pytest.fixture(scope="module")
def world():
    """A random MDP of six states, its solution, and its environment, truncated after ten steps."""
    m = jax.jit(lambda key: mdp.garnet(key, 6, 2, 3, 0.8))(jax.random.key(3))
    return m, jax.device_get(mdp.solve(m)), mdp.as_env(m, time_limit=10)


# SARSA must explore less over time (GLIE); the others may always act at random. To learn the values of its
# own exploration, it explores always alike.
SHRINKING, STEADY = (1.0, 0.1, 0.5), (0.3, 1.0, 0.0)
EXPLORATION = {"q": [(1.0, 1.0, 0.0)], "double": [(1.0, 1.0, 0.0)]}


@pytest.fixture(scope="module")
def controlled(world):
    """By name of a method: its action values, [exploration, seeds, steps, state, action], in one program."""
    *_, env = world

    @functools.cache
    def trained(name):
        def learner_of(case):
            config = tabular.ControlConfig(0.8, Schedule(power=0.7), Schedule(*case), interactions=1000)
            return CONTROL[name](env, config)

        cases = np.array(EXPLORATION.get(name, [SHRINKING, STEADY]), np.float32)
        return run_cases(learner_of, cases, 30 if name in EXPLORATION else 60, lambda state: state.q)

    return trained


@pytest.mark.parametrize("name", CONTROL)
def test_control_reaches_the_exact_solution(name, world, controlled):
    _, best, _ = world
    q = controlled(name)[0]
    error = np.abs(q - best.action_values).max((-1, -2))
    assert error[:, -1].max() < 0.12  # values are about four
    assert error[:, -1].mean() < 0.4 * error[:, 1].mean()
    np.testing.assert_array_equal(q[:, -1].argmax(-1), np.tile(best.policy.argmax(-1), (SEEDS, 1)))


@pytest.mark.parametrize("name", ["sarsa", "expected"])
def test_on_policy_control_learns_the_values_of_its_own_exploration(name, world, controlled):
    m, best, _ = world
    # The policy that is epsilon-greedy in its own values, by iteration.
    values = jax.jit(mdp.policy_action_values)
    policy = np.full((6, 2), 0.5, np.float32)
    for _ in range(10):
        policy = np.asarray(mdp.epsilon_greedy(values(m, policy), STEADY[0]))
    q = controlled(name)[1][:, -1]
    assert np.abs(q - np.asarray(values(m, policy))).max() < 0.1
    assert np.abs(q - best.action_values).max() > 0.2


def test_the_driver_trains_it_and_reports_episodes(world):
    _, _, env = world
    fit = train.fit(
        lambda c: tabular.q_learning(env, c), tabular.ControlConfig(), [0, 1], steps=2, progress=False
    )
    assert set(fit.table.metrics) == {"return", "length", "td_error"}
    assert (fit.table.final(fit.arms[0], "length") == 10).all()
    assert fit.state.q.shape == (1, 2, 6, 2)


def test_updates_by_hand():
    q = jnp.array([[1.0, 2.0], [3.0, 5.0]])
    q_learning, double = jax.jit(tabular.q_learning_update), jax.jit(tabular.double_q_learning_update)
    # target 1 + .5 * 5 = 3.5, error 2.5, half of it: 2.25
    new, off = q_learning(q, 0, 0, 1.0, False, 1, 0.5, 0.5)
    np.testing.assert_allclose((np.asarray(new)[0, 0], off), (2.25, 2.5))
    np.testing.assert_array_equal(np.asarray(new)[1], np.asarray(q)[1])
    new, off = q_learning(q, 0, 0, 1.0, True, 1, 0.5, 0.5)
    np.testing.assert_allclose((np.asarray(new)[0, 0], off), (1.0, 0.0))
    new, _ = jax.jit(tabular.sarsa_update)(q, 0, 1, 1.0, False, 1, 0, 0.5, 0.5)
    np.testing.assert_allclose(np.asarray(new)[0, 1], 2 + 0.5 * (1 + 0.5 * 3 - 2))
    chances = np.array([0.25, 0.75], np.float32)
    new, _ = jax.jit(tabular.expected_sarsa_update)(q, 0, 1, 1.0, False, 1, chances, 0.5, 0.5)
    np.testing.assert_allclose(np.asarray(new)[0, 1], 2 + 0.5 * (1 + 0.5 * 4.5 - 2))
    tables = np.stack([np.asarray(q), np.array([[0.0, 0.0], [7.0, 1.0]], np.float32)])
    # Table 0 picks action 1 in state 1, which table 1 values at 1.
    new, _ = double(tables, 0, 0, 0, 1.0, False, 1, 0.5, 0.5)
    np.testing.assert_allclose(np.asarray(new)[0, 0, 0], 1 + 0.5 * (1 + 0.5 * 1 - 1))
    np.testing.assert_array_equal(np.asarray(new)[1], tables[1])
    new, _ = double(tables, 1, 0, 0, 1.0, False, 1, 0.5, 0.5)
    np.testing.assert_allclose(np.asarray(new)[1, 0, 0], 0 + 0.5 * (1 + 0.5 * 3 - 0))
    values, off = jax.jit(tabular.td_update)(jnp.array([1.0, 4.0]), 0, 2.0, False, 1, 0.1, 0.5)
    np.testing.assert_allclose((np.asarray(values)[0], off), (1.3, 3.0))


def test_schedules():
    n = np.arange(1, 5)
    cases = {
        Schedule(0.3): np.full(4, 0.3),
        Schedule(power=1.0): 1 / n,
        Schedule(2.0, power=0.5): 2 / np.sqrt(n),
        Schedule(rate=0.1, power=1.0): 1 / (1 + 0.1 * np.arange(4)),
    }
    values = jax.jit(lambda n: [schedule(n) for schedule in cases])(n)
    np.testing.assert_allclose(values, list(cases.values()), rtol=1e-6)


def test_double_q_learning_removes_the_maximization_bias():
    """With ten noisy actions of value -0.1, Q-learning overrates the luckiest; double Q-learning does not."""
    env = mdp.as_env(mdp.maximization_bias(10), reward_noise=1.0)
    config = tabular.ControlConfig(1.0, Schedule(0.1), Schedule(1.0), interactions=3000)
    believed = {
        name: run(CONTROL[name](env, config), 1, lambda state: state.q[0, 0], 100).mean()
        for name in ("q", "double")
    }
    assert believed["q"] > 0.1
    assert -0.2 < believed["double"] < 0.0


def test_optimism_and_given_values(world):
    _, _, env = world
    given = np.arange(12.0).reshape(6, 2)
    optimist = tabular.q_learning(env, tabular.ControlConfig(initial=5.0))
    double = tabular.double_q_learning(env, tabular.ControlConfig(), jnp.asarray(given))
    one, two = jax.jit(lambda key: (optimist.init(key, None), double.init(key, None)))(jax.random.key(0))
    assert (np.asarray(one.q) == 5).all()
    np.testing.assert_array_equal(two.tables, np.stack([given, given]))

    # With optimistic values a learner without exploration still tries every action.
    def learner_of(initial):
        config = tabular.ControlConfig(0.8, Schedule(0.5), Schedule(1e-9), initial, interactions=400)
        return tabular.q_learning(env, config)

    visits = run_cases(learner_of, np.array([0.0, 10.0]), 1, lambda state: state.visits, 2)
    assert [(x > 3).all() for x in visits] == [False, True]


def test_the_greedy_policy_is_evaluated():
    lake = mdp.frozen_lake(slip=0.0)
    env = mdp.as_env(lake, time_limit=50)
    agent = tabular.q_learning(env, tabular.ControlConfig(), mdp.solve(lake).action_values)

    @jax.jit
    def play(key, another):
        return evaluate.rollouts(env, agent.policy, another, agent.init(key, None), 4)

    played = play(jax.random.key(0), jax.random.key(1))
    np.testing.assert_array_equal(played.returns, np.ones(4))
    np.testing.assert_array_equal(played.lengths, np.full(4, 6))


KINDS = ("td", "accumulating", "replacing", "dutch")


def predictor(kind, env, policy, discount, step_size, interactions):
    if kind == "td":
        return tabular.td(env, policy, tabular.TDConfig(discount, step_size, interactions=interactions))
    config = tabular.TDLambdaConfig(discount, 0.7, kind, step_size, interactions=interactions)
    return tabular.td_lambda(env, policy, config)


@pytest.mark.parametrize("kind", KINDS)
def test_prediction_reaches_the_exact_values(kind, world):
    m, _, env = world
    logits = np.random.default_rng(5).normal(size=(6, 2))
    policy = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)
    exact = np.asarray(mdp.policy_values(m, policy))
    learner = predictor(kind, env, policy, 0.8, Schedule(power=0.8), 1000)
    values = run(learner, 50, lambda state: state.learnt.values)[:, -1]
    assert np.abs(values - exact).max() < 0.04
    assert np.abs(exact - exact.mean()).max() > 0.1  # so that a constant function fails


@pytest.mark.parametrize("name", [*CONTROL, *KINDS])
def test_time_limits_do_not_change_values(name):
    """On two endless states, truncated after five steps, values are exact within 1e-3.

    With truncations merged into terminations the values are far off.
    """
    g = 0.9
    exact = np.array([1 + 2 * g, 2 + g]) / (1 - g**2)
    env, merged = identity.two_state_truncating(5), merge_truncation(identity.two_state_truncating(5))

    def learnt(merge):  # both versions in one program
        def move(key, state, action):
            (state, step), (_, other) = env.move(key, state, action), merged.move(key, state, action)
            return state, step._replace(terminated=jnp.where(merge, other.terminated, step.terminated))

        if name in CONTROL:
            config = tabular.ControlConfig(g, Schedule(0.3), Schedule(1.0), interactions=5000)
            learner, read = CONTROL[name](env._replace(move=move), config), lambda state: state.q.mean(-1)
        else:
            learner = predictor(name, env._replace(move=move), np.full((2, 2), 0.5), g, Schedule(0.2), 3000)
            read = lambda state: state.learnt.values  # noqa: E731
        one, two = jax.random.split(jax.random.key(0))
        return read(learner.step(one, learner.init(two, None), None)[0])

    right, wrong = np.asarray(jax.jit(jax.vmap(learnt))(np.array([False, True])))
    np.testing.assert_allclose(right, exact, atol=1e-3)
    assert (exact - wrong).min() > 3


td_lambda_update = jax.jit(tabular.td_lambda_update, static_argnames="kind")


def random_episode(rng, states=5, length=12):
    s = rng.integers(0, states, length + 1)
    return s, rng.normal(size=length)


def lambda_return(values, s, r, g, lam, t, horizon, over):
    """The lambda-return of step t from data up to ``horizon``, which is interim before the end."""

    def n_step(n):
        ends = t + n
        bootstrap = 0.0 if over and ends == len(r) else values[ends]
        return sum(g**k * r[t + k] for k in range(n)) + g**n * bootstrap

    n = horizon - t
    return (1 - lam) * sum(lam ** (k - 1) * n_step(k) for k in range(1, n)) + lam ** (n - 1) * n_step(n)


@pytest.mark.parametrize("over", [False, True])
def test_traces_offline_equal_the_forward_view(over):
    """With fixed values, the summed updates of TD(lambda) equal those to the lambda-return."""
    rng, g, lam, alpha = np.random.default_rng(0), 0.9, 0.6, 0.1
    s, r = random_episode(rng)
    v = rng.normal(size=5)
    learnt = TracedValues(jnp.asarray(v), jnp.zeros(5, int), jnp.zeros(5), jnp.zeros(()))
    v = np.asarray(learnt.values)
    total = np.zeros(5)
    for t in range(len(r)):
        last = over and t == len(r) - 1
        new, _ = td_lambda_update(learnt, s[t], r[t], last, s[t + 1], alpha, g, lam)
        total += np.asarray(new.values) - v
        learnt = new._replace(values=v)
    forward = np.zeros(5)
    boot = v[s]
    for t in range(len(r)):
        forward[s[t]] += alpha * (lambda_return(boot, s, r, g, lam, t, len(r), over) - v[s[t]])
    np.testing.assert_allclose(total, forward, atol=1e-5)


@pytest.mark.parametrize("over", [False, True])
def test_dutch_traces_equal_the_online_forward_view(over):
    """At every step true online TD(lambda) has exactly the values of the online lambda-return algorithm."""
    rng, g, lam, alpha = np.random.default_rng(1), 0.9, 0.8, 0.3
    s, r = random_episode(rng)
    first = rng.normal(size=5)
    learnt = TracedValues(jnp.asarray(first), jnp.zeros(5, int), jnp.zeros(5), jnp.asarray(first[s[0]]))
    boot = np.zeros(len(s))  # the value that each step bootstrapped from, as it was then
    for h in range(1, len(r) + 1):
        last = over and h == len(r)
        # Interim targets bootstrap from the weights at the time of their end (van Seijen et al. 2016, eq.
        # 11).
        boot[h] = np.asarray(learnt.values)[s[h]]
        learnt, _ = td_lambda_update(learnt, s[h - 1], r[h - 1], last, s[h], alpha, g, lam, kind="dutch")
        w = first.copy()
        for t in range(h):
            target = lambda_return(boot, s, r, g, lam, t, h, last)
            w[s[t]] += alpha * (target - w[s[t]])
        np.testing.assert_allclose(learnt.values, w, atol=1e-5)


def test_replacing_traces_never_exceed_one_step():
    learnt = TracedValues(jnp.zeros(2), jnp.zeros(2, int), jnp.zeros(2), jnp.zeros(()))
    sizes = {}
    for kind in ("accumulating", "replacing"):
        state = learnt
        for _ in range(5):
            state, _ = td_lambda_update(state, 0, 0.0, False, 0, 0.1, 1.0, 0.9, kind=kind)
        sizes[kind] = float(np.asarray(state.trace)[0])
    assert sizes["replacing"] == pytest.approx(0.1)
    assert sizes["accumulating"] == pytest.approx(0.1 * (1 - 0.9**5) / 0.1, rel=1e-5)


BAD = {
    "continuous": (
        lambda: tabular.q_learning(identity.continuous_echo(), tabular.ControlConfig()),
        "discrete",
    ),
    "initial": (
        lambda: tabular.sarsa(identity.echo(), tabular.ControlConfig(), jnp.zeros((2, 2))),
        r"initial must have shape \[3, 3\]",
    ),
    "policy shape": (
        lambda: tabular.td(identity.echo(), jnp.ones((3, 2)), tabular.TDConfig()),
        r"policy must have shape \[3, 3\]",
    ),
    "policy": (
        lambda: tabular.td_lambda(identity.echo(), jnp.ones((3, 3)), tabular.TDLambdaConfig()),
        "sum to one",
    ),
    "trace": (lambda: tabular.TDLambdaConfig(trace="dutc"), "did you mean dutch"),
    "discount": (lambda: tabular.ControlConfig(discount=1.1), "discount must lie"),
    "schedule": (lambda: Schedule(-1.0), "scale must be"),
    "interactions": (lambda: tabular.TDConfig(interactions=0), "interactions must be at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case):
    call, message = BAD[case]
    with pytest.raises(check.InputError, match=message):
        call()
