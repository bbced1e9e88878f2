"""The tests of data have a private cache and no network; only some tests ask for real sets."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lrn.data
from lrn.data.columns import Image, Label
from lrn.data.spec import DataSpec, Remote, Split

NOWHERE = "http://127.0.0.1:9"  # the discard port: no server answers


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reaches the network; tests without real data have an empty cache and no data folder."""
    monkeypatch.setenv("LRN_DATA_MIRROR", NOWHERE)
    if request.node.get_closest_marker("real_data") is None:
        monkeypatch.setenv("LRN_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.delenv("LRN_DATA_DIR", raising=False)


@pytest.fixture
def real() -> Callable[..., lrn.data.Dataset]:
    """``real(name, split)`` loads a real set; without it a test skips, or fails if LRN_REQUIRE_DATA=1."""

    def load(name: str, split: str = "train") -> lrn.data.Dataset:
        folder = os.environ.get("LRN_DATA_DIR", "")
        if not folder or not (Path(folder) / name / f"{split}.parquet").is_file():
            reason = f"{name}/{split} is not in LRN_DATA_DIR ({folder or 'not set'})"
            if os.environ.get("LRN_REQUIRE_DATA") == "1":
                pytest.fail(f"{reason}, and LRN_REQUIRE_DATA=1 requires it")
            pytest.skip(reason)
        return lrn.data.load(name, split)

    return load


def encode(pixels: np.ndarray, form: str = "PNG") -> bytes:
    """A picture as PNG or JPEG bytes, from uint8 [H, W], [H, W, 1] or [H, W, 3], or bool for one bit."""
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).save(buffer, form)
    return buffer.getvalue()


class Tiny:
    """A data set of six 5x4 pictures, written to a data folder whole or damaged."""

    spec = DataSpec(
        name="tiny",
        about="Six pictures.",
        columns={"image": Image(5, 4, 1), "label": Label(3)},
        splits={"train": Split(6, (Remote("https://example.org/a/tiny.parquet"),))},
        license="none",
        citation="none",
        home="https://example.org",
    )

    def __init__(self, root: Path):
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (6, 5, 4, 1), dtype=np.uint8)
        self.labels = [0, 1, 2, 2, 1, 0]
        self.root = root
        self.path = root / "tiny" / "train.parquet"

    def columns(self) -> dict[str, Any]:
        return {
            "image": [{"bytes": encode(x), "path": None} for x in self.images],
            "label": self.labels,
        }

    def write(self, columns: Mapping[str, Any] | None = None, **changed: Any) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({**(columns or self.columns()), **changed}), self.path)
        return self.path

    def load(self) -> lrn.data.Dataset:
        return lrn.data.load(self.spec, "train")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """A tiny set whose folder is LRN_DATA_DIR; no file is written yet."""
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("LRN_DATA_DIR", str(root))
    return Tiny(root)


@pytest.fixture
def png() -> Callable[..., bytes]:
    return encode
