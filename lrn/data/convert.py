"""Readers that turn downloaded files into the tables that `load` reads, for the files of `lrn.data.sets`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lrn.data.columns import Column, Label, Numeric
from lrn.data.spec import DataSpec

if TYPE_CHECKING:
    import pyarrow as pa


def parquet(spec: DataSpec, paths: Sequence[Path], rename: Mapping[str, str] | None = None) -> pa.Table:
    """The table of parquet shards, in order, with columns renamed and reduced to those of the spec.

    Args:
        spec: the data set.
        paths: the shards.
        rename: from a column's name in the file to its name in the spec.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.concat_tables([pq.ParquetFile(path).read() for path in paths])
    table = table.rename_columns([(rename or {}).get(name, name) for name in table.column_names])
    return table.select(list(spec.columns)).replace_schema_metadata(None)


def csv(spec: DataSpec, paths: Sequence[Path]) -> pa.Table:
    """The table of one CSV file with a header.

    The spec gives the types of the columns. Empty fields are missing, and columns that the spec lacks are
    dropped. A repeated name in the header gets a number from the second time on: ``x``, ``x.1``.
    """
    import csv as standard

    import pyarrow.csv as reader

    (path,) = paths
    with open(path, encoding="utf-8-sig", newline="") as file:
        header = _numbered(next(standard.reader([file.readline()])))
    return reader.read_csv(
        path,
        reader.ReadOptions(column_names=header, skip_rows=1),
        reader.ParseOptions(newlines_in_values=True),
        reader.ConvertOptions(
            column_types={name: stored_type(kind) for name, kind in spec.columns.items()},
            include_columns=list(spec.columns),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _numbered(names: Sequence[str]) -> list[str]:
    numbered: list[str] = []
    for name in names:
        given, count = name, 0
        while given in numbered:
            count += 1
            given = f"{name}.{count}"
        numbered.append(given)
    return numbered


def pictures(encoded: Iterable[bytes]) -> pa.Array:
    """A column of pictures from PNG or JPEG bytes."""
    import pyarrow as pa

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # as on the Hugging Face Hub
    return pa.array([{"bytes": picture, "path": None} for picture in encoded], kind)


def stored_type(kind: Column) -> pa.DataType:
    """The parquet type of a column that is no picture. Labels are floats, because some files write 1.0."""
    import pyarrow as pa

    if isinstance(kind, Numeric) and kind.whole:
        return pa.int64()
    return pa.float64() if isinstance(kind, (Label, Numeric)) else pa.string()
