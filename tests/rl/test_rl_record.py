"""Recorded episodes, their pictures, and learning curves."""

from __future__ import annotations

import colorsys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from PIL import Image, ImageDraw

from lrn.check import InputError
from lrn.rl import env as envs
from lrn.rl.agent import Policy, memoryless
from lrn.rl.env import Env, from_gymnax, make, time_limit
from lrn.rl.evaluate import Episodes, Recorded, rollouts
from lrn.rl.identity import two_state_truncating
from lrn.rl.plot import learning_curves
from lrn.rl.record import frames, gif
from lrn.rl.shaping import with_reward
from lrn.table import Table

KEY = jax.random.key(0)


def counting(env: Env) -> Env:
    """The environment with the time of the episode as observation and as reward."""

    def observe(state):
        return jnp.stack([state.time.astype(jnp.float32), state.symbol.astype(jnp.float32)])

    def reset(key):
        _, state = env.reset(key)
        return observe(state), state

    def move(key, state, action):
        after, step = env.move(key, state, action)
        over = after.time >= 2 + state.symbol * 0 + action
        return after, step._replace(
            reward=1.0 + state.time.astype(jnp.float32), final_observation=observe(after),
            terminated=over, truncated=jnp.array(False),
        )  # fmt: skip

    return env._replace(reset=reset, move=move)


ENV = counting(two_state_truncating(length=9))
# Episode i ends after 2 + i steps.
POLICY = Policy(
    lambda n: jnp.zeros(n, jnp.int32),
    lambda key, state, memory, x: (jnp.arange(3, dtype=jnp.int32) + 0 * memory, memory + 1),
    lambda key, state, memory, x: (jnp.full(3, 1, jnp.int32) + state, memory + 1),
)


@pytest.fixture(scope="module")
def played() -> Episodes:
    return jax.jit(lambda key: rollouts(ENV, POLICY, key, jnp.int32(0), 3, record=True))(KEY)


