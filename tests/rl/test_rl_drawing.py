"""Pictures of classic control: the edges of each shape follow from the geometry of the task.

Pictures are 240 by 160 pixels, x to the right and y downwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lrn.rl.evaluate import Episodes, Recorded
from lrn.rl.identity import two_state_truncating
from lrn.rl.record import frames

INK, ACCENT = (29, 35, 43), (36, 80, 184)


def picture(name: str, observation: Any) -> np.ndarray:
    """The picture of an observation, without the line of text above it."""
    column, ones = np.asarray(observation, float)[None, None], np.ones((1, 1))
    steps: Any = Recorded((), column, ones, ones, ones == 0, ones == 0, column, ones > 0)  # pyright: ignore[reportArgumentType]
    env = two_state_truncating()._replace(name=name)
    (drawn,) = frames(env, Episodes(ones[0], ones[0], ones[0], steps))  # pyright: ignore[reportArgumentType]
    assert drawn.shape == (176, 240, 3)
    return drawn[16:]


def extent(drawn: np.ndarray, color: Any) -> tuple[int, int, int, int]:
    """The smallest and the largest x and y of a color."""
    rows, columns = np.nonzero((drawn == color).all(-1))
    return columns.min(), columns.max(), rows.min(), rows.max()


def across(pixels: np.ndarray, color: Any) -> int:
    """The number of pixels of a row or a column that have a color."""
    return int((pixels == color).all(-1).sum())


def stroke(points: Any, width: float) -> tuple[float, float, float, float]:
    """The extent of lines from point to point with square ends."""
    corners = []
    for a, b in zip(np.asarray(points, float), np.asarray(points, float)[1:]):
        along = (b - a) / np.hypot(*(b - a))
        across = np.array([-along[1], along[0]]) * width / 2
        corners += [a + across, a - across, b + across, b - across]
    x, y = np.array(corners).T
    return x.min(), x.max(), y.min(), y.max()


@pytest.mark.parametrize("place", [0.0, 1.3, -1.3])
@pytest.mark.parametrize("angle", [0.0, 0.7, -0.7])
def test_a_cart_and_its_pole(place, angle):
    """A unit of length is the width divided by 5.2, and the pole is one unit long."""
    unit = 240 / 5.2
    x = 120 + place * unit
    drawn = picture("CartPole-v1", [place, 9.0, angle, 9.0])
    pole = [(x, 120), (x + unit * np.sin(angle), 120 - unit * np.cos(angle))]
    np.testing.assert_allclose(extent(drawn, ACCENT), stroke(pole, 5), atol=1.01)
    assert extent(drawn, INK) == (0, 239, 120, 132)
    np.testing.assert_allclose(extent(drawn[130:], INK), (x - 16, x + 16, 0, 2), atol=0.51)
    assert extent(drawn[:, :20], INK) == extent(drawn[:, -20:], INK) == (0, 19, 128, 128)
    assert angle != 0 or across(drawn[100], ACCENT) == 5


@pytest.mark.parametrize("angle", [0.0, 0.9, -2.2])
def test_a_pendulum(angle):
    """The rod is upright at angle 0, and to the left where the sine is positive."""
    drawn = picture("Pendulum-v1", [np.cos(angle), np.sin(angle), 9.0])
    rod = 0.42 * 160
    tip = (120 - rod * np.sin(angle), 80 - rod * np.cos(angle))
    left, right, top, bottom = extent(drawn, ACCENT)
    expected = stroke([(120, 80), tip], 6)
    # The axle hides the other end of the rod.
    for measured, edge in (
        (right, expected[1]) if angle < 0 else (left, expected[0]),
        (top, expected[2]) if np.cos(angle) > 0 else (bottom, expected[3]),
    ):
        np.testing.assert_allclose(measured, edge, atol=1.01)
    assert extent(drawn, INK) == (116, 124, 76, 84)
    assert (drawn[80, 120] == INK).all()
    assert angle != 0 or across(drawn[40], ACCENT) == 6


@pytest.mark.parametrize(("first", "second"), [(0.0, 0.0), (0.9, 0.6), (-2.0, 1.4)])
def test_an_acrobot(first, second):
    """Links hang at angle 0; the second angle is relative to the first; the goal is a link above the axle."""
    x = [np.cos(first), np.sin(first), np.cos(second), np.sin(second), 9.0, 9.0]
    drawn, link = picture("Acrobot-v1", x), 160 / 4.6
    points = np.cumsum([(120, 80), *(
        (link * np.sin(a), link * np.cos(a)) for a in (first, first + second)
    )], axis=0)  # fmt: skip
    np.testing.assert_allclose(extent(drawn, ACCENT), stroke(points, 5), atol=1.51)
    left, right, top, bottom = extent(drawn, INK)
    assert (left, right, top) == (0, 239, bottom)
    np.testing.assert_allclose(top, 80 - link, atol=0.51)
    assert first != 0 or across(drawn[100], ACCENT) == 5


@pytest.mark.parametrize("place", [-0.50175, 0.30825])
def test_a_car_on_its_hill(place):
    """A hill of 0.45 sin(3 x) + 0.55 from -1.2 to 0.6, a flag at 0.5."""

    def at(x: Any) -> np.ndarray:
        height = 0.45 * np.sin(3 * x) + 0.55
        return np.stack([(x + 1.2) / 1.8 * 240, 160 * (0.95 - 0.8 * height)], -1)

    drawn = picture("MountainCar-v0", [place, 9.0])
    car, flag = at(place), at(0.5)
    near = slice(int(car[0]) - 20, int(car[0]) + 21)
    measured = np.add(extent(drawn[:, near], ACCENT), (near.start, near.start, 0, 0))
    np.testing.assert_allclose(measured[:2], (car[0] - 6, car[0] + 6), atol=0.51)
    np.testing.assert_allclose(measured[2:], (car[1] - 12, car[1]), atol=0.81)
    measured = np.add(extent(drawn[:, 215:], ACCENT), (215, 215, 0, 0))
    np.testing.assert_allclose(measured, (flag[0] - 1.5, flag[0] + 1.5, flag[1] - 18, flag[1]), atol=1.21)
    # Every point of the hill has ink nearby, except behind the car or the flag, and all ink is near the hill.
    hill = at(np.linspace(-1.2, 0.6, 500))
    rows, columns = np.nonzero((drawn == INK).all(-1))
    away = np.hypot(hill[:, :1] - columns[None], hill[:, 1:] - rows[None])
    assert away.min(0).max() < 2.3
    seen = (abs(hill[:, 0] - car[0]) > 9) & (abs(hill[:, 0] - flag[0]) > 4)
    assert away[seen].min(1).max() < 1.2
    assert across(drawn[10], ACCENT) == 3
    valley = round(at(-np.pi / 6)[0])  # the lowest point of the hill
    assert place < 0 or across(drawn[:, valley], INK) == 2
