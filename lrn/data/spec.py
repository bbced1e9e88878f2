"""`DataSpec`: the columns, splits, terms and home of a data set; each file of `lrn.data.sets` has one."""

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
    """A file at a data set's public home.

    Attributes:
        url: the file's https address, which includes a pinned revision if the home has revisions.
        digest: the file's digest, "sha256:..." or of another algorithm of hashlib; None if no
            digest is known.
    """

    url: str
    digest: str | None = None


@dataclass(frozen=True)
class Split:
    """A split.

    Attributes:
        rows: the number of rows.
        remotes: the remote files from which the split is made.
    """

    rows: int
    remotes: tuple[Remote, ...] = ()


@dataclass(frozen=True)
class DataSpec:
    """A data set: its columns, splits, terms and home.

    A set that is downloaded has ``convert``; a set that needs no file has ``generate``.

    Attributes:
        name: the name for `load`, which is the name of the set's file in `lrn.data.sets`.
        about: one sentence that describes the set.
        columns: from the name of a column to its kind; a file must have exactly these columns.
        splits: from the name of a split to its size and files.
        license: the terms of use, or a note that none are stated.
        citation: the publication to cite.
        home: the address of the set's page.
        convert: ``convert(spec, paths) -> pyarrow.Table``, which makes the table of a split from its
            downloaded files, in the order of its remotes.
        generate: ``generate(split) -> {column: array}``, which makes a split without files.
        derive: ``derive(columns) -> {column: array}``, which adds columns computed from the others.
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
