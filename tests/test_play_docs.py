"""The code of docs/play.md, from training to a GIF, runs as it is printed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lrn import train

PAGE = (Path(__file__).parents[1] / "docs" / "play.md").read_text()


def test_train_save_load_play_plot(monkeypatch, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 5
    fit = train.fit
    monkeypatch.setattr(train, "fit", lambda *args, **options: fit(*args, progress=False, **options))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/play.md", "exec", dont_inherit=True), names)
    trained, result = names["trained"], names["result"]
    assert trained.seeds == (0, 1, 2, 3)
    np.testing.assert_array_equal(
        trained.table.final("default", "greedy_return"), result.table.final("default", "greedy_return")
    )
    returns = np.asarray(names["played"].returns)
    assert returns.shape == (8,)
    # The agent has learned: a random policy holds the pole for about twenty steps.
    assert np.median(result.table.final("default", "greedy_return")) > 100
    with Image.open(tmp_path / "runs" / "cartpole.gif") as image:
        assert image.n_frames == int(names["recorded"].lengths[0])  # pyright: ignore[reportAttributeAccessIssue]
    with Image.open(tmp_path / "runs" / "cartpole.png") as image:
        assert min(image.size) > 100
