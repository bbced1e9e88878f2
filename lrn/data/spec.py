"""`DataSpec`: what one data set is, and where it lives. Each file of `lrn.data.sets` declares one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrn.data.columns import Column

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Remote:
    """A file at a public home.

    Attributes:
        url: its https address, with the revision pinned in it where the home has revisions.
        digest: "sha256:..." (or another algorithm of hashlib) of the file; None where none is known.
    """

    url: str
    digest: str | None = None


@dataclass(frozen=True)
class Split:
    """A split: how many rows it has, and the remote files it is made from."""

    rows: int
    remotes: tuple[Remote, ...] = ()


@dataclass(frozen=True)
class DataSpec:
    """A data set: its columns and splits, where it lives, and on what terms.

    Either ``convert`` (a set that is downloaded) or ``generate`` (a set that needs no file) is given.

    Attributes:
        name: what `load` calls it: the name of its file in `lrn.data.sets`.
        about: one sentence on what it is.
        columns: name and kind of every column; a file must have exactly these.
        splits: name and size of every split.
        license: the terms, or that none are stated.
        citation: whom to cite.
        home: the page a person would read.
        convert: ``convert(spec, paths) -> pyarrow.Table`` makes the table of a split from its downloaded
            files, given in the order of its remotes.
        generate: ``generate(split) -> {column: array}`` makes a split without any file.
        derive: ``derive(columns) -> {column: array}`` adds columns that follow from the others.
    """

    name: str
    about: str
    columns: Mapping[str, Column]
    splits: Mapping[str, Split]
    license: str
    citation: str
    home: str
    convert: Callable[[DataSpec, Sequence[Path]], Any] | None = None
    generate: Callable[[str], dict[str, np.ndarray]] | None = None
    derive: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] | None = None
