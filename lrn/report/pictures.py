"""Figures of a run, checked before they are shown."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import NamedTuple

from lrn.report.run import Run
from lrn.study import seal


def png(path: Path, damage: list[str], required: bool) -> bytes | None:
    """The bytes of a PNG that is whole."""
    try:
        if wrong := seal.too_large(path):
            damage.append(f"{path.name} {wrong}")
            return None
        content = path.read_bytes()
    except FileNotFoundError:
        if required:
            damage.append(f"{path.name} is missing")
        return None
    except OSError:
        damage.append(f"{path.name} cannot be read")
        return None
    if not _is_whole_png(content):
        damage.append(f"{path.name} is not a whole PNG image")
        return None
    return content


def _is_whole_png(content: bytes) -> bool:
    """Whether it is a PNG of reasonable size, every chunk matches its checksum, and nothing follows."""
    from PIL import Image

    try:
        with (
            warnings.catch_warnings(action="error"),
            Image.open(io.BytesIO(content), formats=["PNG"]) as image,
        ):
            image.verify()
    except Exception:  # whatever a reader of pictures makes of arbitrary bytes
        return False
    return content.endswith(b"\0\0\0\0IEND\xaeB`\x82")  # which pillow does not look at


class Picture(NamedTuple):
    """A figure as data URIs, ``dark`` where there is one, and its size in px."""

    light: str
    dark: str | None
    width: int
    height: int


def picture(run: Run) -> Picture | None:
    """The figure of a run; None where it has none that is whole."""
    if run.figure is None:
        return None
    from PIL import Image

    dark = _data_uri(run.figure_dark) if run.figure_dark else None
    return Picture(_data_uri(run.figure), dark, *Image.open(io.BytesIO(run.figure)).size)


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
