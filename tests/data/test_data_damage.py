"""Damaged files: each gives one sentence that names the set, the file and the remedy."""

import contextlib
import json

import numpy as np
import pytest

from lrn.data import DataError, DataNotFoundError, integrity
from lrn.data.spec import DataSpec


def says(tiny, said, kind: type[Exception] = DataError):
    with pytest.raises(kind, match=said) as caught:
        tiny.load()
    message = str(caught.value)
    assert message.startswith("tiny/train") or str(tiny.path) in message
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_missing(tiny, monkeypatch):
    message = says(tiny, "was not found", DataNotFoundError)
    assert str(tiny.path) in message  # both places where the loader looked
    assert str(integrity.cache_dir() / "tiny" / "train.parquet") in message
    assert "no public home" in message  # this set has no converter
    assert "set LRN_DATA_DIR" in message
    monkeypatch.delenv("LRN_DATA_DIR")
    with pytest.raises(FileNotFoundError, match=r"LRN_DATA_DIR \(not set\)"):
        tiny.load()


def test_a_folder_in_its_place(tiny):
    tiny.path.mkdir(parents=True)
    says(tiny, "is a folder, expected the parquet file")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"a,b\n1,2\n", "no parquet file"),
        (b"PAR1", "truncated"),
        (b"PAR1PAR1", "truncated"),
        (b"PAR1" + b"\0" * 40 + b"PAR1", "it is damaged"),
    ],
)
def test_not_parquet(tiny, content, said):
    tiny.write()
    tiny.path.write_bytes(content)
    assert "put a good copy in its place" in says(tiny, said)


@pytest.mark.parametrize("keep", [0.999, 0.9, 0.5, 0.1])
def test_truncated(tiny, keep):
    content = tiny.write().read_bytes()
    tiny.path.write_bytes(content[: int(len(content) * keep)])
    says(tiny, "truncated")


def test_every_flipped_bit_is_found_by_the_manifest(tiny):
    path = tiny.write()
    whole = path.read_bytes()
    manifest = {"tiny/train.parquet": {"sha256": integrity.sha256(path), "bytes": len(whole)}}
    (tiny.root / "manifest.json").write_text(json.dumps(manifest))
    assert tiny.load().rows == 6
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 60):
        spoilt = bytearray(whole)
        spoilt[position] ^= 1 << rng.integers(8)
        path.write_bytes(spoilt)
        says(tiny, "SHA-256 is .* it is damaged")
    path.write_bytes(whole)
    assert tiny.load().rows == 6


def test_without_a_manifest_a_flipped_bit_never_gives_another_error(tiny):
    whole = tiny.write().read_bytes()
    rng = np.random.default_rng(1)
    unnoticed = 0
    for _ in range(100):
        spoilt = bytearray(whole)
        spoilt[rng.integers(0, len(whole))] ^= 1 << rng.integers(8)
        tiny.path.write_bytes(spoilt)
        with contextlib.suppress(DataError):  # any other kind of error fails the test
            tiny.load()
            unnoticed += 1
    assert unnoticed < 75  # pictures and headers have checks of their own


def test_mislabeled(tiny):
    tiny.write(label=[0, 1, 2, 3, 1, 0])
    says(tiny, r"column 'label': row 3 has label 3, outside 0 to 2")


def test_schema(tiny):
    columns = tiny.columns()
    tiny.write({"image": columns["image"]})
    says(tiny, "lacks label; expected the columns image, label")
    tiny.write(columns, weight=[1] * 6)
    says(tiny, "has weight besides")
    tiny.write({"img": columns["image"], "label": columns["label"]})
    says(tiny, "lacks image and has img besides")
    tiny.write(label=["cat"] * 6)
    says(tiny, "column 'label': row 0 has 'cat', expected whole numbers")
    tiny.write(image=[1] * 6)
    says(tiny, "column 'image': it holds int64, expected the bytes of pictures")


def test_rows(tiny):
    columns = tiny.columns()
    tiny.write({name: values[:5] for name, values in columns.items()})
    says(tiny, "it has 5 rows, expected 6")
    import pyarrow as pa

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    tiny.write({"image": pa.array([], kind), "label": pa.array([], pa.int64())})
    says(tiny, "it has no rows")


def test_pictures(tiny, png):
    columns = tiny.columns()
    large = png(np.zeros((28, 28), np.uint8))
    for bad, said in ((large, "row 2 is 28x28, expected 4x5"), (b"\x89PNG", "row 2 cannot")):
        columns["image"][2] = {"bytes": bad, "path": None}
        tiny.write(columns)
        says(tiny, f"column 'image': the picture in {said}")


def test_text_that_is_no_utf8(tiny):
    import pyarrow as pa

    from lrn.data.columns import Text

    tiny.spec = DataSpec(**{**vars(tiny.spec), "columns": {"word": Text()}})
    words = pa.array([b"\xff\xfe"] * 6).view(pa.string())
    tiny.write({"word": words})
    says(tiny, "column 'word' cannot be read")


def test_a_spoilt_file_in_the_cache_tells_to_delete_it(tiny):
    cached = integrity.cache_dir() / "tiny" / "train.parquet"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(tiny.write().read_bytes()[:-9])
    tiny.path.unlink()
    with pytest.raises(DataError, match="delete it and load again"):
        tiny.load()
