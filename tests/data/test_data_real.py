"""The real sets: their sizes and checksums, and facts from their papers and manifests."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

import lrn.data
from lrn.data.columns import Image
from lrn.data.sets.compas import propublica_filter

pytestmark = pytest.mark.real_data

DOWNLOADED = [name for name in lrn.data.names() if lrn.data.info(name).generate is None]
SPLITS = [(name, split) for name in DOWNLOADED for split in lrn.data.info(name).splits]
LARGE = {
    ("cifar10", "train"),
    ("fashion_mnist", "train"),
}  # decoding takes seconds, and uses the code of mnist


@pytest.mark.parametrize(
    ("name", "split"), [pytest.param(*s, marks=pytest.mark.slow) if s in LARGE else s for s in SPLITS]
)
def test_sizes_kinds_and_checksums(real, name, split):
    data = real(name, split)
    spec = lrn.data.info(name)
    assert data.sha256 == hashlib.sha256(Path(data.source).read_bytes()).hexdigest()
    manifest = Path(os.environ["LRN_DATA_DIR"]) / "manifest.json"
    if manifest.is_file():
        entry = json.loads(manifest.read_text())[f"{name}/{split}.parquet"]
        assert data.rows == entry["rows"]
        assert data.sha256 == entry["sha256"]
        assert list(spec.columns) == entry["columns"]
    for column, kind in spec.columns.items():
        assert len(data[column]) == spec.splits[split].rows
        assert data[column].dtype.kind in "uifU"
        if isinstance(kind, Image):
            assert data[column].shape[1:] == kind.shape
            assert 0 == data[column][:500].min() < data[column][:500].max() == 255
    again = lrn.data.load(name, split)  # from the cache of decoded pictures
    for column in data:
        assert again[column].dtype == data[column].dtype
        np.testing.assert_array_equal(again[column][::97], data[column][::97])


def test_mnist(real):
    train, test = real("mnist", "train"), real("mnist", "test")
    # LeCun et al. 1998; tutorials normalize by this mean and deviation.
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(train["label"]).tolist() == counts
    assert np.bincount(test["label"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    pixels = train["image"] / np.float32(255)
    assert pixels.mean() == pytest.approx(0.1307, abs=5e-5)
    assert pixels.std() == pytest.approx(0.3081, abs=5e-5)


def test_fashion_mnist(real):
    train, test = real("fashion_mnist", "train"), real("fashion_mnist", "test")
    assert np.bincount(train["label"]).tolist() == [6000] * 10
    assert np.bincount(test["label"]).tolist() == [1000] * 10
    assert train["image"].mean() / 255 == pytest.approx(0.2860, abs=5e-5)


def test_cifar10(real):
    train, test = real("cifar10", "train"), real("cifar10", "test")
    assert np.bincount(train["label"]).tolist() == [5000] * 10
    assert np.bincount(test["label"]).tolist() == [1000] * 10
    # The usual channel means; a JPEG copy keeps them to a thousandth.
    np.testing.assert_allclose(train["image"].mean((0, 1, 2)) / 255, (0.4914, 0.4822, 0.4465), atol=2e-3)


def test_omniglot(real):
    alphabets = set()
    for split, characters, count in (("background", 964, 30), ("evaluation", 659, 20)):
        data = real("omniglot", split)
        assert np.bincount(data["label"]).tolist() == [20] * characters
        for label in (0, characters // 2, characters - 1):
            rows = data["label"] == label
            assert sorted(data["drawer"][rows]) == list(range(1, 21))
            assert len(set(zip(data["alphabet"][rows], data["character"][rows]))) == 1
        assert len(set(data["alphabet"])) == count
        alphabets |= set(data["alphabet"])
        assert set(np.unique(data["image"][::500])) == {0, 255}
        assert (data["image"][::500] == 0).mean() < 0.2  # dark ink on light paper
    assert len(alphabets) == 50


def test_adult(real):
    train, test = real("adult", "train"), real("adult", "test")
    assert ((train["income"] == ">50K").sum(), (test["income"] == ">50K").sum()) == (7841, 3846)
    assert train["age"].dtype == np.int64
    for column, missing in (
        ("workclass", 1836),
        ("occupation", 1843),
        ("native-country", 583),
        ("education", 0),
    ):
        assert (train[column] == "?").sum() == missing
    known = np.all([train[c] != "?" for c in ("workclass", "occupation", "native-country")], axis=0)
    assert known.sum() == 30_162  # as adult.names says
    assert (train["sex"] == "Female").sum() == 10_771


def test_compas(real):
    data = real("compas")
    assert data["two_year_recid"].sum() == 3251
    assert np.isnan(data["violent_recid"]).all()
    assert np.isnan(data["days_b_screening_arrest"]).sum() == (data["c_jail_in"] == "?").sum() == 307
    usual = propublica_filter(data)
    # The counts in ProPublica's notebook.
    assert usual.rows == 6172
    assert usual["two_year_recid"].sum() == 2809
    races = dict(zip(*np.unique(usual["race"], return_counts=True)))
    assert races == {
        "African-American": 3175,
        "Asian": 31,
        "Caucasian": 2103,
        "Hispanic": 509,
        "Native American": 11,
        "Other": 343,
    }
    assert (usual["sex"] == "Female").sum() == 1175
    assert not {"name", "first", "last", "dob"} & set(data)
    with pytest.raises(ValueError, match="applies to compas, got digits"):
        propublica_filter(lrn.data.load("digits", "all"))


def test_small_tables(real):
    german, law, dutch = real("german_credit"), real("law_school"), real("dutch_census")
    assert np.bincount(german["class-label"]).tolist() == [300, 700]
    assert (german["sex"] == "female").sum() == 310
    assert np.bincount(law["pass_bar"]).tolist() == [2293, 18505]
    assert law["ugpa"].dtype == np.float64
    assert not np.isnan(law["lsat"]).any()
    assert np.bincount(dutch["occupation"]).tolist() == [31657, 28763]
    assert (dutch["sex"] == "female").sum() == 30273


def test_emoji(real):
    data = real("emoji")
    assert len(set(data["codepoints"])) == data.rows == 1911
    assert len(set(data["category"])) == 10
    row = data["name"].tolist().index("red heart")
    assert "love" in data["keywords"][row].split("|")
    for column in ("image_google", "image_twitter"):
        red, green, blue = data[column][row][24, 24].astype(int)
        assert red > 180 > 100 > max(green, blue)
    assert (data["image_google"] != data["image_twitter"]).any((1, 2, 3)).mean() > 0.99
