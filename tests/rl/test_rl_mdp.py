"""Finite MDPs: solvers compared with each other, a linear program, closed forms and Monte Carlo."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from lrn import check
from lrn.rl import mdp
from lrn.rl.mdp.environment import draw, gaussian


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@functools.cache
def garnets():
    """A stack of four random MDPs, in NumPy."""
    draw = jax.jit(jax.vmap(lambda key: mdp.garnet(key, 12, 3, 4, 0.9)))
    with jax.enable_x64(False):
        return jax.device_get(draw(jax.random.split(jax.random.key(7), 4)))


stationary, state_visits = jax.jit(mdp.stationary), jax.jit(mdp.state_visits)


def random_policy(m, seed):
    logits = np.random.default_rng(seed).normal(size=m.rewards.shape)
    return jnp.asarray(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))


def double(m):
    """The MDP in double precision, with its distributions normalized again."""
    p = np.asarray(m.transitions, np.float64)
    start = np.asarray(m.initial, np.float64)
    return mdp.make(
        p / p.sum(-1, keepdims=True), np.asarray(m.rewards, np.float64), start / start.sum(),
        float(m.discount), np.asarray(m.terminal),
    )  # fmt: skip


def one(stack, i):
    return jax.tree.map(lambda x: x[i], stack)


NAMED = {
    "chain": mdp.chain,
    "river": mdp.river_swim,
    "lake": mdp.frozen_lake,
    "cliff": lambda: mdp.cliff_walking(0.95),
    "deep sea": lambda: mdp.deep_sea(5, discount=0.9),
    "garnet": lambda: one(garnets(), 0),
}


@pytest.mark.parametrize("name", NAMED)
def test_value_iteration_policy_iteration_and_linear_program_agree(name, x64):
    m = double(NAMED[name]())
    by_values = mdp.value_iteration(m, tolerance=1e-13)
    by_policies = mdp.policy_iteration(m)
    np.testing.assert_allclose(by_values.values, by_policies.values, atol=1e-10)
    assert by_policies.residual < 1e-10
    assert by_policies.iterations < 20
    # Minimize the sum of v with v(s) >= r(s, a) + g P v for all s and a, and v = 0 in terminal states.
    s, a = m.states, m.actions
    p = np.asarray(m.transitions) * ~np.asarray(m.terminal)[None, None]
    upper = (float(m.discount) * p - np.eye(s)[:, None]).reshape(s * a, s)
    program = linprog(np.ones(s), A_ub=upper, b_ub=-np.asarray(m.rewards).ravel(), bounds=(None, None))
    np.testing.assert_allclose(by_policies.values, program.x, atol=1e-7)


def test_each_sweep_contracts_by_the_discount(x64):
    m = double(one(garnets(), 1))
    best = mdp.solve(m).values
    v, errors, backup = np.zeros(m.states), [], jax.jit(mdp.optimal_backup)
    for _ in range(30):
        errors.append(np.abs(v - best).max())
        v = np.asarray(backup(m, v))
    ratios = np.array(errors[1:]) / np.array(errors[:-1])
    assert (ratios <= 0.9 + 1e-9).all()
    assert ratios[-1] > 0.85


def test_stopping_bound_of_value_iteration():
    m = one(garnets(), 0)
    result = mdp.value_iteration(m, tolerance=1e-2)
    error = np.abs(np.asarray(result.values) - mdp.solve(m).values).max()
    assert 1e-4 < error <= 0.9 / 0.1 * 1e-2
    assert int(result.iterations) < 100


def near_one(p, r, discount=0.9999):
    """An MDP in single precision; values and visits of each action's policy, and the best, in double."""
    p, r = np.asarray(p, np.float64), np.asarray(r, np.float64)
    n, actions = r.shape
    systems = [np.eye(n) - discount * p[:, a] for a in range(actions)]
    values = [np.linalg.solve(s, r[:, a]) for a, s in enumerate(systems)]
    visits = [np.linalg.solve(s.T, np.full(n, 1 / n)) for s in systems]
    choices = np.array(list(np.ndindex(*[actions] * n)))
    every = [np.linalg.solve(np.eye(n) - discount * p[np.arange(n), c], r[np.arange(n), c]) for c in choices]
    best = int(np.argmax([v.sum() for v in every]))
    return mdp.make(p, r, discount=discount), values, visits, every[best], choices[best]


