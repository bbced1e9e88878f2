"""Every kind of column, from every stored type."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest

from lrn.data import columns
from lrn.data.columns import Categorical, Image, Label, Numeric, Text
from lrn.data.errors import DataError


def column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize(
    "kind",
    [
        pa.int8(),
        pa.uint8(),
        pa.int16(),
        pa.int32(),
        pa.uint32(),
        pa.int64(),
        pa.uint64(),
        pa.float32(),
        pa.float64(),
    ],
)
def test_labels_from_any_number(kind):
    read = Label(3).read(column([0, 2, 1], kind))
    assert read.dtype == np.int32
    assert read.tolist() == [0, 2, 1]


def test_labels_from_bools_strings_and_dictionaries():
    assert Label(2).read(column([True, False])).tolist() == [1, 0]
    assert Label(3).read(column(["2", " 0"])).tolist() == [2, 0]
    assert Label(3).read(column([2, 0, 2]).dictionary_encode()).tolist() == [2, 0, 2]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0, 3], "row 1 has label 3, outside 0 to 2"),
        ([-1, 0], "row 0 has label -1, outside"),
        ([0, 0.5], "row 1 has label 0.5"),
        ([0, float("nan")], "row 1 has label nan"),
        ([0.0, float("inf")], "row 1 has label inf"),
        ([0, None], "row 1 is missing"),
        (["0", "?"], "row 1 has label nan"),
        (["0", "cat"], "row 1 has 'cat', expected whole numbers"),
        ([[0], [1]], "holds list<.*>, expected whole numbers"),
        ([datetime.date(2020, 1, 1)], "expected whole numbers"),
        ([b"0"], "holds binary, expected"),
    ],
)
def test_wrong_labels(values, said):
    with pytest.raises(DataError, match=said):
        Label(3).read(column(values))


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, None, 3], pa.int64(), [1, np.nan, 3]),
        ([1.5, None], pa.float64(), [1.5, np.nan]),
        ([1.5, 2], pa.float32(), [1.5, 2]),
        ([True, None, False], pa.bool_(), [1, np.nan, 0]),
        ([True, False], pa.bool_(), [1, 0]),
        (["39", " 40 ", "?", None, "", "1e3"], pa.string(), [39, 40, np.nan, np.nan, np.nan, 1000]),
        ([decimal.Decimal("1.25")], pa.decimal128(5, 2), [1.25]),
        ([None, None], pa.null(), [np.nan, np.nan]),
        ([7, None, 7], pa.uint8(), [7, np.nan, 7]),
    ],
)
def test_numbers(values, kind, expected):
    read = Numeric().read(column(values, kind))
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, expected)


def test_whole_numbers():
    for values in ([1, -2], [1.0, -2.0], ["1", "-2"]):
        read = Numeric(whole=True).read(column(values))
        assert read.dtype == np.int64
        assert read.tolist() == [1, -2]
    assert Numeric(whole=True).read(column([True, False])).tolist() == [1, 0]
    assert Numeric(whole=True).read(column([2**60])).tolist() == [2**60]
    for values, said in (
        ([1, None], "row 1 is missing"),
        ([1, 2.5], "row 1 has 2.5, not a whole"),
        (["?"], "row 0 has nan"),
        ([1.0, float("inf")], "row 1 has inf, too large"),
        ([-1e300], r"row 0 has -1e\+300, too large"),
        ([np.uint64(2**64 - 1)], r"row 0 has 1.84467e\+19, too large"),
        (["9007199254740993"], r"row 0 has 9.0072e\+15, too large"),  # float64 would give ...992
    ):
        with pytest.raises(DataError, match=said):
            Numeric(whole=True).read(column(values))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_categories(kind):
    read = Categorical().read(column(["a", None, "?", "βγ"], kind))
    assert read.dtype == np.dtype("U2")
    assert read.tolist() == ["a", "?", "?", "βγ"]


def test_levels():
    assert Categorical(("a", "b")).read(column(["a", "b", "a"])).tolist() == ["a", "b", "a"]
    with pytest.raises(DataError, match="row 2 has 'c', which is none of a, b"):
        Categorical(("a", "b")).read(column(["a", "b", "c"]))
    with pytest.raises(DataError, match="row 0 has '\\?'"):
        Categorical(("a", "b")).read(column([None, "b"]))
    with pytest.raises(DataError, match="holds int64, expected strings"):
        Categorical().read(column([1]))


def test_text():
    assert Text().read(column([["x", "y z"], [], None, [None]])).tolist() == ["x|y z", "", "?", ""]
    assert Text().read(column([None], pa.null())).tolist() == ["?"]
    assert Text().read(column([], pa.string())).shape == (0,)
    with pytest.raises(DataError, match="expected strings"):
        Text().read(column([[1]]))


def test_pictures(png):
    rng = np.random.default_rng(1)
    gray = rng.integers(0, 256, (3, 6, 5, 1), dtype=np.uint8)
    color = rng.integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)
    bits = rng.random((6, 5)) < 0.5
    np.testing.assert_array_equal(Image(6, 5, 1).read(column([png(x) for x in gray])), gray)
    np.testing.assert_array_equal(
        Image(6, 5, 3).read(column([png(x) for x in color], pa.large_binary())), color
    )
    hub = [{"bytes": png(x), "path": "x.png"} for x in color]
    np.testing.assert_array_equal(Image(6, 5, 3).read(column(hub)), color)
    np.testing.assert_array_equal(Image(6, 5, 1).read(column([png(bits)]))[0, ..., 0], bits * np.uint8(255))
    flat = np.full((6, 5, 3), 100, np.uint8)
    assert np.abs(Image(6, 5, 3).read(column([png(flat, "JPEG")]))[0].astype(int) - 100).max() <= 2


def test_wrong_pictures(png):
    rng = np.random.default_rng(2)
    good = png(rng.integers(0, 256, (6, 5, 1), dtype=np.uint8))
    kind = Image(6, 5, 1)
    for bad, said in (
        (png(np.zeros((5, 6), np.uint8)), "the picture in row 1 is 6x5, expected 5x6 pixels"),
        (png(np.zeros((6, 5, 3), np.uint8)), "row 1 has color mode RGB, expected gray"),
        (b"not a picture", "row 1 cannot be decoded"),
        (b"", "row 1 cannot be decoded"),
        (good[: len(good) // 2], "row 1 cannot be decoded"),
        (png(np.zeros((6, 5), np.uint8), "GIF"), "row 1 cannot be decoded"),
        (None, "row 1 is missing"),
    ):
        with pytest.raises(DataError, match=said):
            kind.read(column([good, bad]))
    with pytest.raises(DataError, match=r"struct of path, expected \{bytes, path\}"):
        kind.read(column([{"path": "x"}]))
    with pytest.raises(DataError, match="holds string, expected the bytes of pictures"):
        kind.read(column(["x"]))
    hub = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    with pytest.raises(DataError, match="row 0 is missing"):
        kind.read(column([{"bytes": None, "path": "x"}], hub))
    with pytest.raises(DataError, match="row 1 is missing"):
        kind.read(column([{"bytes": good, "path": "x"}, None], hub))


def test_a_decompression_bomb_is_told_by_its_header(png):
    from PIL import Image as Pillow

    bomb = bytearray(png(np.zeros((6, 5), np.uint8)))
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2  # the width and height in the header
    with pytest.raises(DataError, match="cannot be decoded"):
        Image(6, 5, 1).read(column([bytes(bomb)]))
    assert Pillow.MAX_IMAGE_PIXELS is not None


@pytest.mark.parametrize("kind", [Text(), Categorical(), Numeric(), Label(3)])
def test_a_value_that_is_too_long_for_its_rows(kind, monkeypatch):
    monkeypatch.setattr(columns, "TEXT_BYTES", 4 * 3 * 30)
    coded = pa.DictionaryArray.from_arrays(np.zeros(3, np.int32), pa.array(["0" * 31, "1"]))
    with pytest.raises(DataError, match="3 rows and a value of 31 characters, too large to be read"):
        kind.read(pa.chunked_array([coded]))
    if isinstance(kind, (Text, Categorical)):
        with pytest.raises(DataError, match="3 rows and a value of 31 characters"):
            kind.read(column(["0" * 31, "1", "2"]))
    assert len(kind.read(column(["0" * 30, "1", "2"]))) == 3


def test_messages_do_not_repeat_long_values(monkeypatch):
    for kind, values in ((Numeric(), ["x" * 5000]), (Categorical(("a",)), ["x" * 5000])):
        with pytest.raises(DataError, match="row 0 has 'xxx") as raised:
            kind.read(column(values))
        assert len(str(raised.value)) < 200
    monkeypatch.setattr(columns, "PICTURE_BYTES", 10)
    with pytest.raises(DataError, match="the picture in row 0 has 11 bytes, and 10 are the most"):
        Image(1, 1, 1).read(column([b"x" * 11]))
