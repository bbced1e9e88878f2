"""Downloads into a folder; a file that is cut short, too large, or not the pinned file raises an error."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import posixpath
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from lrn.data.errors import DataError, DataNotFoundError
from lrn.data.spec import Remote

LIMIT = 2**30  # the most bytes of a file; the files of all sets are much smaller
TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 2

log: logging.Logger = logging.getLogger(__name__)


def address(url: str) -> str:
    """The address of a file: ``url``, or its copy in the mirror ``$LRN_DATA_MIRROR``.

    A mirror keeps each file at <mirror>/<host>/<path>, the layout of a recursive download.

    Raises:
        DataError: the mirror is no http, https or file address.
    """
    mirror = os.environ.get("LRN_DATA_MIRROR", "")
    if not mirror:
        return url
    if urllib.parse.urlsplit(mirror).scheme not in ("http", "https", "file"):
        raise DataError(
            f"LRN_DATA_MIRROR is {mirror!r}, expected an address that starts with https://, http:// or file://"
        )
    parts = urllib.parse.urlsplit(url)
    return f"{mirror.rstrip('/')}/{parts.netloc}{parts.path}"


def download(remote: Remote, folder: Path) -> Path:
    """Download one file into ``folder`` under its own name, and return its path.

    Raises:
        DataNotFoundError: the file could not be downloaded (no network, no such file, a broken connection).
        DataError: the file is not the pinned file, or is larger than `LIMIT`.
    """
    url = address(remote.url)
    path = folder / posixpath.basename(urllib.parse.urlsplit(url).path)
    log.info("downloading %s", url)
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            _stream(url, path)
            break
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code}"
            error.close()
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    else:
        raise DataNotFoundError(f"{url} could not be downloaded ({reason})")
    if remote.digest is not None:
        algorithm, _, expected = remote.digest.partition(":")
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, algorithm).hexdigest()
        if digest != expected:
            raise DataError(
                f"{algorithm} of {url} is {digest[:12]}..., expected {expected[:12]}...: it was changed or "
                "damaged; try again, or fetch it by hand and compare"
            )
    return path


def _stream(url: str, path: Path) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "lrn"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response, open(path, "wb") as file:
        declared = response.headers.get("Content-Length")
        received = 0
        while block := response.read(1 << 20):
            received += len(block)
            if received > LIMIT:
                raise DataError(
                    f"{url} is larger than {LIMIT:,} bytes, so it cannot be the file expected there"
                )
            file.write(block)
    if declared is not None and received != int(declared):
        raise OSError(f"the connection broke after {received:,} of {int(declared):,} bytes")
