"""`load`: find a split (in the data folder, the cache, or by download), check it, and read it into arrays."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import pkgutil
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrn import check, files
from lrn.data import fetch, integrity, sets
from lrn.data.columns import Column, Image
from lrn.data.dataset import Dataset
from lrn.data.errors import DataError, DataFolderError, DataNotFoundError
from lrn.data.spec import DataSpec

if TYPE_CHECKING:
    import pyarrow as pa

LIMIT = 2**32  # the most bytes of a file's columns when unpacked

_DECODED = 1  # the version of decoding, in the file names of decoded pictures; a change of decoding raises it


def names() -> tuple[str, ...]:
    """The names of the known data sets, which are the modules of `lrn.data.sets`."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(sets.__path__) if not m.name.startswith("_")))


def info(name: str) -> DataSpec:
    """The spec of a data set: its columns, splits, license, citation and home.

    Raises:
        ValueError: the name is unknown; the message offers the nearest names.
    """
    check.choice("data set", name, names())
    return importlib.import_module(f"{sets.__name__}.{name}").SPEC


def load(name: str | DataSpec, split: str = "train") -> Dataset:
    """Load one split of a data set.

    `load` looks for ``$LRN_DATA_DIR/<name>/<split>.parquet``, then for the same file in the cache
    (``~/.cache/lrn/data``, see `integrity.cache_dir`), then downloads from the set's public home, or from its
    mirror at ``$LRN_DATA_MIRROR``, into the cache. If a ``manifest.json`` lies beside or above a file,
    the file is compared with its SHA-256. The cache keeps decoded pictures, which are memory-mapped, so a
    second load takes milliseconds.

    Args:
        name: one of `names`, or a `DataSpec` of your own.
        split: the name of a split.

    Raises:
        ValueError: the name or split is unknown.
        DataError: the file is damaged, or its schema, size or values are not those of the set; a ValueError.
        DataNotFoundError: the split is in none of these places; a FileNotFoundError. If ``$LRN_DATA_DIR``
            is no folder, the error is also a ValueError.
    """
    spec = name if isinstance(name, DataSpec) else info(name)
    check.choice(f"split of {spec.name}", split, spec.splits)
    if spec.generate is not None:
        columns = spec.generate(split)
        return Dataset(spec.name, split, columns, "generated", _sha256_arrays(columns), spec.license)
    path = _find(spec, split) or _download(spec, split)
    try:
        return _read(spec, split, path)
    except DataError as error:
        ours = integrity.cache_dir() in path.parents
        remedy = "delete it and load again to download it afresh" if ours else "put a good copy in its place"
        raise DataError(f"{spec.name}/{split} ({path}): {error}; {remedy}.") from error
    except OSError as error:
        raise DataError(f"{spec.name}/{split} ({path}) cannot be read: {error.strerror or error}.") from error


def _sha256_arrays(columns: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, column in columns.items():
        digest.update(f"{name} {column.dtype} {column.shape}".encode())
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def _data_dir() -> Path | None:
    """The folder ``$LRN_DATA_DIR``; None if the variable is not set.

    Raises:
        DataFolderError: the variable is set and names no folder.
    """
    value = os.environ.get("LRN_DATA_DIR", "")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DataFolderError(f"LRN_DATA_DIR is {value}, which is not a folder; correct it or unset it.")
    return folder


def _find(spec: DataSpec, split: str) -> Path | None:
    for root in (_data_dir(), integrity.cache_dir()):
        if root is not None:
            path = root / spec.name / f"{split}.parquet"
            if path.is_dir():
                raise DataError(
                    f"{path} is a folder, expected the parquet file of {spec.name}/{split}; put that there."
                )
            if path.exists():
                return path
    return None


def _download(spec: DataSpec, split: str) -> Path:
    """Download a split and convert it into the cache; a file that fails a check never gets there.

    Raises:
        DataNotFoundError: the split cannot be downloaded or kept.
        DataError: a downloaded file is wrong.
    """
    remotes = spec.splits[split].remotes
    cache = integrity.cache_dir() / spec.name
    target = cache / f"{split}.parquet"
    folder = _data_dir()
    looked = f"{folder / spec.name / target.name}, " if folder else "LRN_DATA_DIR (not set), "
    missing = f"{spec.name}/{split} was not found: looked for {looked}{target}"
    advice = "connect to the network, or set LRN_DATA_DIR to a folder that has <name>/<split>.parquet"
    if not remotes or spec.convert is None:
        raise DataNotFoundError(f"{missing}, and it has no public home; {advice}.")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=cache))
    except OSError as error:
        raise DataNotFoundError(
            f"{missing}, and it cannot be downloaded because the cache cannot be written ({error}); "
            "set LRN_CACHE_DIR to a folder that can."
        ) from error
    try:
        paths = [fetch.download(remote, incoming) for remote in remotes]
        converted = incoming / target.name
        _convert(spec, paths, converted)
        _read(spec, split, converted)
        # Between the next two steps other processes see a file without a record, which they accept.
        target.with_suffix(".json").unlink(missing_ok=True)
        os.replace(converted, target)
        integrity.record(target, {"from": [remote.url for remote in remotes]})
    except DataNotFoundError as error:
        raise DataNotFoundError(f"{missing}, and {error}; {advice}.") from error
    except DataError as error:
        urls = ", ".join(remote.url for remote in remotes)
        raise DataError(
            f"{spec.name}/{split} as downloaded from {urls}: {error}; see {spec.home}."
        ) from error
    except OSError as error:
        raise DataNotFoundError(
            f"{missing}, and the download could not be kept in {cache} ({error})."
        ) from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return target


