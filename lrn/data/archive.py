"""Reading zip and tar archives that may be hostile, within a folder and a limit of size.

All members are checked before the first one is unpacked. Refused are paths that are absolute, climb with
"..", or name a drive; links and devices; repeated names; and a declared total size above a limit.
"""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lrn.data.errors import DataError

LIMIT = 2**30  # bytes unpacked
MEMBERS = 200_000
NAME = 1_000  # the most bytes of a member's path
PART = 255  # the most bytes of a part of that path, as in common file systems
LEVELS = 100  # the most nested folders

_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
)


def members(path: Path, limit: int = LIMIT) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The files of a zip or tar archive, as (name in the archive, content); folders are left out.

    Args:
        path: a .zip, or a .tar with any compression that `tarfile` knows.
        limit: the most bytes that the archive may hold when unpacked.

    Raises:
        DataError: the archive is damaged or of another kind, or a member is not safe.
    """
    if zipfile.is_zipfile(path):
        return _zip_members(path, limit)
    if tarfile.is_tarfile(path):
        return _tar_members(path, limit)
    raise DataError(f"{path} is neither a zip nor a tar archive; it is damaged or of another kind.")


def extract(path: Path, folder: Path, limit: int = LIMIT) -> list[Path]:
    """Unpack a zip or tar archive into ``folder``, and return the paths of the files written.

    Existing files are never overwritten, and links are never followed out of the folder.

    Raises:
        DataError: as `members`, or a file with the name of a member exists.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    written = []
    for name, content in members(path, limit):
        target = root / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.parent.resolve().is_relative_to(root):
                raise DataError(
                    f"{path}: {str(name)!r} leads through a link out of {folder}; nothing is written there."
                )
            with open(target, "xb") as file:
                file.write(content)
        except FileExistsError:
            raise DataError(
                f"{path}: {str(name)!r} is in the way in {folder}; unpack into an empty folder."
            ) from None
        except OSError as error:  # a file in place of a folder, a full disk, or a name that is too long
            raise DataError(
                f"{path}: {str(name)!r} cannot be written in {folder} ({error.strerror or error}); "
                "unpack into an empty folder with free space."
            ) from None
        written.append(target)
    return written


def _zip_members(path: Path, limit: int) -> Iterator[tuple[PurePosixPath, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            # If the archive was made on Unix, the upper 16 bits of the external attributes are
            # the file's mode.
            kinds = [stat.S_IFMT(entry.external_attr >> 16) for entry in entries]
            plain = [kind in (0, stat.S_IFREG, stat.S_IFDIR) for kind in kinds]
            names = _checked(
                path, [e.filename for e in entries], [e.file_size for e in entries], plain, limit
            )
            for name, entry in zip(names, entries):
                if not entry.is_dir():
                    yield name, archive.read(entry)  # stops at the declared size and checks the CRC
    except _DAMAGE as error:
        raise DataError(f"{path} is a damaged archive ({type(error).__name__}: {error}).") from error


def _tar_members(path: Path, limit: int) -> Iterator[tuple[PurePosixPath, bytes]]:
    try:
        with tarfile.open(path) as archive:
            entries: list[tarfile.TarInfo] = []
            total = 0
            for entry in archive:  # stops at the header that passes the limit, before the rest is inflated
                entries.append(entry)
                total += entry.size
                if total > limit or len(entries) > MEMBERS:
                    break
            plain = [entry.isreg() or entry.isdir() for entry in entries]
            names = _checked(path, [e.name for e in entries], [e.size for e in entries], plain, limit)
            for name, entry in zip(names, entries):
                if entry.isreg():
                    file = archive.extractfile(entry)
                    assert file is not None
                    content = file.read()
                    if len(content) != entry.size:
                        raise EOFError(f"{name} is cut short")
                    yield name, content
    except _DAMAGE as error:
        raise DataError(f"{path} is a damaged archive ({type(error).__name__}: {error}).") from error


def _checked(
    path: Path, names: list[str], sizes: list[int], plain: list[bool], limit: int
) -> list[PurePosixPath]:
    """The members' names as safe relative paths."""
    if len(names) > MEMBERS:
        raise DataError(f"{path} has more than {MEMBERS:,} members; it is not unpacked.")
    if sum(sizes) > limit:
        raise DataError(f"{path} would unpack to more than {limit:,} bytes; it is not unpacked.")
    checked = []
    for name, is_plain in zip(names, plain):
        relative = PurePosixPath(name)
        if (
            name.startswith(("/", "\\"))
            or ".." in relative.parts
            or "\\" in name
            or ":" in name
            or "\0" in name
        ):
            shown = name if len(name) <= 80 else f"{name[:80]}..."
            raise DataError(
                f"{path} has a member {shown!r} that would be written outside its folder; it is not unpacked."
            )
        sizes_of = [len(part.encode("utf-8", "surrogateescape")) for part in relative.parts]
        if sum(sizes_of) + len(sizes_of) > NAME or max(sizes_of, default=0) > PART or len(sizes_of) > LEVELS:
            raise DataError(
                f"{path} has a member {name[:40] + '...'!r} whose name has {len(name):,} characters on "
                f"{len(sizes_of):,} levels, more than a file system takes; it is not unpacked."
            )
        if not is_plain:
            raise DataError(f"{path} has a member {name!r} that is a link or a device; it is not unpacked.")
        checked.append(relative)
    if len(set(checked)) != len(checked):
        raise DataError(f"{path} has two members of one name; it is not unpacked.")
    return checked
