"""Downloads, from a local server with small files in the form of each public home."""

import dataclasses
import hashlib
import http.server
import io
import json
import threading
import urllib.parse
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lrn.data
from lrn.data import DataError, DataNotFoundError, fetch, integrity
from lrn.data.columns import Categorical, Image, Label, Numeric


def small(name, rows):
    """The spec of a set with splits of ``rows`` rows, and without the checksums of its files."""
    spec = lrn.data.info(name)
    splits = {
        split: dataclasses.replace(
            size,
            rows=rows,
            remotes=tuple(dataclasses.replace(r, digest=None) for r in size.remotes),
        )
        for split, size in spec.splits.items()
    }
    return dataclasses.replace(spec, splits=splits)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder in place of the public homes; ``put(spec, split, *contents)`` fills it."""
    root = tmp_path / "mirror"
    monkeypatch.setenv("LRN_DATA_MIRROR", root.as_uri())

    def put(spec, split, *contents):
        for remote, content in zip(spec.splits[split].remotes, contents, strict=True):
            parts = urllib.parse.urlsplit(remote.url)
            path = root / parts.netloc / parts.path.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    return put


def parquet(**columns) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def pictures(png, rows, *shape):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (rows, *shape), dtype=np.uint8)
    return pixels, [{"bytes": png(x), "path": f"{i}.png"} for i, x in enumerate(pixels)]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_picture_sets(mirror, png, name):
    kind = lrn.data.info(name).columns["image"]
    assert isinstance(kind, Image)
    pixels, encoded = pictures(png, 4, *kind.shape)
    spec = small(name, 4)
    column = "img" if name == "cifar10" else "image"  # the Hub's name for the file
    mirror(spec, "test", parquet(**{column: encoded, "label": [9, 0, 4, 4]}))
    data = lrn.data.load(spec, "test")
    np.testing.assert_array_equal(data["image"], pixels)
    assert data["label"].tolist() == [9, 0, 4, 4]
    assert data.source == str(integrity.cache_dir() / name / "test.parquet")


def test_adult(mirror):
    # The form of adult.data and adult.test: spaces after commas, a comment, a blank line, a full stop.
    train = (
        "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174,"
        " 0, 40, United-States, <=50K\n"
        "18, ?, 103497, Some-college, 10, Never-married, ?, Own-child, White, Female, 0, 0, 30, ?, >50K\n\n"
    )
    test = "|1x3 Cross validator\n" + train.replace("50K\n", "50K.\n")
    spec = small("adult", 2)
    mirror(spec, "train", train.encode())
    mirror(spec, "test", test.encode())
    for split in ("train", "test"):
        data = lrn.data.load(spec, split)
        assert data["age"].tolist() == [39, 18]
        assert data["workclass"].tolist() == ["State-gov", "?"]
        assert data["native-country"].tolist() == ["United-States", "?"]
        assert data["income"].tolist() == ["<=50K", ">50K"]
        assert data["hours-per-week"].dtype == np.int64


def test_compas_drops_names_and_numbers_repeated_columns(mirror):
    spec = small("compas", 2)
    header, first, second = [], [], []
    for name, kind in spec.columns.items():
        if name == "sex":
            header += ["name", "dob"]
            first += ['"kim, doe"', "1980-01-01"]
            second += ["lee", ""]
        header.append(name.removesuffix(".1"))  # decile_score and priors_count occur twice
        if isinstance(kind, Categorical) and kind.levels:
            value, other = kind.levels[0], kind.levels[1]
        elif isinstance(kind, Label):
            value, other = "0", "1"
        elif isinstance(kind, Numeric):
            value, other = "3", "7" if kind.whole else ""
        else:
            value, other = "a", ""
        first.append(value)
        second.append(other)
    mirror(spec, "train", "\n".join(map(",".join, (header, first, second))).encode())
    data = lrn.data.load(spec, "train")
    assert set(data) == set(spec.columns)
    assert not {"name", "dob"} & set(pq.read_schema(data.source).names)
    assert data["sex"].tolist() == ["Male", "Female"]
    assert data["decile_score.1"].tolist() == [3, 7]
    np.testing.assert_array_equal(data["days_b_screening_arrest"], [3, np.nan])
    assert data["c_jail_in"].tolist() == ["a", "?"]
    assert data["two_year_recid"].tolist() == [0, 1]


@pytest.mark.parametrize("name", ["german_credit", "law_school", "dutch_census"])
def test_tables(mirror, name):
    spec = small(name, 3)
    values = {}
    for column, kind in spec.columns.items():
        if isinstance(kind, Categorical):
            levels = kind.levels or ("a < b", "c/d, e", "f")
            values[column] = [levels[i % len(levels)] for i in range(3)]
        elif isinstance(kind, Label):
            values[column] = [1.0, 0.0, 1.0] if name == "law_school" else [1, 0, 1]  # as in the files
        else:
            values[column] = [4, 5, 6]
    rows = [
        ",".join(f'"{v[i]}"' if isinstance(v[i], str) else str(v[i]) for v in values.values())
        for i in range(3)
    ]
    mirror(spec, "train", "\n".join([",".join(values), *rows, ""]).encode())
    data = lrn.data.load(spec, "train")
    assert {column: array.tolist() for column, array in data.items()} == values


def test_omniglot(mirror, png):
    spec = small("omniglot", 4)
    rng = np.random.default_rng(0)
    drawn = {}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images_background/", "")
        for alphabet, character, drawer in (
            ("Tagalog", 2, 7),
            ("Greek", 1, 2),
            ("Tagalog", 1, 1),
            ("Greek", 1, 1),
        ):
            bits = rng.random((105, 105)) < 0.9
            drawn[alphabet, f"character{character:02}", drawer] = bits
            archive.writestr(
                f"images_background/{alphabet}/character{character:02}/0108_{drawer:02}.png", png(bits)
            )
    mirror(spec, "background", buffer.getvalue())
    data = lrn.data.load(spec, "background")
    keys = list(zip(data["alphabet"], data["character"], data["drawer"]))
    assert keys == sorted(drawn)
    assert data["label"].tolist() == [0, 0, 1, 2]
    assert data["label"].dtype == np.int32
    for image, key in zip(data["image"], keys):
        np.testing.assert_array_equal(image[..., 0] == 255, drawn[key])


def test_emoji(mirror):
    from PIL import Image as Pillow

    spec = small("emoji", 2)
    index = [
        {"unified": code, "sheet_x": x, "sheet_y": y, "has_img_google": True, "has_img_twitter": twitter,
         "category": "Symbols", "subcategory": "keycap"}
        for code, x, y, twitter in [("0023-FE0F-20E3", 0, 0, True), ("A9", 1, 0, False), ("1F600", 1, 1, 1)]
    ]  # fmt: skip
    words = [
        {"hexcode": "1F600", "label": "Grinning Face", "tags": ["smile", "face"]},
        {"hexcode": "0023-20E3", "label": "keycap: #"},
    ]

    def sheet(color):
        tiles = Pillow.new("RGBA", (2 * 66, 2 * 66))
        for x, y in ((0, 0), (1, 1)):
            tiles.paste(color, (x * 66 + 1, y * 66 + 1, x * 66 + 33, y * 66 + 65))  # the left half of a tile
        buffer = io.BytesIO()
        tiles.save(buffer, "PNG")
        return buffer.getvalue()

    sheets = sheet((255, 0, 0, 255)), sheet((0, 0, 255, 128))
    mirror(spec, "train", json.dumps(index).encode(), *sheets, json.dumps(words).encode())
    data = lrn.data.load(spec, "train")
    assert data["name"].tolist() == ["keycap: #", "grinning face"]
    assert data["keywords"].tolist() == ["", "face|smile"]
    assert data["codepoints"].tolist() == ["0023-FE0F-20E3", "1F600"]
    for column, color in (("image_google", (255, 0, 0)), ("image_twitter", (127, 127, 255))):
        assert np.abs(data[column][:, :, :20].astype(int) - color).max() <= 1
        assert (data[column][:, :, 28:] == 255).all()  # on white


@pytest.fixture
def tiny_home(tiny, mirror, monkeypatch):
    """The tiny set with a home: ``(spec, put)``, where put(content) sets what the home serves."""
    monkeypatch.delenv("LRN_DATA_DIR")
    spec = dataclasses.replace(tiny.spec, convert=lrn.data.info("mnist").convert)
    return spec, lambda content: mirror(spec, "train", content)


def test_a_download_is_kept_and_its_provenance_written_down(tiny, tiny_home, monkeypatch):
    spec, put = tiny_home
    put(tiny.write().read_bytes())
    first = lrn.data.load(spec)
    np.testing.assert_array_equal(first["image"], tiny.images)
    note = json.loads(Path(first.source).with_suffix(".json").read_text())
    assert note["from"] == ["https://example.org/a/tiny.parquet"]
    assert note["sha256"] == first.sha256 == hashlib.sha256(Path(first.source).read_bytes()).hexdigest()
    monkeypatch.setattr(fetch, "download", lambda *_: pytest.fail("downloaded again"))
    assert lrn.data.load(spec).sha256 == first.sha256
    content = bytearray(Path(first.source).read_bytes())
    content[len(content) // 2] ^= 1
    Path(first.source).write_bytes(content)
    with pytest.raises(DataError, match=r"SHA-256 .* delete it and load again"):
        lrn.data.load(spec)


def left_behind():
    return [p for p in integrity.cache_dir().rglob("*") if p.is_file() and "digests" not in p.parts]


def test_what_is_not_right_is_not_kept(tiny, tiny_home, png):
    spec, put = tiny_home
    columns = tiny.columns()
    good = tiny.write().read_bytes()
    html = b"<!doctype html><title>Sign in</title>"
    wrong = {
        "not of the form expected": html,
        "has label 7": tiny.write(label=[7] * 6).read_bytes(),
        "it has 5 rows, expected 6": tiny.write({k: v[:5] for k, v in columns.items()}).read_bytes(),
        "not of the form expected .*image": tiny.write({"label": columns["label"]}).read_bytes(),
        "is 3x2, expected 4x5": tiny.write(image=[png(np.zeros((2, 3), np.uint8))] * 6).read_bytes(),
        "not of the form expected ": good[:-20],
    }
    for said, content in wrong.items():
        put(content)
        with pytest.raises(DataError, match=said) as caught:
            lrn.data.load(spec)
        assert "https://example.org/a/tiny.parquet" in str(caught.value)
        assert left_behind() == []
    put(good)
    assert lrn.data.load(spec).rows == 6


def test_a_pinned_digest(tiny, tiny_home):
    spec, put = tiny_home
    content = tiny.write().read_bytes()
    put(content)

    def pinned(digest):
        (remote,) = spec.splits["train"].remotes
        split = dataclasses.replace(
            spec.splits["train"], remotes=(dataclasses.replace(remote, digest=digest),)
        )
        return dataclasses.replace(spec, name=f"tiny_{digest[:6]}", splits={"train": split})

    for algorithm in ("sha256", "md5"):
        with pytest.raises(
            DataError, match=rf"{algorithm} of .* expected 00000000\.\.\.: it was changed or damaged"
        ):
            lrn.data.load(pinned(f"{algorithm}:{'0' * 8}"))
        right = hashlib.new(algorithm, content).hexdigest()
        assert lrn.data.load(pinned(f"{algorithm}:{right}")).rows == 6


def test_no_network_says_where_it_looked_and_what_to_do(monkeypatch):
    monkeypatch.setenv("LRN_DATA_MIRROR", "http://127.0.0.1:9")
    for name in ("mnist", "adult", "omniglot", "emoji"):
        split = next(iter(lrn.data.info(name).splits))
        with pytest.raises(DataNotFoundError) as caught:
            lrn.data.load(name, split)
        message = str(caught.value)
        assert message.startswith(f"{name}/{split} was not found: looked for LRN_DATA_DIR (not set), ")
        assert str(integrity.cache_dir() / name / f"{split}.parquet") in message
        assert "could not be downloaded" in message
        assert (
            "connect to the network, or set LRN_DATA_DIR to a folder that has <name>/<split>.parquet."
            in message
        )
        assert "\n" not in message


def test_a_mirror_of_another_kind(monkeypatch):
    monkeypatch.setenv("LRN_DATA_MIRROR", "ftp://example.org")
    with pytest.raises(DataError, match=r"LRN_DATA_MIRROR is 'ftp://example\.org', expected an address"):
        lrn.data.load("mnist")


def test_a_cache_that_cannot_be_written(tiny, tiny_home, tmp_path, monkeypatch):
    spec, put = tiny_home
    put(tiny.write().read_bytes())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LRN_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(
        DataNotFoundError, match=r"cache cannot be written .*set LRN_CACHE_DIR to a folder that can"
    ):
        lrn.data.load(spec)


@pytest.fixture
def server(monkeypatch):
    """A loopback server. It repeats the last of its ``answers`` (status, content, stated length)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            running.asked.append(self.path)
            status, content, length = (
                running.answers[0] if len(running.answers) == 1 else running.answers.pop(0)
            )
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if length is None else length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format, *args):
            pass

    class Server(http.server.HTTPServer):
        answers: list
        asked: list

    running = Server(("127.0.0.1", 0), Handler)
    running.asked = []
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("LRN_DATA_MIRROR", f"http://127.0.0.1:{running.server_port}/")
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def test_over_http(tiny, tiny_home, server):
    spec, _ = tiny_home
    content = tiny.write().read_bytes()
    server.answers = [(503, b"busy", None), (200, content, None)]  # the download tries again
    np.testing.assert_array_equal(lrn.data.load(spec)["image"], tiny.images)
    assert server.asked == ["/example.org/a/tiny.parquet"] * 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, b"", None), "HTTP 404"),
        ((500, b"", None), "HTTP 500"),
        ((200, b"PAR1 and no more", 5000), "the connection broke after 16 of 5,000 bytes"),
    ],
)
def test_a_home_that_fails(tiny_home, server, answer, said):
    server.answers = [answer]
    with pytest.raises(DataNotFoundError, match=said):
        lrn.data.load(tiny_home[0])
    assert left_behind() == []


def test_a_file_without_end(tiny_home, server, monkeypatch):
    monkeypatch.setattr(fetch, "LIMIT", 1000)
    server.answers = [(200, bytes(2000), None)]
    with pytest.raises(DataError, match="larger than 1,000 bytes"):
        lrn.data.load(tiny_home[0])
    assert left_behind() == []