def _convert(spec: DataSpec, paths: list[Path], target: Path) -> None:
    import pyarrow.parquet as pq

    assert spec.convert is not None
    try:
        table = spec.convert(spec, paths)
    except Exception as error:  # readers raise errors of many classes for a file of another form
        raise DataError(f"it is not of the form expected ({type(error).__name__}: {error})") from error
    pq.write_table(table, target)
    files.sync(target)


def _read(spec: DataSpec, split: str, path: Path) -> Dataset:
    """Read and check a parquet file.

    Raises:
        DataError: the file is wrong; the message is the rest of a sentence that names the file.
    """
    digest = integrity.verify(path)
    _check(path, spec, split)
    kinds = dict(sorted(spec.columns.items(), key=lambda item: isinstance(item[1], Image)))  # pictures last
    table = _table(path, [name for name, kind in kinds.items() if not isinstance(kind, Image)])
    columns: dict[str, np.ndarray] = {}
    for name, kind in kinds.items():
        try:
            if isinstance(kind, Image):
                columns[name] = _pictures(path, name, kind, digest, spec.splits[split].rows)
            else:
                columns[name] = kind.read(table[name])
        except DataError as error:
            raise DataError(f"column {name!r}: {error}") from error
        except Exception as error:  # such as pyarrow's error for bytes that are not UTF-8
            raise DataError(f"column {name!r} cannot be read ({type(error).__name__})") from error
    columns = {name: columns[name] for name in spec.columns}
    if spec.derive is not None:
        columns |= spec.derive(columns)
    return Dataset(spec.name, split, columns, str(path), digest, spec.license)


def _check(path: Path, spec: DataSpec, split: str) -> None:
    """Raise DataError unless a file is whole parquet with the schema and the number of rows of the split."""
    import pyarrow.parquet as pq

    with open(path, "rb") as file:
        head = file.read(4)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 4, 0))
        tail = file.read(4)
    if head != b"PAR1":
        raise DataError("it is empty" if size == 0 else "it is no parquet file")
    if tail != b"PAR1" or size < 12:
        raise DataError("it is truncated: a parquet file ends in PAR1")
    try:
        with pq.ParquetFile(path) as parquet:
            names, rows = parquet.schema_arrow.names, parquet.metadata.num_rows
            groups = range(parquet.metadata.num_row_groups)
            size = sum(parquet.metadata.row_group(i).total_byte_size for i in groups)
    except Exception as error:
        raise DataError(f"it is damaged ({type(error).__name__})") from error
    _check_schema(names, spec.columns)
    if rows == 0:
        raise DataError("it has no rows")
    if rows != spec.splits[split].rows:
        raise DataError(f"it has {rows:,} rows, expected {spec.splits[split].rows:,}")
    if size > LIMIT:
        raise DataError(f"it unpacks to {size:,} bytes, and {LIMIT:,} are the most that are read")


def _table(path: Path, names: list[str], pictures: bool = False) -> pa.Table:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as parquet:
            leaves = {parquet.schema.column(i).path for i in range(len(parquet.schema.names))}
        # Text is read dictionary-encoded, because one long value may be in every row.
        coded = [] if pictures else sorted(leaves.intersection(names))
        with pq.ParquetFile(path, read_dictionary=coded) as parquet:
            return parquet.read(columns=names)
    except Exception as error:
        raise DataError(f"it is damaged ({type(error).__name__})") from error


def _check_schema(present: list[str], expected: Mapping[str, Column]) -> None:
    missing = [name for name in expected if name not in present]
    extra = [name for name in present if name not in expected]
    parts = []
    if missing:
        parts.append(f"lacks {', '.join(missing)}")
    if extra:
        parts.append(f"has {', '.join(extra)} besides")
    if len(set(present)) != len(present):
        parts.append("repeats a column")
    if parts:
        raise DataError(
            f"it has another schema: it {' and '.join(parts)}; expected the columns {', '.join(expected)}"
        )


def _pictures(path: Path, name: str, kind: Image, digest: str, rows: int) -> np.ndarray:
    """The decoded pictures of a column: memory-mapped from the cache, or decoded from the file and cached."""
    shape = (rows, *kind.shape)
    stem = f"{digest[:32]}-{name}-{'x'.join(map(str, kind.shape))}-{_DECODED}"
    kept = integrity.cache_dir() / "decoded" / f"{stem}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError, DataError):
        integrity.verify(kept)
        pixels = np.load(kept, mmap_mode="r", allow_pickle=False)
        if pixels.shape == shape and pixels.dtype == np.uint8 and kept.with_suffix(".json").is_file():
            return pixels
    pixels = kind.read(_table(path, [name], pictures=True)[name])
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        kept.with_suffix(".json").unlink(missing_ok=True)
        files.write_with(kept, lambda temporary: np.save(temporary, pixels, allow_pickle=False))
        integrity.record(kept, {"from": str(path)})
    return pixels
