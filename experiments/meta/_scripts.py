"""Letters of one script, of three, and of two others that no training has, drawn from fonts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lrn.data.glyphs import glyphs

SCRIPTS, SEEN, SIZE, CLASSES = ("arabic", "armenian", "canadian", "georgian", "greek"), 3, 14, 48


def letters(seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Letters of each seed, uint8 [seeds, ...]: "training" [.., 2, 48, 10, size, size, 1], narrow and wide;
    "validation" and "test" [.., spots, 15, 10, size, size, 1], narrow, wide, and of unseen scripts.
    """
    tables = {script: glyphs(script, examples=10, size=SIZE).images for script in SCRIPTS}
    each = [split(tables, seed) for seed in seeds]
    return {name: np.stack([x[name] for x in each]) for name in each[0]}


def split(tables: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """The parts of `letters` for one seed; no training has a letter of its own tests, or an unseen one."""
    rng = np.random.default_rng([5, seed])
    scripts = [SCRIPTS[i] for i in rng.permutation(len(SCRIPTS))]
    mixed = {s: tables[s][rng.permutation(len(tables[s]))] for s in scripts}

    def seen(begin: int, end: int) -> list[np.ndarray]:
        wide = [mixed[s][begin // SEEN : end // SEEN] for s in scripts[:SEEN]]
        return [mixed[scripts[0]][begin:end], np.concatenate(wide)]

    def new(first: int, second: int) -> np.ndarray:
        one, other = (mixed[s] for s in scripts[SEEN:])
        return np.concatenate([one[first : first + 8], other[second : second + 7]])

    return {
        "training": np.stack(seen(0, CLASSES)),
        "validation": np.stack([*seen(CLASSES, CLASSES + 15), new(0, 0)]),
        "test": np.stack([*seen(CLASSES + 15, CLASSES + 30), new(8, 7)]),
    }
