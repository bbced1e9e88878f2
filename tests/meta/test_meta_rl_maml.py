"""The meta-agent: its gradient against the exact one, its parts, its learning."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check, nets, train
from lrn.config import grid
from lrn.meta.adapt import InnerConfig
from lrn.meta.rl import evaluate
from lrn.meta.rl.baseline import features, fit_values
from lrn.meta.rl.episodes import judge
from lrn.meta.rl.maml_rl import MAMLRLConfig, example, maml_rl
from lrn.meta.rl.physics import cartpole
from lrn.meta.rl.point_robot import point_robot
from lrn.meta.rl.tasks import RLTaskFamily
from lrn.rl import mdp
from lrn.rl.play import Trajectory

TIME, DISCOUNT, RATE = 3, 0.8, 12.0
_rng = np.random.default_rng(0)
# These programs are compiled without optimization, because the compilation takes most of their time.
HASTY = {"xla_backend_optimization_level": 0}
THETA = jnp.asarray(_rng.normal(size=(2, 2)), jnp.float32)
PROBLEM = mdp.make(
    _rng.dirichlet(np.ones(2), size=(2, 2)), _rng.normal(size=(2, 2)), [0.6, 0.4], discount=DISCOUNT
)
MINE = RLTaskFamily("one MDP", lambda key: (), lambda task: mdp.as_env(PROBLEM, time_limit=TIME))
TABLE = nets.from_function(lambda key, x: THETA, lambda params, x: x @ params)
EXACT = MAMLRLConfig(
    inner=InnerConfig(rate=RATE), tasks=256, episodes=256, discount=DISCOUNT, discount_states=True,
    normalize=False, dependence=1.0, max_grad_norm=1e9,
)  # fmt: skip


def objective(theta):
    """The expected discounted return of three steps divided by three, the agent's objective."""
    policy, flow, total = jax.nn.softmax(theta), PROBLEM.initial, 0.0
    for t in range(TIME):
        pairs = flow[:, None] * policy
        total = total + DISCOUNT**t * (pairs * PROBLEM.rewards).sum()
        flow = jnp.einsum("sa,sat->t", pairs, PROBLEM.transitions)
    return total / TIME


def meta_gradients(config, draws=8):
    """The gradients of independent meta-steps, from Adam's first moment, [draws, state, action]."""
    agent = maml_rl(MINE, TABLE, config)

    @partial(jax.jit, compiler_options=HASTY)
    def one(key):
        state, _ = agent.step(key, agent.init(jax.random.key(0), None), None)
        return -state.opt_state[0].mu["net"] / 0.1

    return np.stack([one(jax.random.key(i)) for i in range(draws)])


def adapted(theta, steps, rate):
    """The parameters after exact inner steps."""
    for _ in range(steps):
        theta = theta + rate * jax.grad(objective)(theta)
    return theta


def exact_meta_gradient(steps=1, rate=RATE, order="second"):
    """The gradient of the objective after exact inner steps, in float64."""

    @jax.jit
    def gradient(theta):
        if order == "first":
            return jax.grad(objective)(adapted(theta, steps, rate))
        return jax.grad(lambda theta: objective(adapted(theta, steps, rate)))(theta)

    with jax.enable_x64(True):
        return np.asarray(gradient(np.asarray(THETA, np.float64)))


@pytest.mark.parametrize(
    ("surrogate", "steps", "tasks", "right"),
    [
        pytest.param("dice", 1, 256, True, marks=pytest.mark.slow),
        ("dice", 2, 256, True),
        pytest.param("e-maml", 1, 1024, True, marks=pytest.mark.slow),
        ("naive", 1, 256, False),
    ],
)
def test_the_sampled_meta_gradient_is_the_exact_one(surrogate, steps, tasks, right):
    """Over 8 meta-steps of 65 536 episodes before each inner step; the naive one is another gradient.

    Within six standard errors (t with 7 degrees of freedom), each below 3% of the largest entry, and 2% for
    what a sampled inner gradient and a fitted baseline leave, of the order of one over a task's episodes.
    """
    rate = RATE / steps
    expected = exact_meta_gradient(steps, rate)
    inner = InnerConfig(steps=steps, rate=rate)
    config = dataclasses.replace(
        EXACT, surrogate=surrogate, inner=inner, tasks=tasks, episodes=256 * 256 // tasks
    )
    gradients = meta_gradients(config)
    error, size = gradients.std(0, ddof=1) / np.sqrt(len(gradients)), np.abs(expected).max()
    off = np.abs(gradients.mean(0) - expected)
    print(surrogate, steps, (off / size).max(), (error / size).max())
    assert error.max() < 0.03 * size
    assert (off <= 6 * error + 0.02 * size).all() == right


def test_first_order_leaves_out_what_it_should():
    """The first-order meta-gradient is the gradient at the end of the inner step."""
    config = dataclasses.replace(EXACT, inner=InnerConfig(rate=RATE, order="first"))
    expected = exact_meta_gradient(order="first")
    gradients = meta_gradients(config)
    error, size = gradients.std(0, ddof=1) / np.sqrt(len(gradients)), np.abs(expected).max()
    assert (np.abs(gradients.mean(0) - expected) <= 6 * error + 0.02 * size).all()
    assert np.abs(expected - exact_meta_gradient()).max() > 0.1 * size


