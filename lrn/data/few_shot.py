"""Images by class, for few-shot tasks: tables of classes, and Omniglot's two conventional splits."""

from __future__ import annotations

import functools
import os
from typing import NamedTuple

import numpy as np

from lrn import check
from lrn.data.loader import load

SPLITS = ("mixed", "alphabets")
PARTS = ("train", "validation", "development", "test")


class Classes(NamedTuple):
    """Images by class.

    images: uint8 [classes, examples, height, width, channels]. names: the names of the classes.
    """

    images: np.ndarray
    names: tuple[str, ...]


def by_class(images: np.ndarray, labels: np.ndarray, examples: int | None = None) -> np.ndarray:
    """Images as one table [classes, examples, ...]; the classes are in the order of their labels.

    Args:
        images: [n, ...], of any dtype.
        labels: [n], whole numbers or strings.
        examples: the number of examples of each class, of which the first are taken; by default that of the
            smallest class.

    Raises:
        ValueError: the lengths differ, there are no images, or a class has too few examples.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if len(labels) == 0:
        raise check.InputError("there are no images; give at least one of each class.")
    if len(images) != len(labels):
        raise check.InputError(f"there are {len(images)} images and {len(labels)} labels; give one for each.")
    names, counts = np.unique(labels, return_counts=True)
    examples = int(counts.min()) if examples is None else examples
    check.integer("examples", examples, low=1)
    if examples > counts.min():
        few = names[counts.argmin()]
        raise check.InputError(
            f"class {few} has {counts.min()} examples, fewer than the {examples} asked for; ask for fewer."
        )
    return np.stack([images[np.flatnonzero(labels == name)[:examples]] for name in names])


def omniglot(part: str, *, split: str = "mixed", size: int = 28, seed: int = 0) -> Classes:
    """The characters of one part of Omniglot, with 20 drawings each; ink is 255 and paper 0.

    Args:
        part: "train", "validation", "development" (both of these), or "test".
        split: "mixed" is the split of Vinyals et al. (2016) and Finn et al. (2017): 1,200 random
            characters of all alphabets for development, the last 100 of them for validation, and 423 for
            test. Their draw was not published, so this is another draw. "alphabets" is the data set's own
            split: 964 characters of 30 alphabets for development, the last 5 alphabets for validation,
            and 659 characters of 20 other alphabets for test.
        size: the side of the pictures in pixels; the original pictures of 105 pixels are averaged down.
        seed: the seed of the mixed split.

    Raises:
        DataNotFoundError: the data is not found and cannot be downloaded.
        ValueError: the part or split is unknown, or the size is below 1.
    """
    check.choice("part", part, PARTS)
    check.choice("split", split, SPLITS)
    check.integer("size", size, low=1)
    ink, names = _omniglot(size, os.environ.get("LRN_DATA_DIR", ""))
    old, new = len(names[0]), len(names[1])
    if split == "mixed":
        order = np.random.default_rng(seed).permutation(old + new)
        train, validation, test = np.split(order, [1100, 1200])
    else:
        alphabets = sorted({alphabet for alphabet, _ in names[0]})
        held = np.array([alphabet in alphabets[-5:] for alphabet, _ in names[0]])
        train, validation = np.flatnonzero(~held), np.flatnonzero(held)
        test = old + np.arange(new)
    chosen = {
        "train": train,
        "validation": validation,
        "development": np.concatenate([train, validation]),
        "test": test,
    }[part]
    every = ["/".join(name) for name in (*names[0], *names[1])]
    return Classes(ink[chosen], tuple(every[i] for i in chosen))


@functools.lru_cache(1)
def _omniglot(size: int, folder: str) -> tuple[np.ndarray, tuple[list[tuple[str, str]], ...]]:
    """The drawings of all characters, uint8 [characters, 20, size, size, 1], and their names in each half.

    Reading takes seconds, so the last result is cached: 25 MB at size 28. ``folder`` is a key of this
    cache only.
    """
    del folder
    tables, names = [], []
    for half in ("background", "evaluation"):
        given = load("omniglot", half)
        tables.append(shrink(255 - by_class(given["image"], given["label"], 20), size))
        names.append(sorted(set(zip(given["alphabet"].tolist(), given["character"].tolist()))))
    ink = np.concatenate(tables)
    ink.flags.writeable = False  # all callers share the cached array
    return ink, tuple(names)


def shrink(images: np.ndarray, size: int) -> np.ndarray:
    """Pictures at ``size`` pixels a side, uint8 [..., size, size, channels]; a pixel is a mean over its area.

    Args:
        images: uint8 [..., height, width, channels].
        size: the side of the result, in pixels.

    Raises:
        ValueError: the pictures have another dtype; rounding to whole levels would damage floats.
    """
    if images.dtype != np.uint8:
        raise check.InputError(f"shrink takes uint8 pixels, got {images.dtype}; pass the pictures as loaded.")
    height, width = images.shape[-3:-1]

    def weights(old: int) -> np.ndarray:
        edges = np.linspace(0, old, size + 1)
        low, high = edges[:-1, None], edges[1:, None]
        pixel = np.arange(old)[None]
        overlap = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
        return (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)

    flat = images.reshape(-1, *images.shape[-3:])
    rows, columns = weights(height), weights(width)
    small = [np.einsum("ih,nhwc,jw->nijc", rows, part, columns, optimize=True) for part in _parts(flat)]
    return np.rint(np.concatenate(small)).astype(np.uint8).reshape(*images.shape[:-3], size, size, -1)


def _parts(images: np.ndarray, rows: int = 256) -> list[np.ndarray]:
    """Parts of the pictures that fit into a core's cache: 105 to 14 pixels take a sixth of the time."""
    return [images[i : i + rows].astype(np.float32) for i in range(0, len(images), rows)]
