"""Small images, and features of a transformer that keep where things are."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.ssl._tasks import Task
from lrn.types import Array, MaskedNet, Net


def halved(task: Task) -> Task:
    """Images of 28 x 28 bytes as 16 x 16: two pixels of zero at each side, then means of four."""
    wide = np.pad(task.data["image"][..., 0].astype(np.float32), ((0, 0), (2, 2), (2, 2)))
    small = wide.reshape(-1, 16, 2, 16, 2).mean((2, 4))
    return task._replace(data={**task.data, "image": np.round(small).astype(np.uint8)[..., None]})


def side_by_side(encoder: MaskedNet) -> Net:
    """The network whose features are the tokens of all places; their mean would lose where things are."""

    def apply(params: Any, state: Any, x: Array, **options: Any) -> tuple[Array, Any]:
        tokens, state = encoder.tokens.apply(params, state, x, **options)
        return tokens.reshape(x.shape[0], -1), state

    return Net(encoder.net.init, apply)