def test_adapting_by_hand():
    """Two steps raise the exact objective; zero steps keep the parameters and play once."""
    agent = maml_rl(MINE, TABLE, dataclasses.replace(EXACT, episodes=20_000, inner=InnerConfig(rate=2.0)))

    @partial(jax.jit, static_argnums=0, compiler_options=HASTY)
    def adapt(steps):
        return agent.adapt(jax.random.key(1), agent.init(jax.random.key(0), None), (), steps)

    none, two = jax.device_get((adapt(0), adapt(2)))
    assert none.returns.shape == (1,)
    np.testing.assert_array_equal(none.params["net"], THETA)
    theta = np.asarray(jax.jit(lambda: adapted(THETA, 2, 2.0))())
    moved = np.abs(theta - THETA).max()
    np.testing.assert_allclose(two.params["net"], theta, atol=0.05 * moved)
    assert two.returns.shape == (3,)
    assert two.returns[0] < two.returns[2]


def trajectory(rewards, terminated):
    """Episodes in two columns; the time is observed, so that the baseline depends on the observation."""
    reward: Any = np.asarray(rewards, np.float32)
    never: Any = np.zeros(reward.shape, bool)
    observation: Any = np.ones((*reward.shape, 1), np.float32)
    over: Any = np.asarray(terminated, bool)
    return Trajectory(observation, never, reward, over, never, observation, never.astype(np.int32))


def test_only_first_episodes_count_and_nothing_is_bootstrapped():
    reward = [[1, 1], [2, 1], [4, 1], [8, 1]]
    over = [[0, 0], [1, 0], [0, 0], [1, 0]]
    played = trajectory(reward, over)
    judged = jax.jit(partial(judge, ridge=1e6), static_argnames="normalize")
    seen = jax.device_get(judged(played, 0.5, 1.0, normalize=False))
    np.testing.assert_array_equal(seen.counted, [[1, 1], [1, 1], [0, 1], [0, 1]])
    np.testing.assert_array_equal(seen.reward, [[1, 1], [2, 1], [0, 1], [0, 1]])
    assert seen.ended[-1].all()
    # With so large a penalty the baseline is the mean of the returns, and with lambda = 1 advantages are
    # returns minus this mean.
    to_go = np.array([[2, 1.875], [2, 1.75], [0, 1.5], [0, 1]])
    mean = to_go.sum() / 6
    np.testing.assert_allclose(seen.advantage, (to_go - mean) * seen.counted, atol=1e-3)
    scaled = np.asarray(judged(played, 0.5, 1.0, normalize=True).advantage)
    count = seen.counted.astype(bool)
    assert scaled[count].mean() == pytest.approx(0, abs=1e-6)
    assert scaled[count].std() == pytest.approx(1, abs=1e-4)
    assert (scaled[~count] == 0).all()


def test_the_baseline_is_ridge_regression():
    """The baseline equals numpy's solution of the penalized normal equations, with standardized features."""
    rng = np.random.default_rng(0)
    observation = rng.normal(size=(6, 20, 3)).astype(np.float32)
    counted = (rng.random((6, 20)) < 0.7).astype(np.float32)
    target = observation[..., 0] * 2 + np.arange(6.0)[:, None] ** 2 + rng.normal(size=(6, 20))
    target = target.astype(np.float32)
    values = np.asarray(jax.jit(fit_values)(observation, target, counted, 0.05))
    keep = counted.astype(bool)
    x, y = np.asarray(jax.jit(features)(observation), np.float64), np.asarray(target, np.float64)
    assert x.shape == (6, 20, 9)
    rows = (x - x[keep].mean(0)) / x[keep].std(0)
    slope = np.linalg.solve(
        rows[keep].T @ rows[keep] + 0.05 * keep.sum() * np.eye(9), rows[keep].T @ (y[keep] - y[keep].mean())
    )
    np.testing.assert_allclose(values, y[keep].mean() + rows @ slope, rtol=1e-3, atol=1e-3)


def test_the_baseline_bears_features_that_repeat_each_other():
    """One-hot observations equal their squares, and constant observations have no variance."""
    fit = jax.jit(fit_values)
    hot = np.float32(np.tile(np.eye(4)[np.arange(50) % 4], (5, 1, 1)))
    value = np.float32(np.tile(np.arange(50) % 4 * 3, (5, 1)))
    np.testing.assert_allclose(fit(hot, value, np.ones((5, 50), np.float32)), value, atol=0.05)
    one = np.ones((5, 1), np.float32)
    assert np.isfinite(fit(np.ones((5, 1, 4), np.float32), one, one)).all()