def test_every_step_is_recorded(played):
    steps = played.steps
    assert steps.reward.shape == (9, 3)
    np.testing.assert_array_equal(played.lengths, [2, 3, 4])
    np.testing.assert_array_equal(steps.counted.sum(0), [2, 3, 4])
    last = steps.episode(2)
    assert isinstance(last, Recorded)
    np.testing.assert_array_equal(last.observation[:, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(last.final_observation[:, 0], [1, 2, 3, 4])
    np.testing.assert_array_equal(last.state.time, [0, 1, 2, 3])  # before the action
    np.testing.assert_array_equal(last.action, [2, 2, 2, 2])
    np.testing.assert_array_equal(last.reward, [1, 2, 3, 4])
    np.testing.assert_array_equal(last.terminated, [False, False, False, True])
    assert not last.truncated.any()
    assert last.counted.all()
    for i in range(3):
        assert float(steps.episode(i).reward.sum()) == float(played.returns[i])
    # The first half of the key draws the starts of episodes.
    observation, state = jax.vmap(ENV.reset)(jax.random.split(jax.random.split(KEY)[0], 3))
    np.testing.assert_array_equal(steps.observation[0], observation)
    np.testing.assert_array_equal(steps.state.symbol[0], state.symbol)
    assert np.unique(np.asarray(state.symbol)).size == 2
    for i in (3, -1):
        with pytest.raises(InputError, match="episode"):
            steps.episode(i)


def test_recording_changes_nothing(played):
    plain = jax.jit(lambda key: rollouts(ENV, POLICY, key, jnp.int32(0), 3))(KEY)
    assert plain.steps is None
    jax.tree.map(np.testing.assert_array_equal, plain, played._replace(steps=None))


def test_a_policy_samples_where_it_is_asked_to():
    played = jax.jit(lambda key: rollouts(ENV, POLICY, key, jnp.int32(2), 3, sample=True))(KEY)
    np.testing.assert_array_equal(played.lengths, [5, 5, 5])


def test_a_memoryless_policy_samples_by_its_key():
    policy = memoryless(lambda state, x: x[:, 0], lambda key, state, x: jax.random.normal(key, (2,)) + state)
    action, memory = policy.sample(KEY, 3.0, (), jnp.ones((2, 1)))
    np.testing.assert_array_equal(action, jax.random.normal(KEY, (2,)) + 3.0)
    assert memory == ()
    np.testing.assert_array_equal(policy.act(KEY, 3.0, (), jnp.ones((2, 1)))[0], [1, 1])
    with pytest.raises(InputError, match="does not say how it explores"):
        rollouts(ENV, memoryless(lambda state, x: x), KEY, (), 3, sample=True)


def seen(observation: Any, state: Any = (), reward: float = 1.0) -> Episodes:
    """An episode with the given observations [time, ...]."""
    observation = np.asarray(observation)
    time = len(observation)
    ones = np.ones((time, 1))
    column = observation[:, None]
    steps: Any = Recorded(
        jax.tree.map(lambda x: np.asarray(x)[:, None], state), column, ones, reward * ones, ones == 0,  # pyright: ignore[reportArgumentType]
        ones == 0, column, ones > 0,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip
    return Episodes(jnp.zeros(1), jnp.zeros(1), jnp.ones(1), steps)


def named(name: str) -> Env:
    return two_state_truncating()._replace(name=name)


CLASSIC = {
    # Two observations of each environment: the picture leans or stands left, then right.
    "CartPole-v1 (200 steps)": ([-1.5, 0, -0.3, 0], [1.5, 0, 0.3, 0]),
    "Pendulum-v1": ([0.0, 1.0, 0.0], [0.0, -1.0, 0.0]),
    "Acrobot-v1": ([0.0, -1.0, 1.0, 0.0, 0, 0], [0.0, 1.0, 1.0, 0.0, 0, 0]),
    "MountainCar-v0": ([-1.1, 0.0], [0.3, 0.0]),
    "MountainCarContinuous-v0": ([-1.1, 0.0], [0.3, 0.0]),
}


@pytest.mark.parametrize("name", CLASSIC)
def test_classic_control_is_drawn(name):
    left, right = frames(named(name), seen(CLASSIC[name]))
    assert left.shape == (160 + 16, 240, 3)
    assert left.dtype == np.uint8

    def middle(picture):
        """The mean position along the width of the accent's color, below the line of text."""
        rows, columns = np.nonzero((picture[16:] == (36, 80, 184)).all(-1))
        if name.startswith("Mountain"):
            columns = columns[rows > 20]  # beside the flag
        return columns.mean()

    assert middle(left) < 120 < middle(right) or name.startswith("Mountain")
    assert middle(left) < middle(right) - 20


def test_upright_is_up():
    """The pendulum at angle 0 points up, and the acrobot at rest hangs down."""
    up, down = frames(named("Pendulum-v1"), seen([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]))
    rows = [np.nonzero((x[16:] == (36, 80, 184)).all(-1))[0].mean() for x in (up, down)]
    assert rows[0] < 70 < 90 < rows[1]
    hanging, raised = frames(named("Acrobot-v1"), seen([[1.0, 0, 1, 0, 0, 0], [-1.0, 0, 1, 0, 0, 0]]))
    rows = [np.nonzero((x[16:] == (36, 80, 184)).all(-1))[0].mean() for x in (hanging, raised)]
    assert rows[0] > 90 > 70 > rows[1]


def test_pictures_are_enlarged_and_colored():
    bits = np.zeros((1, 3, 2, 4), bool)
    bits[0, 0, 0, 0] = bits[0, 1, 1, 2] = True
    (frame,) = frames(named("game"), seen(bits))
    assert frame.shape == (240 + 16, 160, 3)
    cells = frame[16 + 40 :: 80, 40::80].reshape(3, 2, 3)
    lit = (cells > 0).any(-1)
    np.testing.assert_array_equal(lit, bits[0].any(-1))
    assert (cells[0, 0] != cells[1, 1]).any()
    # Each channel has a hue of its own.
    for cell, channel in ((cells[0, 0], 0), (cells[1, 1], 2)):
        hue = 255 * np.array(colorsys.hsv_to_rgb(channel / 4, 150 / 255, 1.0))
        np.testing.assert_allclose(cell, hue, atol=3)


def test_a_line_of_text_stands_over_each_picture():
    """Each picture has a line with step and return; a narrow picture gets a margin for it."""
    first, second = frames(named("game"), seen(np.ones((2, 24, 1, 3), bool), reward=1.5))
    assert first.shape == second.shape == (240 + 16, 140, 3)
    assert (second[16:, :10] != 255).any(-1).all()
    assert (second[16:, 10:] == 255).all()
    for frame, text in ((first, "step 1  return 1.5"), (second, "step 2  return 3")):
        line = Image.new("RGB", (140, 16), "white")
        ImageDraw.Draw(line).text((3, 2), text, fill=(29, 35, 43))
        np.testing.assert_array_equal(frame[:16], line)


def test_bytes_are_images():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 240, 240, 3)).astype(np.uint8)
    np.testing.assert_array_equal(frames(named("game"), seen(rgb))[:, 16:], rgb)
    stack = np.random.default_rng(0).integers(0, 256, (1, 240, 240, 4)).astype(np.uint8)
    drawn = frames(named("game"), seen(stack))[:, 16:]
    np.testing.assert_array_equal(drawn, np.repeat(stack[..., 3:], 3, -1))  # the latest of the four


def test_a_plane_is_gray_from_its_least_to_its_greatest():
    plane = np.array([[[2.0, 4.0], [3.0, 2.0]]])
    for scale in (1.0, 2.0**-7):
        (frame,) = frames(named("plane"), seen(scale * plane))
        np.testing.assert_array_equal(frame[16 + 60 :: 120, 60::120, 0], [[0, 255], [128, 0]])
    (frame,) = frames(named("plane"), seen(np.full((1, 2, 2), 3.0)))
    assert (frame[16:] == 0).all()


def test_numbers_are_curves_with_a_line_at_the_step():
    numbers = np.linspace(0, 1, 12).reshape(4, 3)
    drawn = frames(named("numbers"), seen(numbers))

    def line(picture):
        return np.nonzero((picture[40:] == (36, 80, 184)).all(-1).all(0))[0].mean()

    at = [line(x) for x in drawn]
    assert np.all(np.diff(at) > 20)
    np.testing.assert_allclose(np.diff(at), np.diff(at).mean(), atol=2)
    height, width = drawn[0][16:].shape[:2]
    np.testing.assert_allclose(width / height, 1.6, rtol=0.02)
    assert (drawn[0][40:] == (36, 80, 184)).all(-1).all(0).sum() == 2
    # The line stands at the current step, here a peak of the second curve, which is orange.
    drawn = frames(named("numbers"), seen([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]))
    orange = (abs(drawn[0].astype(int) - (224, 102, 0)) < 40).all(-1)
    peak = np.nonzero(orange[np.nonzero(orange.any(1))[0][0]])[0].mean()
    np.testing.assert_allclose(line(drawn[2]), peak, atol=3)


def test_an_environment_draws_itself():
    """``render`` gets the environment's own state through wrappers; floats in [0, 1] become bytes."""
    base = two_state_truncating(length=3)
    drawing = base._replace(render=lambda state: jnp.full((60, 150, 3), state.time / 10))
    for env in (drawing, time_limit(drawing, 2), with_reward(drawing, lambda o, a, s: s.reward, "paid")):
        policy = memoryless(lambda s, x: jnp.zeros(2, jnp.int32))
        played = jax.jit(partial(rollouts, env, policy, state=(), episodes=2, record=True))(KEY)
        pictures = frames(env, played, 1)[:, 16:]
        assert pictures.shape == (env.horizon, 60, 150, 3)
        expected = np.round(25.5 * np.arange(env.horizon))
        np.testing.assert_array_equal(pictures[:, 0, 0, 0], expected)
    beyond = drawing._replace(render=lambda state: np.full((60, 150, 3), (-0.5, 0.5, 1.5)))
    (frame,) = frames(beyond, seen(np.zeros((1, 2)), state=np.zeros(1)))
    np.testing.assert_array_equal(frame[20, 20], [0, 128, 255])
    wrong = drawing._replace(render=lambda state: jnp.zeros((4, 4)))
    with pytest.raises(InputError, match=r"an image .* got \[4, 4\]"):
        frames(wrong, seen(np.zeros((1, 2)), state=np.zeros(1)))


def test_the_render_of_a_wrapped_environment_gets_its_parameters():
    class Drawn:
        name, default_params = "drawn", 7

        def action_space(self, params):
            return envs.Discrete(2)

        def reset(self, key, params):
            return jnp.zeros(1), jnp.int32(0)

        def step(self, key, state, action, params):
            return jnp.zeros(1), state + 1, 1.0, False, False, {"final_observation": jnp.zeros(1)}

        def render(self, state, params):
            return (state, params)

    env = from_gymnax(Drawn(), horizon=3)
    assert env.render is not None
    assert env.render(env.reset(KEY)[1]) == (0, 7)
    assert make("CartPole-v1").render is None


def test_figures_of_gymnax_are_pictures():
    import matplotlib.pyplot as plt

    env = make("Catch-bsuite")
    policy = memoryless(lambda s, x: jnp.ones(1, jnp.int32))
    played = jax.jit(lambda key: rollouts(env, policy, key, (), 1))(KEY)
    _, state = jax.device_get(jax.jit(env.reset)(KEY))
    states = jax.tree.map(lambda x: np.stack([x, x]), state)
    assert played.lengths[0] == 9  # so that an episode pays for one catch
    assert abs(float(played.returns[0])) == 1
    drawn = frames(env, seen(np.zeros((2, 10, 5)), state=states))
    assert drawn.shape[0] == 2
    assert drawn.shape[-1] == 3
    assert len(np.unique(drawn[0])) > 10
    assert not plt.get_fignums()


def test_a_gif(tmp_path, played):
    path = gif(str(tmp_path / "new" / "two.gif"), ENV, played, episode=2, fps=10)
    with Image.open(path) as image:
        assert image.n_frames == 4  # pyright: ignore[reportAttributeAccessIssue]
        assert image.info["duration"] == 100
        assert image.info["loop"] == 0
    plain = jax.jit(lambda key: rollouts(ENV, POLICY, key, jnp.int32(0), 3))(KEY)
    for bad, words in (
        (lambda: gif(path, ENV, plain), "not recorded"), (lambda: gif(path, ENV, played, 3), "no episode 3"),
        (lambda: gif(path, ENV, played, fps=0), "fps must be at least 1"),
        (lambda: gif(path, ENV, played, fps=60), "fps must lie between 1 and 50"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            bad()


def table() -> Table:
    """A table of two arms and three seeds; arm b has no value at step 10."""
    rows = [
        (arm, seed, step, metric, (100 if arm == "b" else 0) + 10 * seed + step + (metric == "return") * 0.5)
        for arm in "ab"
        for seed in range(3)
        for step in (0, 10, 20)
        for metric in ("return", "greedy_return")
        if not (arm == "b" and step == 10)
    ]
    arm, seed, step, metric, value = zip(*rows)
    return Table(*(np.array(x) for x in (arm, seed, step, metric)), np.array(value, float))  # pyright: ignore[reportCallIssue]


def test_learning_curves():
    (ax,) = learning_curves(table(), interactions=64, title="Two arms").axes
    first, second = ax.lines
    np.testing.assert_array_equal(first.get_xdata(), [0, 640, 1280])
    np.testing.assert_allclose(first.get_ydata(), [10, 20, 30])  # the mean over seeds, of the greedy return  # pyright: ignore[reportArgumentType, reportCallIssue]
    np.testing.assert_allclose(second.get_ydata(), [110, np.nan, 130])  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert (ax.get_ylabel(), ax.get_title(loc="left")) == ("greedy_return", "Two arms")
    assert ax.get_xlabel() == "steps of the environment"
    band = next(c for c in ax.collections if isinstance(c, PolyCollection))
    low, high = band.get_paths()[0].get_extents().intervaly
    assert low < 10 - 10 * 2.48  # Student's t over three seeds of deviation 10: 24.84
    assert high > 30 + 10 * 2.48
    (ax,) = learning_curves(table(), "return", theme="dark").axes
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0, 10, 20])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [10.5, 20.5, 30.5])  # pyright: ignore[reportArgumentType, reportCallIssue]
    only = table()
    only = Table(*(x[only.metric == "return"] for x in only))
    assert learning_curves(only).axes[0].get_ylabel() == "return"
    for bad, words in (
        (lambda: learning_curves(table(), "retrun"), "did you mean return"),
        (lambda: learning_curves(table(), interactions=0), "interactions must be at least 1"),
    ):
        with pytest.raises(InputError, match=words):
            bad()
