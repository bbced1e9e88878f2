"""Seals show every change of a run's files: each bit, each cut, each missing file."""

from __future__ import annotations

import json

import pytest

from lrn import files
from lrn.study import seal

VERDICT = {"verdict": "supported", "seeds": [0, 1], "seconds": 1.5e-07, "p": None, "text": "ü", "seal": "old"}


@pytest.fixture
def folder(tmp_path):
    files.write_json(tmp_path / "config.json", {"format": seal.FORMAT, "claim": "x"})
    files.write_bytes(tmp_path / "provenance.json", seal.stamped({"python": "3.11", "finished": None}))
    files.write_bytes(tmp_path / "metrics.parquet", bytes(range(40)))
    files.write_bytes(tmp_path / "figure.png", b"figure")
    files.write_bytes(tmp_path / "notes.txt", b"of the user")
    files.write_bytes(tmp_path / "verdict.json", seal.sealed(VERDICT, tmp_path))
    return tmp_path


def test_what_was_written_is_whole(folder):
    looked = seal.look(folder)
    assert (looked.sealed, looked.wrongs, looked.only_figures) == (True, {}, False)
    assert looked.verdict is not None
    listed = looked.verdict["seal"]["files"]
    assert sorted(listed) == ["config.json", "figure.png", "metrics.parquet", "provenance.json"]
    assert listed["metrics.parquet"] == [40, files.sha256(folder / "metrics.parquet")]
    assert {k: v for k, v in looked.verdict.items() if k != "seal"} == {
        k: v for k, v in VERDICT.items() if k != "seal"
    }
    (folder / "notes.txt").write_text("are none of the run's files")
    assert seal.look(folder).wrongs == {}


NAMES = ("verdict.json", "provenance.json", "config.json", "metrics.parquet", "figure.png")


def flips(path):
    """Flips one bit in every byte of a file, byte after byte, and another bit each time."""
    whole = path.read_bytes()
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << (3 * place) % 8
        path.write_bytes(content)
        yield place
    path.write_bytes(whole)


def test_flipped_bits_anywhere_in_any_file_count(folder):
    for name in NAMES:
        for place in flips(folder / name):
            assert name in seal.look(folder).wrongs, (name, place)
    assert seal.look(folder).wrongs == {}


def test_a_flipped_bit_that_leaves_the_number_as_it_is(folder):
    path = folder / "verdict.json"
    content = path.read_bytes()
    assert content.count(b"1.5e-07") == 1
    path.write_bytes(content.replace(b"1.5e-07", b"1.5E-07"))
    assert seal.look(folder).wrongs == {"verdict.json": "does not match its own checksum"}


def test_flipped_bits_anywhere_in_a_stamped_file_count(tmp_path):
    path = tmp_path / "provenance.json"
    path.write_bytes(seal.stamped({"wall_seconds": 1e-7, "failed": None, "packages": {"jax": "0.10"}}))
    assert seal.read_stamped(path)["packages"] == {"jax": "0.10"}
    for _ in flips(path):
        with pytest.raises(seal.Broken):
            seal.read_stamped(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_cut_gone_or_another(name, folder):
    path = folder / name
    whole = path.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], b"", whole + b"\n", b"{}", b"[]", b"[" * 9000):
        path.write_bytes(content)
        looked = seal.look(folder)
        assert list(looked.wrongs) == [name]
        assert looked.sentence.startswith(f"{name} ")
        assert looked.only_figures == (name == "figure.png")
    path.unlink()
    assert seal.look(folder).wrongs == {name: "is missing"}
    path.mkdir()
    assert list(seal.look(folder).wrongs) == [name]


def test_edits_that_mean_to_be_valid_json(folder):
    path = folder / "verdict.json"
    whole = json.loads(path.read_bytes())
    for change in ({"verdict": "refuted"}, {"p": 0.01}, {"more": 1}, {"seal": whole["seal"] | {"files": {}}}):
        files.write_json(path, whole | change)
        assert seal.look(folder).wrongs == {"verdict.json": "does not match its own checksum"}
    path.write_text(json.dumps(whole))  # the same value in other bytes
    assert seal.look(folder).wrongs == {"verdict.json": "does not match its own checksum"}
    for odd in (None, 3, [], "x", {}, {"files": 3}, {"files": {"config.json": 3}}, {"sha256": whole["seal"]}):
        files.write_json(path, whole | {"seal": odd})
        assert "verdict.json" in seal.look(folder).wrongs


def test_a_seal_that_was_removed_and_one_that_never_was(folder):
    path = folder / "verdict.json"
    whole = json.loads(path.read_bytes())
    del whole["seal"]
    files.write_json(path, whole)
    assert seal.look(folder).wrongs == {"verdict.json": "has lost its seal"}
    files.write_json(folder / "config.json", {"claim": "x"})
    assert seal.look(folder).wrongs == {"verdict.json": "has lost its seal"}  # provenance.json is stamped
    files.write_json(folder / "provenance.json", {"python": "3.11"})
    looked = seal.look(folder)
    assert (looked.sealed, looked.wrongs) == (False, {})


def test_a_seal_must_cover_the_run(folder):
    (folder / "metrics.parquet").unlink()
    (folder / "verdict.json").write_bytes(seal.sealed(VERDICT, folder))
    assert seal.look(folder).wrongs == {"verdict.json": "has a seal of another form"}


def test_what_is_too_large_is_not_read(folder, monkeypatch):
    monkeypatch.setitem(seal.LIMITS, ".json", 100)
    with open(folder / "verdict.json", "r+b") as file:
        file.truncate(10**9)
    assert seal.look(folder).wrongs == {
        "verdict.json": "has 1,000,000,000 bytes, and 100 are the most that are read"
    }
