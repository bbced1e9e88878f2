"""The kinds of column: the contents that each kind accepts from a file, and the numpy array they become."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lrn.data.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = "?"  # a missing category or text, as in the UCI files; a missing number is NaN
# The most bytes of a column of text. Every row takes four bytes for each character of the longest value.
TEXT_BYTES = 2**30
PICTURE_BYTES = 2**24  # the most bytes of one compressed picture
SEPARATOR = "|"  # separates the items of a list of strings


@dataclass(frozen=True)
class Label:
    """A class index, which becomes int32. The file must hold whole numbers from 0 to ``classes`` - 1.

    classes: the number of classes. names: the names of the classes, in order.
    """

    classes: int
    names: tuple[str, ...] = ()

    def read(self, column: pa.ChunkedArray) -> np.ndarray:
        """The labels, int32 [rows].

        Raises:
            DataError: a value is missing, or is no class index.
        """
        _no_nulls(column)
        values = _numbers(column, "whole numbers")
        wrong = (values < 0) | (values >= self.classes) | (values != np.floor(values))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"row {row} has label {values[row]:g}, outside 0 to {self.classes - 1}")
        return values.astype(np.int32)


@dataclass(frozen=True)
class Numeric:
    """A number, which becomes float64, with NaN for missing numbers.

    Strings are parsed as numbers; "?" and the empty string are missing numbers. Bools become 0 and 1.

    whole: whether the numbers are whole; they then become int64, and none may be missing.
    """

    whole: bool = False

    def read(self, column: pa.ChunkedArray) -> np.ndarray:
        """The numbers, float64 or int64 [rows].

        Raises:
            DataError: a value is no number, or must be whole and is missing, not whole, or too large.
        """
        if self.whole:
            _no_nulls(column)
            values = _numbers(column, "whole numbers")
            whole = values == np.floor(values)  # a NaN compares false
            if not whole.all():
                row = int(np.argmin(whole))
                raise DataError(f"row {row} has {values[row]:g}, not a whole number")
            # From 2^53 on floats skip whole numbers; int64 ends at 2^63.
            small = np.abs(values) < 2.0**53 if values.dtype.kind == "f" else values <= np.int64(2**63 - 1)
            if not small.all():
                row = int(np.argmin(small))
                raise DataError(f"row {row} has {values[row]:g}, too large for a whole number")
            return values.astype(np.int64)
        return _numbers(column, "numbers").astype(np.float64)


@dataclass(frozen=True)
class Categorical:
    """A category, which becomes a numpy string, `MISSING` for a missing category.

    levels: the categories that may occur; () accepts all.
    """

    levels: tuple[str, ...] = ()

    def read(self, column: pa.ChunkedArray) -> np.ndarray:
        """The categories, strings [rows].

        Raises:
            DataError: the column holds no strings, or a category is none of the levels.
        """
        values = _strings(column)
        if self.levels:
            wrong = ~np.isin(values, self.levels)
            if wrong.any():
                row = int(np.argmax(wrong))
                raise DataError(
                    f"row {row} has {str(values[row])[:80]!r}, which is none of {', '.join(self.levels)}"
                )
        return values


@dataclass(frozen=True)
class Text:
    """Free text, a date or a code, which becomes a numpy string, `MISSING` for a missing text.

    The items of a list of strings are joined by `SEPARATOR`.
    """

    def read(self, column: pa.ChunkedArray) -> np.ndarray:
        """The texts, strings [rows].

        Raises:
            DataError: the column holds no strings, or is too large.
        """
        return _strings(column)


@dataclass(frozen=True)
class Image:
    """A PNG or JPEG picture, which becomes uint8 [height, width, channels], with 1 channel (gray) or 3 (RGB).

    The file holds bytes, or structs {bytes, path} as on the Hugging Face Hub. The pixels of one-bit pictures
    become 0 and 255.
    """

    height: int
    width: int
    channels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels

    def read(self, column: pa.ChunkedArray) -> np.ndarray:
        """The pictures, uint8 [rows, height, width, channels].

        Python's work around each small picture takes nearly all the time, and threads do not speed it up:
        60,000 MNIST pictures take 1.3 s with one thread and with four.

        Raises:
            DataError: a picture is missing, cannot be decoded, or has another size or color mode.
        """
        import pyarrow as pa

        if pa.types.is_struct(column.type):
            fields = [column.type.field(i).name for i in range(column.type.num_fields)]
            if "bytes" not in fields:
                raise DataError(f"it is a struct of {', '.join(fields)}, expected {{bytes, path}}")
            column = column.flatten()[fields.index("bytes")]  # the bytes of a missing struct are missing
        if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
            raise DataError(f"it holds {column.type}, expected the bytes of pictures")
        _no_nulls(column)
        pixels = np.empty((len(column), *self.shape), np.uint8)
        for row, picture in enumerate(column.to_pylist()):
            try:
                pixels[row] = self._decode(picture)
            except DataError as error:
                raise DataError(f"the picture in row {row} {error}") from None
        return pixels

    def _decode(self, picture: bytes) -> np.ndarray:
        from PIL import Image as Pillow

        if len(picture) > PICTURE_BYTES:
            raise DataError(f"has {len(picture):,} bytes, and {PICTURE_BYTES:,} are the most that are read")
        try:
            image = Pillow.open(io.BytesIO(picture), formats=("PNG", "JPEG"))
        except Exception as error:  # pillow raises errors of many classes for bytes that are no picture
            raise DataError(f"cannot be decoded ({type(error).__name__})") from error
        if image.size != (self.width, self.height):  # read from the header, before the picture is inflated
            raise DataError(f"is {image.size[0]}x{image.size[1]}, expected {self.width}x{self.height} pixels")
        if image.mode not in (("L", "1") if self.channels == 1 else ("RGB", "P")):
            raise DataError(
                f"has color mode {image.mode}, expected {'gray' if self.channels == 1 else 'RGB'}"
            )
        try:
            if image.mode in ("1", "P"):
                image = image.convert("L" if self.channels == 1 else "RGB")
            return np.frombuffer(image.tobytes(), np.uint8).reshape(self.shape)
        except Exception as error:
            raise DataError(f"cannot be decoded ({type(error).__name__})") from error


@dataclass(frozen=True)
class Series:
    """A sequence of numbers, which becomes float32 [rows, length, channels]; a list of numbers in a file.

    length: the number of points. channels: the number of numbers at a point, which lie side by side.
    """

    length: int
    channels: int = 1

    def read(self, column: pa.ChunkedArray) -> np.ndarray:
        """The sequences, float32 [rows, length, channels].

        Raises:
            DataError: a sequence is missing, has another length, or holds anything but numbers.
        """
        import pyarrow as pa

        kind = column.type
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
            raise DataError(f"it holds {kind}, expected lists of numbers")
        _no_nulls(column)
        wanted = self.length * self.channels
        for row, sequence in enumerate(column.to_pylist()):
            if len(sequence) != wanted:
                raise DataError(f"row {row} has {len(sequence)} numbers, expected {wanted}")
        values = pa.chunked_array([chunk.flatten() for chunk in column.chunks], type=kind.value_type)
        numbers = _numbers(values, "numbers").astype(np.float32)
        return numbers.reshape(-1, self.length, self.channels)


Column = Label | Numeric | Categorical | Text | Image | Series


def _no_nulls(column: pa.ChunkedArray) -> None:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"row {row} is missing")


def _numbers(column: pa.ChunkedArray, expected: str) -> np.ndarray:
    """The numbers of a column of any stored type; with missing numbers, float64 with NaN."""
    import pyarrow as pa

    column = _spread(column)
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_decimal(kind) or pa.types.is_null(kind):
        column = column.cast(pa.float64())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _parse(column.to_pylist(), expected)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DataError(f"it holds {kind}, expected {expected}")
    if column.null_count and not pa.types.is_floating(column.type):
        column = column.cast(pa.float64(), safe=False)
    return column.to_numpy()


def _parse(strings: Sequence[str | None], expected: str) -> np.ndarray:
    values = np.empty(len(strings), np.float64)
    for row, string in enumerate(strings):
        stripped = (string or "").strip()
        try:
            values[row] = np.nan if stripped in ("", MISSING) else float(stripped)
        except ValueError:
            shown = repr(stripped if len(stripped) <= 80 else f"{stripped[:80]}...")
            raise DataError(f"row {row} has {shown}, expected {expected}") from None
    return values


def _strings(column: pa.ChunkedArray) -> np.ndarray:
    import pyarrow as pa

    column = _spread(column)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values: list[Any] = [MISSING if v is None else v for v in column.to_pylist()]
    elif _is_list_of_strings(kind):
        values = [MISSING if v is None else SEPARATOR.join(i or "" for i in v) for v in column.to_pylist()]
    elif pa.types.is_null(kind):
        values = [MISSING] * len(column)
    else:
        raise DataError(f"it holds {kind}, expected strings")
    _fits(max(map(len, values), default=0), len(values))
    return np.array(values, np.str_) if values else np.empty(0, "U1")


def _spread(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A dictionary-encoded column as its values, if these are not too large."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return column
    kind = column.type.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        for chunk in column.chunks:
            lengths = pc.call_function("binary_length", [chunk.dictionary]).to_numpy(zero_copy_only=False)
            _fits(int(np.nanmax(lengths, initial=0)), len(column))
    return column.cast(kind)


def _fits(longest: int, rows: int) -> None:
    if 4 * longest * rows > TEXT_BYTES:
        raise DataError(f"it has {rows:,} rows and a value of {longest:,} characters, too large to be read")


def _is_list_of_strings(kind: Any) -> bool:
    import pyarrow as pa

    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and (
        pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)
    )
