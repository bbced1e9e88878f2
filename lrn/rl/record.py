"""Recorded episodes as pictures: `gif` writes an episode as an animated GIF.

    played = rollouts(env, agent.policy, key, state, episodes=4, record=True)
    gif("cartpole.gif", env, played)

An environment with ``render(state)`` draws its own pictures. This module draws classic control and
observations that are pictures; of any other environment it draws the observations as curves over time.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageDraw

from lrn import check, figures, files
from lrn.rl.env import Env
from lrn.rl.evaluate import Episodes, Recorded

_SIDE = 240  # width of a drawing in pixels
_BAND = 16  # height in pixels of the line of text above a drawing
_INK, _PAPER, _ACCENT = (29, 35, 43), (255, 255, 255), (36, 80, 184)


def gif(path: Path | str, env: Env, played: Episodes, episode: int = 0, fps: int = 20) -> Path:
    """Write an episode as an animated GIF, with the step and the return so far over each frame.

    Args:
        path: path of the file; its folder is made if missing.
        env: the environment that was played.
        played: episodes from `lrn.rl.evaluate.rollouts` with ``record=True``.
        episode: index of the episode to draw.
        fps: frames per second, 1 to 50.

    Returns:
        The path.

    Raises:
        InputError: the episodes were not recorded, there is no such episode, or ``fps`` is out of range.
        lrn.files.WriteError: the file cannot be written.
    """
    check.integer("fps", fps, low=1)
    check.between("fps", fps, 1, 50)  # browsers play shorter delays slower
    pictures = [Image.fromarray(frame) for frame in frames(env, played, episode)]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / fps),
        loop=0,
    )
    path = Path(path)
    files.write_bytes(path, buffer.getvalue())
    return path


def frames(env: Env, played: Episodes, episode: int = 0) -> np.ndarray:
    """The pictures of an episode, uint8 [length of the episode, height, width, 3], one before each action.

    Args:
        env: the environment that was played.
        played: episodes from `lrn.rl.evaluate.rollouts` with ``record=True``.
        episode: index of the episode to draw.

    Raises:
        InputError: the episodes were not recorded, or there is no such episode.
    """
    if played.steps is None:
        raise check.InputError("these episodes were not recorded; play them by rollouts(..., record=True).")
    steps = played.steps.episode(episode)
    draw = _artist(env, steps)
    returns = np.cumsum(np.asarray(steps.reward, np.float64))
    drawn = [_titled(draw(t), f"step {t + 1}  return {returns[t]:.4g}") for t in range(len(returns))]
    return np.stack(drawn)


def _artist(env: Env, steps: Recorded) -> Callable[[int], np.ndarray]:
    """A function from the index of a step to its picture, uint8 [height, width, 3]."""
    seen = np.asarray(steps.observation)
    if env.render is not None:
        render = env.render
        return lambda t: _pixels(render(jax.tree.map(lambda x: x[t], steps.state)))
    for name, (shape, draw) in _CLASSIC.items():
        if env.name.startswith(name) and seen.shape[1:] == shape:
            return lambda t: draw(seen[t])
    if seen.ndim == 4:
        return lambda t: _enlarged(_colored(seen[t]))
    if seen.ndim == 3:
        low, high = float(seen.min()), float(seen.max())
        return lambda t: _enlarged(_gray((seen[t] - low) / max(high - low, 1e-12)))
    return _curves(seen.reshape(len(seen), -1), env.name)


def _titled(picture: np.ndarray, text: str) -> np.ndarray:
    height, width, _ = picture.shape
    canvas = Image.new("RGB", (max(width, 140), height + _BAND), _PAPER)
    canvas.paste(Image.fromarray(picture), (0, _BAND))
    ImageDraw.Draw(canvas).text((3, 2), text, fill=_INK)
    return np.asarray(canvas)


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """The picture with each pixel repeated as a square, so that the longer side comes near `_SIDE`."""
    k = max(1, _SIDE // max(picture.shape[:2]))
    return picture.repeat(k, axis=0).repeat(k, axis=1)


def _gray(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)[..., None], 3, axis=-1)


def _colored(picture: np.ndarray) -> np.ndarray:
    """A picture [height, width, channels] in colors, uint8 [height, width, 3].

    Three channels of bytes are an image already. Other numbers of byte channels are stacked gray frames, of
    which the last is shown. Channels of any other dtype each get a color of their own.
    """
    channels = picture.shape[-1]
    if picture.dtype == np.uint8:
        return picture if channels == 3 else _gray(picture[..., -1] / 255)
    out = np.zeros((*picture.shape[:2], 3), np.uint8)
    for i in range(channels):
        hue = Image.new("HSV", (1, 1), (int(255 * i / channels), 150, 255)).convert("RGB").getpixel((0, 0))
        out[picture[..., i] > 0] = np.asarray(hue)
    return out


def _pixels(drawn: Any) -> np.ndarray:
    """An environment's own drawing, an image or a figure of matplotlib, as uint8 [height, width, 3]."""
    if isinstance(drawn, tuple):  # (figure, axes)
        drawn = drawn[0]
    figure = drawn if hasattr(drawn, "savefig") else getattr(drawn, "figure", None)
    if figure is not None:
        return _rendered(figure)
    image = np.asarray(drawn)
    if image.ndim != 3 or image.shape[-1] != 3:
        raise check.InputError(
            f"render must give an image [height, width, 3] or a matplotlib figure, got {list(image.shape)}; "
            "convert the picture in render."
        )
    return image if image.dtype == np.uint8 else np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _rendered(figure: Any) -> np.ndarray:
    """The pixels of a figure, uint8 [height, width, 3]; a figure of pyplot is closed to free its memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = np.array(canvas.buffer_rgba())[..., :3]
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(figure)
    return image


def _curves(seen: np.ndarray, name: str) -> Callable[[int], np.ndarray]:
    """Observations [time, numbers] as curves over time, drawn once, with a line at the current step."""
    with figures.style():
        fig, ax = figures.subplots(width=4.8, height=3.0)
        ax.plot(np.arange(1, len(seen) + 1), seen, linewidth=1.2)
        ax.set(title=name, xlabel="step", ylabel="observation")
        still = _rendered(fig)
        left = [float(ax.transData.transform((t + 1, 0))[0]) for t in range(len(seen))]

    def draw(t: int) -> np.ndarray:
        image = Image.fromarray(still)
        ImageDraw.Draw(image).line([(left[t], 0), (left[t], image.height)], fill=_ACCENT, width=2)
        return np.asarray(image)

    return draw


def _canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (_SIDE, _SIDE * 2 // 3), _PAPER)
    return image, ImageDraw.Draw(image)


def _cartpole(x: np.ndarray) -> np.ndarray:
    image, pen = _canvas()
    ground, unit = image.height * 0.8, image.width / 5.2  # the track ends at 2.4 either way
    place = image.width / 2 + float(x[0]) * unit
    tip = (place + math.sin(x[2]) * unit, ground - 8 - math.cos(x[2]) * unit)
    pen.line([(0, ground), (image.width, ground)], fill=_INK)
    pen.rectangle([place - 16, ground - 8, place + 16, ground + 4], fill=_INK)
    pen.line([(place, ground - 8), tip], fill=_ACCENT, width=5)
    return np.asarray(image)


def _pendulum(x: np.ndarray) -> np.ndarray:
    image, pen = _canvas()
    middle, rod = (image.width / 2, image.height / 2), image.height * 0.42
    tip = (middle[0] - float(x[1]) * rod, middle[1] - float(x[0]) * rod)
    pen.line([middle, tip], fill=_ACCENT, width=6)
    pen.ellipse([middle[0] - 4, middle[1] - 4, middle[0] + 4, middle[1] + 4], fill=_INK)
    return np.asarray(image)


def _acrobot(x: np.ndarray) -> np.ndarray:
    image, pen = _canvas()
    unit = image.height / 4.6
    first, second = math.atan2(x[1], x[0]), math.atan2(x[3], x[2])
    points = [(image.width / 2, image.height / 2)]
    for angle in (first, first + second):
        points.append((points[-1][0] + math.sin(angle) * unit, points[-1][1] + math.cos(angle) * unit))
    goal = image.height / 2 - unit
    pen.line([(0, goal), (image.width, goal)], fill=_INK)
    pen.line(points, fill=_ACCENT, width=5)
    return np.asarray(image)


def _mountain_car(x: np.ndarray) -> np.ndarray:
    image, pen = _canvas()

    def at(place: float) -> tuple[float, float]:
        height = 0.45 * math.sin(3 * place) + 0.55
        return (place + 1.2) / 1.8 * image.width, image.height * (0.95 - 0.8 * height)

    pen.line([at(-1.2 + 1.8 * i / 60) for i in range(61)], fill=_INK, width=2)
    flag, car = at(0.5), at(float(x[0]))
    pen.line([flag, (flag[0], flag[1] - 18)], fill=_ACCENT, width=3)
    pen.ellipse([car[0] - 6, car[1] - 12, car[0] + 6, car[1]], fill=_ACCENT)
    return np.asarray(image)


# From the beginning of an environment's name to its observations' shape and the function that draws one.
_CLASSIC: dict[str, tuple[tuple[int, ...], Callable[[np.ndarray], np.ndarray]]] = {
    "CartPole-v1": ((4,), _cartpole),
    "Pendulum-v1": ((3,), _pendulum),
    "Acrobot-v1": ((6,), _acrobot),
    "MountainCar": ((2,), _mountain_car),
}
