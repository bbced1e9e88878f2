"""Hostile archives write nothing outside of their folder, and nothing at all if a name is unsafe."""

import io
import tarfile
import zipfile

import pytest

from lrn.data import DataError, archive

UNSAFE = (
    "../out.txt",
    "a/../../out.txt",
    "/nowhere/out.txt",
    "C:/out.txt",
    "..\\out.txt",
    "\\out.txt",
    "a/..",
)


def make_zip(path, files, links=()):
    with zipfile.ZipFile(path, "w") as z:
        for name, content in files.items():
            entry = zipfile.ZipInfo("placeholder")
            entry.filename = name  # set after the constructor, which repairs some names
            z.writestr(entry, content)
        for name, target in links:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o120777 << 16
            z.writestr(entry, target)
    return path


def make_tar(path, files, links=()):
    with tarfile.open(path, "w:gz") as t:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            t.addfile(entry, io.BytesIO(content))
        for name, target in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            t.addfile(entry)
    return path


MAKERS = [pytest.param(make_zip, id="zip"), pytest.param(make_tar, id="tar")]


def everything(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize("make", MAKERS)
def test_a_good_archive(make, tmp_path):
    files = {"a/b.txt": b"hello", "c.bin": bytes(range(256)), "a/d/e": b""}
    path = make(tmp_path / "x", files)
    assert {str(n): c for n, c in archive.members(path)} == files
    written = archive.extract(path, tmp_path / "out")
    assert {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in written} == files


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_lead_out(make, name, tmp_path):
    path = make(tmp_path / "x", {"good.txt": b"1", name: b"2"})
    with pytest.raises(DataError, match="outside its folder; it is not unpacked"):
        archive.extract(path, tmp_path / "in" / "out")
    assert everything(tmp_path) == ["in", "in/out", "x"]  # not even the good file


LONG = {
    "of 5,000 characters": "a" * 5000,
    "whose part is too long": f"a/{'b' * 256}/c",
    "of 256 bytes in fewer characters": "ü" * 128,
    "that is too long in all": "/".join(["a" * 200] * 6),
    "of 2,000 levels": "a/" * 2000 + "b",
    "of 101 levels": "a/" * 100 + "b",
}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("case", LONG)
def test_names_that_no_file_system_takes(make, case, tmp_path):
    path = make(tmp_path / "x", {"good.txt": b"1", LONG[case]: b"2"})
    for unpack in (lambda: archive.extract(path, tmp_path / "out"), lambda: list(archive.members(path))):
        with pytest.raises(DataError, match="more than a file system takes; it is not unpacked") as raised:
            unpack()
        assert len(str(raised.value)) < 400
    assert everything(tmp_path / "out") == []


@pytest.mark.parametrize("make", MAKERS)
def test_names_at_the_limit_are_unpacked(make, tmp_path):
    names = ["ü" * 127, "a/" * 99 + "b", "/".join(["a" * 150] * 3)]
    written = archive.extract(make(tmp_path / "x", dict.fromkeys(names, b"1")), tmp_path / "out")
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in written) == sorted(names)


@pytest.mark.parametrize("make", MAKERS)
def test_a_member_below_a_file(make, tmp_path):
    path = make(tmp_path / "x", {"a": b"1", "a/b/c": b"2"})
    with pytest.raises(DataError, match=r"'a/b/c' (is in the way|cannot be written) in"):
        archive.extract(path, tmp_path / "out")


@pytest.mark.parametrize("make", MAKERS)
def test_links(make, tmp_path):
    path = make(tmp_path / "x", {"good.txt": b"1"}, [("link", "/etc")])
    with pytest.raises(DataError, match="'link' that is a link or a device"):
        archive.extract(path, tmp_path / "out")
    assert everything(tmp_path / "out") == []


def test_hard_links_and_devices(tmp_path):
    for kind in (tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        with tarfile.open(tmp_path / "x", "w") as t:
            entry = tarfile.TarInfo("it")
            entry.type, entry.linkname = kind, "/etc/passwd"
            t.addfile(entry)
        with pytest.raises(DataError, match="is a link or a device"):
            archive.extract(tmp_path / "x", tmp_path / "out")


@pytest.mark.parametrize("make", MAKERS)
def test_a_bomb_is_told_by_its_declared_size(make, tmp_path):
    path = make(tmp_path / "x", {"a": bytes(600), "b": bytes(600)})
    assert len(archive.extract(path, tmp_path / "fits", limit=1200)) == 2
    with pytest.raises(DataError, match="unpack to more than 1,199 bytes"):
        archive.extract(path, tmp_path / "out", limit=1199)
    assert everything(tmp_path / "out") == []


def test_a_zip_that_lies_about_its_size(tmp_path):
    path = tmp_path / "x"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a", bytes(100_000))
    content = path.read_bytes()
    path.write_bytes(content.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DataError, match="damaged archive"):
        archive.extract(path, tmp_path / "out", limit=1000)
    assert everything(tmp_path / "out") == []


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MEMBERS", 3)
    for make in (make_zip, make_tar):
        path = make(tmp_path / "x", {str(i): b"" for i in range(4)})
        with pytest.raises(DataError, match="more than 3 members"):
            list(archive.members(path))


def test_two_members_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "x", "w") as z:
        z.writestr("a", b"1")
        z.writestr("./a", b"2")
    with pytest.raises(DataError, match="two members of one name"):
        archive.extract(tmp_path / "x", tmp_path / "out")


def test_a_link_that_was_there_before_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="leads through a link out of"):
        archive.extract(make_zip(tmp_path / "x", {"a/b": b"1"}), tmp_path / "out")
    assert everything(tmp_path / "elsewhere") == []
    (tmp_path / "victim").write_text("whole")
    (tmp_path / "out" / "c").symlink_to(tmp_path / "victim")
    with pytest.raises(DataError, match="'c' is in the way"):
        archive.extract(make_zip(tmp_path / "y", {"c": b"1"}), tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "whole"


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_truncated_archives(make, keep, tmp_path):
    import random

    content = make(tmp_path / "x", {"a": random.Random(0).randbytes(20_000), "b": b"2"}).read_bytes()
    (tmp_path / "x").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=r"damaged"):
        list(archive.members(tmp_path / "x"))


def test_another_kind_of_file(tmp_path):
    (tmp_path / "x").write_bytes(b"hello")
    with pytest.raises(DataError, match="neither a zip nor a tar"):
        archive.members(tmp_path / "x")
