"""Families of environments: their differences, hidden tasks, and bad input."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check
from lrn.meta.rl.physics import cartpole, pendulum
from lrn.meta.rl.point_robot import point_robot, robot_env
from lrn.meta.rl.tasks import RLTaskFamily, check_family
from lrn.rl.env import Box


def drawn(family, n=500):
    return jax.vmap(family.sample)(jax.random.split(jax.random.key(0), n))


def test_goals_fill_the_square_or_lie_on_the_circle():
    square = np.asarray(drawn(point_robot(size=0.3)))
    assert square.shape == (500, 2)
    assert np.abs(square).max() <= 0.3
    # Uniform on [-.3, .3] has the deviation .3 / sqrt(3); the mean of 500 draws has the error .008.
    np.testing.assert_allclose(square.mean(0), 0, atol=0.035)
    np.testing.assert_allclose(square.std(0), 0.3 / math.sqrt(3), rtol=0.1)
    circle = np.asarray(drawn(point_robot("circle", size=2.0)))
    np.testing.assert_allclose(np.hypot(*circle.T), 2, rtol=1e-5)
    np.testing.assert_allclose(circle.mean(0), 0, atol=0.3)
    goal = jnp.array([0.1, 0.2])
    code = point_robot().code
    assert code is not None
    np.testing.assert_array_equal(code(goal), goal)


def walk(env, actions):
    """Observations and steps, from the start."""
    observation, state = env.reset(jax.random.key(0))
    seen, steps = [observation], []
    for action in actions:
        state, step = env.move(jax.random.key(1), state, jnp.asarray(action))
        seen.append(step.final_observation)
        steps.append(step)
    return np.stack(seen), steps


def test_the_robot_walks_and_is_paid_by_its_distance():
    actions = [[0.05, -0.05], [1.0, -7.0], [-0.1, 0.0]]
    places, steps = walk(robot_env(jnp.array([0.3, 0.4]), horizon=3), actions)
    expected = np.array([[0, 0], [0.05, -0.05], [0.15, -0.15], [0.05, -0.15]])
    np.testing.assert_allclose(places, expected, atol=1e-7)
    distance = np.hypot(*(expected[1:] - [0.3, 0.4]).T)
    np.testing.assert_allclose([step.reward for step in steps], -distance, rtol=1e-6)
    assert [bool(step.truncated) for step in steps] == [False, False, True]
    assert not any(step.terminated for step in steps)


def test_a_sparse_reward_is_paid_near_the_goal_only():
    _, steps = walk(robot_env(jnp.array([0.2, 0.0]), sparse=0.05), [[0.1, 0.0]] * 3)
    assert [float(step.reward) for step in steps] == [0, 1, 0]


def test_the_goal_is_hidden_and_may_be_traced():
    """Two goals, the same moves: the same observations, other rewards; all in one compiled call."""
    family = point_robot(horizon=4)

    def play(goal):
        env = family.env(goal)
        _, state = env.reset(jax.random.key(0))
        _, step = env.move(jax.random.key(1), state, jnp.array([0.1, 0.0]))
        return step.final_observation, step.reward

    seen, reward = jax.jit(jax.vmap(play))(jnp.array([[0.1, 0.0], [-0.5, 0.0]]))
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_allclose(reward, [0, -0.6], atol=2e-6)


def test_policies_act_in_the_units_of_the_robot():
    actions = check_family(point_robot()).actions
    assert isinstance(actions, Box)
    np.testing.assert_allclose(actions.scale(jnp.array([-5.0, 0.5])), [-0.1, 0.05], rtol=1e-6)


def test_cartpole_obeys_its_own_physics():
    """One step against the equations of motion (Barto, Sutton and Anderson 1983), three poles at once."""
    task = {
        "force": jnp.array([10.0, 5.0, 15.0]),
        "gravity": jnp.array([9.8, 20.0, 5.0]),
        "length": jnp.array([0.5, 1.0, 0.25]),
    }
    family, start = cartpole(), jax.random.key(3)

    def play(task):
        env = family.env(task)
        before, state = env.reset(start)
        return before, env.move(jax.random.key(0), state, jnp.int32(1))[1].final_observation

    before, after = (np.asarray(x, np.float64) for x in jax.jit(jax.vmap(play))(task))
    f, g, l = (np.asarray(task[name], np.float64) for name in ("force", "gravity", "length"))  # noqa: E741
    _, speed, angle, spin = before.T
    sin, cos, pole, total = np.sin(angle), np.cos(angle), 0.1, 1.1
    push = (f + pole * l * spin**2 * sin) / total
    turn = (g * sin - cos * push) / (l * (4 / 3 - pole * cos**2 / total))
    slide = push - pole * l * turn * cos / total
    np.testing.assert_allclose(after[:, 1], speed + 0.02 * slide, rtol=1e-5)
    np.testing.assert_allclose(after[:, 3], spin + 0.02 * turn, rtol=1e-5)
    assert np.ptp(after[:, 3]) > 0.1


def test_pendulum_obeys_its_own_physics():
    task = {
        name: jnp.array(x)
        for name, x in dict(gravity=[10.0, 8.0], length=[1.0, 1.4], mass=[1.0, 0.6]).items()
    }
    family = pendulum()

    def play(task):
        env = family.env(task)
        before, state = env.reset(jax.random.key(3))
        return before, env.move(jax.random.key(0), state, jnp.array([1.5]))[1].final_observation

    before, after = (np.asarray(x, np.float64) for x in jax.jit(jax.vmap(play))(task))
    g, l, m = (np.asarray(task[name], np.float64) for name in ("gravity", "length", "mass"))  # noqa: E741
    _, sin, spin = before.T
    expected = spin + (3 * g / (2 * l) * sin + 3 / (m * l**2) * 1.5) * 0.05
    np.testing.assert_allclose(after[:, 2], expected, rtol=1e-5)
    assert np.ptp(expected) > 0.01


@pytest.mark.parametrize(
    ("family", "ranges"),
    [
        (cartpole(length=(0.3, 0.4)), {"force": (5, 15), "gravity": (5, 20), "length": (0.3, 0.4)}),
        (cartpole(), {"force": (5, 15), "gravity": (5, 20), "length": (0.25, 1)}),
        (pendulum(mass=(2.0, 3.0)), {"gravity": (7.5, 12.5), "length": (0.5, 1.5), "mass": (2, 3)}),
        (pendulum(), {"gravity": (7.5, 12.5), "length": (0.5, 1.5), "mass": (0.5, 1.5)}),
    ],
)
def test_physics_fill_their_ranges(family, ranges):
    tasks = drawn(family)
    assert sorted(tasks) == sorted(ranges)
    for name, (low, high) in ranges.items():
        width = high - low
        values = np.asarray(tasks[name])
        assert low <= values.min() < low + 0.05 * width
        assert high - 0.05 * width < values.max() <= high
    np.testing.assert_allclose(jax.vmap(family.code)(tasks), np.stack([tasks[n] for n in sorted(ranges)], -1))
    # The numbers are drawn independently.
    assert np.abs(np.corrcoef(np.stack(list(tasks.values()))) - np.eye(3)).max() < 0.2


def test_horizons_are_those_asked_for():
    assert [
        check_family(f).horizon for f in (point_robot(horizon=7), cartpole(horizon=9), pendulum(horizon=5))
    ] == [
        7,
        9,
        5,
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: point_robot("disc"), "goals 'disc' is not known"),
        (lambda: point_robot(size=0.0), "size must be a finite number above 0"),
        (lambda: point_robot(sparse=-1.0), "sparse must be a finite number above 0"),
        (lambda: point_robot(horizon=0), "horizon must be at least 1"),
        (lambda: robot_env(jnp.zeros(3)), r"a goal must have shape \[2\], got \[3\]"),
        (lambda: cartpole(length=(1.0, 0.5)), r"length must be a range \(low, high\), got \(1.0, 0.5\)"),
        (lambda: cartpole(force=(5.0, 5.0)), "force must be a range"),
        (lambda: cartpole(gravity=9.8), "gravity must be a range"),  # pyright: ignore[reportArgumentType]
        (lambda: pendulum(mass=(0.0, 1.0)), "the lower end of mass must be a finite number above 0"),
        (lambda: pendulum(horizon=0), "horizon must be at least 1"),
        (lambda: check_family(robot_env), "tasks must come from an RLTaskFamily, got function"),  # pyright: ignore[reportArgumentType]
        (
            lambda: check_family(RLTaskFamily("mine", lambda key: (), lambda task: None)),  # pyright: ignore[reportArgumentType]
            "env of the tasks mine must return an lrn.rl.env.Env, got NoneType",
        ),
    ],
)
def test_bad_input_is_one_sentence(make, message):
    with pytest.raises(check.InputError, match=message):
        make()