FIRST, SECOND = [[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2  # both actions lead to this state
NEAR_ONE = {
    # Values of actions differ by less than single precision can represent at 10,000.
    "stays": ([FIRST, SECOND], [[0.9995, 1.0], [-0.5, -0.5001]], 0.9999),
    "a cycle, whose sweeps do not settle": ([SECOND, FIRST], [[1.0, 0.5], [0.0, -0.5]], 0.9999),
    "thirds, whose sum is rounded": (
        [[[1 / 3, 2 / 3]] * 2, [[0.9, 0.1], [0.7, 0.3]]], [[1.0, 0.9], [2.0, 2.3]], 0.999,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NEAR_ONE)
def test_single_precision_close_to_a_discount_of_one(name):
    """Solvers are right where a backup of values of 10,000 that are off by 6 rounds to the same values."""
    m, values, visits, best, choice = near_one(*NEAR_ONE[name])
    for result in (mdp.value_iteration(m), mdp.policy_iteration(m)):
        # The error bound of a tolerance of 1e-6.
        np.testing.assert_allclose(result.values, best, atol=1e-6 / (1 - NEAR_ONE[name][2]))
        np.testing.assert_allclose(np.asarray(result.action_values).max(-1), best, rtol=1e-6)
        np.testing.assert_array_equal(np.asarray(result.policy).argmax(-1), choice)
        assert result.residual < 3e-6
    for a in range(m.actions):
        policy = mdp.deterministic(m, jnp.asarray(np.full(m.states, a)))
        np.testing.assert_allclose(mdp.policy_values(m, policy), values[a], rtol=2e-7)
        np.testing.assert_allclose(state_visits(m, policy), visits[a], rtol=1e-5)


def test_a_tolerance_that_is_not_met_is_seen_in_the_residual():
    m = near_one(*NEAR_ONE["stays"])[0]
    result = mdp.value_iteration(m, 1e-6, max_sweeps=100)
    np.testing.assert_allclose(result.values[0], (1 - 0.9999**100) * 1e4, rtol=1e-5)
    np.testing.assert_allclose(result.residual, 0.9999**100, rtol=1e-4)
    # Rewards of a million, which single precision represents with an error of about 1e-1.
    result = mdp.value_iteration(m._replace(rewards=1e6 * m.rewards), 1e-3)
    np.testing.assert_allclose(result.values, [1e10, -0.5e10], rtol=1e-6)
    assert result.residual > 1e-3


def test_values_that_do_not_exist_are_nan():
    forever = mdp.make([[[0.0, 1.0]], [[1.0, 0.0]]], [[1.0], [0.5]], discount=1.0)
    policy = jnp.asarray(np.ones((2, 1), np.float32))
    slope = jax.grad(lambda r: mdp.policy_values(forever._replace(rewards=r), policy).sum())
    assert not np.isfinite(mdp.policy_values(forever, policy)).any()
    assert not np.isfinite(jax.jit(slope)(forever.rewards)).any()


def test_a_discount_that_is_replaced_or_differentiated_is_the_one_that_counts():
    m, policy = mdp.make([[[1.0]]], [[1.0]], discount=0.9999), jnp.ones((1, 1))
    both = jax.value_and_grad(lambda g: mdp.policy_values(m._replace(discount=g), policy)[0])
    values, slopes = jax.jit(jax.vmap(both))(np.array([0.5, 0.99, m.discount], np.float32))
    np.testing.assert_allclose(values[0], 2.0, rtol=1e-6)
    np.testing.assert_allclose(values, [2.0, 100.0, 1e4], rtol=1e-5)
    np.testing.assert_allclose(slopes, [4.0, 1e4, 1e8], rtol=1e-5)


def test_solving_a_stack_of_mdps_equals_a_loop():
    stack = garnets()
    together = jax.jit(jax.vmap(mdp.solve))(stack)
    for i in range(4):
        alone = mdp.solve(one(stack, i))
        np.testing.assert_allclose(together.values[i], alone.values, rtol=1e-5)
        np.testing.assert_array_equal(together.policy[i], alone.policy)


def test_known_values():
    # The best probability to cross the slippery 4x4 lake without a time limit is 14/17.
    np.testing.assert_allclose(mdp.solve(mdp.frozen_lake(4, discount=1.0)).values[0], 14 / 17, atol=1e-5)
    cliff = mdp.cliff_walking()
    np.testing.assert_allclose(start_value(cliff), -13, atol=1e-4)
    for n in (3, 10):
        np.testing.assert_allclose(mdp.solve(mdp.deep_sea(n)).values[0], 0.99, atol=1e-5)
    walk = mdp.random_walk(19)
    expected = np.r_[0, 2 * np.arange(1, 20) / 20 - 1, 0]
    np.testing.assert_allclose(mdp.policy_values(walk, mdp.uniform_policy(walk)), expected, atol=1e-5)
    g = 0.9
    two = mdp.two_state(g)
    exact = np.array([1 + 2 * g, 2 + g]) / (1 - g**2)
    np.testing.assert_allclose(mdp.policy_values(two, mdp.uniform_policy(two)), exact, rtol=1e-5)
    # Four rooms: the shortest path from start to goal has 12 moves, and the last move pays 1.
    rooms = mdp.four_rooms(discount=0.9)
    steps = np.log(start_value(rooms)) / np.log(0.9) + 1
    np.testing.assert_allclose(steps, shortest(mdp.four_rooms()), atol=1e-3)


def start_value(m) -> float:
    """The best value of the initial distribution."""
    return float(np.asarray(m.initial) @ np.asarray(mdp.solve(m).values))


def shortest(m) -> int:
    """The smallest number of actions from the start to a terminal state, by breadth-first search."""
    p, reached, steps = np.asarray(m.transitions), np.asarray(m.initial) > 0, 0
    while not (reached & np.asarray(m.terminal)).any():
        reached = reached | (p[reached].sum((0, 1)) > 0)
        steps += 1
    return steps


def test_river_swim_goes_against_the_stream_and_the_myopic_do_not():
    assert (mdp.solve(mdp.river_swim()).policy[:, 1] == 1).all()
    assert mdp.solve(mdp.river_swim(discount=0.3)).policy[0, 0] == 1


def test_maximization_bias_ends_at_once():
    best = mdp.solve(mdp.maximization_bias())
    np.testing.assert_allclose(best.values, [0, -0.1, 0], atol=1e-6)
    assert best.policy[0, 0] == 0


def test_improvement_keeps_ties_and_drops_worse_actions():
    q = jnp.array([[1.0, 1.0], [0.0, 1.0]])
    policy = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(jax.jit(mdp.improve)(q, policy), [[0, 1], [0, 1]])


def test_policy_values_solve_bellmans_equation_and_q_follows(x64):
    m = double(one(garnets(), 2))
    policy, backup = random_policy(m, 1), jax.jit(mdp.backup)
    v = np.asarray(mdp.policy_values(m, policy))
    np.testing.assert_allclose(backup(m, policy, v), v, atol=1e-12)
    q = np.asarray(jax.jit(mdp.policy_action_values)(m, policy))
    np.testing.assert_allclose((np.asarray(policy) * q).sum(-1), v, atol=1e-12)
    assert np.abs(np.asarray(backup(m, policy, v + 1)) - v).max() > 0.5


def test_occupancy_satisfies_the_flow_and_prices_the_policy(x64):
    m = double(mdp.frozen_lake(4, discount=0.95))
    policy = random_policy(m, 2)
    occupied = jax.jit(mdp.occupancy)(m, policy)
    visits = np.asarray(occupied)
    alive = ~np.asarray(m.terminal)
    inflow = np.asarray(m.initial) + 0.95 * np.einsum("sa,sat->t", visits, m.transitions)
    np.testing.assert_allclose(visits.sum(-1)[alive], inflow[alive], atol=1e-12)
    assert visits[~alive].sum() == 0
    paid = (visits * np.asarray(m.rewards)).sum()
    np.testing.assert_allclose(paid, jax.jit(mdp.objective)(m, policy), atol=1e-12)
    again = np.asarray(jax.jit(mdp.policy_of)(occupied))
    np.testing.assert_allclose(again[alive], np.asarray(policy)[alive], atol=1e-12)


def test_occupancy_without_ends_is_a_distribution():
    m = one(garnets(), 3)
    visits = np.asarray(state_visits(m, mdp.uniform_policy(m)))
    np.testing.assert_allclose((1 - m.discount) * visits.sum(), 1, rtol=1e-4)


def test_visits_and_stationary_distribution_equal_monte_carlo():
    lake = mdp.frozen_lake(4, discount=0.9)
    policy = mdp.uniform_policy(lake)
    env = mdp.as_env(lake)
    steps, games = 4000, 64

    def play(key):
        start, rest = jax.random.split(key)
        _, place = env.reset(start)

        def body(place, key):
            act, move = jax.random.split(key)
            _, after, _ = env.step(move, place, jax.random.randint(act, (), 0, 4))
            return after, place

        return jax.lax.scan(body, place, jax.random.split(rest, steps))[1]

    places = jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(0), games))
    index, time = np.asarray(places.state).ravel(), np.asarray(places.time).ravel()
    share = np.bincount(index, minlength=lake.states) / index.size
    np.testing.assert_allclose(share, stationary(lake, policy), atol=0.005)
    visits = np.bincount(index, 0.9**time, minlength=lake.states) / (time == 0).sum()
    np.testing.assert_allclose(visits, state_visits(lake, policy), atol=0.02)


@pytest.mark.parametrize("name", ["garnet", "lake"])
def test_policy_gradient_equals_autodiff_and_finite_differences(name, x64):
    m = double(NAMED[name]())
    logits = jnp.asarray(np.random.default_rng(3).normal(size=m.rewards.shape))
    gradient = np.asarray(jax.jit(mdp.softmax_policy_gradient)(m, logits))
    automatic = jax.jit(jax.grad(mdp.softmax_objective, 1))(m, logits)
    np.testing.assert_allclose(gradient, automatic, atol=1e-11)
    bumps = np.eye(logits.size).reshape(-1, *logits.shape) * 1e-5
    value = jax.jit(jax.vmap(lambda d: mdp.softmax_objective(m, logits + d)))
    above, below = np.asarray(value(bumps)), np.asarray(value(-bumps))
    np.testing.assert_allclose(((above - below) / 2e-5).reshape(logits.shape), gradient, atol=1e-8)
    assert np.abs(gradient).max() > 1e-3


def test_garnet_has_the_branching_asked_for():
    stack = garnets()
    np.testing.assert_allclose(stack.transitions.sum(-1), 1, atol=1e-6)
    assert ((stack.transitions > 0).sum(-1) == 4).all()
    assert not np.array_equal(stack.rewards[0], stack.rewards[1])


def test_gridworld_moves_walls_slips_and_restarts():
    text = "S.#\nC.G"
    m = jax.device_get(mdp.gridworld(text, slip=0.2, rewards={"G": 5.0, "C": -3.0}, step_reward=-1.0))
    places = mdp.cells(text).tolist()
    assert places == [[0, 0], [0, 1], [1, 1], [1, 2]]
    s, right_of, below, goal = range(4)
    up, right, down, left = range(4)
    # Right of the start: .8 ahead, .1 up (bump, stays), .1 down (the cliff: back to the start).
    np.testing.assert_allclose(m.transitions[s, right], [0.2, 0.8, 0, 0], atol=1e-6)
    np.testing.assert_allclose(m.rewards[s, right], -1 - 0.1 * 3, atol=1e-6)
    np.testing.assert_allclose(m.transitions[right_of, right], [0, 0.9, 0.1, 0], atol=1e-6)  # a wall
    np.testing.assert_allclose(m.rewards[below, right], -1 + 0.8 * 5, atol=1e-6)
    np.testing.assert_allclose(m.transitions[goal, up], [0, 0, 0, 1])
    assert m.rewards[goal].tolist() == [0, 0, 0, 0]
    assert m.transitions[below, left, s] == pytest.approx(0.8)
    assert m.terminal.tolist() == [False, False, False, True]
    assert (down, up) == (2, 0)


def test_parameters_may_be_traced():
    values = jax.jit(jax.vmap(lambda slip, g: mdp.solve(mdp.frozen_lake(4, slip, g)).values[0]))(
        np.array([0.0, 2 / 3]), np.array([0.9, 0.99])
    )
    np.testing.assert_allclose(values, [0.9**5, float(mdp.solve(mdp.frozen_lake()).values[0])], rtol=1e-4)


def test_environment_has_the_statistics_of_its_mdp():
    m = mdp.chain(4)
    env = mdp.as_env(m, time_limit=3, reward_noise=0.5)
    n = 20_000
    place = mdp.Place(jnp.int32(2), jnp.int32(0))
    keys = jax.random.split(jax.random.key(0), n)
    step_each = jax.jit(jax.vmap(lambda k: env.step(k, place, jnp.int32(0))))
    observation, after, step = jax.device_get(step_each(keys))
    np.testing.assert_allclose(observation.mean(0), m.transitions[2, 0], atol=0.015)
    np.testing.assert_array_equal(step.final_observation.argmax(-1), after.state)
    np.testing.assert_allclose(step.reward.mean(), m.rewards[2, 0], atol=0.015)
    np.testing.assert_allclose(step.reward.std(), 0.5, atol=0.015)
    assert not step.ended.any()


def test_time_limit_truncates_and_an_end_terminates():
    env = mdp.as_env(mdp.random_walk(3, 0.9), time_limit=2)
    assert env.horizon == 2
    place = mdp.Place(jnp.int32(2), jnp.int32(1))
    step_once = jax.jit(env.step)
    observation, after, step = jax.device_get(step_once(jax.random.key(0), place, jnp.int32(0)))
    assert (bool(step.terminated), bool(step.truncated)) == (False, True)
    assert int(step.final_observation.argmax()) == 1
    assert int(after.state) == int(observation.argmax()) == 2
    assert int(after.time) == 0
    _, _, step = step_once(jax.random.key(0), place._replace(state=jnp.int32(1)), jnp.int32(0))
    assert (bool(step.terminated), float(step.reward)) == (True, -1.0)


def test_draws_never_land_on_a_weight_of_zero():
    weights = np.cumsum(np.array([0.0, 0.3, 0.0, 0.7, 0.0], np.float32))
    u = np.linspace(0, 1 - 2**-24, 1001, dtype=np.float32)
    drawn = np.asarray(jax.jit(jax.vmap(draw, (0, None)))(u, weights))
    assert set(drawn.tolist()) == {1, 3}
    assert abs((drawn == 3).mean() - 0.7) < 2e-3


def test_noise_is_finite_whatever_is_drawn():
    drawn = np.asarray(jax.jit(gaussian)(np.array([0.5, 0.975, 0.0, 1 - 2**-24], np.float32)))
    np.testing.assert_allclose(drawn[:2], [0.0, 1.959964], atol=1e-5)
    ends = drawn[2:]
    assert np.isfinite(ends).all()
    assert (np.abs(ends) > 5).all()


BAD = {
    "shape": (lambda: mdp.make(jnp.ones((2, 1)), jnp.ones((2, 1))), "shape"),
    "sum": (lambda: mdp.make(jnp.ones((2, 1, 2)), jnp.ones((2, 1))), "sum to one"),
    "rewards": (lambda: mdp.make(jnp.ones((1, 1, 1)), jnp.ones((2, 1))), "rewards must have shape"),
    "initial": (lambda: mdp.make(jnp.ones((1, 1, 1)), jnp.ones((1, 1)), [0.5]), "initial must be prob"),
    "start": (lambda: mdp.make(jnp.ones((1, 1, 1)), jnp.ones((1, 1)), [1.0], 0.9, [True]), "terminal state"),
    "discount": (lambda: mdp.chain(discount=1.5), "discount must lie"),
    "map": (lambda: mdp.gridworld("S.\nG"), "equally long"),
    "no start": (lambda: mdp.gridworld("..G"), "no start"),
    "lake": (lambda: mdp.frozen_lake(5), "size '5' is not known"),
    "branching": (lambda: mdp.garnet(jax.random.key(0), 3, 2, 4), "at most states"),
    "limit": (lambda: mdp.as_env(mdp.chain(), time_limit=0), "time_limit must be at least 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case):
    call, message = BAD[case]
    with pytest.raises(check.InputError, match=message):
        call()