def test_episodes_that_end_early():
    """CartPole with random actions: each step has reward 1, so a return is an episode's length."""
    family = cartpole(horizon=60)
    config = MAMLRLConfig(tasks=4, episodes=8)
    agent = maml_rl(family, nets.mlp(2, (8,)), config)

    @partial(jax.jit, compiler_options=HASTY)
    def begin():
        return agent.step(jax.random.key(1), agent.init(jax.random.key(0), None), None)

    state, metrics = begin()
    assert 5 < metrics["unadapted_return"] < 50
    assert all(np.isfinite(x).all() for x in (*metrics.values(), *jax.tree.leaves(state.meta)))


def test_training_evaluates_on_fresh_tasks_in_one_sweep():
    """Rates are swept in one program; a policy for one task, or for all, is measured alike."""
    made = example()
    arms = grid(made.config, meta_rate=[1e-3, 1e-2], dependence=[0.0, 1.0])
    measure = evaluate.evaluator(point_robot(horizon=5), tasks=6, at=(0, 2))
    result = train.fit(made.factory, arms, [0, 1], steps=3, evaluate=measure, progress=False)
    for name in (
        "return@0",
        "return@0 halfwidth",
        "return@2",
        "gain@2",
        "gain@2 halfwidth",
        "adapted_return",
    ):
        assert np.isfinite(result.table.final("meta_rate=0.001, dependence=0", name)).all()
    last = "meta_rate=0.01, dependence=1"
    gain = result.table.final(last, "return@2") - result.table.final(last, "return@0")
    np.testing.assert_allclose(result.table.final(last, "gain@2"), gain, atol=1e-4)


def test_each_task_by_itself():
    made = example()
    agent = made.factory(made.config)
    state = jax.jit(lambda key: agent.init(key, None))(jax.random.key(0))
    family, key = point_robot(horizon=5), jax.random.key(2)

    def returns(at_once):
        look = lambda s: evaluate.per_task(agent, family, key, s, tasks=5, steps=2, tasks_at_once=at_once)  # noqa: E731
        return jax.jit(look, compiler_options=HASTY)(state)

    whole = returns(0)
    assert whole.shape == (5, 3)
    np.testing.assert_allclose(returns(2), whole, rtol=1e-4)
    assert np.asarray(whole).std(0)[0] > 0.1  # goals lie at different distances


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(tasks=0), "tasks must be at least 1"),
        (dict(episodes=0), "episodes must be at least 1"),
        (dict(discount=1.5), "discount must lie between 0 and 1"),
        (dict(gae_lambda=-0.1), "gae_lambda must lie between 0 and 1"),
        (dict(dependence=2.0), "dependence must lie between 0 and 1"),
        (dict(surrogate="lola"), "surrogate 'lola' is not known"),
        (dict(meta_rate=0.0), "meta_rate must be a finite number above 0"),
        (dict(ridge=0.0), "ridge must be a finite number above 0"),
        (dict(max_grad_norm=0.0), "max_grad_norm must be a finite number above 0"),
    ],
)
def test_bad_settings_are_one_sentence(settings, message):
    with pytest.raises(check.InputError, match=message):
        MAMLRLConfig(**settings)


def test_bad_input_is_one_sentence():
    config, net = MAMLRLConfig(), nets.mlp(2, (4,))
    with pytest.raises(check.InputError, match="set its number of outputs to 2"):
        maml_rl(point_robot(), nets.mlp(3, (4,)), config)
    with pytest.raises(check.InputError, match="tasks must come from an RLTaskFamily"):
        maml_rl(point_robot, net, config)  # pyright: ignore[reportArgumentType]
    agent = maml_rl(point_robot(), net, config)
    with pytest.raises(check.InputError, match="tasks must be at least 1"):
        evaluate.per_task(agent, point_robot(), jax.random.key(0), None, tasks=0)
    for settings, message in [
        (dict(tasks=1), "tasks must be at least 2"),
        (dict(at=()), "at must hold at least one"),
        (dict(at=(-1,)), "a number of steps in at must be at least 0"),
        (dict(tasks_at_once=-1), "tasks_at_once must be at least 0"),
    ]:
        with pytest.raises(check.InputError, match=message):
            evaluate.evaluator(point_robot(), **settings)


@pytest.mark.slow
def test_the_point_robot_learns_to_find_its_goal():
    """A hundred meta-steps: one step of adaptation halves the distance walked far from the goal."""
    family, net = point_robot(horizon=20), nets.mlp(2, (32, 32), activation="tanh", head_scale=0.01)
    config = MAMLRLConfig(inner=InnerConfig(rate=1.0), episodes=10, meta_rate=3e-3, initial_log_std=-0.5)
    agent_of = lambda config: maml_rl(family, net, config)  # noqa: E731
    measure = evaluate.evaluator(family, tasks=100, at=(0, 1))
    result = train.fit(
        agent_of, config, range(4), steps=100, evaluate=measure, eval_every=100, progress=False
    )
    table = result.table
    before, after = (table.final("default", f"return@{k}") for k in (0, 1))
    gain, halfwidth = (table.final("default", name) for name in ("gain@1", "gain@1 halfwidth"))
    print(before, after, gain, halfwidth)
    assert (gain > 2 * halfwidth).all()  # in every seed, far beyond the noise of the tasks
    assert after.mean() > -5.5
