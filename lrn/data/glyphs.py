"""Glyphs: letters of several scripts, drawn from the fonts that matplotlib includes, as few-shot classes.

A class is a letter. An example is a picture of the letter in a random face of DejaVu (upright or slanted,
light or bold, with or without serifs), size, place and slant. Scripts are domains without common classes.
Nothing is downloaded, and equal arguments give equal pictures.
"""

from __future__ import annotations

import functools
import unicodedata
from pathlib import Path

import numpy as np

from lrn import check
from lrn.data.few_shot import Classes, shrink

# Scripts for which four faces of DejaVu or more have about thirty letters or more.
SCRIPTS = (
    "arabic",
    "armenian",
    "canadian",
    "cyrillic",
    "georgian",
    "greek",
    "hebrew",
    "lao",
    "latin",
    "lisu",
)
_CANVAS = 112  # the side, in pixels, of a picture before it is shrunk
_ALIKE = 0.93  # two letters count as one if their correlation, at equal size, is above this value


def glyphs(script: str, *, examples: int = 20, size: int = 28, seed: int = 0) -> Classes:
    """The letters of a script, as classes; ink is 255 and paper 0.

    Letters that differ only in size and place (c and C, o and O) are one class, named after the letter
    with the first code point.

    Args:
        script: one of `SCRIPTS`.
        examples: the number of pictures of each letter.
        size: the side of a picture, in pixels.
        seed: the seed of faces, sizes, places and slants.

    Raises:
        ValueError: the script is unknown, or a count is below 1.
    """
    check.choice("script", script, SCRIPTS)
    check.integer("examples", examples, low=1)
    check.integer("size", size, low=1)
    letters = _letters(script)
    pictures = [
        _draw(letter, faces, np.random.default_rng([seed, ord(letter), i]))
        for letter, faces in letters
        for i in range(examples)
    ]
    table = np.stack(pictures).reshape(len(letters), examples, _CANVAS, _CANVAS, 1)
    names = tuple(unicodedata.name(letter).lower() for letter, _ in letters)
    return Classes(shrink(table, size), names)


def _draw(letter: str, faces: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """One picture uint8 [canvas, canvas], in a face, size, place and slant drawn by ``rng``."""
    from PIL import Image, ImageDraw

    font = _font(faces[rng.integers(len(faces))], int(rng.uniform(0.55, 0.8) * _CANVAS))
    picture = Image.new("L", (_CANVAS, _CANVAS))
    left, top, right, bottom = font.getbbox(letter)
    place = rng.uniform(-0.07, 0.07, 2) * _CANVAS + _CANVAS / 2 - [(left + right) / 2, (top + bottom) / 2]
    ImageDraw.Draw(picture).text(tuple(place.tolist()), letter, fill=255, font=font)
    return np.asarray(picture.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR))


@functools.cache
def _font(face: str, size: int):
    from PIL import ImageFont

    # The basic layout engine is in every build of Pillow; the other engine is not.
    return ImageFont.truetype(str(_folder() / face), size, layout_engine=ImageFont.Layout.BASIC)


def _folder() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@functools.cache
def _letters(script: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The letters of a script that four faces or more have, each with these faces."""
    from matplotlib.ft2font import FT2Font

    faces: dict[str, list[str]] = {}
    for path in sorted(_folder().glob("DejaVu*.ttf")):
        if "Display" in path.name:
            continue
        for code in FT2Font(str(path)).get_charmap():
            letter = chr(code)
            named = unicodedata.category(letter) in ("Lu", "Ll", "Lo")
            if named and unicodedata.name(letter, "").split(" ")[0].lower() == script:
                faces.setdefault(letter, []).append(path.name)
    distinct: list[tuple[str, tuple[str, ...]]] = []
    shapes: list[np.ndarray] = []
    for letter in sorted(faces):
        if len(faces[letter]) < 4:
            continue
        shape = _shape(letter, faces[letter][0])
        if shape is None or any(float(shape @ other) > _ALIKE for other in shapes):
            continue
        shapes.append(shape)
        distinct.append((letter, tuple(faces[letter])))
    return tuple(distinct)


def _shape(letter: str, face: str) -> np.ndarray | None:
    """A letter stretched to fill 16x16 pixels, centered and of unit norm; None for an empty one."""
    from PIL import Image, ImageDraw

    font = _font(face, 96)
    left, top, right, bottom = font.getbbox(letter)
    if right <= left or bottom <= top:
        return None
    picture = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(picture).text((-left, -top), letter, fill=255, font=font)
    flat = np.asarray(picture.resize((16, 16), Image.Resampling.BOX), np.float32).reshape(-1)
    flat = flat - flat.mean()
    norm = np.linalg.norm(flat)
    return flat / norm if norm > 0 else None
