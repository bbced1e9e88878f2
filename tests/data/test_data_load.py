"""The values that load returns, the places where it looks, and its message for unknown names."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lrn.data
from lrn import check
from lrn.data import columns, integrity, loader
from lrn.data.spec import DataSpec, Split

EVERY = ("adult", "cifar10", "compas", "digits", "dutch_census", "emoji", "fashion_mnist", "german_credit")
EVERY += ("law_school", "mnist", "mnist1d", "omniglot", "sprites")


def test_every_set_of_the_folder_is_found():
    assert lrn.data.names() == EVERY
    for name in EVERY:
        spec = lrn.data.info(name)
        assert spec.name == name
        assert (spec.generate is None) != (spec.convert is None)
        assert (
            all(
                split.remotes and all(r.url.startswith("https://") for r in split.remotes)
                for split in spec.splits.values()
            )
            or spec.generate
        )
        for text in (spec.about, spec.license, spec.citation):
            assert text
        assert spec.home.startswith("https://")


def test_a_new_file_is_a_new_set(tmp_path, monkeypatch):
    (tmp_path / "threes.py").write_text(
        "import numpy as np\n"
        "from lrn.data.columns import Numeric\n"
        "from lrn.data.spec import DataSpec, Split\n"
        "SPEC = DataSpec('threes', '', {'x': Numeric()}, {'train': Split(3)}, 'none', '', '',\n"
        "                generate=lambda split: {'x': np.full(3, 3.0)})\n"
    )
    monkeypatch.setattr(loader.sets, "__path__", [*loader.sets.__path__, str(tmp_path)])
    assert "threes" in lrn.data.names()
    assert lrn.data.load("threes")["x"].tolist() == [3, 3, 3]


def test_contents_and_provenance(tiny):
    path = tiny.write()
    data = tiny.load()
    np.testing.assert_array_equal(data["image"], tiny.images)
    assert data["image"].dtype == np.uint8
    assert data["label"].dtype == np.int32
    assert data["label"].tolist() == tiny.labels
    assert (data.name, data.split, data.rows, list(data)) == ("tiny", "train", 6, ["image", "label"])
    assert data.source == str(path)
    assert data.sha256 == integrity.sha256(path)


def test_a_dataset_is_immutable(tiny):
    tiny.write()
    for data in (tiny.load(), tiny.load()):  # first decoded, then from the cache
        for column in data.values():
            with pytest.raises(ValueError, match="read-only"):
                column[0] = 0
        with pytest.raises(TypeError):
            data.columns["label"] = np.zeros(6)
        with pytest.raises(AttributeError):
            data.split = "test"
    with pytest.raises(KeyError, match="did you mean label"):
        data["lable"]


def test_take(tiny):
    tiny.write()
    data = tiny.load()
    mask = data["label"] == 1
    assert data.take(mask)["label"].tolist() == [1, 1]
    np.testing.assert_array_equal(data.take([5, 0])["image"], tiny.images[[5, 0]])
    for bad, said in (
        ([6], "between 0 and 5"),
        ([-1], "between 0 and 5"),
        (mask[:3], "mask has shape"),
        ([0.5], "list"),
    ):
        with pytest.raises(ValueError, match=said):
            data.take(np.asarray(bad))


def test_the_data_folder_goes_before_the_cache(tiny, monkeypatch):
    first = tiny.write().rename(tiny.root / "kept")
    cached = integrity.cache_dir() / "tiny" / "train.parquet"
    cached.parent.mkdir(parents=True)
    first.rename(cached)
    assert tiny.load().source == str(cached)
    tiny.write()
    assert tiny.load().source == str(tiny.path)
    monkeypatch.delenv("LRN_DATA_DIR")
    assert tiny.load().source == str(cached)


def test_a_second_load_decodes_nothing(tiny, monkeypatch):
    tiny.write()
    tiny.load()
    monkeypatch.setattr(columns.Image, "_decode", lambda *_: pytest.fail("decoded again"))
    data = tiny.load()
    np.testing.assert_array_equal(data["image"], tiny.images)
    assert isinstance(data["image"], np.memmap)


@pytest.mark.parametrize("spoil", ["flip", "cut", "empty", "gone", "other"])
def test_a_spoilt_cache_of_pictures_is_made_anew(tiny, spoil):
    tiny.write()
    tiny.load()
    (kept,) = (integrity.cache_dir() / "decoded").glob("*.npy")
    content = bytearray(kept.read_bytes())
    if spoil == "flip":
        content[-3] ^= 1
    elif spoil == "cut":
        content = content[:-5]
    elif spoil == "empty":
        content = bytearray()
    if spoil == "gone":
        kept.with_suffix(".json").unlink()
    elif spoil == "other":
        np.save(kept, np.zeros((2, 2), np.uint8))
        integrity.record(kept, {})
    else:
        kept.write_bytes(content)
    for _ in range(2):
        np.testing.assert_array_equal(tiny.load()["image"], tiny.images)


def test_a_pickle_in_the_cache_is_never_loaded(tiny, tmp_path):
    class Payload:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    tiny.write()
    tiny.load()
    (kept,) = (integrity.cache_dir() / "decoded").glob("*.npy")
    np.save(kept, np.array([Payload()], object), allow_pickle=True)
    integrity.record(kept, {})  # an attacker could do this
    np.testing.assert_array_equal(tiny.load()["image"], tiny.images)
    assert not (tmp_path / "owned").exists()


def test_no_module_can_load_a_pickle():
    for path in Path(lrn.data.__file__).parent.rglob("*.py"):
        source = path.read_text()
        for word in ("pickle", "joblib", "shelve", "marshal", "eval(", "exec("):
            assert word not in source.replace("allow_pickle=False", ""), f"{word} in {path.name}"


def test_a_cache_that_cannot_be_written_only_costs_time(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LRN_CACHE_DIR", str(tmp_path / "file"))
    tiny.write()
    np.testing.assert_array_equal(tiny.load()["image"], tiny.images)


def test_a_digest_is_computed_once_and_again_when_the_file_changes(tmp_path, monkeypatch):
    calls = []
    whole = loader.files.sha256
    monkeypatch.setattr(integrity.files, "sha256", lambda path: calls.append(path) or whole(path))
    path = tmp_path / "x"
    path.write_bytes(b"one")
    first = integrity.sha256(path)
    assert integrity.sha256(path) == first
    assert len(calls) == 1
    path.write_bytes(b"two")
    assert integrity.sha256(path) != first
    assert len(calls) == 2


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("LRN_CACHE_DIR", str(tmp_path))
    assert integrity.cache_dir() == tmp_path / "data"
    monkeypatch.delenv("LRN_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert integrity.cache_dir() == tmp_path / "lrn" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert integrity.cache_dir() == tmp_path / ".cache" / "lrn" / "data"


@pytest.mark.parametrize(
    ("name", "split", "said"),
    [
        ("minst", "train", "did you mean mnist"),
        ("fashion-mnist", "train", "did you mean fashion_mnist"),
        ("imagenet21k", "train", "choose from adult, cifar10"),
        ("../mnist", "train", "did you mean mnist"),
        ("", "train", "choose from adult"),
        (None, "train", "data set None is not known"),
        ("mnist", "tset", "did you mean test"),
        ("mnist", "validation", "choose from test, train"),
        ("omniglot", "train", "choose from background, evaluation"),
        ("digits", "../all", "did you mean all"),
        ("mnist", None, "split of mnist None is not known"),
    ],
)
def test_unknown_names_get_the_nearest(name, split, said):
    with pytest.raises(ValueError, match=said) as caught:
        lrn.data.load(name, split)
    assert "\n" not in str(caught.value)


def test_a_data_folder_that_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("LRN_DATA_DIR", str(tmp_path / "typo"))
    with pytest.raises(lrn.data.DataNotFoundError, match="is not a folder; correct it") as raised:
        lrn.data.load("mnist")
    assert isinstance(raised.value, check.InputError)  # the caller's error, so the command line exits with 2
    assert lrn.data.load("digits", "all").rows == 1797  # this call needs no folder


def test_import_and_load_need_no_jax(tiny):
    tiny.write()
    program = (
        "import sys, lrn.data\n"
        "light = [m for m in ('jax', 'pyarrow', 'PIL', 'sklearn', 'scipy') if m in sys.modules]\n"
        "assert not light, light\n"
        "from lrn.data.columns import Image, Label\n"
        "from lrn.data.spec import DataSpec, Split\n"
        "kinds = {'image': Image(5, 4, 1), 'label': Label(3)}\n"
        "spec = DataSpec('tiny', '', kinds, {'train': Split(6)}, '', '', '')\n"
        "data = lrn.data.load(spec)\n"
        "lrn.data.as_float(data['image']); lrn.data.split(0, 6, (.5, .5)); lrn.data.load('digits', 'test')\n"
        "assert 'jax' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_digits():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    data = lrn.data.load("digits", "all")
    assert data["image"].shape == (1797, 8, 8, 1)
    np.testing.assert_allclose(
        lrn.data.as_float(data["image"])[..., 0], np.reshape(pixels, (-1, 8, 8)) / 16, atol=0.5 / 255
    )
    np.testing.assert_array_equal(data["label"], labels)
    train, test = lrn.data.load("digits", "train"), lrn.data.load("digits", "test")
    np.testing.assert_array_equal(np.concatenate([train["image"], test["image"]]), data["image"])
    np.testing.assert_array_equal(np.concatenate([train["label"], test["label"]]), data["label"])
    assert (train.rows, test.rows) == (1415, 382)
    assert len({d.sha256 for d in (data, train, test)}) == 3
    # The cut falls between two writers: the rows of every writer start with 0..9 twice.
    assert test["label"][:20].tolist() == [*range(10), *range(10)]


@pytest.mark.parametrize("name", ["digits", "sprites"])
def test_generated_sets_keep_their_schema(name):
    spec = lrn.data.info(name)
    for split, size in spec.splits.items():
        data = lrn.data.load(name, split)
        assert data.source == "generated"
        assert list(data) == list(spec.columns)
        for column, kind in spec.columns.items():
            assert len(data[column]) == size.rows == data.rows
            if isinstance(kind, columns.Image):
                assert data[column].shape[1:] == kind.shape
                assert data[column].dtype == np.uint8
            if isinstance(kind, columns.Label):
                assert set(np.unique(data[column])) == set(range(kind.classes))


def test_manifest_beside_or_above(tiny):
    path = tiny.write()
    right = {"bytes": path.stat().st_size, "sha256": integrity.sha256(path), "rows": 6}
    for place, key in (
        (tiny.root / "manifest.json", "tiny/train.parquet"),
        (path.parent / "manifest.json", "train.parquet"),
    ):
        place.write_text(json.dumps({key: right}))
        assert tiny.load().rows == 6
        place.write_text(json.dumps({key: {**right, "sha256": "0" * 64}}))
        with pytest.raises(lrn.data.DataError, match="SHA-256"):
            tiny.load()
        place.write_text(json.dumps({key: {**right, "bytes": 1}}))
        with pytest.raises(lrn.data.DataError, match="says 1: it is truncated or another file"):
            tiny.load()
        place.write_text("{")
        with pytest.raises(lrn.data.DataError, match="cannot be read as a manifest"):
            tiny.load()
        place.write_text(json.dumps({"other/train.parquet": right}))
        assert tiny.load().rows == 6
        place.unlink()


def test_a_file_of_no_reasonable_size_is_not_read(tiny, monkeypatch):
    tiny.write()
    monkeypatch.setattr(loader, "LIMIT", 100)
    monkeypatch.setattr(loader, "_table", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(lrn.data.DataError, match=r"unpacks to [\d,]+ bytes, and 100 are the most"):
        tiny.load()


def test_a_long_value_in_every_row_is_not_spread(tmp_path, monkeypatch):
    """A parquet file that holds a long value once, and rows that refer to it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, long = 1000, "x" * 2_000_000
    spec = DataSpec("long", "", {"t": columns.Text()}, {"train": Split(rows)}, "none", "", "")
    path = tmp_path / "long" / "train.parquet"
    path.parent.mkdir()
    one = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([long]))
    pq.write_table(pa.table({"t": one}), path, dictionary_pagesize_limit=2**24)
    monkeypatch.setenv("LRN_DATA_DIR", str(tmp_path))
    with pytest.raises(lrn.data.DataError, match="1,000 rows and a value of 2,000,000 characters, too large"):
        lrn.data.load(spec, "train")
